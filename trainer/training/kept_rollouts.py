"""Rollouts that a checkpoint keeps, because later steps learn from them again (`num_iterations` above 1)."""

import dataclasses
import json
from pathlib import Path

from ..errors import UsageError
from ..run.atomic import write_json
from .rollout import Rollout

FILE = "rollouts.json"


def keep(folder: Path, process: int, rollouts: list[Rollout]) -> None:
    """Write a process's rollouts into a checkpoint."""
    write_json(folder / f"{process}_{FILE}", [dataclasses.asdict(rollout) for rollout in rollouts])


def kept(folder: Path, process: int, expected: int) -> list[Rollout] | None:
    """The rollouts that a checkpoint keeps for a process; None where it keeps none.

    Raises:
        UsageError: they are not as many as expected.
    """
    file = folder / f"{process}_{FILE}"
    if not file.exists():
        return None
    rollouts = [Rollout(**rollout) for rollout in json.loads(file.read_text(encoding="utf-8"))]
    if len(rollouts) != expected:
        raise UsageError(
            f"{folder} has {len(rollouts)} rollouts in use for this process, expected {expected}. "
            "Go on with as many processes as the run began with."
        )
    return rollouts
