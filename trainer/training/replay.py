"""Replay: on prompts of another kind the student is held to what it was before the run.

There the teacher is the initial student, shown nothing; the student answers, and moves by the forward KL. So a skill
learnt on prompts of one kind does not leak into all others, and one learnt earlier is not lost. No answers are stored.
"""

import copy
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import datasets
import torch
from accelerate.utils import is_peft_model
from torch import nn

from ..data.dataset import Reading, load_rows
from ..data.encoding import encode
from ..data.prompts import PromptEncoder
from ..data.rows.digests import data_digests
from ..data.rows.tool_files import load_tools
from ..errors import UsageError
from ..run.records import read_json, read_yaml
from ..settings.options import Train
from .rollout import evaluating


@dataclass(frozen=True)
class Replay:
    """Prompts to replay.

    Attributes:
        prompts: Each as token ids, `{"prompt": [...], "row": number}`, as training rows are.
        first: The number of the first; those of training rows are smaller.
        share: Of the prompts of a step.
    """

    prompts: datasets.Dataset
    first: int
    share: float

    def has(self, row: int) -> bool:
        """Whether that is the number of a prompt to replay."""
        return row >= self.first


class InitialStudent:
    """The student as it was: a frozen copy, or with LoRA the student without its adapters, which takes no memory.

    Args:
        student: Before its first step.
        twin: A copy that was made already, as it has to be of a student whose weights are spread over processes.
    """

    def __init__(self, student: nn.Module, twin: nn.Module | None = None):
        self._student = student
        self._copy = twin
        if twin is None and not is_peft_model(student):
            self._copy = copy.deepcopy(student).requires_grad_(False).eval()

    @contextmanager
    def model(self) -> Iterator[Any]:
        """The model to ask, without gradients and dropout."""
        asked: Any = self._copy if self._copy is not None else self._student
        without = nullcontext() if self._copy is not None else asked.disable_adapter()
        with torch.no_grad(), evaluating(asked), without:
            yield asked


@dataclass(frozen=True)
class Source:
    """A file, or what else `datasets` reads, whose prompts are replayed, and how it is read."""

    path: str
    reading: Reading


def read_replay(settings: Train, encoder: PromptEncoder, first: int) -> Replay | None:
    """The prompts of `--replay_data_path`; None where none is given.

    Raises:
        UsageError: a prompt can't be read; or the run that is named has other data than it had.
    """
    if settings.replay_data_path is None:
        return None
    parts = []
    for source in sources_of(settings.replay_data_path, settings.skip_bad_rows):
        rows = load_rows(source.path, needs_golden=False, reading=source.reading)
        _, encoded = encode(rows, encoder, source.path, skip_bad_rows=settings.skip_bad_rows)
        parts.append(encoded.prompts().remove_columns("row"))
    prompts: Any = datasets.concatenate_datasets(parts)
    numbers = [first + number for number in range(len(prompts))]
    return Replay(prompts.add_column("row", numbers), first, settings.replay_share or 0.0)


def replay_digests(settings: Train) -> dict[str, str]:
    """SHA-256 of the files whose prompts are replayed, by path."""
    found: dict[str, str] = {}
    if settings.replay_data_path is not None:
        for source in sources_of(settings.replay_data_path, settings.skip_bad_rows):
            found |= data_digests(source.path)
    return found


def replays_a_run(settings: Train) -> bool:
    """Whether `--replay_data_path` names the directory of a run, not files alone."""
    return any(map(_is_run, (settings.replay_data_path or "").split(",")))


def _is_run(part: str) -> bool:
    return bool(part.strip()) and (Path(part.strip()) / "config.yaml").is_file()


def sources_of(path: str, skip_bad_rows: bool) -> list[Source]:
    """What `--replay_data_path` names: of a run its training rows and what it replayed itself.

    Raises:
        UsageError: the run is none, or its data changed since.
    """
    found: list[Source] = []
    for part in map(str.strip, path.split(",")):
        found += _sources_of_run(Path(part)) if _is_run(part) else [Source(part, Reading(skip_bad_rows=skip_bad_rows))]
    return list({source.path: source for source in found}.values())


def _sources_of_run(run: Path) -> Sequence[Source]:
    config = read_yaml(run / "config.yaml")
    data = config.get("train_data_path")
    if data is None:
        raise UsageError(f"--replay_data_path: {run}/config.yaml names no train_data_path. Name the file itself.")
    tools = load_tools(config["tools"]) if config.get("tools") else ()
    reading = Reading(config.get("columns"), config["turns"], tools, skip_bad_rows=config["skip_bad_rows"])
    known, now = (read_json(run / "environment.json") or {}).get("files", {}), data_digests(data)
    changed = [file for file, digest in now.items() if known.get(file, digest) != digest]
    if changed:
        raise UsageError(
            f"--replay_data_path: {changed[0]} changed since the run {run} learnt it. Name the file itself to replay "
            "it as it is now."
        )
    earlier = config.get("replay_data_path")
    return [Source(data, reading), *(sources_of(earlier, False) if earlier else [])]
