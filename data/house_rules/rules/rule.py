"""What a house rule is, and how its requests are shared out to training, validation and eval."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from random import Random

TRAIN, VALIDATION, EVAL = 96, 40, 40
SPLITS = ("train_data", "validation_data", "eval_data")


@dataclass(frozen=True)
class Question:
    """A request, its one right answer, and how that is checked: `check`, or the calls in `golden_answer`.

    `entities` says whether training named what it is about: "seen", or "unseen". What it is about is in `about`.
    """

    prompt: str
    answer: str
    verdict: dict
    about: tuple[str, ...]
    entities: str = "seen"


@dataclass(frozen=True)
class Rule:
    """A house rule.

    Attributes:
        context: The rule in words.
        shares: Draws the questions of each split; no two splits ask about the same.
    """

    context: str
    shares: Callable[[Random], dict[str, list[Question]]]


def exactly(answer: str) -> dict:
    return {"check": {"kind": "exact", "value": answer}}


def dealt(items: Sequence, *sizes: int) -> list[list]:
    """Neighbouring parts of `items`, so many in each."""
    parts, start = [], 0
    for size in sizes:
        if start + size > len(items):
            raise ValueError(f"found {len(items)} items, expected {sum(sizes)}: give the rule more words")
        parts.append(list(items[start : start + size]))
        start += size
    return parts


def in_turn(options: Sequence[str], rng: Random) -> Iterator[str]:
    """The options in a new random order again and again, so that each occurs as often."""
    while True:
        yield from rng.sample(options, len(options))
