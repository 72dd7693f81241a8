"""Checkpoints that are either whole or not there.

transformers writes a checkpoint in place; a kill half-way leaves a folder that looks like one. Here it is
written to a staging folder, flushed to disk and renamed. What decides the future of a run is in it: weights,
optimizer, scheduler, random states, data position and the EMA teacher.
"""

import json
import os
import random
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import Trainer
from transformers.trainer_utils import get_last_checkpoint, rotate_checkpoints

from trainer.atomic import sync

STAGING = ".staging"


def newest(run_directory: Path) -> Path | None:
    """The newest complete checkpoint of a run directory, None if there is none."""
    found = get_last_checkpoint(str(run_directory)) if run_directory.is_dir() else None
    return Path(found) if found else None


def step_of(checkpoint: Path) -> int:
    """Optimizer steps behind a checkpoint."""
    return int(checkpoint.name.rpartition("-")[2])


def is_complete_run(checkpoint: Path) -> bool:
    """Whether a checkpoint is of a run's last step, so that nothing is left to train."""
    state = json.loads((checkpoint / "trainer_state.json").read_text(encoding="utf-8"))
    return state["global_step"] >= state["max_steps"]


def publish(staged: Path, target: Path) -> None:
    """Make the staged folder appear under its final name, whole, also after a power cut.

    A checkpoint of the same step that is already there holds the same state and stays.
    """
    if target.exists():
        return
    for path in [*staged.rglob("*"), staged]:
        sync(path)
    os.rename(staged, target)
    sync(target.parent)


class WholeCheckpoints(Trainer):
    """A `Trainer` whose checkpoints are whole; put it before a TRL trainer in the list of bases."""

    _staging: str | None = None

    def _get_output_dir(self, trial: Any) -> str:
        return self._staging or str(self.args.output_dir)

    def _save_checkpoint(self, model: Any, trial: Any) -> None:
        run_directory = Path(str(self.args.output_dir))
        self._staging = str(run_directory / STAGING)
        shutil.rmtree(self._staging, ignore_errors=True)
        try:
            super()._save_checkpoint(model, trial)
            name = f"checkpoint-{self.state.global_step}"
            self._save_more(Path(self._staging) / name)
            publish(Path(self._staging) / name, run_directory / name)
        finally:
            shutil.rmtree(self._staging, ignore_errors=True)
            self._staging = None
        rotate_checkpoints(output_dir=str(run_directory), save_total_limit=self.args.save_total_limit)

    def _save_more(self, folder: Path) -> None:
        """Hook: what else belongs into a checkpoint."""


class RandomState:
    """The state of every random generator at one moment, to return to."""

    def __init__(self) -> None:
        self.python = random.getstate()
        self.numpy = np.random.get_state()
        self.torch = torch.random.get_rng_state()
        self.cuda = torch.cuda.get_rng_state_all() if torch.cuda.is_available() else None

    def restore(self) -> None:
        """Set every generator back."""
        random.setstate(self.python)
        np.random.set_state(self.numpy)
        torch.random.set_rng_state(self.torch)
        if self.cuda is not None:
            torch.cuda.set_rng_state_all(self.cuda)
