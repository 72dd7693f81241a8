"""Who samples: what `--rollout_engine` means for this model, on this device."""

import importlib.util
import os

import torch
from torch import nn
from transformers import PreTrainedConfig

from ..errors import UsageError
from ..models.architecture import head_width, paging_obstacle, sees_padding
from ..models.hidden_states import transformer_of
from .engine_trial import MEASURED
from .microbatches import device_memory

WORTH_MEASURING = 2**24  # parameters; with fewer a step is too short for its seconds to tell engines apart
COPY_SHARE = 0.25  # of the device's memory, for a whole copy of a model whose weights are spread


def wants_vllm(asked: str) -> bool:
    """Whether `--rollout_engine` means vLLM, which has to be known before TRL builds its trainer.

    Raises:
        UsageError: it was asked for by name, and is not installed here or has no GPU.
    """
    usable = importlib.util.find_spec("vllm") is not None and torch.cuda.is_available()
    if asked == "vllm" and not usable:
        raise UsageError(
            "--rollout_engine vllm needs the package vllm in the trainer's environment and a GPU; found "
            f"{'a GPU' if torch.cuda.is_available() else 'no GPU'} and "
            f"{'vllm' if importlib.util.find_spec('vllm') else 'no vllm'}. Use --rollout_engine generate."
        )
    return asked == "vllm" or (asked == "auto" and usable)


def choose_engine(asked: str, model: nn.Module, device: torch.device, cached_tokens: int) -> str:
    """The engine that `--rollout_engine` means; `auto` takes one that can, and prints its reason.

    Without flash attention continuous batching attends, masked, to the cache of all rollouts. On a CPU that may be
    worth it where it is cheaper than the weights: rollouts that have ended then cost nothing. Whether it is depends on
    how much their lengths differ: there `auto` stays open, and the first step of a run measures.

    Args:
        cached_tokens: The most tokens that all rollouts of a step may have together, prompts included.

    Raises:
        UsageError: the engine was asked for by name and can't sample from this model.
    """
    transformer = transformer_of(model)
    if asked == "continuous" and (obstacle := paging_obstacle(transformer)):
        raise UsageError(f"--rollout_engine continuous: {obstacle}. Use --rollout_engine generate.")
    if asked != "auto":
        return asked
    if wants_vllm(asked):
        chosen, reason = "vllm", "it is installed, and there is a GPU"
    elif device.type == "cuda":
        chosen, reason = "generate", "compiled decoding on a GPU; no vllm installed"
    elif obstacle := paging_obstacle(transformer):
        chosen, reason = "generate", f"continuous batching is not for this model: {obstacle}"
    else:
        parameters = transformer.num_parameters()
        attention = 4 * cached_tokens * attention_width(transformer.config)
        if attention < parameters and parameters >= WORTH_MEASURING:
            return MEASURED
        chosen = "continuous" if attention < parameters else "generate"
        reason = f"on a CPU, {attention / parameters:.2g} times the weights' work to attend to all rollouts at once"
    print(f"rollout_engine: {chosen} (auto: {reason})")
    return chosen


def choose_copy(asked: str, model: nn.Module, device: torch.device, half: bool) -> str:
    """The engine that `--rollout_engine` means for weights that are spread over processes; `auto` where it stays open.

    The others sample from a whole copy on each process, gathered once a step. Where none fits, each token takes a pass
    that gathers every layer anew.

    Args:
        half: Whether the copy is bfloat16.

    Raises:
        UsageError: the engine was asked for by name and can't sample from this model.
    """
    transformer = transformer_of(model)
    copied, memory = transformer.num_parameters() * (2 if half else 4), device_memory(device)
    if device.type == "cpu":
        memory //= int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
    if asked == "sharded" and sees_padding(transformer):
        raise UsageError(
            "--rollout_engine sharded reads prompts of several lengths together, and this model sees their padding. "
            "Use --rollout_engine generate."
        )
    if asked != "auto" or copied <= COPY_SHARE * memory or sees_padding(transformer):
        return asked
    shown = f"{copied / 2**30:.2g} of {memory / 2**30:.2g} GiB"
    print(f"rollout_engine: sharded (auto: a whole copy of the model to sample from would take {shown})")
    return "sharded"


def attention_width(config: PreTrainedConfig) -> int:
    """Query features of all layers, each of which attends."""
    text = config.get_text_config()
    return head_width(text) * text.num_attention_heads * text.num_hidden_layers
