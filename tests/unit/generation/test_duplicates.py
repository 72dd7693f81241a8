import os
import random
import re
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trainer.generation.duplicates import Duplicates, bands, without_shared_parts, words_of

THRESHOLDS = [0.5, 0.7, 0.8, 0.9]
VOCABULARY = [f"word{number}" for number in range(2000)]
LONG = (
    "A family of four in a rented flat spends 640 euros a month on food, 210 on transport and 95 on insurance, and "
    "earns 3,400 euros. Draw up a budget for the coming year that leaves 300 euros a month for a holiday in August."
)

words = st.lists(st.sampled_from(["the", "red", "Fox", "12", "ÄPFEL", "?", "道路", "a-b"]), max_size=40)
texts = words.map(" ".join) | st.text(max_size=60) | st.text(alphabet=st.characters(), max_size=20)


def kept(texts: list[str], near: float | None) -> Duplicates:
    duplicates = Duplicates(near)
    for number, text in enumerate(texts):
        duplicates.add(str(number), text)
    return duplicates


def similarity(one: str, other: str) -> float:
    """Jaccard similarity of the sets of word trigrams, the slow way."""
    a, b = ({tuple(w[i : i + 3]) for i in range(max(len(w) - 2, 1))} - {()} for w in (words_of(one), words_of(other)))
    return len(a & b) / len(a | b) if a | b else 0.0


def edited(text: str, edits: int, rng: random.Random) -> str:
    """A text with some words replaced, left out or put in."""
    changed = text.split()
    for _ in range(edits):
        place = rng.randrange(len(changed))
        changed[place : place + rng.randint(0, 1)] = rng.choices(VOCABULARY, k=rng.randint(0, 1))
    return " ".join(changed)


def pairs(count: int, seed: int) -> list[tuple[str, str]]:
    rng = random.Random(seed)
    originals = [" ".join(rng.choices(VOCABULARY, k=rng.randint(25, 90))) for _ in range(count)]
    return [(text, edited(text, rng.randint(1, 12), rng)) for text in originals]


# ---- exact ones


@given(texts, st.sampled_from([None, 0.7]))
def test_a_kept_text_is_a_duplicate_of_itself(text: str, near: float | None) -> None:
    assert kept([text], near).of(text) == ("duplicate", "0")


@given(words, st.lists(st.sampled_from([" ", "\n", "\t ", "  "]), min_size=40, max_size=40), st.booleans())
def test_case_and_whitespace_make_no_difference(chosen: list[str], spaces: list[str], upper: bool) -> None:
    other = "".join(word + space for word, space in zip(chosen, spaces, strict=False))
    other = f"\n{other.upper() if upper else other.lower()}"
    assert kept([" ".join(chosen)], None).of(other) == ("duplicate", "0")


def test_without_a_threshold_only_equal_texts_are_duplicates() -> None:
    duplicates = kept([LONG], None)
    assert duplicates.of(LONG.upper()) == ("duplicate", "0")
    assert duplicates.of(LONG + " Thanks!") is None


def test_of_equal_texts_the_first_one_s_key_stays() -> None:
    assert kept(["A bicycle", "a  bicycle"], 0.8).of("A BICYCLE") == ("duplicate", "0")


# ---- near ones


@pytest.mark.parametrize(
    "other",
    [
        LONG.replace("Draw up", "Please draw up"),
        LONG.replace("640", "655"),
        LONG.replace(",", "").replace(".", " !"),
        LONG.replace("a month", "per month", 1),
    ],
)
def test_a_long_text_with_a_few_changed_words_is_a_near_duplicate(other: str) -> None:
    assert kept(["Which rivers flow through Prague?", LONG], 0.7).of(other) == ("near_duplicate", "1")


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("What is 12 plus 13?", "What is 12 plus 14?"),
        ("What is the sum of the two numbers 12 and 13?", "What is the sum of the two numbers 12 and 14?"),
        ("What is the sum of the two numbers 12 and 12?", "What is the sum of the two numbers 12 and 13?"),
        ("Tell me how many legs there are on a spider", "Tell me how many legs there are on a cat"),
        ("What is 3 - 2 in the field with 5 elements and no more than that?",
         "What is 3 + 2 in the field with 5 elements and no more than that?"),
        ("Explain briefly in your own words how one adds 3 and 4", "Explain briefly in your own words how one adds 3"
         " and -4"),
        ("请解释一下自行车的变速器怎么工作", "请解释一下自行车的刹车器怎么工作"),
        ("", "..."),
        ("?", "!"),
    ],
)  # fmt: skip
def test_short_texts_in_which_a_word_was_replaced_are_different_tasks(one: str, other: str) -> None:
    assert kept([one], 0.5).of(other) is None
    assert kept([other], 0.5).of(one) is None


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("Explain how a bicycle's gears work.", "Please explain how a bicycle's gears work!"),
        ("Is Prague larger than Brno?", "Is Prague larger than Brno"),
        ("Stop!", "\"Stop.\""),
        ("请解释一下自行车的变速器怎么工作？", "请您解释一下自行车的变速器怎么工作。"),
    ],
)  # fmt: skip
def test_short_texts_that_differ_by_an_added_word_or_punctuation_are_near_duplicates(one: str, other: str) -> None:
    assert kept([one], 0.7).of(other) == ("near_duplicate", "0")
    assert kept([other], 0.7).of(one) == ("near_duplicate", "0")


