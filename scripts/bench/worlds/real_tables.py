"""Tables of real_model.py."""

import math
import statistics
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import record
from real_outcomes import Change, Key, Outcome, by_arm, change
from trajectories import Estimate

from trainer.evaluation.intervals import wilson
from trainer.evaluation.verdicts import SHOWN_ANOTHER, STUDENT, TEACHER, TEACHER_SHOWN

ASKED = {  # measurement and title: what the table calls it
    ("demonstration", STUDENT): "student alone",
    ("demonstration", SHOWN_ANOTHER): "shown another row's, the better way",
    ("served", TEACHER): "served teacher alone",
    ("served", TEACHER_SHOWN): "served teacher, shown the row's own as turns",
}
SHOWN = {  # measurement and way: the same
    ("demonstration", "template"): "shown the row's own as template",
    ("demonstration", "turns"): "shown the row's own as turns",
    ("three_others", "turns"): "shown three other rows' as turns",
    ("context", "template"): "shown the rule as template",
    ("context", "system"): "shown the rule as system message",
}


def percent(value: float) -> str:
    return "–" if math.isnan(value) else f"{100 * value:.1f}"


def points(estimate: Estimate) -> str:
    """A change with its interval."""
    value, low, high = (f"{100 * bound:+.1f}" for bound in (estimate.value, estimate.low, estimate.high))
    return f"{value} ({low} to {high})"


def share(score: Mapping[str, Any]) -> str:
    """An accuracy with its interval."""
    interval = wilson(score["accuracy"], score["rows"])
    return f"{percent(score['accuracy'])} ({percent(interval.low)} to {percent(interval.high)})"


def headroom_table(found: Mapping[tuple[str, str], Mapping[str, Any]]) -> str:
    """Of each model and skill, every way to show.

    Args:
        found: By model and skill, what `check --headroom` wrote, by what was shown.
    """
    rows = []
    for (model, skill), measured in found.items():
        told = {title: measured.get(name, {}).get("scores", {}).get(key) for (name, key), title in ASKED.items()}
        told |= {title: measured.get(name, {}).get("shown_as", {}).get(way) for (name, way), title in SHOWN.items()}
        rows += [[model, skill, title, score["rows"], share(score)] for title, score in told.items() if score]
    return record.table(["model", "skill", "asked", "rows", "right %"], rows)


def before_and_after(some: Iterable[Change]) -> str:
    """Mean accuracies of seeds."""
    pairs = [(one.before_R.mean(), one.after_R.mean()) for one in some]
    return " → ".join(percent(float(np.mean(side))) for side in zip(*pairs, strict=True))


def training_table(runs: Mapping[Key, list[Outcome]], lifts: Mapping[Key, float | None], level: float) -> str:
    rows = []
    for key, some in runs.items():
        lift, first = lifts.get(key), some[0]
        new, unseen, prior = ([getattr(one, kind) for one in some] for kind in ("new", "unseen", "prior"))
        nll = " → ".join(f"{statistics.mean(side):.2f}" for side in zip(*(one.nll for one in some), strict=True))
        lost = [one.curve.prior_lost(level) for one in some if len(one.curve.steps) > 2]
        row = [*key, f"{first.rate:g}", len(some), first.steps, "–" if lift is None else f"{100 * lift:+.1f}"]
        row += [before_and_after(new), points(change(new)), before_and_after(unseen)]
        row += [before_and_after(prior), points(change(prior)), nll, percent(statistics.mean(lost)) if lost else "–"]
        rows.append(row)
    head = ["model", "skill", "arm", "rate", "seeds", "steps", "lift foretold", "new skill %", "change, points",
            "unseen things %", "prior skills %", "change, points", "NLL of prior golden answers",
            f"prior points lost at {level:.0%} new"]  # fmt: skip
    return record.table(head, rows)


def rates_table(found: Iterable[Outcome], runs: Mapping[Key, list[Outcome]]) -> str:
    """Every learning rate on validation rows; the chosen ones are bold."""
    rows = []
    for key, some in by_arm(found).items():
        for rate in sorted({one.rate for one in some}):
            reached = [100 * one.validation for one in some if one.rate == rate]
            shown = f"**{rate:g}**" if rate == runs[key][0].rate else f"{rate:g}"
            rows.append([*key, shown, len(reached), record.spread(reached, 1)])
    return record.table(["model", "skill", "arm", "rate", "seeds", "validation rows %"], rows)
