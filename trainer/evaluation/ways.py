"""Which way to show a demonstration or a context lifts the student most: the same rows, shown in each."""

import dataclasses
import math
from collections.abc import Mapping, Sequence

from ..data.encoding import readable
from ..data.prompts import PromptEncoder
from ..data.rows.row import Row
from ..errors import UsageError
from ..settings.options import Check, Train
from .scores import Answer
from .verdicts import cells, lift

WITH_DEMONSTRATIONS, WITH_CONTEXTS = ("template", "turns"), ("template", "system")


def ways_to_show(
    settings: Check | Train, encoder: PromptEncoder, pool: Sequence[Row], path: str
) -> tuple[list[Row], dict[str, PromptEncoder]]:
    """The rows that can be shown in every way to compare, and an encoder for each way.

    With `--show_context auto` a way that the model's template, or its context, refuses is left out, and told.

    Raises:
        UsageError: a row can't be read, or shown in the way that was named.
    """
    if settings.show_context != "auto":
        rows = readable(pool, encoder, path, shown=True, skip_bad_rows=settings.skip_bad_rows)
        return rows, {encoder.showing.how: encoder}
    texts = any(isinstance(row.privileged_context, str) for row in pool)
    first, *others = WITH_CONTEXTS if texts else WITH_DEMONSTRATIONS
    ways = {first: shown_as(encoder, first)}
    rows = readable(pool, ways[first], path, shown=True, skip_bad_rows=settings.skip_bad_rows)
    for way in others:
        other = shown_as(encoder, way)
        try:
            rows = readable(rows, other, path, shown=True, skip_bad_rows=settings.skip_bad_rows)
        except UsageError as error:
            print(f"--show_context {way} is not measured: {error}")
        else:
            ways[way] = other
    return rows, ways


def shown_as(encoder: PromptEncoder, way: str) -> PromptEncoder:
    """The encoder of another way to show."""
    return encoder.with_showing(dataclasses.replace(encoder.showing, how=way))


def best_way(shown: Mapping[str, Mapping[int, Answer]]) -> str:
    """The way with the most right answers, or where none is right or wrong with the likeliest golden responses.

    Of equal ones it is the first: the published one.
    """

    def worth(way: str) -> float:
        right, answers = _right(shown[way]), shown[way]
        return sum(right.values()) / len(right) if right else -_nll(answers)

    return max(shown, key=worth)


def told_ways(shown: Mapping[str, Mapping[int, Answer]], best: str) -> list[str]:
    """Lines on what each way comes to, where there are several."""
    if len(shown) < 2:
        return []
    lines, width = ["", "how it was shown"], max(map(len, shown))
    right = {way: _right(some) for way, some in shown.items()}
    if not all(right.values()):
        lines += [f"  {way:{width}}  NLL of golden responses {_nll(some):.2f}" for way, some in shown.items()]
        return [*lines, f"  recommended: --show_context {best}"]
    lines += [f"  {way:{width}}  {cells(some)}" for way, some in right.items()]
    other = next(way for way in shown if way != best)
    return [*lines, f"  recommended: --show_context {best}; against {other} {lift(right[other], right[best])}"]


def _right(answers: Mapping[int, Answer]) -> dict[int, bool]:
    return {number: answer.right for number, answer in answers.items() if answer.right is not None}


def _nll(answers: Mapping[int, Answer]) -> float:
    """Mean over the golden responses that are known, in nats a token; NaN without any."""
    known = [answer.nll for answer in answers.values() if answer.nll is not None]
    return sum(known) / len(known) if known else math.nan
