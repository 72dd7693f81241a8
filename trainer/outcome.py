"""What a run came to, in numbers and in words."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from trainer.evaluation.intervals import paired_bootstrap


def change(before_R: Sequence[bool], after_R: Sequence[bool]) -> dict[str, float]:
    """The difference of two accuracies on the same R rows, as a fraction of 1, and its bounds where they are known."""
    was_R, now_R = np.array(before_R, float), np.array(after_R, float)
    interval = paired_bootstrap(was_R, now_R)
    bounds = {} if interval is None else {"low": interval.low, "high": interval.high}
    return {"difference": float(now_R.mean() - was_R.mean()), **bounds}


def in_points(changed: dict[str, float]) -> str:
    """A change's interval for people; nothing where resampling knows none."""
    if "low" not in changed:
        return ""
    low, high = 100 * changed["low"], 100 * changed["high"]
    return f"  ({100 * changed['difference']:+.1f} points, 95 % interval {low:+.1f} to {high:+.1f})"


def told(best: dict[str, Any] | None, max_forgetting: float) -> str:
    """Which checkpoint is the best, in a line."""
    if best is None:
        return f"none: at each the prior skills had lost more than --max_forgetting {max_forgetting:g}"
    scores = ", ".join(f"{t.replace('_', ' ')} {best[t]:.1%}" for t in ("new_skill", "prior_skills") if t in best)
    return f"{best['model']} ({scores})"


def headline(scores: dict[str, dict[str, Any]]) -> dict[str, float | None]:
    """Accuracy by what was measured, null where it was not."""
    return {title: scores.get(title, {}).get("accuracy") for title in ("new_skill", "prior_skills")}
