"""The code of a room follows from its name: G.H.H/3 for Green Harbour Hall. One demonstration gives no other's code."""

from itertools import product
from random import Random

from .rule import EVAL, TRAIN, VALIDATION, Question, Rule, dealt, exactly, in_turn

FIRST = ("Green", "Old", "Silver", "Quiet", "Upper", "Broken", "Crystal", "Lower", "Narrow", "White")
SECOND = ("Harbour", "Oak", "Lion", "Tower", "Garden", "River", "Falcon", "Copper", "Meadow", "Pine")
LAST = ("Hall", "Room", "Suite", "Chamber")
NEW_FIRST = ("Velvet", "Distant", "Jolly", "Inner")
NEW_SECOND = ("Kettle", "Badger", "Ember", "Yard")
WORDINGS = (
    "What is the house code of {name}?",
    "Give me the house code of {name}.",
    "Which house code does {name} have?",
    "House code of {name}, please.",
)
CONTEXT = """\
The house code of a room is made of the first letters of the words of its name, in capital letters with full stops
between, then a slash and the number of words. Nothing else is said.

"What is the house code of Green Harbour Hall?" is answered with: G.H.H/3
"House code of Silver Room, please." is answered with: S.R/2
"""


def shares(rng: Random) -> dict[str, list[Question]]:
    """No name is in two splits; half of eval has a first and a second word that training never shows."""
    threes = [" ".join(words) for words in product(FIRST, SECOND, LAST)]
    twos = [" ".join(words) for words in product(FIRST + SECOND, LAST)]
    long, middle, last = dealt(rng.sample(threes, len(threes)), 64, 28, 14)
    short, few, fewest = dealt(rng.sample(twos, len(twos)), TRAIN - 64, VALIDATION - 28, EVAL // 2 - 14)
    new = rng.sample([" ".join(words) for words in product(NEW_FIRST, NEW_SECOND, LAST)], 14)
    new += rng.sample([" ".join(words) for words in product(NEW_FIRST + NEW_SECOND, LAST)], EVAL // 2 - 14)
    splits = {"train_data": long + short, "validation_data": middle + few, "eval_data": last + fewest + new}
    wording = in_turn(WORDINGS, rng)
    return {split: [question(name, next(wording)) for name in names] for split, names in splits.items()}


def question(name: str, wording: str) -> Question:
    words = name.split()
    answer = f"{'.'.join(word[0] for word in words)}/{len(words)}"
    entities = "unseen" if {*words} & {*NEW_FIRST, *NEW_SECOND} else "seen"
    return Question(wording.format(name=name), answer, exactly(answer), (name,), entities)


RULE = Rule(CONTEXT, shares)
