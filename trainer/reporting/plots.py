"""Plots for papers: PNG and PDF files drawn by matplotlib. Shapes: S logged steps, P points drawn."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from ..run.atomic import replacing
from .curves import ALL_STAGES, CHARTS, Chart, Curve, curves, seconds_by_stage
from .headline import change, title_text, titles_of
from .runs import Run

# Colours that people with any colour vision tell apart (Okabe and Ito 2008, "Color Universal Design").
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
DASHES = ("-", ":", "--", "-.")
PLOTTED = ("loss", "kl", "accuracy")
FORMATS = ("png", "pdf")
WIDTH, HEIGHT = 6.0, 3.7  # inches; a column and a half of a paper
DOTS_PER_INCH = 300


def save_plots(runs: list[Run], folder: Path) -> list[Path]:
    """Write each plot that has something to show as PNG and PDF, and return the files.

    Raises:
        OSError: the folder can't be made or written to.
    """
    folder.mkdir(parents=True, exist_ok=True)
    return [file for name, figure in figures(runs) for file in save(figure, folder, name)]


def save(figure: Figure, folder: Path, name: str) -> list[Path]:
    """One figure in every format, without the date, so that the same run gives the same bytes."""
    files = [folder / f"{name}.{kind}" for kind in FORMATS]
    for file, kind in zip(files, FORMATS, strict=True):
        undated: dict[str, Any] = {"CreationDate": None} if kind == "pdf" else {}
        with replacing(file) as temporary:
            figure.savefig(temporary, format=kind, dpi=DOTS_PER_INCH, metadata=undated)
    return files


def figures(runs: list[Run]) -> Iterator[tuple[str, Figure]]:
    """Name and figure of each plot that has something to show."""
    for chart in (chart for chart in CHARTS if chart.id in PLOTTED):
        if some := curves(chart, runs):
            yield chart.id, curve_figure(chart, some, runs)
    timed = [(run, *seconds_by_stage(run)) for run in runs]
    if shown := [entry for entry in timed if entry[2]]:
        yield "seconds", seconds_figure(shown)
    if titles := titles_of(runs):
        yield "headline", headline_figure(runs, titles)


def curve_figure(chart: Chart, some: list[Curve], runs: list[Run]) -> Figure:
    """The curves of a chart: means drawn strong, all that was logged behind them."""
    figure, (axes,) = canvas(1)
    for curve in some:
        colour, dash = look(curve, chart, len(runs))
        name = curve_name(curve, chart, runs)
        if len(curve.means_P) != len(curve.values_P):
            axes.plot(curve.steps_P, curve.values_P, color=colour, alpha=0.25, linewidth=0.6)
        marker = "o" if chart.sparse else None
        axes.plot(curve.mean_steps_P, curve.means_P, dash, color=colour, marker=marker, markersize=4, label=name)
    axes.set(xlabel="optimizer step", ylabel=f"{chart.title.lower()} ({chart.unit})")
    if chart.percent:
        axes.yaxis.set_major_formatter(PercentFormatter(1.0))
    if len(some) > 1:
        axes.legend(frameon=False, fontsize=9)
    return figure


def curve_name(curve: Curve, chart: Chart, runs: list[Run]) -> str:
    """What the legend calls a curve: its run where there are several, its line where there are several."""
    run = [runs[curve.run].name] if len(runs) > 1 else []
    return ", ".join([*run, *([curve.line] if len(chart.lines) > 1 or not run else [])])


def look(curve: Curve, chart: Chart, runs: int) -> tuple[str, str]:
    """Colour and dash: a colour for each line of one run; of several a colour for each run, a dash for each line."""
    line = list(chart.lines.values()).index(curve.line)
    return (COLOURS[line % len(COLOURS)], "-") if runs == 1 else (COLOURS[curve.run % len(COLOURS)], DASHES[line])


def seconds_figure(timed: list[tuple[Run, np.ndarray, dict[str, np.ndarray]]]) -> Figure:
    """Where the time of a step goes, one panel a run."""
    figure, panels = canvas(len(timed))
    for axes, (run, steps_P, stages) in zip(panels, timed, strict=True):
        colours = [COLOURS[ALL_STAGES.index(stage)] for stage in stages]
        axes.stackplot(steps_P, *stages.values(), labels=list(stages), colors=colours, alpha=0.75, linewidth=0)
        axes.set_ylabel("seconds a step")
        axes.legend(frameon=False, fontsize=8, ncols=len(stages), loc="lower left", bbox_to_anchor=(0.0, 0.98))
        if len(timed) > 1:
            axes.set_title(run.name, loc="left", pad=22)
    panels[-1].set_xlabel("optimizer step")
    return figure


def headline_figure(runs: list[Run], titles: list[str]) -> Figure:
    """Accuracy before (hollow) and after (filled) with 95 % Wilson intervals, a row for each run and title."""
    figure, (axes,) = canvas(1)
    rows = [(run, title) for title in titles for run in runs]
    for place, (run, title) in enumerate(reversed(rows)):
        draw_change(axes, place, run, title)
    names = [title_text(title) + (f"\n{run.name}" if len(runs) > 1 else "") for run, title in reversed(rows)]
    axes.set_yticks(range(len(rows)), names)
    axes.set(
        xlabel="accuracy: ○ before, ● after, with 95 % intervals", xlim=(-0.03, 1.03), ylim=(-0.6, len(rows) - 0.4)
    )
    axes.xaxis.set_major_formatter(PercentFormatter(1.0))
    return figure


def draw_change(axes: Axes, place: int, run: Run, title: str) -> None:
    """One row of the headline."""
    found = change(run, title)
    for level, face, shift in ((found.before, "white", 0.1), (found.after, COLOURS[0], -0.1)):
        if level is None:
            continue
        if level.interval:
            axes.plot([level.interval.low, level.interval.high], [place + shift] * 2, color=COLOURS[0], linewidth=1)
        axes.plot(level.accuracy, place + shift, "o", markersize=7, markerfacecolor=face, markeredgecolor=COLOURS[0])


def canvas(panels: int) -> tuple[Figure, list[Axes]]:
    """A figure with panels below each other, without a frame, with faint lines."""
    figure = Figure(figsize=(WIDTH, HEIGHT * (1 + 0.75 * (panels - 1))), layout="constrained")
    axes = [figure.add_subplot(panels, 1, number + 1) for number in range(panels)]
    for one in axes:
        one.spines[["top", "right"]].set_visible(False)
        one.grid(axis="y", color="#dddddd", linewidth=0.6)
        one.set_axisbelow(True)
    return figure, axes
