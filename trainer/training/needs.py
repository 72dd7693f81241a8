"""Has this machine the memory and the disk that a run will take? Estimates, told before anything expensive."""

import shutil
from pathlib import Path

import torch

from ..models.size import parameters_of
from ..run.machine import BYTES_PER_PARAMETER, existing
from ..settings.options import Train
from .microbatches import device_memory

FROZEN_BYTES, FOUR_BIT_BYTES = 6, 1  # a parameter beside LoRA adapters: float32 with a bfloat16 copy, or in four bits
COPY_BYTES = 4  # a parameter of the copy that replay keeps, and of another model that teaches
SAVED_BYTES, WITHOUT_TEACHER = 16, 12  # a parameter in a checkpoint: weights, two moments, the teacher
GIB = 2**30
SMALLER = "a smaller --model_name_or_path"


def warn_of_needs(settings: Train, device: torch.device, shares: int = 1) -> None:
    """Print a warning where memory or disk will probably not suffice.

    Args:
        shares: Processes that the weights are spread over.
    """
    parameters = parameters_of(settings.model_name_or_path)
    if parameters is None:
        return
    for complaint in (memory_complaint(settings, parameters // shares, device), disk_complaint(settings, parameters)):
        if complaint:
            print(f"warning: {complaint}")


def memory_complaint(settings: Train, parameters: int, device: torch.device) -> str | None:
    """What is wrong with a device's memory for the training of so many parameters; None if it suffices."""
    each, advice = BYTES_PER_PARAMETER, f"Pass --use_peft, or {SMALLER}."
    if settings.use_peft:
        each, advice = FROZEN_BYTES, f"Pass --load_in_4bit, or {SMALLER}."
    if settings.load_in_4bit:
        each, advice = FOUR_BIT_BYTES, f"Pass {SMALLER}."
    needed, there = each * parameters + COPY_BYTES * parameters_beside(settings, parameters), device_memory(device)
    if needed <= there:
        return None
    what = "the weights" if settings.use_peft else "weights, gradients, optimizer and teacher"
    return (
        f"{what} of {settings.model_name_or_path} take about {_shown(needed)} GiB, and this "
        f"{'GPU' if device.type == 'cuda' else 'machine'} has {_shown(there)}. {advice}"
    )


def parameters_beside(settings: Train, own: int) -> int:
    """The parameters of whole models in float32 beside a student of `own` and its own teacher.

    Replay keeps the student as it was, with LoRA without a copy; another model may teach.
    """
    replays = settings.replay_data_path is not None or settings.replay_share is not None
    teacher = settings.teacher_model_name_or_path
    return own * (replays and not settings.use_peft) + ((teacher and parameters_of(teacher)) or 0)


def disk_complaint(settings: Train, parameters: int) -> str | None:
    """What is wrong with the disk for the checkpoints of so many parameters; None if it has room."""
    if settings.use_peft:
        return None
    has_teacher = settings.objective == "sdft" and settings.teacher_kind == "ema"
    size = parameters * (SAVED_BYTES if has_teacher else WITHOUT_TEACHER)
    there = len([*Path(settings.output_dir).glob("checkpoint-*")])
    missing = max(1, settings.save_total_limit + 1 - there)  # a new one is written before an old one goes
    folder = existing(settings.output_dir)
    free = shutil.disk_usage(folder).free
    if missing * size <= free:
        return None
    return (
        f"a checkpoint takes about {_shown(size)} GiB, {settings.save_total_limit} are kept and one is being written; "
        f"{folder} has {_shown(free)} GiB free. Pass --save_total_limit 1, or another --output_dir."
    )


def _shown(size: float) -> str:
    return f"{size / GIB:.3g}"
