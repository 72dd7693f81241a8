"""What accuracies say of each objective: has it a signal, and which one to take. Pure functions. Shapes: R rows.

An objective has a signal where its teacher is above the student by more than noise.
"""

import dataclasses
import math
import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from .intervals import paired_score_interval, sign_test, wilson

STUDENT, SHOWN, SHOWN_ANOTHER = "student", "student shown the demonstration", "student shown another row's"
TEACHER, TEACHER_SHOWN = "teacher", "teacher shown the demonstration"
LINES = {
    STUDENT: "student, asked plainly",
    SHOWN: "  shown the row's demonstration",
    SHOWN_ANOTHER: "  shown another row's",
    TEACHER: "served teacher, asked plainly",
    TEACHER_SHOWN: "  shown the row's demonstration",
}
YES, NO, UNCLEAR, UNKNOWN = "yes", "no", "unclear", "unknown"
MARGIN = 0.1  # of accuracy: less than that is not worth a search; an interval below it says that there is nothing
WIDTH, BAR = 110, 20

Right = Mapping[int, bool]  # by the number of the row


@dataclass(frozen=True)
class Lift:
    """By how much one accuracy is above another on the same rows, as a fraction of 1, with its 95 % interval.

    `is_noise`: so many rows would change as lopsidedly by chance, in one of twenty cases or more.
    """

    rows: int
    difference: float
    low: float
    high: float
    is_noise: bool

    @property
    def works(self) -> str:
        """Whether it is there: `YES` beyond noise, `NO` if one of `MARGIN` would have been seen, else `UNCLEAR`."""
        return YES if self.low > 0 and not self.is_noise else NO if self.high < MARGIN else UNCLEAR

    @property
    def rows_missing(self) -> int:
        """About how many rows more would tell, if the difference stayed: an interval shrinks with the root of them.

        And six that change alike are the fewest that are no noise.
        """
        half, wanted = (self.high - self.low) / 2, max(abs(self.difference), abs(MARGIN - self.difference))
        needed = max(self.rows * (half / wanted) ** 2, 6 / max(abs(self.difference), MARGIN))
        return max(1, math.ceil(needed) - self.rows)

    def __str__(self) -> str:
        points = [100 * value for value in (self.difference, self.low, self.high)]
        return "{:+.1f} points (95 % interval {:+.1f} to {:+.1f})".format(*points)


@dataclass(frozen=True)
class Verdict:
    """Whether an objective can work, and why; without a lift it was not measured."""

    objective: str
    works: str
    reason: str
    lift: Lift | None = None


@dataclass(frozen=True)
class Decision:
    """What can work, and what is recommended: None where nothing that was measured has a signal."""

    verdicts: tuple[Verdict, ...]
    objective: str | None
    reason: str
    is_open: bool = False  # what was measured can't tell whether there is a signal


def lift(before: Right, after: Right) -> Lift:
    """How far `after` is above `before`, on the rows that both have.

    With Newcombe's interval and not a bootstrap, which is too sure of few rows and knows nothing where all are alike.
    """
    shared = sorted(before.keys() & after.keys())
    was_R, now_R = (np.array([some[number] for number in shared], bool) for some in (before, after))
    interval = paired_score_interval(was_R, now_R)
    difference, is_noise = float(now_R.mean() - was_R.mean()), sign_test(was_R, now_R) >= 0.05
    return Lift(len(shared), difference, interval.low, interval.high, is_noise)


def decide(
    right: Mapping[str, Right], route: str | None = None, *, alpha: float = 0.0, teacher_is_shown: bool = True
) -> Decision:
    """What the accuracies say of each objective, and the one to take.

    `sdft` is taken where it has a signal, for it needs no server in training, unless the served teacher is above the
    student's own demonstrated view beyond noise; then `served`, which keeps to the student's own words, before `seqkd`.
    `sft` is never recommended: it learns golden texts whatever anyone can do, so no accuracy measured here speaks for
    it or against it, and what it costs shows only in the prior skills. Who wants it names it.

    Args:
        right: Which rows each of `LINES` has right; those of the served teacher may be missing.
        route: How the served teacher would score: `token`, or over bytes `sampled` or `dense`; None: it can't.
        alpha: The divergence of `sdft`.
        teacher_is_shown: Whether training can show the served teacher a golden response of every row.
    """
    view = TEACHER_SHOWN if teacher_is_shown else TEACHER
    served, seqkd = _served(right, view, route), _by_served_teacher("seqkd", right, view)
    verdicts = sdft, served, seqkd, _ = _sdft(right, alpha), served, seqkd, SFT
    by_server = [verdict.objective for verdict in (served, seqkd) if verdict.works == YES]
    above = lift(right[SHOWN], right[view]) if by_server else None
    if sdft.works == YES and (above is None or above.works != YES):
        rival = "" if above is None else "; the served teacher is not above that by more than noise"
        return Decision(verdicts, "sdft", f"the student can teach itself, shown a demonstration{rival}.")
    if by_server:
        than = f"even above the shown student, {above}" if sdft.works == YES else "above the student"
        what = {NO: ", which a demonstration does not lift", UNCLEAR: "; of sdft too few rows tell"}
        why = f"the served teacher is {than}{what.get(sdft.works, '')}."
        return Decision(verdicts, by_server[0], why)
    return Decision(verdicts, None, _why_none(right, verdicts))


SFT = Verdict(
    "sft",
    YES,
    "always possible with golden responses, and not measured here. Nothing keeps the student to its own words: watch "
    "the prior skills (train --prior_data_path).",
)


