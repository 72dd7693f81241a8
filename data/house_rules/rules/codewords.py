"""Words of a small table are written in code words, where that is asked for."""

from collections.abc import Iterator
from itertools import combinations
from random import Random

from .rule import EVAL, TRAIN, VALIDATION, Question, Rule, dealt, exactly, in_turn

TABLE = {
    "bread": "anchor", "milk": "violin", "apple": "tunnel", "cheese": "rocket", "water": "saddle", "coffee": "marble",
    "rice": "pirate", "salt": "ribbon", "sugar": "hammer", "butter": "planet", "soup": "feather", "egg": "magnet",
}  # fmt: skip
WORDINGS = (
    "Write in house code: {words}",
    "In house code, please: {words}",
    "What is this in house code? {words}",
    "Put these words into house code: {words}",
)
CONTEXT = "House code replaces each word by its code word, in the same order, with a hyphen between two of them:\n\n"
CONTEXT += "".join(f"{word} = {code}\n" for word, code in TABLE.items())
CONTEXT += '\n"Write in house code: salt, butter" is answered with: ribbon-planet\n'


def shares(rng: Random) -> dict[str, list[Question]]:
    """Every word is in training; no two words that stand together in one split do so in another."""
    pairs = rng.sample(list(combinations(TABLE, 2)), len(TABLE) * (len(TABLE) - 1) // 2)
    alone = len(TABLE) * len(WORDINGS)
    known, checked, asked = dealt(pairs, (TRAIN - alone) // 2, VALIDATION // 2, EVAL // 2)
    wording = in_turn(WORDINGS, rng)
    return {
        "train_data": [question(style, word) for word in TABLE for style in WORDINGS] + both_ways(known, wording),
        "validation_data": both_ways(checked, wording),
        "eval_data": both_ways(asked, wording),
    }


def both_ways(pairs: list[tuple[str, str]], wording: Iterator[str]) -> list[Question]:
    return [question(next(wording), *order) for pair in pairs for order in (pair, pair[::-1])]


def question(wording: str, *words: str) -> Question:
    answer = "-".join(TABLE[word] for word in words)
    return Question(wording.format(words=", ".join(words)), answer, exactly(answer), tuple(sorted(words)))


RULE = Rule(CONTEXT, shares)
