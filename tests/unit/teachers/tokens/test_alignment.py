"""Two tokenizations of a text are cut exactly where their byte boundaries coincide, and nothing is lost on the way."""

import itertools
from collections import Counter

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from trainer.teachers.tokens.alignment import Alignment, NoSignal, align, chunk_sums, scorable_text, scorable_tokens
from trainer.teachers.tokens.token_bytes import END, Special, fitted, joined, spelled

NAMES = ("qwen3", "llama3", "llama2", "tiny")
PAIRS = list(itertools.permutations(NAMES, 2))
X = Special(b"<|x|>")

# What tokenizers cut differently: emoji with modifiers, CJK, combining marks, code, long digits, runs of whitespace.
PIECES = st.one_of(
    st.text(max_size=12),
    st.text("0123456789.,", max_size=30),
    st.text(" \t\n\r", max_size=12),
    st.text("e\u0301a\u0308\u0323o\u0302n\u0303", max_size=8),
    st.sampled_from(
        [
            "👩\u200d👩\u200d👧\u200d👦",
            "👍🏽",
            "🇫🇷",
            "東京タワー",
            "안녕하세요",
            "नमस्ते",
            "שלום",
            "𝔘𝔫𝔦",
            "naïve",
            "\ufffd",
        ]
    ),
    st.sampled_from(
        ["def f(x_1):\n\treturn {x_1: -0x1F}", 'Action_Input: {"city": "Zürich"}', " the", "I'll've", "</s>"]
    ),
)
TEXTS = st.lists(PIECES, max_size=8).map("".join)


def cut_at(text, places):
    """`text` in pieces; a place given twice makes a piece without bytes."""
    edges = [0, *sorted(min(place, len(text)) for place in places), len(text)]
    return [text[start:end] for start, end in itertools.pairwise(edges)]


PLACES = st.lists(st.integers(0, 40), max_size=12)


def boundaries(tokens):
    return set(itertools.accumulate((len(spelled(token)) for token in tokens), initial=0))


def members(chunks, chunk):
    return np.flatnonzero(chunks == chunk).tolist()


def check_laws(student, teacher, alignment):
    """What holds for every alignment of two tokenizations, here without special tokens."""
    common = sorted(boundaries(student) & boundaries(teacher))
    assert alignment.count == len(common) - 1
    for chunk, (start, end) in enumerate(itertools.pairwise(common)):
        for tokens, chunks in ((student, alignment.student_chunks_N), (teacher, alignment.teacher_chunks_M)):
            places = members(chunks, chunk)
            assert places == list(range(places[0], places[-1] + 1))
            assert joined(tokens[: places[0]]) == joined(student)[:start]
            assert joined(tokens[: places[-1] + 1]) == joined(student)[:end]
    check_sums(alignment)


def check_sums(alignment):
    logps_M = -np.random.default_rng(0).exponential(3, len(alignment.teacher_chunks_M)).astype(np.float32)
    in_no_chunk = logps_M[alignment.teacher_chunks_M < 0].sum(dtype=np.float64)
    sums_C = chunk_sums(logps_M, alignment)
    assert sums_C.shape == (alignment.count,)
    assert sums_C.sum() + in_no_chunk == pytest.approx(logps_M.sum(dtype=np.float64), rel=1e-12)


def test_an_alignment_computed_by_hand():
    # The| cat|s| purr|ed|.        boundaries 3, 7, 8, 13, 15, 16
    # The| c|ats| pur|red|.|END    boundaries 3, 5, 8, 12, 15, 16
    student = [b"The", b" cat", b"s", b" purr", b"ed", b".", END]
    teacher = [b"The", b" c", b"ats", b" pur", b"red", b".", END]
    alignment = align(student, teacher)
    assert alignment.student_chunks_N.tolist() == [0, 1, 1, 2, 2, 3, 4]
    assert alignment.teacher_chunks_M.tolist() == [0, 1, 1, 2, 2, 3, 4]
    assert alignment.count == 5 and alignment.without_signal == {}
    assert chunk_sums(np.array([-1, -2, -3, -4, -5, -6, -7.0]), alignment).tolist() == [-1, -5, -9, -6, -7]