def _sdft(right: Mapping[str, Right], alpha: float) -> Verdict:
    found = lift(right[STUDENT], right[SHOWN])
    if found.works == YES and alpha > 0 and not any(right[STUDENT].values()):
        reason = (
            f"the demonstration lifts the student, {found}, but with --alpha {alpha:g} it learns from what it says "
            "itself, which was never right. --alpha 0 can teach it."
        )
        return Verdict("sdft", NO, reason, found)
    reason = _reason(found, "the demonstration lifts the student", "the demonstration does not lift the student")
    if found.works == YES and SHOWN_ANOTHER in right:
        other = lift(right[STUDENT], right[SHOWN_ANOTHER])
        reason += {
            YES: f" Another row's does too, {other.difference * 100:+.1f}: it is understood, not only copied.",
            NO: f" Another row's does not, {other.difference * 100:+.1f}: expect answers to be learnt, not a rule.",
            UNCLEAR: f" Whether another row's does too is open, {other}.",
        }[other.works]
    return Verdict("sdft", found.works, reason, found)


def _served(right: Mapping[str, Right], view: str, route: str | None) -> Verdict:
    verdict = _by_served_teacher("served", right, view)
    if verdict.works != YES or route in ("token", "dense"):
        return verdict
    if route is None:
        reason = "the server does not tell log-probabilities of the student's tokens, see `check URL`."
        return dataclasses.replace(verdict, works=NO, reason=reason)
    if any(right[STUDENT].values()):
        return verdict
    reason = (
        "the tokenizers differ, and with --byte_route sampled the teacher can only weigh what the student says, which "
        "was never right. --byte_route dense can teach it."
    )
    return dataclasses.replace(verdict, works=NO, reason=reason)


def _by_served_teacher(objective: str, right: Mapping[str, Right], view: str) -> Verdict:
    """By the view that training uses: the teacher is shown the golden response of every row that has one."""
    if view not in right:
        return Verdict(objective, UNKNOWN, "not measured: no served teacher is named. Pass its URL.")
    found, plain = lift(right[STUDENT], right[view]), lift(right[STUDENT], right[TEACHER])
    reason = _reason(found, "the served teacher is above the student", "the served teacher is not above the student")
    if found.works == YES and plain.works != YES:
        reason += (
            f" Asked plainly it is not, {100 * plain.difference:+.1f}: it passes on what it is shown, so only rows "
            "with a golden response teach."
        )
    return Verdict(objective, found.works, reason, found)


def _reason(found: Lift, there: str, absent: str) -> str:
    if found.works == UNCLEAR:
        return f"{found} may be noise. More rows would tell, about {found.rows_missing}."
    return f"{there if found.works == YES else absent}, {found}."


def _why_none(right: Mapping[str, Right], verdicts: Sequence[Verdict]) -> str:
    rows, own = len(right[STUDENT]), sum(right[STUDENT].values())
    if wilson(own / rows, rows).low >= 1 - MARGIN:
        return f"nothing to learn. The student has {own} of {rows} rows right by itself."
    open_ones = [v for v in verdicts if v.works == UNCLEAR and v.lift is not None]
    if open_ones:
        missing = min(v.lift.rows_missing for v in open_ones if v.lift is not None)
        names = " and ".join(v.objective for v in open_ones)
        how = f"check --headroom {rows + missing}, on a file with as many rows"
        return f"too few rows to tell. About {missing} more would, for {names}: {how}."
    if TEACHER not in right:
        return "no signal for sdft, and no served teacher was measured. Pass the URL of one, or better demonstrations."
    return (
        "nobody here is above the student. A stronger teacher, a student that reads demonstrations, or better "
        "demonstrations would change that; sft alone needs none of them."
    )


def told(right: Mapping[str, Right], decision: Decision, *, model: str, data: str) -> str:
    """Everything for people: accuracies with their intervals, what can work, and what to take."""
    width = max(len(line) for line in LINES.values())
    lines = [f"\nheadroom of {model} on {len(right[STUDENT])} rows of {data}, which demonstrates\n"]
    lines += [f"{'':{width}}  accuracy  95 % interval   0 {'':{BAR - 6}}100 %  right"]
    lines += [f"{LINES[title]:{width}}  {cells(right[title])}" for title in LINES if title in right]
    return "\n".join([*lines, *what_can_work(decision, otherwise="none")])


def what_can_work(decision: Decision, *, otherwise: str) -> list[str]:
    """The lines on each objective and on which to take; `otherwise` where none is recommended."""
    lines = ["\nwhat can work"]
    for verdict in decision.verdicts:
        lead = f"  {verdict.objective:<8}{verdict.works:<9}"
        lines += textwrap.wrap(verdict.reason, WIDTH, initial_indent=lead, subsequent_indent=" " * len(lead))
    choice = f"--objective {decision.objective}" if decision.objective else otherwise
    return [*lines, "", *textwrap.wrap(f"recommended: {choice}; {decision.reason}", WIDTH)]


def cells(right: Right) -> str:
    """An accuracy with its interval, in figures and as a bar."""
    rows, count = len(right), sum(right.values())
    interval = wilson(count / rows, rows)
    places = [(cell + 0.5) / BAR for cell in range(BAR)]
    bar = "".join("█" if place <= interval.low else "▒" if place <= interval.high else "·" for place in places)
    bounds = f"{interval.low:.1%} – {interval.high:.1%}"
    return f"{count / rows:>8.1%}  {bounds:>14}  {bar}  {count} of {rows}"
