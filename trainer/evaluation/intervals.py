"""How sure an accuracy is, and how sure the difference of two. Shapes: R rows, D distinct differences, M resamples."""

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