def test_the_most_similar_kept_text_is_named_and_of_equally_similar_ones_the_first() -> None:
    far, close = LONG.replace("A family", "One family"), LONG.replace("3,400", "3,500")
    twice = [close + " " + end for end in ("Thanks", "Cheers")]
    assert kept([far, close], 0.6).of(LONG.replace("3,400", "3,500 net")) == ("near_duplicate", "1")
    assert kept(twice, 0.6).of(close) == ("near_duplicate", "0")


@pytest.mark.parametrize("near", THRESHOLDS)
def test_nothing_below_the_threshold_is_called_near(near: float) -> None:
    for one, other in pairs(150, seed=1):
        found = kept([one], near).of(other)
        assert found is None or similarity(one, other) >= near


@given(st.lists(words.map(" ".join), min_size=2, max_size=6), st.sampled_from(THRESHOLDS))
def test_whatever_is_called_near_is_near_by_brute_force(kept_texts: list[str], near: float) -> None:
    *others, last = kept_texts
    found = kept(others, near).of(last)
    if found is not None and found[0] == "near_duplicate":
        assert similarity(others[int(found[1])], last) >= near


@pytest.mark.parametrize("near", THRESHOLDS)
def test_at_least_95_of_100_pairs_a_little_above_the_threshold_are_found(near: float) -> None:
    above = [pair for pair in pairs(600, seed=2) if near + 0.05 <= similarity(*pair) <= near + 0.1]
    found = [kept([one], near).of(other) for one, other in above]
    assert len(above) >= 25
    assert sum(verdict is not None for verdict in found) / len(above) >= 0.95


@pytest.mark.parametrize("near", [*THRESHOLDS, 0.3, 0.95])
def test_the_bands_give_a_pair_at_the_threshold_a_chance_of_95_in_100(near: float) -> None:
    count, rows = bands(near)
    assert count * rows <= 128
    assert 1 - (1 - near**rows) ** count >= 0.95


@pytest.mark.parametrize("near", [0.0, -0.1, 1.01])
def test_a_threshold_that_is_no_similarity_is_refused(near: float) -> None:
    with pytest.raises(ValueError, match=r"found a similarity of .*; expected over 0, up to 1"):
        Duplicates(near)


@given(texts, texts)
def test_at_a_threshold_of_1_all_trigrams_must_agree(one: str, other: str) -> None:
    found = kept([one], 1.0).of(other)
    assert found is None or found[0] == "duplicate" or similarity(one, other) == 1


# ---- what differs

PAGE = "You can call three tools. The first one tells the weather of a city: it needs the name of the city in English."


def test_near_duplicates_are_told_by_the_part_that_is_compared_and_exact_ones_by_all() -> None:
    question = (
        "What is the weather like in the city of Oslo on the second day of May this year, please, in degrees Celsius"
    )
    duplicates = Duplicates(0.8)
    duplicates.add("1", f"{PAGE} {question}?", f"{question}?")
    assert duplicates.of(f"{PAGE} {question}?", "else") == ("duplicate", "1")
    assert duplicates.of(f"{PAGE} {question}, thanks?", f"{question}, thanks?") == ("near_duplicate", "1")
    assert duplicates.of(f"{PAGE} Who is there?", "Who is there?") is None


def test_sentences_and_lines_that_all_texts_have_are_left_out() -> None:
    texts = [f"{PAGE}\nRules:\n- be brief\n\nQuestion: {word}? Thank you." for word in ("Why", "When", "Who")]
    assert without_shared_parts(texts) == ["Why?", "When?", "Who?"]
    assert without_shared_parts([*texts, "Else"]) == [
        *(" ".join(re.split(r"\s*\n+|(?<=[.:?])\s", t)) for t in texts),
        "Else",
    ]


@given(st.lists(texts, max_size=5))
def test_each_text_keeps_something_of_its_own(some: list[str]) -> None:
    found = without_shared_parts(some)
    assert len(found) == len(some)
    assert all(bool(mine.strip()) == bool(whole.strip()) for mine, whole in zip(found, some, strict=True))
    assert len(some) != 1 or words_of(found[0]) == words_of(some[0])


# ---- the same for everyone


@given(st.lists(texts, max_size=8), st.lists(texts, max_size=8), st.sampled_from([None, 0.5, 0.8]))
def test_texts_that_were_looked_up_and_not_kept_change_nothing(
    some: list[str], rejected: list[str], near: float | None
) -> None:
    plain, disturbed = Duplicates(near), Duplicates(near)
    for number, text in enumerate(some):
        for other in rejected:
            disturbed.of(other)
        assert disturbed.of(text) == plain.of(text)
        plain.add(str(number), text)
        disturbed.add(str(number), text)


SCRIPT = """
import sys
from trainer.generation.duplicates import Duplicates
duplicates = Duplicates(0.6)
for number, text in enumerate(sys.stdin.read().split("|")):
    print(duplicates.of(text))
    duplicates.add(str(number), text)
"""


def test_verdicts_are_the_same_in_every_process() -> None:
    given = "|".join(text for pair in pairs(12, seed=3) for text in pair)
    printed = [
        subprocess.run(
            [sys.executable, "-c", SCRIPT],
            input=given,
            env={**os.environ, "PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in ("1", "2")
    ]
    assert printed[0] == printed[1]
    assert "near_duplicate" in printed[0]


@given(st.lists(st.sampled_from(["fox", "red", "道", "Ä"]), min_size=1, max_size=30))
def test_words_are_lower_case_and_without_punctuation_around_them(chosen: list[str]) -> None:
    text = ", ".join(f"“{word}”!" for word in chosen)
    assert words_of(text) == [word.casefold() for word in chosen]
    assert words_of(text.swapcase()) == words_of(text)
