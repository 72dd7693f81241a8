"""Scores of the model while it trains, and which of its checkpoints is the best so far.

A checkpoint is saved before it is scored, and the best one follows from the lines of `metrics.jsonl` alone. So a run
that is killed while it scores does that again when it goes on, and ends with the lines of an unbroken one.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from transformers import TrainerCallback

from ..run.directory import RunDirectory

# Accuracy by what was measured, new_skill and prior_skills; with "/similarity" behind it where there is no accuracy.
Scores = dict[str, float]


class MidwayScores(TrainerCallback):
    """Scores the model each `every` optimizer steps but after the last, and keeps the best checkpoint.

    Args:
        score: Measures the model as it is.
        before: The scores before training, where the floor of the prior skills begins.
        max_forgetting: What the prior skills may lose of their accuracy at the best checkpoint.
        protect: Called with the best checkpoint so far, None where all forgot more.
    """

    def __init__(
        self,
        directory: RunDirectory,
        every: int,
        score: Callable[[], Scores],
        before: Scores,
        max_forgetting: float,
        protect: Callable[[Path | None], None],
    ):
        self.directory = directory
        self.every = every
        self.score = score
        self.before = before
        self.max_forgetting = max_forgetting
        self.protect = protect

    def on_train_begin(self, args, state, control, **kwargs):
        """A run that goes on from a checkpoint that was saved, but not scored any more, scores it now."""
        if self._is_due(state) and all(record["step"] != state.global_step for record in self._scored()):
            self._measure(state)
        self._protect_best()

    def on_step_end(self, args, state, control, **kwargs):
        control.should_save |= self._is_due(state)
        return control

    def on_save(self, args, state, control, **kwargs):
        if self._is_due(state):
            self._measure(state)
            self._protect_best()

    def _is_due(self, state: Any) -> bool:
        return 0 < state.global_step < state.max_steps and state.global_step % self.every == 0

    def _measure(self, state: Any) -> None:
        started = time.monotonic()
        scores = self.score()
        if not state.is_world_process_zero:
            return
        values = {f"eval/{title}": value for title, value in scores.items()}
        seconds = round(time.monotonic() - started, 3)
        self.directory.append_metrics({"step": state.global_step, **values, "seconds/eval": seconds})
        shown = ", ".join(f"{in_words(name)} {value:.1%}" for name, value in scores.items())
        print(f"step {state.global_step}/{state.max_steps}  {shown}  ({seconds:.1f} s)", flush=True)

    def _scored(self) -> list[dict[str, Any]]:
        return [record for record in self.directory.read_metrics() if value_of(record, "new_skill") is not None]

    def _protect_best(self) -> None:
        best = best_step(self._scored(), self.before, self.max_forgetting)
        self.protect(None if best is None else folder_of(self.directory.path, best))


def in_words(name: str) -> str:
    """What a score is called for people."""
    return name.replace("_", " ").replace("/", " ")


def value_of(record: Mapping[str, Any], title: str, *, prefix: str = "eval/") -> float | None:
    """The accuracy of `title` in a record, or the similarity that stands for it; None where neither is there."""
    return record.get(f"{prefix}{title}", record.get(f"{prefix}{title}/similarity"))


def folder_of(run_directory: Path, step: int) -> Path:
    """The checkpoint of a step."""
    return run_directory / f"checkpoint-{step}"


def best_step(records: Sequence[dict[str, Any]], before: Scores, max_forgetting: float) -> int | None:
    """The step with the best new skill among those that forgot no more than allowed; None if all forgot more.

    Args:
        records: Lines of `metrics.jsonl` with `eval/new_skill` and, where prior skills are measured,
            `eval/prior_skills`, or their similarities, see `value_of`. Of equally good ones the one that knows more of
            the prior skills wins, then the first.
        before: The scores before training.
    """
    floor = (value_of(before, "prior_skills", prefix="") or 0.0) - max_forgetting
    # A fraction of rows, less a number in decimals: without slack 0.95 would not be within 0.05 of 1.0.
    good = [record for record in records if (value_of(record, "prior_skills") or 0.0) >= floor - 1e-9]
    return max(good, key=_worth)["step"] if good else None


def _worth(record: dict[str, Any]) -> tuple[float, float, int]:
    return value_of(record, "new_skill") or 0.0, value_of(record, "prior_skills") or 0.0, -record["step"]
