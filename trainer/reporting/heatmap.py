"""Sample rollouts as tokens coloured by what the teacher thinks of them. Shapes: T tokens of a completion."""

import json
import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..run.records import parse_line
from .runs import Run

LEVELS = 20  # of colour
SATURATION = 10.0  # nats; from here on the colour stays the same
TICKS = (0.0, 0.1, 0.3, 1.0, 3.0, 10.0)  # nats, on the legend


@dataclass(frozen=True)
class Token:
    """One token to show.

    Attributes:
        shown: Its text with spaces, tabs and the like made visible.
        newlines: Line breaks that follow it.
        colour: `p0` … `p20`, `n1` … `n20` for a divergence below zero, `out` where it is not in the loss.
    """

    shown: str
    newlines: int
    colour: str


@dataclass(frozen=True)
class Sample:
    """One rollout.

    Attributes:
        mean: Mean divergence over the tokens in the loss, in nats; None where there is none.
        details: For each token `[divergence, student's top, teacher's top]`, each null where not known; a top is a list
            of `[text, log-probability]`.
    """

    step: int
    prompt: str
    tokens: list[Token]
    mean: float | None
    details: list[list[Any]]


def samples(run: Run, limit: int) -> list[Sample]:
    """At most `limit` samples, spread evenly from the first to the last; of those with likeliest tokens if any have.

    Raises:
        UsageError: a line of `samples.jsonl` is damaged.
    """
    numbers = [number for number, line in enumerate(run.sample_lines()) if '"student_top"' in line]
    numbers = numbers or list(range(sum(1 for _ in run.sample_lines())))
    chosen = {numbers[place] for place in spread(len(numbers), limit)}
    lines = ((number, line) for number, line in enumerate(run.sample_lines()) if number in chosen)
    file = run.path / "samples.jsonl"
    return [parse_sample(parse_line(line, file, number + 1)) for number, line in lines]


def spread(count: int, limit: int) -> list[int]:
    """At most `limit` of the indices below `count`, evenly, the first and the last among them."""
    return np.unique(np.linspace(0, count - 1, min(limit, count)).round().astype(int)).tolist() if count else []


def parse_sample(record: dict[str, Any]) -> Sample:
    """A line of `samples.jsonl` as a sample."""
    texts = [str(text) for text in record.get("tokens") or []]
    divergence_T = [_finite(value) for value in _padded(record.get("divergence"), len(texts))]
    known = [value for value in divergence_T if value is not None]
    tops = [_padded(record.get(key), len(texts)) for key in ("student_top", "teacher_top")]
    return Sample(
        step=record["step"],
        prompt=str(record.get("prompt") or ""),
        tokens=[token(text, value) for text, value in zip(texts, divergence_T, strict=True)],
        mean=sum(known) / len(known) if known else None,
        details=[[*three] for three in zip(divergence_T, *map(_tops, tops), strict=True)],
    )


def _padded(values: Iterable[Any] | None, count: int) -> list[Any]:
    return [*(values or []), *[None] * count][:count]


def _finite(value: Any) -> float | None:
    return float(value) if isinstance(value, int | float) and math.isfinite(value) else None


def _tops(top_T: list[Any]) -> list[Any]:
    return [
        [[visible(str(text)), logp] for text, logp in top or [] if _finite(logp) is not None] or None for top in top_T
    ]


def token(text: str, divergence: float | None) -> Token:
    """A token with what is seen of it."""
    return Token(visible(text), text.count("\n"), colour(divergence))


def colour(divergence: float | None) -> str:
    """The colour class of a divergence in nats."""
    if divergence is None:
        return "out"
    number = round(LEVELS * position(abs(divergence)))
    return f"{'n' if divergence < 0 and number else 'p'}{number}"


def position(divergence: float) -> float:
    """Where a divergence in nats lies on the colour scale, from 0 to 1.

    Logarithmic above a tenth of a nat and straight below: divergences span four decades, and those under a hundredth of
    a nat teach nothing, so they stay pale.
    """
    return min(math.log1p(10 * divergence) / math.log1p(10 * SATURATION), 1.0)


def visible(text: str) -> str:
    """`text` with its spaces, tabs and line breaks as signs; a token that is no text on its own as a circle."""
    signs = {" ": "·", "\t": "⇥", "\n": "⏎", "\r": "␍", "\u00a0": "⍽"}
    return "".join(signs.get(letter, letter if letter.isprintable() else "◌") for letter in text) or "◌"


def details_json(by_run: list[list[Sample]]) -> str:
    """What the page's script tells of each token: by run, sample and token."""
    rounded = [[[_short(detail) for detail in sample.details] for sample in some] for some in by_run]
    return json.dumps(rounded, ensure_ascii=False, separators=(",", ":"), allow_nan=False)


def _short(detail: list[Any]) -> list[Any]:
    divergence, *tops = detail
    kept = [[[text, _digits(logp)] for text, logp in top] if top else None for top in tops]
    return [_digits(divergence), *kept] if any(kept) else [_digits(divergence)]


def _digits(value: float | None) -> float | None:
    return None if value is None else float(f"{value:.3g}")
