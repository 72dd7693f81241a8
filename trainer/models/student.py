"""The student: its tokenizer, its context window, its weights; safetensors only, no remote code."""

import json
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoTokenizer,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)
from transformers.utils.logging import disable_progress_bar

from trainer.data.prompts import PromptEncoder
from trainer.errors import UsageError
from trainer.settings.options import Student

disable_progress_bar()


def load_tokenizer(settings: Student) -> PreTrainedTokenizerBase:
    """The student's tokenizer, padding on the left.

    Raises:
        UsageError: the folder or hub name has none.
    """
    name = settings.model_name_or_path
    try:
        tokenizer = AutoTokenizer.from_pretrained(name, local_files_only=settings.local_files_only, padding_side="left")
        if not tokenizer("a text")["input_ids"]:
            raise ValueError("transformers made one without a vocabulary, as it does where it finds no file.")
    except (OSError, ValueError, KeyError) as error:
        raise UsageError(
            f"no tokenizer at {name!r}: {_first_line(error)} Expected tokenizer.json beside the weights; "
            "save it there with `AutoTokenizer.from_pretrained(ORIGIN).save_pretrained(FOLDER)`."
        ) from error
    if tokenizer.eos_token_id is None:
        raise UsageError(
            f"the tokenizer of {name!r} has no end-of-turn token; set `eos_token` in tokenizer_config.json."
        )
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token
    return tokenizer


def context_window(settings: Student) -> int:
    """Positions that the student's configuration admits.

    Raises:
        UsageError: there is no such model, or prompt and completion together do not fit.
    """
    name = settings.model_name_or_path
    if _looks_like_a_path(name) and not Path(name).is_dir():
        raise UsageError(
            f"no student at {name!r}: the folder does not exist. Pass --model_name_or_path FOLDER|HUB_NAME."
        )
    try:
        config = AutoConfig.from_pretrained(_base_of(name), local_files_only=settings.local_files_only)
    except (OSError, ValueError, KeyError) as error:
        raise UsageError(
            f"no student at {name!r}: {_first_line(error)} Pass --model_name_or_path FOLDER|HUB_NAME."
        ) from error
    window = config.get_text_config().max_position_embeddings
    wanted = settings.max_prompt_length + settings.max_completion_length
    if wanted > window:
        raise UsageError(
            f"--max_prompt_length {settings.max_prompt_length} plus --max_completion_length "
            f"{settings.max_completion_length} is {wanted} tokens; {name!r} has a context of {window}. Lower one."
        )
    return window


def load_student(settings: Student) -> PreTrainedModel:
    """The student's weights in float32: training in bfloat16 is autocast over them.

    Raises:
        UsageError: no safetensors weights there.
    """
    name = settings.model_name_or_path
    try:
        return AutoModelForCausalLM.from_pretrained(
            name, dtype=torch.float32, use_safetensors=True, local_files_only=settings.local_files_only
        )
    except (OSError, ValueError, SafetensorError) as error:
        raise UsageError(
            f"can't load the weights of {name!r}: {_first_line(error)} Expected model.safetensors."
        ) from error


def encoder_for(settings: Student, tokenizer: PreTrainedTokenizerBase, window: int, template: str) -> PromptEncoder:
    """The prompt encoder of a student with `window` positions."""
    return PromptEncoder(
        tokenizer,
        max_prompt_length=settings.max_prompt_length,
        context_room=window - settings.max_completion_length,
        max_completion_length=settings.max_completion_length,
        template=template,
        enable_thinking=settings.enable_thinking,
    )


def end_token_ids(model: PreTrainedModel, tokenizer: Any) -> list[int]:
    """Every token id that ends a completion: the tokenizer's and those the model declares, as TRL takes them."""
    declared = getattr(model.generation_config, "eos_token_id", None)
    ids = [declared] if isinstance(declared, int) else list(declared or [])
    return ids if tokenizer.eos_token_id in ids else [tokenizer.eos_token_id, *ids]


def is_adapter(name: str) -> bool:
    """Whether a folder holds LoRA adapters instead of a whole model."""
    return (Path(name) / "adapter_config.json").is_file()


def _base_of(name: str) -> str:
    """The model that a folder of LoRA adapters belongs to; any other name as it is."""
    if not is_adapter(name):
        return name
    return json.loads((Path(name) / "adapter_config.json").read_text(encoding="utf-8"))["base_model_name_or_path"]


def _looks_like_a_path(name: str) -> bool:
    return name.startswith((".", "/", "~")) or name.count("/") > 1


def _first_line(error: Exception) -> str:
    text = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
    return text if text.endswith((".", "!")) else f"{text}."
