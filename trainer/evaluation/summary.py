"""What a run came to: `summary.json`, and the lines that end a run."""

import shlex
from typing import Any

from .. import COMMAND
from ..run import checkpoint
from ..run.directory import RunDirectory
from ..settings.options import Train
from ..training.midway import best_step, folder_of, in_words, value_of
from .outcome import change, in_points
from .run_scores import MOMENTS, figures, measures, right
from .similarity import MEASURE

TITLES = ("new_skill", "prior_skills")


def summary(directory: RunDirectory, settings: Train, status: str, more: dict[str, Any]) -> dict[str, Any]:
    """The content of `summary.json`.

    Args:
        status: `finished`, `stopped`, `failed` or `unfinished`.
        more: What the directory doesn't tell: wall seconds, demonstrations, the teacher.
    """
    metrics, newest = directory.read_metrics(), checkpoint.newest(directory.path)
    steps = [record for record in metrics if "loss" in record]
    seconds = sum(record["seconds"] for record in steps)
    details = {moment: measures(directory, moment) for moment in MOMENTS}
    return {
        "status": status,
        "objective": settings.objective,
        "model": str(newest or ""),
        "steps": checkpoint.step_of(newest) if newest else 0,
        "scores": {moment: headline(scores) for moment, scores in details.items()},
        "changes": changes(directory),
        "best": best(directory, settings, metrics),
        "score_details": details,
        "tokens_per_second": round(sum(r["tokens"] for r in steps) / seconds, 1) if steps else None,
        **more,
    }


def changes(directory: RunDirectory) -> dict[str, dict[str, float]]:
    """What became of each accuracy on the rows that were answered before and after."""
    before, after = (right(directory, moment) for moment in MOMENTS)
    found = {title: change(before[title], after[title]) for title in before if title in after}
    return {title: changed for title, changed in found.items() if changed is not None}


def best(directory: RunDirectory, settings: Train, metrics: list[dict[str, Any]]) -> dict[str, Any] | None:
    """With `--eval_steps` the best checkpoint of a finished training, the last one among them, and its scores."""
    after, newest = figures(directory, "after"), checkpoint.newest(directory.path)
    if settings.eval_steps is None or not after or newest is None:
        return None
    last = {"step": checkpoint.step_of(newest), **{f"eval/{name}": value for name, value in after.items()}}
    scored = {record["step"]: record for record in [*metrics, last] if value_of(record, "new_skill") is not None}
    step = best_step([*scored.values()], figures(directory, "before"), settings.max_forgetting)
    if step is None:
        return None
    scores = {name: scored[step][f"eval/{name}"] for name in after}
    return {"step": step, "model": str(folder_of(directory.path, step)), **scores}


def result(found: dict[str, Any], directory: RunDirectory, settings: Train) -> str:
    """The headline of a run, from its summary, and where the rest is."""
    lines = []
    for title, changed in found["changes"].items():
        accuracy = f"{changed['before']:.1%} → {changed['after']:.1%}"
        lines.append(f"{title.replace('_', ' '):<14}{accuracy}{in_points(changed)}")
    lines += _of_texts(found["score_details"])
    if settings.eval_steps is not None:
        lines.append(f"{'best':<14}{told(found['best'], settings.max_forgetting)}")
    lines += [f"{'model':<14}{found['model']}", f"{'run':<14}{directory.path}"]
    return "\n".join([*lines, f"{'report':<14}{COMMAND} report {shlex.quote(str(directory.path))}"])


def _of_texts(details: dict[str, dict[str, dict[str, Any]]]) -> list[str]:
    """Lines on what has no accuracy: what became of its similarity and its likelihood."""
    lines = []
    for title in TITLES:
        before, after = (details[moment].get(title, {}) for moment in MOMENTS)
        if before.get("accuracy") is None and None not in (before.get("similarity"), after.get("similarity")):
            text = f"similarity ({MEASURE}) {before['similarity']:.1%} → {after['similarity']:.1%}"
            if None not in (before.get("nll"), after.get("nll")):
                text += f", NLL {before['nll']:.2f} → {after['nll']:.2f} nats a token"
            lines.append(f"{title.replace('_', ' '):<14}{text}")
    return lines


def told(best: dict[str, Any] | None, max_forgetting: float) -> str:
    """Which checkpoint is the best, in a line."""
    if best is None:
        return f"none: at each the prior skills had lost more than --max_forgetting {max_forgetting:g}"
    names = [name for title in TITLES for name in (title, f"{title}/similarity") if name in best]
    scores = ", ".join(f"{in_words(name)} {best[name]:.1%}" for name in names)
    return f"{best['model']} ({scores})"


def headline(scores: dict[str, dict[str, Any]]) -> dict[str, float | None]:
    """Accuracy by what was measured, null where it was not."""
    return {title: scores.get(title, {}).get("accuracy") for title in TITLES}
