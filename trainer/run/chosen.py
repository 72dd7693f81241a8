"""Which checkpoint of a run is meant: its best, its last, or that of a step."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import UsageError
from .checkpoint import fault_in, newest, step_of
from .records import read_json

BEST, LAST = "best", "last"


@dataclass(frozen=True)
class Chosen:
    """A checkpoint, and why it is this one.

    Attributes:
        is_last: Whether it is the newest of the run: the scores after training are of that one.
        is_best: Whether the run chose it by its scores.
    """

    path: Path
    step: int
    why: str
    is_last: bool
    is_best: bool


def choose(run: Path, asked: str | None, *, scores_midway: bool) -> Chosen:
    """The checkpoint in the run directory `run` that `--checkpoint` means; its model is the one that was written.

    Args:
        asked: `best`, `last` or a step; None for the best where the run names one, else the last.
        scores_midway: Whether the run was told to look for its best checkpoint (`--eval_steps`).

    Raises:
        UsageError: there is none at all, or no such one (says which are there), or it is damaged.
    """
    last = newest(run)
    if last is None:
        raise UsageError(
            f"{run} has no checkpoint yet. Go on with the same `train` command: it saves one each --save_steps steps, "
            "and one at its end."
        )
    summary = read_json(run / "summary.json") or {}
    step, why = _step(asked, step_of(last), summary, scores_midway, _there(run))
    found = run / f"checkpoint-{step}"
    if not found.is_dir():
        raise UsageError(f"{run} has no checkpoint of step {step}. {_there(run)}")
    if fault := fault_in(found, to_go_on=False):
        raise UsageError(f"{found} is damaged: {fault}. {_there(run)}")
    return Chosen(found, step, why, found == last, step == _best(summary))


def _step(asked: str | None, last: int, summary: dict[str, Any], scores_midway: bool, there: str) -> tuple[int, str]:
    """The step that is meant, and why."""
    best, is_finished = _best(summary), summary.get("status") == "finished"
    if best is not None and asked in (None, BEST):
        return best, "the best by the run's own scores"
    if asked == BEST or (asked is None and is_finished and scores_midway):
        raise UsageError(f"the run names no best checkpoint: {_why_none(is_finished, scores_midway)}. {there}")
    if asked in (None, LAST):
        return last, "the last" if is_finished else "the last so far: the run is not finished"
    if not asked.isdecimal():
        raise UsageError(f"--checkpoint is {asked!r}, expected best, last or a step. {there}")
    return int(asked), "the one asked for"


def _best(summary: dict[str, Any]) -> int | None:
    best = summary.get("best")
    step = best.get("step") if isinstance(best, dict) else None
    return step if type(step) is int else None


def _why_none(is_finished: bool, scores_midway: bool) -> str:
    if not scores_midway:
        return "it was trained without --eval_steps"
    return "at each the prior skills had lost more than --max_forgetting" if is_finished else "it is not finished"


def _there(run: Path) -> str:
    """Which checkpoints can be named."""
    steps = sorted(step_of(folder) for folder in run.glob("checkpoint-*") if folder.name[11:].isdecimal())
    return f"Pass --checkpoint last, or the step of one that is there: {', '.join(map(str, steps))}."
