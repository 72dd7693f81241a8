"""A trained student as a folder for any tool: weights of one dtype, tokenizer, chat template, what ends an answer."""

import dataclasses
import shutil
from pathlib import Path
from typing import Any, cast

import torch
from safetensors.torch import load_file, save_file
from transformers import GenerationConfig, PreTrainedModel, PreTrainedTokenizerBase

from ..data.chat_template import REFUSALS
from ..settings.options import Student
from .configuration import base_of, is_adapter
from .loading import ADAPTER_CONFIG, ADAPTER_WEIGHTS, load_student, put_adapters
from .student import end_as_turns_do

MARK_OF_ADAPTERS = "lora_"  # in the names of their weights


def load_merged(settings: Student) -> PreTrainedModel:
    """The student in float32; what LoRA adapters add is in its weights.

    Raises:
        UsageError: see `load_student`.
    """
    name = settings.model_name_or_path
    base = load_student(dataclasses.replace(settings, model_name_or_path=base_of(name)))
    return cast(Any, put_adapters(base, Path(name))).merge_and_unload() if is_adapter(name) else base


@torch.no_grad()
def round_weights(model: PreTrainedModel, dtype: torch.dtype, *, adapters_alone: bool = False) -> None:
    """Give the weights the dtype; what is computed at loading, such as rotary frequencies, stays in float32."""
    for name, weight in model.named_parameters():
        if MARK_OF_ADAPTERS in name or not adapters_alone:
            weight.data = weight.data.to(dtype)


def think_as_trained(tokenizer: Any, *, enable_thinking: bool) -> bool:
    """Let the chat template take a run's `enable_thinking` where a request says nothing of it.

    Servers and transformers pass nothing unless they are told to, and then many templates open a thinking block, so
    the model would answer other prompts than it was trained on.

    Returns:
        Whether the template had another choice of its own.
    """
    template, messages = tokenizer.chat_template, [{"role": "user", "content": "a text"}]
    if not isinstance(template, str):
        return False
    try:
        unsaid, said = (
            tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True, **given)
            for given in ({}, {"enable_thinking": enable_thinking})
        )
    except REFUSALS:  # such as of a conversation without a system message
        return False
    if unsaid == said:
        return False
    value = "true" if enable_thinking else "false"
    tokenizer.chat_template = f"{{%- set enable_thinking = enable_thinking | default({value}) %}}\n{template}"
    return True


def write_model(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, folder: Path) -> None:
    """Everything that a tool needs to answer with the model, its turns ended as the chat template ends them."""
    end_as_turns_do(model, tokenizer)
    if model.generation_config is not None:
        model.generation_config.pad_token_id = tokenizer.pad_token_id
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    GenerationConfig.from_pretrained(folder).validate(strict=True)


def write_adapter(checkpoint: Path, tokenizer: PreTrainedTokenizerBase, folder: Path, dtype: torch.dtype) -> None:
    """The LoRA adapters of a checkpoint and the tokenizer; the base model's weights stay where they are."""
    weights = load_file(checkpoint / ADAPTER_WEIGHTS)
    rounded = {name: weight.to(dtype) for name, weight in weights.items()}
    save_file(rounded, folder / ADAPTER_WEIGHTS, metadata={"format": "pt"})
    shutil.copyfile(checkpoint / ADAPTER_CONFIG, folder / ADAPTER_CONFIG)
    tokenizer.save_pretrained(folder)
