"""The curves of runs over steps, condensed to what a screen can show. Shapes: S logged steps, P points drawn."""

from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import numpy as np

from .runs import Run

MOST_POINTS = 1000  # of a curve with its extremes
MOST_MEANS = 500  # of the same curve's means, which the smoothing works on
STAGES = ("rollout", "teacher", "waiting", "student", "optimizer")
ALL_STAGES = (*STAGES, "other")
SHARE_WAITED = "share/waiting"


@dataclass(frozen=True)
class Chart:
    """One plot.

    Attributes:
        lines: Metric keys and what each is called; a metric that no run has is left out.
        percent: Fractions of 1, shown in percent.
        logarithmic: Whether the switch to a logarithmic scale applies.
        exact: Known without noise, and never smoothed.
        sparse: Few points, drawn as such; exact.
    """

    id: str
    title: str
    unit: str
    lines: dict[str, str]
    percent: bool = False
    logarithmic: bool = False
    exact: bool = False
    sparse: bool = False


@dataclass(frozen=True)
class Curve:
    """A metric of a run; all arrays of shape (P,).

    Attributes:
        steps_P, values_P: Points that were logged, all extremes among them.
        mean_steps_P, means_P: Means of equally many steps each; the points themselves where nothing was condensed.
    """

    run: int
    line: str
    steps_P: np.ndarray
    values_P: np.ndarray
    mean_steps_P: np.ndarray = field(repr=False)
    means_P: np.ndarray = field(repr=False)


CHARTS = (
    Chart("loss", "Loss", "nats a token", {"loss": "loss"}, logarithmic=True),
    Chart(
        "kl",
        "Divergence",
        "nats a token",
        {"kl/forward": "KL(teacher ‖ student)", "kl/reverse": "KL(student ‖ teacher)"},
        logarithmic=True,
    ),
    Chart(
        "accuracy",
        "Accuracy",
        "right rows",
        {"eval/new_skill": "new skill", "eval/prior_skills": "prior skills"},
        percent=True,
        sparse=True,
    ),
    Chart("agreement", "Agreement", "tokens with the same favourite", {"agreement": "agreement"}, percent=True),
    Chart(
        "token_accuracy",
        "Token accuracy",
        "target tokens that the student puts first",
        {"mean_token_accuracy": "accuracy"},
        percent=True,
    ),
    Chart(
        "entropy",
        "Entropy",
        "nats a token",
        {"entropy/student": "student", "entropy/teacher": "teacher", "entropy": "student"},
    ),
    Chart("signal", "Tokens with a signal", "of all tokens in the loss", {"signal/share": "share"}, percent=True),
    Chart("length", "Completion length", "tokens", {"completions/mean_length": "mean"}),
    Chart("gradient", "Gradient norm", "before clipping", {"grad_norm": "norm"}, logarithmic=True),
    Chart("rate", "Learning rate", "", {"learning_rate": "rate"}, exact=True),
    Chart("speed", "Speed", "tokens a second", {"tokens_per_second": "speed"}),
    Chart("waiting", "Waiting for the teacher", "of a step's time", {SHARE_WAITED: "share"}, percent=True),
)


def curves(chart: Chart, runs: list[Run]) -> list[Curve]:
    """The curves of `chart`, run by run; none where no run has the metric."""
    found = [(number, key, *values(run, key)) for number, run in enumerate(runs) for key in chart.lines]
    return [condensed(number, chart.lines[key], *series) for number, key, *series in found if len(series[0])]


def condensed(run: int, line: str, steps_S: np.ndarray, values_S: np.ndarray) -> Curve:
    """A curve of few enough points."""
    kept_P = keep_extremes(values_S, MOST_POINTS)
    means = bucket_means(steps_S, values_S, MOST_MEANS) if len(values_S) > MOST_POINTS else (steps_S, values_S)
    return Curve(run, line, steps_S[kept_P], values_S[kept_P], *means)


def values(run: Run, key: str) -> tuple[np.ndarray, np.ndarray]:
    """Steps and values, shape (S,), of a metric: logged, or made of logged ones and of the scores."""
    if key == SHARE_WAITED:
        return share_waited(run)
    if key.startswith("eval/"):
        return accuracies(run, key.removeprefix("eval/"))
    return run.series(key)


def share_waited(run: Run) -> tuple[np.ndarray, np.ndarray]:
    """Which share of each step's seconds went by waiting for the served teacher."""
    steps_S, seconds_S = run.series("seconds")
    waited = dict(zip(*(array.tolist() for array in run.series("seconds/waiting")), strict=True))
    known_S = np.array([step in waited for step in steps_S.tolist()], bool) & (seconds_S > 0)
    waits_S = np.array([waited[step] for step in steps_S[known_S].tolist()], np.float64)
    return steps_S[known_S], waits_S / seconds_S[known_S]


def accuracies(run: Run, title: str) -> tuple[np.ndarray, np.ndarray]:
    """Accuracy of `title` at step 0, where the training measured it, and after the last step."""
    measured = dict(zip(*(array.tolist() for array in run.series(f"eval/{title}")), strict=True))
    for moment, step in (("before", 0), ("after", run.last_step)):
        scored = run.scores[moment].get(title)
        if scored and scored.values.get("accuracy") is not None:
            measured.setdefault(step, scored.values["accuracy"])
    steps = sorted(measured)
    return np.array(steps, np.int64), np.array([measured[step] for step in steps], np.float64)


