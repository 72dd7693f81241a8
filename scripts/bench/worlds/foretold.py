"""Does headroom foretell what training gains? All pairs of the two, in one plot with their rank correlation."""

import dataclasses
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pictures
from scipy import stats

from trainer.reporting.plots import canvas

FEWEST = 3  # pairs of which a rank correlation says anything


@dataclass(frozen=True)
class Pair:
    """One arm of one model on one skill; all but the names are fractions of 1.

    Attributes:
        lift: How far whoever teaches was above the student before training.
        gain: How much more of the new skill the student had right afterwards, and the bounds of its 95 % interval.
    """

    model: str
    skill: str
    arm: str
    lift: float
    gain: float
    low: float
    high: float


@dataclass(frozen=True)
class Correlation:
    """Spearman's, and how often pairs that were shuffled are at least as far from 0."""

    rho: float
    p: float
    pairs: int

    def __str__(self) -> str:
        return f"Spearman's ρ {self.rho:.2f}, p {self.p:.2g} (shuffled pairs), n = {self.pairs}"


def correlation(pairs: Sequence[Pair]) -> Correlation | None:
    """None where there are too few pairs, or all lifts or all gains are alike."""
    lifts, gains = [pair.lift for pair in pairs], [pair.gain for pair in pairs]
    if len(pairs) < FEWEST or len(set(lifts)) < 2 or len(set(gains)) < 2:
        return None
    # spearmanr's own p-value is for hundreds of pairs
    test = stats.permutation_test(
        (lifts,), lambda some: stats.spearmanr(some, gains).statistic, permutation_type="pairings", rng=0
    )
    return Correlation(float(test.statistic), float(test.pvalue), len(pairs))


def written_pairs(file: Path) -> list[Pair]:
    """The pairs in the JSON file of a benchmark; none where it measured no headroom."""
    found: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    return [Pair(**pair) for pair in found.get("pairs", [])]


def as_json(pairs: Sequence[Pair]) -> list[dict[str, Any]]:
    return [dataclasses.asdict(pair) for pair in pairs]


def draw(pairs: Sequence[Pair], folder: Path) -> None:
    """PNG and PDF: a colour and marker for each model and skill, which share what they can be lifted by."""
    figure, (axes,) = canvas(1)
    axes.plot([-100, 100], [-100, 100], color="#bbbbbb", linewidth=0.8, zorder=0)
    labels = sorted({label(pair) for pair in pairs})
    for number, name in enumerate(labels):
        colour, marker = pictures.look(number)
        some = [pair for pair in pairs if label(pair) == name]
        gains = [100 * pair.gain for pair in some]
        bars = [[100 * (pair.gain - pair.low) for pair in some], [100 * (pair.high - pair.gain) for pair in some]]
        lifts = [100 * pair.lift for pair in some]
        axes.errorbar(lifts, gains, bars, color=colour, marker=marker, linestyle="", label=name, capsize=2)
        for pair, lift, gain in zip(some, lifts, gains, strict=True):
            axes.annotate(pair.arm, (lift, gain), xytext=(4, 3), textcoords="offset points", fontsize=6)
    axes.set(xlabel="headroom: lift before training, points", ylabel="gain by training, points")
    axes.set(xlim=(-15, 105), ylim=(-15, 105))
    axes.set_title(str(correlation(pairs) or "too few pairs to correlate"), loc="left", fontsize=9)
    pictures.beside(axes)
    pictures.written(figure, folder, "foretold")


def label(pair: Pair) -> str:
    return f"{pair.model}, {pair.skill}"
