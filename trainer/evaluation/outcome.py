"""What became of an accuracy, in numbers and in words."""

from collections.abc import Mapping

import numpy as np

from .intervals import paired_bootstrap

Right = Mapping[str, bool]  # whether a row was answered right, by its id


def known(right: Mapping[str, bool | None]) -> Right:
    """Without the rows of which only a reference text says what is right."""
    return {id: value for id, value in right.items() if value is not None}


def change(before: Right, after: Right) -> dict[str, float] | None:
    """What became of the accuracy on the R rows that both have, fractions of 1; None where they share no row.

    Returns:
        `rows`, the accuracies `before` and `after`, their `difference`, and the bounds of its 95 % interval, `low` and
        `high`, where resampling knows them.
    """
    shared = [id for id in before if id in after]
    if not shared:
        return None
    was_R, now_R = (np.array([some[id] for id in shared], float) for some in (before, after))
    interval = paired_bootstrap(was_R, now_R)
    bounds = {} if interval is None else {"low": interval.low, "high": interval.high}
    means = {"before": float(was_R.mean()), "after": float(now_R.mean())}
    return {"rows": len(shared), **means, "difference": means["after"] - means["before"], **bounds}


def in_points(changed: dict[str, float]) -> str:
    """A change's interval for people; nothing where resampling knows none."""
    if "low" not in changed:
        return ""
    low, high = 100 * changed["low"], 100 * changed["high"]
    return f"  ({100 * changed['difference']:+.1f} points, 95 % interval {low:+.1f} to {high:+.1f})"
