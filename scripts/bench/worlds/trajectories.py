"""What learning costs: prior-skill accuracy where a run's new skill reaches a level, and how sure such figures are.

Shapes: P points of a run, R rows, S seeds, M resamples. The first resample is the sample itself, so that whatever is
computed of all resamples has the estimate in front.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

RESAMPLES = 2000
LEVEL = 0.95  # of intervals
SLACK = 1e-9  # accuracies are fractions of rows, levels are decimals


@dataclass(frozen=True)
class Trajectory:
    """Which rows a model answered right, before training and after more and more steps.

    Attributes:
        steps: Optimizer steps of each point; the first is 0.
        new_PR: Of the new skill, True where right.
        prior_PR: Of the prior skills, with rows of its own.
    """

    steps: tuple[int, ...]
    new_PR: np.ndarray
    prior_PR: np.ndarray


@dataclass(frozen=True)
class Estimate:
    """A figure and the bounds of its 95 % interval.

    Attributes:
        value: nan where it can't be told of the sample: the level was not reached.
        known: Share of resamples of which it can be told; the interval is theirs alone.
    """

    value: float
    low: float
    high: float
    known: float = 1.0


@dataclass(frozen=True)
class Draws:
    """How often each row, and which seeds, each resample has: the same for all arms, which so are compared in pairs."""

    new_MR: np.ndarray
    prior_MR: np.ndarray
    seeds_MS: np.ndarray


def draw(new_rows: int, prior_rows: int, seeds: int) -> Draws:
    """Resamples of rows, and of seeds, each with replacement, at a fixed seed."""
    rng = np.random.default_rng(0)
    new_MR, prior_MR = row_draws(rng, new_rows), row_draws(rng, prior_rows)
    return Draws(new_MR, prior_MR, seed_draws(rng, seeds))


def row_draws(rng: np.random.Generator, rows: int) -> np.ndarray:
    """How often each row is drawn; each once in the first resample."""
    return np.vstack([np.ones(rows), rng.multinomial(rows, np.full(rows, 1 / rows), size=RESAMPLES)])


def seed_draws(rng: np.random.Generator, seeds: int) -> np.ndarray:
    """Numbers of seeds; each once in the first resample."""
    return np.vstack([np.arange(seeds), rng.integers(seeds, size=(RESAMPLES, seeds))])


def shares(right_PR: np.ndarray, draws_MR: np.ndarray) -> np.ndarray:
    """Accuracies of points in resamples, [M, P]."""
    return draws_MR @ right_PR.T / right_PR.shape[1]


def first_reached(level: float, new_P: Sequence[float] | np.ndarray) -> float:
    """The place, in points, where accuracies reach a level first, linear between points; nan where they never do."""
    new_P = np.asarray(new_P, float)
    reached = np.flatnonzero(new_P >= level - SLACK)
    if not len(reached):
        return float("nan")
    point = int(reached[0])
    if point == 0:
        return 0.0
    below, above = new_P[point - 1], new_P[point]
    return point - 1 + (level - below) / (above - below)


def at(place: float, values_P: Sequence[float] | np.ndarray) -> float:
    """What was measured at points, at a place between two of them; nan at no place."""
    return float("nan") if np.isnan(place) else float(np.interp(place, np.arange(len(values_P)), values_P))


def losses(level: float, runs: Sequence[Trajectory], draws: Draws) -> np.ndarray:
    """What the prior skills had lost when the new skill reached a level: resample by seed, [M, S].

    A loss is the accuracy before training less that at the level, as a fraction of 1.
    """
    columns_SM = []
    for run in runs:
        curves = zip(shares(run.new_PR, draws.new_MR), shares(run.prior_PR, draws.prior_MR), strict=True)
        columns_SM.append([prior_P[0] - at(first_reached(level, new_P), prior_P) for new_P, prior_P in curves])
    return np.array(columns_SM).T


def over_seeds(values_MS: np.ndarray, seeds_MS: np.ndarray) -> np.ndarray:
    """Means over the seeds that a resample has, [M]; nan where one has no value."""
    return np.take_along_axis(values_MS, seeds_MS, axis=1).mean(axis=1)


def quotients(above_M: np.ndarray, below_M: np.ndarray) -> np.ndarray:
    """`above / below` of losses. No loss below is inf; but 0 if there is none above either, which claims nothing."""
    unbounded_M = np.where(above_M > 0, np.inf, 0.0)
    with np.errstate(divide="ignore", invalid="ignore"):
        quotients_M = np.where(below_M > 0, np.maximum(above_M, 0.0) / below_M, unbounded_M)
    return np.where(np.isnan(above_M) | np.isnan(below_M), np.nan, quotients_M)


def estimate(values_M: np.ndarray) -> Estimate:
    """The first value, with the percentile interval of the others."""
    resampled_M = values_M[1:]
    known_M = resampled_M[~np.isnan(resampled_M)]
    if not len(known_M):
        return Estimate(float(values_M[0]), float("nan"), float("nan"), 0.0)
    low = np.quantile(known_M, (1 - LEVEL) / 2, method="lower")
    high = np.quantile(known_M, (1 + LEVEL) / 2, method="higher")
    return Estimate(float(values_M[0]), float(low), float(high), len(known_M) / len(resampled_M))


def accuracy(right_SR: np.ndarray) -> Estimate:
    """The share of right answers over seeds and rows."""
    rng = np.random.default_rng(0)
    rows_MR, seeds_MS = row_draws(rng, right_SR.shape[1]), seed_draws(rng, right_SR.shape[0])
    return estimate(over_seeds(shares(right_SR, rows_MR), seeds_MS))


def best_rate(level: float, curves: dict[float, list[tuple[Sequence[float], Sequence[float]]]]) -> float:
    """The learning rate that keeps most of the prior skills where the new skill reaches a level.

    Of equal ones the one that is there first. Rates at which some seed never reaches it come after all others; among
    themselves the one wins whose new skill gets furthest.

    Args:
        curves: By rate, for each seed, accuracies on the new skill and on the prior skills at the points of the run.
    """

    def worth(rate: float) -> tuple[bool, float, float]:
        places = [first_reached(level, new_P) for new_P, _ in curves[rate]]
        if np.isnan(places).any():
            return False, float(np.mean([max(new_P) for new_P, _ in curves[rate]])), 0.0
        kept = [at(place, prior_P) for place, (_, prior_P) in zip(places, curves[rate], strict=True)]
        return True, float(np.mean(kept)), -float(np.mean(places))

    return max(curves, key=worth)
