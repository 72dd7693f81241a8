"""LoRA adapters of `--use_peft`: on which linear layers of this student."""

from typing import Any

import torch
from peft import LoraConfig
from torch import nn
from transformers import PreTrainedModel

from ..errors import UsageError
from ..settings.options import Train

PROBE = (0, 1, 2)  # tokens that every vocabulary has
ALL = "all-linear"
MAMBA, READ_ALONE = ("A_log", "D", "conv1d"), ("out_proj", "dt_proj")  # what its mixers have


def lora_config(settings: Train, student: PreTrainedModel) -> LoraConfig:
    """The adapters that the settings ask for.

    Raises:
        UsageError: a layer is named that the student lacks, or that can't have one.
    """
    unfit = sorted(_unfit(student))
    last = sorted({name.rpartition(".")[2] for name in unfit})
    names: str | list[str] = settings.lora_target_modules
    if names != ALL:
        names = lora_targets(settings)
        _require_modules(names, student)
        if wrong := [name for name in last if name in names]:
            raise UsageError(
                f"--lora_target_modules names {', '.join(wrong)}. This model uses it as more than a linear layer, and "
                f"an adapter there fails, or has no effect. Leave it out, or pass {ALL}."
            )
    elif unfit:
        print(f"lora_target_modules: {ALL} without {', '.join(last)} (used as more than linear layers)")
    return LoraConfig(
        task_type="CAUSAL_LM",
        r=settings.lora_r,
        lora_alpha=settings.lora_alpha,
        lora_dropout=settings.lora_dropout,
        target_modules=names,
        exclude_modules=unfit if names == ALL and unfit else None,
    )


def lora_targets(settings: Train) -> list[str]:
    """The names in `--lora_target_modules`."""
    return [name.strip() for name in settings.lora_target_modules.split(",")]


def _require_modules(names: list[str], student: nn.Module) -> None:
    """Raise UsageError where the student lacks a module of one of the names: peft would pass over it in silence."""
    modules = [f".{name}" for name, _ in student.named_modules()]
    absent = [name for name in names if not name or not any(module.endswith(f".{name}") for module in modules)]
    if not absent:
        return
    linear = [name for name, module in student.named_modules() if isinstance(module, nn.Linear)]
    known = {name.rpartition(".")[2] for name in linear if "." in name}  # the output head, which gets none, has no dot
    raise UsageError(
        f"--lora_target_modules: {', '.join(map(repr, absent))} names no module of this model. Expected {ALL} alone, "
        f"or names with commas between them; it has {', '.join(sorted(known))}."
    )


def _unfit(student: PreTrainedModel) -> set[str]:
    """Linear layers that are used for more than their product, or whose weight is read without them.

    The first are seen with three tokens: they return more than a tensor (Llama 4's routers). The second are Mamba's,
    of which its kernels take the weight alone (peft refuses some of them by the model's type).
    """
    found: set[str] = set()

    def look(name: str) -> Any:
        return lambda module, given, output: found.add(name) if not isinstance(output, torch.Tensor) else None

    linear = {name: module for name, module in student.named_modules() if isinstance(module, nn.Linear)}
    hooks = [module.register_forward_hook(look(name)) for name, module in linear.items()]
    try:
        with torch.no_grad():
            student(input_ids=torch.tensor([PROBE], device=student.device))
    finally:
        for hook in hooks:
            hook.remove()
    mixers = [name for name, module in student.named_modules() if all(hasattr(module, part) for part in MAMBA)]
    return found | ({f"{mixer}.{part}" for mixer in mixers for part in READ_ALONE} & linear.keys())
