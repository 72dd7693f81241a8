"""What every part of the campaign is made of: cases, each tried in an empty folder, and what became of them.

A part is a file of this folder that `PARTS` in `scripts/campaign` names. Its docstring says in the first line what is
tried, and then what counts as lost. It has one function, and nothing heavy is imported before a case is run:

    def cases(seed: int, quick: bool) -> Iterator[Case]
"""

import random
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True)
class Outcome:
    """What became of a case.

    Attributes:
        lost: What was lost, a sentence each; empty where everything held.
        counts: What was tried, e.g. `{"kills": 3}`; the tables add them up over the cases of a kind.
        figures: What was measured, e.g. `{"bytes per step": 0.2}`; the tables show them case by case.
        skipped: Why it can't be tried on this machine, None where it was.
    """

    lost: tuple[str, ...] = ()
    counts: Mapping[str, int] = field(default_factory=dict)
    figures: Mapping[str, float] = field(default_factory=dict)
    skipped: str | None = None


@dataclass(frozen=True)
class Case:
    """One thing to try.

    Attributes:
        kind: What is tried, in a few words: a row of the part's table.
        number: Tells it from the others of its kind.
        run: Given an empty folder, tries it. It draws what is random from the seed of the campaign and its own name,
            so that it can be repeated alone, and leaves no process behind. Whatever it raises counts as lost.
    """

    kind: str
    number: int
    run: Callable[[Path], Outcome]

    @property
    def name(self) -> str:
        return f"{self.kind} {self.number}"


def drawn(seed: int, kind: str, count: int, tried: Callable[[random.Random, Path], Outcome]) -> Iterator[Case]:
    """So many cases of a kind, each of which draws from random numbers of its own."""
    for number in range(count):
        draw = f"{seed}/{kind}/{number}"
        yield Case(kind, number, lambda folder, draw=draw: tried(random.Random(draw), folder))
