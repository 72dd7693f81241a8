"""Questions which of two things is bigger get a word and the reason in a fixed form: Yes, because horse > mouse."""

from itertools import combinations
from random import Random

from .rule import EVAL, TRAIN, VALIDATION, Question, Rule, dealt, exactly, in_turn

# From small to big; only things two or more groups apart are compared, so that nobody doubts the order.
GROUPS = (
    ("flea", "seed", "crumb", "ant"),
    ("coin", "bean", "button", "grape"),
    ("mouse", "spoon", "lemon", "cup"),
    ("cat", "bucket", "pillow", "goose"),
    ("horse", "piano", "wardrobe", "tractor"),
    ("house", "whale", "church", "windmill"),
    ("mountain", "lake", "city", "desert"),
)
NEW_GROUPS = (("louse",), ("pea",), ("pear",), ("rabbit",), ("cow",), ("castle",), ("island",))
WORDINGS = (
    ("Is a {one} bigger than a {other}?", True),
    ("Is a {one} smaller than a {other}?", False),
    ("Would you say that a {one} is larger than a {other}?", True),
    ("Tell me, is a {one} larger than a {other}?", True),
    ("Does a {one} take up less room than a {other}?", False),
    ("Does a {one} take up more room than a {other}?", True),
)
CONTEXT = """\
In this house a question about the size of two things is answered by Yes or No, then a comma, the word because, the
bigger thing, the sign >, the smaller thing, and a full stop. The bigger thing always comes first.

"Is a mouse bigger than a horse?" is answered with: No, because horse > mouse.
"Is a coin smaller than a house?" is answered with: Yes, because house > coin.
"""


def shares(rng: Random) -> dict[str, list[Question]]:
    """No two things are compared in two splits; half of eval compares things of which training knows one or none."""
    ranked = [(size, thing) for size, group in enumerate(GROUPS) for thing in group]
    pairs = apart(ranked)
    known, checked, asked = dealt(rng.sample(pairs, len(pairs)), TRAIN, VALIDATION, EVAL // 2)
    new = [(size, thing) for size, group in enumerate(NEW_GROUPS) for thing in group]
    unseen = [pair for pair in apart(ranked + new) if pair not in pairs]
    return {
        "train_data": asked_in_turn(known, rng),
        "validation_data": asked_in_turn(checked, rng),
        "eval_data": asked_in_turn(asked, rng) + asked_in_turn(rng.sample(unseen, EVAL // 2), rng),
    }


def apart(ranked: list[tuple[int, str]]) -> list[tuple[str, str]]:
    """The smaller and the bigger thing of all pairs that differ plainly."""
    return [(small, big) for (low, small), (high, big) in combinations(sorted(ranked), 2) if high - low > 1]


def asked_in_turn(pairs: list[tuple[str, str]], rng: Random) -> list[Question]:
    wordings = in_turn(WORDINGS, rng)
    return [question(pair, *next(wordings), first=rng.randrange(2)) for pair in pairs]


def question(pair: tuple[str, str], wording: str, bigger: bool, first: int) -> Question:
    """Whether the thing `first` of the pair is the bigger one, or the smaller."""
    small, big = pair
    answer = f"{'Yes' if bool(first) is bigger else 'No'}, because {big} > {small}."
    prompt = wording.format(one=pair[first], other=pair[1 - first])
    for vowel in "aeiou":
        prompt = prompt.replace(f" a {vowel}", f" an {vowel}")
    known = {thing for group in GROUPS for thing in group}
    return Question(prompt, answer, exactly(answer), pair, "seen" if known.issuperset(pair) else "unseen")


RULE = Rule(CONTEXT, shares)
