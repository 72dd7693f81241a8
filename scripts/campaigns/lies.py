"""What a served teacher can say instead of the truth: of other weights, with other numbers, or without an end.

Each gets the question and the answer of a request for scores, as JSON; what it gives back is sent.
"""

import gzip
import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from campaigns.teachers.faulty_proxy import Fault

Position = dict[str, dict[str, Any]]


@dataclass(frozen=True)
class Lie:
    """One kind.

    Attributes:
        by_entry: Makes another position of one; its own token comes first in it.
        by_answer: Makes another list of positions.
        fault: What becomes of the bytes.
        is_true: Whether only the way in which it is said differs, so that the run has to come to the same bits.
        is_plausible: Whether only its weights tell that it is another teacher. Such a one begins with the run, or after
            an outage, as servers are exchanged.
    """

    by_entry: Callable[[Position], Position] | None = None
    by_answer: Callable[[list[Position]], list[Position]] | None = None
    fault: Fault | None = None
    is_true: bool = False
    is_plausible: bool = False

    def told(self, body: Any) -> Any:
        """The answer with this lie in it."""
        choice = body["choices"][0]
        first, *positions = choice["prompt_logprobs"]
        if self.by_answer:
            positions = self.by_answer(positions)
        if self.by_entry:
            positions = [self.by_entry(position) for position in positions]
        return {**body, "choices": [{**choice, "prompt_logprobs": [first, *positions]}]}


def _with(value: Callable[[dict[str, Any]], Any], name: str = "logprob") -> Callable[[Position], Position]:
    return lambda position: {token: {**entry, name: value(entry)} for token, entry in position.items()}


def _half(position: Position) -> Position:
    """The own token and the less likely half of the others."""
    own = next(iter(position))
    return {token: entry for token, entry in position.items() if token == own or entry["rank"] > len(position) // 2}


def _without_own(position: Position) -> Position:
    return dict(list(position.items())[1:])


def _shifted(positions: list[Position]) -> list[Position]:
    """Each position has the next one's values, and its own token at its end."""
    found = []
    for position, following in zip(positions, [*positions[1:], positions[0]], strict=True):
        own = next(iter(position))
        found.append({own: {"logprob": -12.0, "rank": 400, "decoded_token": ""}, **following})
        if own in following:
            found[-1][own] = following[own]
    return found


def _renamed(position: Position) -> Position:
    """The tokens of another vocabulary."""
    own, *others = position
    return {own: position[own]} | {str((int(token) * 7 + 3) % 497): position[token] for token in others}


def _flatter(position: Position) -> Position:
    """As at a higher temperature."""
    weights = {token: math.exp(entry["logprob"] / 3) for token, entry in position.items()}
    total = sum(weights.values())
    return {token: {**entry, "logprob": math.log(weights[token] / total)} for token, entry in position.items()}


def _twice(body: bytes) -> Iterable[bytes]:
    """Each entry's name is that of its position's first."""
    import re

    yield re.sub(rb'\{"(\d+)": (\{[^{}]*\}), "\d+": ', rb'{"\1": \2, "\1": ', body)


def _endless(body: bytes) -> Iterable[bytes]:
    yield from (b" " * 2**20 for _ in range(2**10))
    yield body


def _deep(body: bytes) -> Iterable[bytes]:
    yield b"[" * 10**6


def _dripping(body: bytes) -> Iterable[bytes]:
    while True:
        yield b" "


LIES: dict[str, Lie] = {
    "NaN": Lie(_with(lambda entry: math.nan)),
    "infinite": Lie(_with(lambda entry: math.inf)),
    "null": Lie(_with(lambda entry: None)),
    "text for a number": Lie(_with(lambda entry: str(entry["logprob"]))),
    "negative zero": Lie(_with(lambda entry: -0.0)),
    "positive": Lie(_with(lambda entry: -entry["logprob"])),
    "probabilities": Lie(_with(lambda entry: math.exp(entry["logprob"]))),
    "ranks all the same": Lie(_with(lambda entry: 1, "rank")),
    "ranks beyond all numbers": Lie(_with(lambda entry: 10**30, "rank")),
    "half of the likeliest": Lie(_half),
    "no own token": Lie(_without_own),
    "a position less": Lie(by_answer=lambda positions: positions[1:]),
    "a position more": Lie(by_answer=lambda positions: [*positions, positions[-1]]),
    "empty positions": Lie(lambda position: {}),
    "ids twice": Lie(fault=Fault(body=_twice)),
    "ids beyond all numbers": Lie(lambda position: {token + "0" * 30: entry for token, entry in position.items()}),
    "a gigabyte": Lie(fault=Fault(body=_endless)),
    "a compressed bomb": Lie(
        fault=Fault(headers={"Content-Encoding": "gzip"}, body=lambda body: [gzip.compress(bytes(2**30), 1)])
    ),
    "too deep": Lie(fault=Fault(body=_deep)),
    "byte by byte for ever": Lie(fault=Fault(body=_dripping, pause=0.2)),
    "half a body, compressed": Lie(
        fault=Fault(headers={"Content-Encoding": "gzip"}, body=lambda body: [gzip.compress(body)[:-20]])
    ),
    "a page": Lie(fault=Fault(headers={"Content-Type": "text/html"}, body=lambda body: [b"<!doctype html><title>x"])),
    "another content type": Lie(fault=Fault(headers={"Content-Type": "image/png"}), is_true=True),
    "compressed": Lie(
        fault=Fault(headers={"Content-Encoding": "gzip"}, body=lambda body: [gzip.compress(body)]), is_true=True
    ),
    "shifted": Lie(by_answer=_shifted, is_plausible=True),
    "another tokenizer's ids": Lie(_renamed, is_plausible=True),
    "another temperature": Lie(_flatter, is_plausible=True),
    "uniform": Lie(_with(lambda entry: -math.log(497)), is_plausible=True),
    "another model": Lie(is_plausible=True),  # the proxy asks another server
}
