"""The headline: did the new skill come, did the old ones stay, and how sure is that? Shapes: R rows."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from ..evaluation.intervals import Interval, paired_bootstrap, wilson
from .runs import Run, Scored

TITLES = {"new_skill": "New skill", "prior_skills": "Prior skills"}


@dataclass(frozen=True)
class Level:
    """An accuracy, as fractions of 1, and how many rows it was measured on."""

    accuracy: float
    rows: int | None
    interval: Interval | None


@dataclass(frozen=True)
class Change:
    """What became of one set of rows.

    Attributes:
        before, after: None where not measured.
        rows: Rows that were answered both before and after; 0 where the run kept no answers.
        interval: Of after - before over those rows; None where it can't be known.
        verdict: The change in words.
    """

    title: str
    before: Level | None
    after: Level | None
    rows: int
    interval: Interval | None
    verdict: str

    @property
    def difference(self) -> float | None:
        """After - before, as a fraction of 1."""
        return self.after.accuracy - self.before.accuracy if self.before and self.after else None


def titles_of(runs: list[Run]) -> list[str]:
    """What any of the runs measured, new skill and prior skills first."""
    found = [title for run in runs for scores in run.scores.values() for title in scores]
    return [title for title in TITLES if title in found] + sorted(set(found) - set(TITLES))


def title_text(title: str) -> str:
    """The name of a set of rows for people."""
    return TITLES.get(title, title.replace("_", " "))


def change(run: Run, title: str) -> Change:
    """What became of `title` in `run`."""
    before, after = (run.scores[moment].get(title) for moment in ("before", "after"))
    pairs = right_pairs(before, after)
    interval = paired_bootstrap(*pairs) if len(pairs[0]) else None
    levels = level(before), level(after)
    told = _of_texts(before, after) or verdict(*levels, pairs, interval)
    return Change(title_text(title), *levels, len(pairs[0]), interval, told)


def _of_texts(before: Scored | None, after: Scored | None) -> str | None:
    """What became of the similarity, where that is all that is known; None elsewhere."""
    values = [scored.values if scored else {} for scored in (before, after)]
    if any(each.get("accuracy") is not None or each.get("similarity") is None for each in values):
        return None
    return (
        f"no accuracy, only reference texts: similarity {values[0]['similarity']:.1%} → {values[1]['similarity']:.1%}"
    )


def level(scored: Scored | None) -> Level | None:
    """The accuracy in `scored`; None where there is none."""
    accuracy = scored.values.get("accuracy") if scored else None
    if scored is None or accuracy is None:
        return None
    rows = scored.values.get("judged") or scored.values.get("rows")
    return Level(accuracy, rows, wilson(accuracy, rows) if rows else None)


def right_pairs(before: Scored | None, after: Scored | None) -> tuple[np.ndarray, np.ndarray]:
    """Whether each row was right before and after, two bool arrays of shape (R,).

    Of rows that have both answers, and both are right or wrong.
    """
    if before is None or after is None:
        return np.empty(0, bool), np.empty(0, bool)
    shared = [id for id, answer in before.answers.items() if answer["right"] is not None and id in after.answers]
    shared = [id for id in shared if after.answers[id]["right"] is not None]
    was, now = ([bool(scored.answers[id]["right"]) for id in shared] for scored in (before, after))
    return np.array(was, bool), np.array(now, bool)


def verdict(
    before: Level | None, after: Level | None, pairs: tuple[np.ndarray, np.ndarray], interval: Interval | None
) -> str:
    """The change in words that claim no more than the interval does."""
    if before is None or after is None:
        return "not measured" if before is after else f"measured {'before' if before else 'after'} training only"
    before_R, after_R = pairs
    if not len(before_R):
        return "the run kept no answers, so there is no interval"
    if interval is None:
        return (
            "no row changed"
            if (before_R == after_R).all()
            else f"every row {'came right' if after_R[0] else 'went wrong'}"
        )
    if not interval.excludes_zero():
        return f"no change that {len(before_R)} rows can show"
    return "better" if interval.low > 0 else "worse"


def measures(run: Run, title: str) -> list[tuple[str, Any, Any]]:
    """Every measure of `title` with its value before and after; measures within measures are joined by a dot."""
    flat = [_flat(run.scores[m][title].values if title in run.scores[m] else {}) for m in ("before", "after")]
    return [(name, flat[0].get(name), flat[1].get(name)) for name in dict.fromkeys([*flat[0], *flat[1]])]


def _flat(values: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in values.items():
        if isinstance(value, dict):
            found |= _flat(value, f"{prefix}{name} · ")
        elif isinstance(value, int | float) and not isinstance(value, bool):
            found[prefix + name] = value
    return found