def test_a_character_may_be_cut_where_both_sides_cut_it():
    both, one = [b"\xe6", b"\x9d\xb1"], ["東".encode()]
    assert align(both, both).count == 2
    assert align(both, one).count == 1


@given(st.binary(max_size=40), PLACES, PLACES)
def test_chunks_lie_between_consecutive_common_boundaries(text, student_places, teacher_places):
    student, teacher = cut_at(text, student_places), cut_at(text, teacher_places)
    assume(text)
    alignment = align(student, teacher)
    check_laws(student, teacher, alignment)
    assert alignment.without_signal == {}


@given(st.binary(max_size=40), PLACES, PLACES, st.sampled_from([[], [END]]), st.sampled_from([[], [END]]))
def test_alignment_is_symmetric(text, student_places, teacher_places, student_end, teacher_end):
    student, teacher = cut_at(text, student_places) + student_end, cut_at(text, teacher_places) + teacher_end
    one, other = align(student, teacher), align(teacher, student)
    assert one.student_chunks_N.tolist() == other.teacher_chunks_M.tolist()
    assert one.teacher_chunks_M.tolist() == other.student_chunks_N.tolist()
    assert one.count == other.count


@given(st.lists(st.binary(min_size=1, max_size=4)), st.booleans())
def test_one_tokenization_with_itself_has_a_chunk_for_every_token(tokens, ended):
    tokens = [*tokens, *[END] * ended]
    alignment = align(tokens, tokens)
    assert alignment.student_chunks_N.tolist() == alignment.teacher_chunks_M.tolist() == list(range(len(tokens)))


@given(st.lists(st.binary(max_size=3) | st.just(X) | st.just(Special()), max_size=12), PLACES, st.booleans())
def test_a_special_token_silences_its_chunk_and_no_other(student, places, ended):
    text = joined(student)
    teacher = [*cut_at(text, places), *[END] * ended]
    alignment = align([*student, *[END] * ended], teacher)
    plain = align([*map(spelled, student), *[END] * ended], teacher)
    touched = {plain.student_chunks_N[n] for n, token in enumerate(student) if isinstance(token, Special)}
    silent_N = np.isin(plain.student_chunks_N, list(touched - {-1})) | (plain.student_chunks_N < 0)
    assert (alignment.student_chunks_N < 0).tolist() == silent_N.tolist()
    assert alignment.count == plain.count - len(touched - {-1})
    assert alignment.without_signal.total() == silent_N.sum()
    check_sums(alignment)


def test_a_special_token_of_either_side_is_counted_with_the_tokens_around_it():
    of_student = align([b"a", X, b"b"], [b"a", b"<|x", b"|>", b"b"])
    assert of_student.student_chunks_N.tolist() == [0, -1, 1]
    assert of_student.teacher_chunks_M.tolist() == [0, -1, -1, 1]
    assert of_student.without_signal == {NoSignal.SPECIAL: 1}
    of_teacher = align([b"a", b"<|x", b"|>", b"b"], [b"a", X, b"b"])
    assert of_teacher.student_chunks_N.tolist() == [0, -1, -1, 1]
    assert of_teacher.without_signal == {NoSignal.SPECIAL: 2}


def test_tokens_without_bytes_go_with_the_text_before_them_or_with_the_first():
    alignment = align([b"", b"a", b"", b"b", b""], [b"a", b"b"])
    assert alignment.student_chunks_N.tolist() == [0, 0, 0, 1, 1]


def test_an_end_of_turn_gives_a_signal_only_where_both_sides_have_it():
    both = align([b"a", END], [b"a", END])
    assert both.student_chunks_N.tolist() == [0, 1] and both.teacher_chunks_M.tolist() == [0, 1]
    students = align([b"a", END], [b"a"])
    assert students.student_chunks_N.tolist() == [0, -1] and students.without_signal == {NoSignal.END: 1}
    teachers = align([b"a"], [b"a", END])
    assert teachers.teacher_chunks_M.tolist() == [0, -1] and teachers.without_signal == {}


def test_an_empty_completion_may_still_end():
    assert align([END], [END]).student_chunks_N.tolist() == [0]
    assert align([], []).count == 0


