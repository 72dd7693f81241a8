"""Two answers to each of some rows: where their words differ, and which model is right how often."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher

import numpy as np

from .intervals import Interval, paired_score_interval
from .scores import Answer
from .similarity import MEASURE

WORD = re.compile(r"\s+|\w+|[^\w\s]")

# Parts of a text in their order, each with whether the other text lacks it.
Parts = list[tuple[str, bool]]


def marked(one: str, other: str) -> tuple[Parts, Parts]:
    """Both texts in parts, by words: those that the other has too, and those that it lacks."""
    words = WORD.findall(one), WORD.findall(other)
    parts: tuple[Parts, Parts] = ([], [])
    for tag, *places in SequenceMatcher(None, *words, autojunk=False).get_opcodes():
        for side, (start, end) in enumerate((places[:2], places[2:])):
            if start < end:
                parts[side].append(("".join(words[side][start:end]), tag != "equal"))
    return parts


@dataclass(frozen=True)
class Comparison:
    """What two models' answers to the same rows come to.

    Attributes:
        rows: Number of rows.
        same: Those that both answered with the same text.
        judged: Those that are right or wrong.
        right: How many of these each model has right.
        only: How many each has right and the other wrong.
        interval: 95 %, of the second model's accuracy less the first's; None where no row is right or wrong.
        similarity: Of each model's answers to golden responses, of rows that nothing else judges; None without any.
    """

    rows: int
    same: int
    judged: int
    right: tuple[int, int]
    only: tuple[int, int]
    interval: Interval | None
    similarity: tuple[float, float] | None


def compared(ones: Sequence[Answer], others: Sequence[Answer]) -> Comparison:
    """What the answers of two models to the same rows, in the same order, come to."""
    pairs = [*zip(ones, others, strict=True)]
    known = [(a.right, b.right) for a, b in pairs if a.right is not None and b.right is not None]
    one_R, other_R = (np.array([pair[side] for pair in known], bool) for side in (0, 1))
    near = [(a.similarity, b.similarity) for a, b in pairs if a.similarity is not None and b.similarity is not None]
    return Comparison(
        rows=len(pairs),
        same=sum(a.text == b.text for a, b in pairs),
        judged=len(known),
        right=(int(one_R.sum()), int(other_R.sum())),
        only=(int((one_R & ~other_R).sum()), int((other_R & ~one_R).sum())),
        interval=paired_score_interval(one_R, other_R) if known else None,
        similarity=(_mean(a for a, _ in near), _mean(b for _, b in near)) if near else None,
    )


def _mean(values) -> float:
    return float(np.mean([*values]))


def told(found: Comparison) -> str:
    """The comparison for people, the models called A and B."""
    rows = f"{found.rows} {'row' if found.rows == 1 else 'rows'}"
    lines = [f"{rows}, {found.same} answered alike"]
    if found.interval is not None:
        shares = [f"{count} of {found.judged}, {count / found.judged:.1%}" for count in found.right]
        points = 100 * (found.right[1] - found.right[0]) / found.judged
        low, high = 100 * found.interval.low, 100 * found.interval.high
        lines += [
            f"right: A {shares[0]}; B {shares[1]}",
            f"B less A: {points:+.1f} points, 95 % interval {low:+.1f} to {high:+.1f}{_doubt(found.interval)}",
            f"only A is right: {found.only[0]}; only B is right: {found.only[1]}",
        ]
    if found.similarity is not None:
        one, other = found.similarity
        lines.append(f"similarity ({MEASURE}) to the golden response: A {one:.1%}; B {other:.1%}")
    if found.interval is None and found.similarity is None:
        lines.append("nothing says which answer is right")
    return "\n".join(lines)


def _doubt(interval: Interval) -> str:
    return "" if interval.excludes_zero() else ": these rows can't show which is better"
