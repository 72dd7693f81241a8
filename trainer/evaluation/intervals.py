"""How sure an accuracy is, and how sure the difference of two. Shapes: R rows, D distinct differences, M resamples."""

import math
from dataclasses import dataclass

import numpy as np

LEVEL = 0.95
RESAMPLES = 10_000
SEED = 0


@dataclass(frozen=True)
class Interval:
    """Bounds of a 95 % interval, as fractions of 1."""

    low: float
    high: float

    def excludes_zero(self) -> bool:
        """Whether the sign of the quantity is known."""
        return self.low > 0 or self.high < 0


def wilson(accuracy: float, rows: int) -> Interval:
    """The score interval of a proportion; unlike the normal one it stays honest near 0 and 1.

    Formula: Wilson 1927, "Probable inference, the law of succession, and statistical inference", with z = 1.96.
    """
    z = 1.959964
    centre = (accuracy + z * z / (2 * rows)) / (1 + z * z / rows)
    half = z / (1 + z * z / rows) * (accuracy * (1 - accuracy) / rows + z * z / (4 * rows * rows)) ** 0.5
    return Interval(max(0.0, centre - half), min(1.0, centre + half))


def paired_bootstrap(before_R: np.ndarray, after_R: np.ndarray) -> Interval | None:
    """The percentile bootstrap interval of mean(after - before), rows drawn in pairs, at a fixed seed.

    A resample's mean depends on how often each distinct difference is drawn alone, so those counts are drawn
    (multinomially), not the rows: the same distribution at a cost that does not grow with the rows.

    Args:
        before_R, after_R: Scores of the same rows in the same order, shape (R,).

    Returns:
        None where every row changed by the same amount: resampling then knows nothing of the spread.
    """
    differences_D, counts_D = np.unique(after_R.astype(float) - before_R.astype(float), return_counts=True)
    if len(differences_D) < 2:
        return None
    rows = len(before_R)
    draws_MD = np.random.default_rng(SEED).multinomial(rows, counts_D / rows, size=RESAMPLES)
    low, high = np.quantile(draws_MD @ differences_D / rows, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return Interval(float(low), float(high))


def paired_score_interval(before_R: np.ndarray, after_R: np.ndarray) -> Interval:
    """The interval of mean(after - before) for right and wrong answers to the same rows, honest also for few rows.

    Formula: Newcombe 1998, "Improved confidence intervals for the difference between binomial proportions based on
    paired data", method 10: the Wilson intervals of both proportions, joined by how the two go together.

    Args:
        before_R, after_R: Bool, of the same rows in the same order, shape (R,).
    """
    rows = len(before_R)
    before, after = float(before_R.mean()), float(after_R.mean())
    was, now = wilson(before, rows), wilson(after, rows)
    phi = _correlation(before_R, after_R)

    def joined(of_after: float, of_before: float) -> float:
        return max(0.0, of_after**2 - 2 * phi * of_after * of_before + of_before**2) ** 0.5

    difference = after - before
    low = difference - joined(after - now.low, was.high - before)
    high = difference + joined(now.high - after, before - was.low)
    return Interval(max(-1.0, low), min(1.0, high))


def sign_test(before_R: np.ndarray, after_R: np.ndarray) -> float:
    """How likely a change as lopsided as this one is if rows become right and wrong equally often, two-sided.

    Formula: McNemar's test in its exact form, binomial over the changed rows. Arguments as `paired_score_interval`.
    """
    won, lost = int((~before_R & after_R).sum()), int((before_R & ~after_R).sum())
    changed = won + lost
    tail = sum(math.comb(changed, k) for k in range(max(won, lost), changed + 1))
    return min(1.0, 2 * tail / 2**changed)


def _correlation(before_R: np.ndarray, after_R: np.ndarray) -> float:
    """Phi of the two-by-two table, lowered by half a row where it is positive; 0 where a margin is empty."""
    both, neither = int((before_R & after_R).sum()), int((~before_R & ~after_R).sum())
    lost, won = int((before_R & ~after_R).sum()), int((~before_R & after_R).sum())
    margins = (both + lost) * (won + neither) * (both + won) * (lost + neither)
    if margins == 0:
        return 0.0
    product = both * neither - lost * won
    return (max(product - len(before_R) / 2, 0.0) if product > 0 else product) / margins**0.5
