"""Plots of learning.py: PNG and PDF files."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter
from tiny_runs import Curve
from trajectories import Estimate

from trainer.reporting.plots import COLOURS, canvas, save

MARKERS = ("o", "s", "^", "D", "v", "P", "X")


def look(number: int) -> tuple[str, str]:
    """Colour and marker of an arm; no two arms of a plot share both."""
    return COLOURS[number % len(COLOURS)], MARKERS[(number + number // len(COLOURS)) % len(MARKERS)]


def pareto(curves: Mapping[str, Mapping[float, list[Curve]]], folder: Path, name: str) -> None:
    """New skill against prior skills on validation rows: each run's last step, its way there faint."""
    figure, (axes,) = canvas(1)
    for number, (arm, rates) in enumerate(curves.items()):
        colour, marker = look(number)
        runs = [curve for some in rates.values() for curve in some]
        for curve in runs:
            axes.plot(curve.new, curve.prior, color=colour, alpha=0.15, linewidth=0.8)
        ends = [(curve.new[-1], curve.prior[-1]) for curve in runs]
        axes.scatter(*zip(*ends, strict=True), color=colour, marker=marker, s=22, alpha=0.8, linewidth=0, label=arm)
    axes.set(xlabel="new skill", ylabel="prior skills", xlim=(-0.03, 1.03), ylim=(-0.03, 1.03))
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_formatter(PercentFormatter(1.0))
    beside(axes)
    written(figure, folder, name)


def forgetting(losses: Mapping[str, Estimate], level: float, folder: Path, name: str) -> None:
    """What the prior skills lost when the new skill reached a level, on test rows, with 95 % intervals."""
    figure, (axes,) = canvas(1)
    for place, loss in enumerate([*losses.values()][::-1]):
        if np.isnan(loss.value):
            axes.text(0.0, place, "level not reached", va="center", fontsize=8, color="#666666")
            continue
        axes.plot([loss.low, loss.high], [place, place], color=COLOURS[0], linewidth=1.5)
        axes.plot(loss.value, place, "o", color=COLOURS[0], markersize=6)
    axes.set_yticks(range(len(losses)), [*losses][::-1])
    axes.set(xlabel=f"prior skills lost when the new skill reached {level:.0%}", ylim=(-0.6, len(losses) - 0.4))
    axes.xaxis.set_major_formatter(PercentFormatter(1.0))
    written(figure, folder, name)


def sequence(accuracies: Mapping[str, list[dict[str, Estimate]]], folder: Path, name: str) -> None:
    """Every skill after each of the trainings, on test rows, one panel an arm."""
    figure, panels = canvas(len(accuracies))
    for axes, (arm, after) in zip(panels, accuracies.items(), strict=True):
        for number, title in enumerate(after[0]):
            colour, marker = look(number)
            values = [found[title] for found in after]
            bars = [[v.value - v.low for v in values], [v.high - v.value for v in values]]
            axes.errorbar(
                range(len(values)), [v.value for v in values], bars, color=colour, marker=marker, label=title, capsize=2
            )
        axes.set_title(arm, loc="left")
        axes.set(ylabel="accuracy", ylim=(-0.03, 1.03), xticks=range(len(after)))
        axes.yaxis.set_major_formatter(PercentFormatter(1.0))
    panels[-1].set_xlabel("new skills learnt, one after another")
    beside(panels[0])
    written(figure, folder, name)


def beside(axes: Axes) -> None:
    axes.legend(frameon=False, fontsize=8, loc="upper left", bbox_to_anchor=(1.01, 1.0))


def written(figure: Figure, folder: Path, name: str) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    save(figure, folder, name)