def keep_extremes(values_S: np.ndarray, most: int) -> np.ndarray:
    """Ascending indices (P,) of at most `most` points: first, last, and least and greatest of equal stretches."""
    count = len(values_S)
    if count <= most:
        return np.arange(count)
    edges = np.linspace(0, count, (most - 2) // 2 + 1).astype(int)
    kept = {0, count - 1}
    for start, end in pairwise(edges):
        kept |= {start + int(values_S[start:end].argmin()), start + int(values_S[start:end].argmax())}
    return np.array(sorted(kept))


def bucket_means(steps_S: np.ndarray, values_S: np.ndarray, most: int) -> tuple[np.ndarray, np.ndarray]:
    """Mean step and mean value, both (P,), of at most `most` equal stretches."""
    edges = np.unique(np.linspace(0, len(values_S), min(most, len(values_S)) + 1).astype(int))
    counts_P = np.diff(edges)
    return np.add.reduceat(steps_S, edges[:-1]) / counts_P, np.add.reduceat(values_S, edges[:-1]) / counts_P


def seconds_by_stage(run: Run, most: int = MOST_MEANS) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """Mean steps (P,) and the mean seconds (P,) of each stage there; what no stage accounts for is `other`."""
    timed = [record for record in run.metrics if _seconds(record, "seconds") > 0]
    steps_S = np.array([record["step"] for record in timed], np.float64)
    stages_S = {stage: np.array([_seconds(r, f"seconds/{stage}") for r in timed]) for stage in STAGES}
    stages_S = {stage: seconds_S for stage, seconds_S in stages_S.items() if seconds_S.any()}
    if not stages_S:
        return np.empty(0), {}
    whole_S = np.array([_seconds(record, "seconds") for record in timed])
    stages_S["other"] = np.maximum(whole_S - sum(stages_S.values()), 0.0)
    means = {stage: bucket_means(steps_S, seconds_S, most) for stage, seconds_S in stages_S.items()}
    return means["other"][0], {stage: seconds_P for stage, (_, seconds_P) in means.items()}


def _seconds(record: dict[str, Any], key: str) -> float:
    value = record.get(key)
    return float(value) if isinstance(value, int | float) and np.isfinite(value) else 0.0


def ends(run: Run) -> dict[str, tuple[float, float, float, float]]:
    """First, last, least and greatest value of each curve that the run has, for who can't see it."""
    lines = [(chart, key, name) for chart in CHARTS for key, name in chart.lines.items()]
    found = [
        (chart.title + (f", {name}" if len(chart.lines) > 1 else ""), values(run, key)[1]) for chart, key, name in lines
    ]
    return {label: (y_S[0], y_S[-1], y_S.min(), y_S.max()) for label, y_S in found if len(y_S)}


def payload(runs: list[Run]) -> list[dict[str, Any]]:
    """The charts that have something to show, as JSON values for the page's script."""
    charts = [(chart, curves(chart, runs)) for chart in CHARTS]
    worth = [(chart, some) for chart, some in charts if some and not (chart.sparse and _are_single_points(some))]
    return [_chart_json(chart, some) for chart, some in worth] + _stage_charts(runs)


def _are_single_points(some: list[Curve]) -> bool:
    """The score before training alone: the headline tells it, and a chart of it would be empty."""
    return all(len(curve.values_P) == 1 for curve in some)


def _chart_json(chart: Chart, some: list[Curve]) -> dict[str, Any]:
    return {
        "id": chart.id,
        "title": chart.title,
        "unit": chart.unit,
        "percent": chart.percent,
        "logarithmic": chart.logarithmic,
        "exact": chart.exact,
        "sparse": chart.sparse,
        "lines": list(dict.fromkeys(curve.line for curve in some)),
        "curves": [_curve_json(curve) for curve in some],
    }


def _curve_json(curve: Curve) -> dict[str, Any]:
    raw, means = (curve.steps_P, curve.values_P), (curve.mean_steps_P, curve.means_P)
    same = len(curve.means_P) == len(curve.values_P)
    return {
        "run": curve.run,
        "line": curve.line,
        "raw": [_numbers(array) for array in raw],
        "mean": None if same else [_numbers(array) for array in means],
    }


def _stage_charts(runs: list[Run]) -> list[dict[str, Any]]:
    found = []
    for number, run in enumerate(runs):
        steps_P, stages = seconds_by_stage(run)
        if stages:
            found.append(
                {
                    "id": f"seconds-{number}",
                    "title": "Seconds by stage" + (f" · {run.name}" if len(runs) > 1 else ""),
                    "unit": "seconds a step",
                    "run": number,
                    "lines": list(stages),
                    "colours": [ALL_STAGES.index(stage) for stage in stages],
                    "steps": _numbers(steps_P),
                    "stages": {stage: _numbers(seconds_P) for stage, seconds_P in stages.items()},
                }
            )
    return found


def _numbers(array: np.ndarray) -> list[float]:
    """Five digits are more than a screen shows, and a third of the bytes."""
    return [int(value) if value == int(value) else float(f"{value:.5g}") for value in array.tolist()]