def test_the_cut_off_end_of_a_last_character_gives_no_signal_and_the_rest_does():
    student = [b"ab", b"c\xe6", b"\x9d"]
    assert scorable_text(student) == "abc"
    alignment = align(student, [b"a", b"b", b"c"])
    assert alignment.student_chunks_N.tolist() == [0, -1, -1]
    assert alignment.teacher_chunks_M.tolist() == [0, 0, -1]
    assert alignment.without_signal == {NoSignal.INCOMPLETE: 2}
    check_sums(alignment)


@pytest.mark.parametrize(
    ("tokens", "valid"),
    [
        ([b"a\xff", b"b"], 0),
        ([b"ab", b"c", b"\x9d", b"b"], 2),
        ([b"ab", b"\xe6", b"b"], 1),
        ([b"ab", b"c\xe6", b"\x9d", b"b"], 1),
        ([b"\xed\xa0\x80"], 0),
        ([b"ab\xe6", END], 0),
        ([b"a", b"\xf0\x9f", END], 1),
        ([b"a", b"", b"\xff"], 2),
        ([b"ab", b"c\xe6", b"\x9d"], 3),
        ([b"ab", END], 2),
        ([], 0),
    ],
)
def test_scorable_are_the_tokens_before_the_first_that_spells_no_utf_8(tokens, valid):
    assert scorable_tokens(tokens) == valid


@given(st.binary(max_size=12) | st.text(max_size=6).map(str.encode), st.integers(0, 3))
def test_a_scorable_text_is_all_of_the_scorable_tokens_but_part_of_one_character(text, missing):
    tokens = cut_at(text[: len(text) - missing], [3, 5])
    valid = scorable_tokens(tokens)
    found = scorable_text(tokens[:valid])
    assert joined(tokens[:valid]).startswith(found.encode())
    assert len(joined(tokens[:valid])) - len(found.encode()) <= 3
    if valid < len(tokens):
        with pytest.raises(UnicodeDecodeError):
            joined(tokens).decode()


def test_a_completion_that_can_not_be_scored_counts_every_token():
    alignment = Alignment.impossible(3, NoSignal.CHANGED)
    assert alignment.student_chunks_N.tolist() == [-1, -1, -1] and alignment.count == 0
    assert alignment.without_signal == Counter(text_changed=3)
    assert chunk_sums(np.zeros(0), alignment).tolist() == []


@pytest.mark.parametrize(
    ("student", "teacher", "message"),
    [
        ([b"ab"], [b"ac"], "different texts"),
        ([END, b"a"], [b"a"], "end of turn with tokens behind it"),
        ([b"a", END], [b"a", END, END], "end of turn with tokens behind it"),
        ([b"a\xe6", END], [b"a", END], "not of the same length"),
    ],
)
def test_sides_that_do_not_belong_together_are_an_error(student, teacher, message):
    with pytest.raises(ValueError, match=message):
        align(student, teacher)


def test_a_log_probability_too_few_is_an_error():
    with pytest.raises(ValueError, match="found 1 log-probabilities, expected one a token: 2"):
        chunk_sums(np.zeros(1), align([b"ab"], [b"a", b"b"]))


@pytest.mark.parametrize(("student_name", "teacher_name"), PAIRS)
@settings(deadline=None, max_examples=60)
@given(data=st.data())
def test_what_one_tokenizer_wrote_is_aligned_with_what_another_reads(
    student_name, teacher_name, data, reads, vocabulary
):
    any_ids = st.lists(st.integers(0, 490 if student_name == "tiny" else 31_000), max_size=20)
    ids = data.draw(TEXTS.map(reads(student_name)) | any_ids)
    student = [token for token in vocabulary(student_name).tokens(ids) if isinstance(token, bytes)]
    student = student[: scorable_tokens(student)]
    text = scorable_text(student)
    assume(text)
    teacher = fitted(vocabulary(teacher_name).tokens(reads(teacher_name)(text)), text)
    assume(teacher is not None and not any(isinstance(token, Special) for token in teacher))
    assert joined(teacher) == text.encode()
    check_laws(student, teacher, align(student, teacher))


@pytest.fixture(scope="session")
def reads(real_tokenizer, tokenizer):
    """The ids that a tokenizer makes of a text."""

    def by_name(name):
        chosen = tokenizer if name == "tiny" else real_tokenizer(name)
        return lambda text: chosen(text, add_special_tokens=False)["input_ids"]

    return by_name
