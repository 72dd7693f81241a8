"""What texts say of each objective where nothing tells right answers from wrong ones. Shapes: R rows.

A golden response says how one good answer reads. A student that is shown it and finds it likelier than before, or
writes something nearer to it, has a teacher: that is signal. The reverse can't be concluded, for a good answer may
read otherwise. So what is not seen here stays open, and is never taken for "nothing to learn".

Two measures are used: the negative log-likelihood of the golden response for what the student learns from itself, and
the similarity of answers to it for served teachers, which tell no likelihood of a text.
"""

import textwrap
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from .intervals import paired_bootstrap, sign_test
from .scores import Answer
from .similarity import MEASURE
from .verdicts import (
    LINES,
    NO,
    SFT,
    SHOWN,
    STUDENT,
    TEACHER,
    TEACHER_SHOWN,
    UNCLEAR,
    UNKNOWN,
    WIDTH,
    YES,
    Decision,
    Verdict,
    what_can_work,
)

MEASURES = f"NLL of golden responses, similarity ({MEASURE}) to them"
HOW = "say what is right: a golden_answer or a check in the rows, or --scorer module:function."

Views = Mapping[str, Mapping[int, Answer]]
Measure = Callable[[Answer], float | None]


@dataclass(frozen=True)
class Rise:
    """By how much a measure is higher in one view than in another, on the same rows, with its 95 % interval."""

    rows: int
    difference: float
    low: float
    high: float
    is_noise: bool

    @property
    def is_seen(self) -> bool:
        """Whether it is there beyond noise."""
        return self.low > 0 and not self.is_noise


def rise(before: Mapping[int, Answer], after: Mapping[int, Answer], measure: Measure) -> Rise | None:
    """How far `measure` is higher in `after`; None where no row has it both times."""
    pairs = [(measure(before[n]), measure(after[n])) for n in sorted(before.keys() & after.keys())]
    known_R2 = np.array([pair for pair in pairs if None not in pair], float)
    if not len(known_R2):
        return None
    was_R, now_R = known_R2[:, 0], known_R2[:, 1]
    interval, difference = paired_bootstrap(was_R, now_R), float((now_R - was_R).mean())
    bounds = (difference, difference) if interval is None else (interval.low, interval.high)
    rose_R = now_R > was_R
    is_noise = sign_test(now_R < was_R, rose_R) >= 0.05
    return Rise(len(known_R2), difference, *bounds, is_noise)


def likelihood(answer: Answer) -> float | None:
    """Log-likelihood of the golden response, in nats a token."""
    return None if answer.nll is None else -answer.nll


def nearness(answer: Answer) -> float | None:
    """Similarity of the answer to the golden response."""
    return answer.similarity


def decide(found: Views, route: str | None = None, *, teacher_is_shown: bool = True) -> Decision:
    """What the texts say of each objective, and the one to take; the order is that of `verdicts.decide`.

    Args:
        found: The answers by who gave them, see `verdicts.LINES`.
        route: How the served teacher would score; None: it can't.
        teacher_is_shown: Whether training can show the served teacher a golden response of every row.
    """
    view = TEACHER_SHOWN if teacher_is_shown else TEACHER
    sdft = _sdft(rise(found[STUDENT], found[SHOWN], likelihood))
    served, seqkd = _served(found, view, route), _by_server("seqkd", found, view)
    verdicts = (sdft, served, seqkd, SFT)
    able = [verdict.objective for verdict in (served, seqkd) if verdict.works == YES]
    above = rise(found[SHOWN], found[view], nearness) if able else None
    measured = "Told by texts, not by right answers"
    if sdft.works == YES and not (above and above.is_seen):
        return Decision(verdicts, "sdft", f"the student can teach itself, shown a demonstration. {measured}.")
    if able:
        return Decision(verdicts, able[0], f"the served teacher writes nearer to the golden responses. {measured}.")
    reason = f"texts alone can't tell whether there is anything to learn. To know, {HOW}"
    return Decision(verdicts, None, reason, is_open=True)


def _sdft(found: Rise | None) -> Verdict:
    if found is None:
        return Verdict("sdft", UNCLEAR, "no likelihood of the golden responses was measured.")
    told = f"{found.difference:+.2f} nats a token (95 % interval {found.low:+.2f} to {found.high:+.2f})"
    if found.is_seen:
        return Verdict("sdft", YES, f"shown a demonstration, the student finds the golden responses likelier, {told}.")
    return Verdict(
        "sdft", UNCLEAR, f"shown a demonstration, the student doesn't find them likelier beyond noise, {told}; open."
    )


def _served(found: Views, view: str, route: str | None) -> Verdict:
    verdict = _by_server("served", found, view)
    if verdict.works == YES and route is None:
        reason = "the server does not tell log-probabilities of the student's tokens, see `check URL`."
        return Verdict("served", NO, reason)
    return verdict


def _by_server(objective: str, found: Views, view: str) -> Verdict:
    if view not in found:
        return Verdict(objective, UNKNOWN, "not measured: no served teacher is named. Pass its URL.")
    nearer = rise(found[STUDENT], found[view], nearness)
    if nearer is None:
        return Verdict(objective, UNCLEAR, "no similarity to golden responses was measured.")
    points = [100 * value for value in (nearer.difference, nearer.low, nearer.high)]
    told = "{:+.1f} points of similarity (95 % interval {:+.1f} to {:+.1f})".format(*points)
    if nearer.is_seen:
        return Verdict(objective, YES, f"the served teacher writes nearer to the golden responses, {told}.")
    return Verdict(objective, UNCLEAR, f"the served teacher doesn't write nearer to them beyond noise, {told}; open.")


def told(found: Views, decision: Decision, *, model: str, data: str) -> str:
    """Everything for people: both measures of each view, what can work, and what to take."""
    width = max(map(len, LINES.values()))
    rows = len(found[STUDENT])
    lines = [f"\nheadroom of {model} on {rows} rows of {data}, which demonstrates\n"]
    lines += textwrap.wrap(
        f"No row says what is right, so no accuracy is told; measured were the {MEASURES}, from 0 to 100.", WIDTH
    )
    lines += [f"\n{'':{width}}  {'NLL':>6}  similarity"]
    lines += [f"{LINES[title]:{width}}  {_cells(found[title])}" for title in LINES if title in found]
    return "\n".join([*lines, *what_can_work(decision, otherwise="open")])


def _cells(answers: Mapping[int, Answer]) -> str:
    nll, near = (_mean(answers, measure) for measure in (lambda answer: answer.nll, nearness))
    shown = "-" if near is None else f"{100 * near:.1f}"
    return f"{'-' if nll is None else f'{nll:.2f}':>6}  {shown:>10}"


def _mean(answers: Mapping[int, Answer], measure: Measure) -> float | None:
    known = [value for value in map(measure, answers.values()) if value is not None]
    return sum(known) / len(known) if known else None
