"""What a model's layers are made of, asked of its configuration, and measured where that doesn't say it.

Shapes: B sequences, T tokens.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from transformers import GenerationConfig, PreTrainedConfig, PreTrainedModel

PLAIN = frozenset({"full_attention", "sliding_attention"})  # layers that keep keys and values of each token alone
CACHES = ("past_key_values", "cache_params", "state")  # what a model's output names it
PROBE = 32  # tokens of a sequence that something is measured with
TOLERANCE = 1e-2  # of logits that two shapes of one batch lead to, relative to the largest; bfloat16 has 3 digits


def layer_kinds(model: PreTrainedModel) -> list[str]:
    """The kinds of a model's layers, by the names of transformers, each once."""
    config = model.config.get_text_config()
    kinds = getattr(config, "layer_types", None)
    if kinds:
        return sorted(set(kinds))
    return ["recurrent"] if getattr(model, "_is_stateful", False) else ["full_attention"]


def is_plain(model: PreTrainedModel) -> bool:
    """Whether every layer attends, and keeps a key and a value of one width for each token."""
    config = model.config.get_text_config()
    return set(layer_kinds(model)) <= PLAIN and not _is_latent(config) and not _differ(config)


def _differ(config: PreTrainedConfig) -> bool:
    """Whether layers differ in what is a number in the configuration of others (Gemma 4)."""
    return getattr(config, "is_heterogeneous", False)


def _is_latent(config: PreTrainedConfig) -> bool:
    """Whether keys and values come from a latent vector and have widths of their own (DeepSeek's MLA)."""
    return getattr(config, "kv_lora_rank", None) is not None


def paging_obstacle(model: PreTrainedModel) -> str | None:
    """Why continuous batching can't sample from a model; None where it can.

    Its cache knows keys and values of one width in pages, and its attention is sdpa's. It takes a model that attends
    in a way of its own (soft caps, distances added to the scores, sinks) and samples from another law.
    """
    config = model.config.get_text_config()
    if other := [kind for kind in layer_kinds(model) if kind not in PLAIN]:
        return f"it can't page layers of the kind {', '.join(other)}"
    if _differ(config):
        return "it can't page layers whose keys and values differ in width"
    if _is_latent(config):
        return "it can't page latent attention, whose keys and values differ in width"
    own = getattr(config, "alibi", False) or getattr(config, "attn_logit_softcapping", None)
    if own or not (model._supports_sdpa and model._supports_attention_backend):
        return f"a model of type {config.model_type} attends in a way that it would not follow"
    return None


def compile_obstacle(model: PreTrainedModel) -> str | None:
    """Why decoding can't be compiled over a cache of one size; None where it can."""
    if getattr(model, "_can_compile_fullgraph", False):
        return None
    return f"transformers can't compile a model of type {model.config.get_text_config().model_type}"


@dataclass(frozen=True)
class CacheSize:
    """Numbers that a cache keeps while a model writes: for each token, and for each sequence whatever its length."""

    token: int
    sequence: int = 0


def cache_size(model: PreTrainedModel) -> CacheSize:
    """Of plain attention what its configuration says; of other layers what they keep of a short sequence."""
    config = model.config.get_text_config()
    short, long = (0, 0) if is_plain(model) else (_kept(model, PROBE), _kept(model, 2 * PROBE))
    if not long and hasattr(config, "num_attention_heads"):  # or the model keeps its states to itself
        return CacheSize(_keys_and_values(config))
    token = max(0, long - short) // PROBE
    return CacheSize(token, max(0, short - token * PROBE))


def _keys_and_values(config: PreTrainedConfig) -> int:
    heads = getattr(config, "num_key_value_heads", None) or config.num_attention_heads
    return 2 * config.num_hidden_layers * heads * head_width(config)


def head_width(config: PreTrainedConfig) -> int:
    """Features of a query head."""
    return getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads


@torch.no_grad()
def _kept(model: PreTrainedModel, length: int) -> int:
    """Numbers in the cache behind so many tokens."""
    output = model(input_ids=_ids(model, length), use_cache=True)
    cache = next((found for name in CACHES if (found := getattr(output, name, None)) is not None), None)
    return sum(tensor.numel() for tensor in {id(found): found for found in _tensors(cache)}.values())


def _tensors(value: Any, depth: int = 8) -> Iterator[Tensor]:
    """The tensors in a nest of lists, dicts and objects."""
    if isinstance(value, Tensor):
        yield value
    elif depth and isinstance(value, list | tuple):
        for item in value:
            yield from _tensors(item, depth - 1)
    elif depth and isinstance(value, dict):
        yield from _tensors([*value.values()], depth - 1)
    elif depth and hasattr(value, "__dict__"):
        yield from _tensors([*vars(value).values()], depth - 1)


def saved_bytes(model: PreTrainedModel) -> int:
    """Bytes that one token holds from the forward pass until the backward pass, measured with a short sequence."""
    seen: dict[int, int] = {}
    weights = {weight.data_ptr() for weight in model.parameters()}

    def keep(tensor: Tensor) -> Tensor:
        if tensor.data_ptr() not in weights:
            seen[tensor.data_ptr()] = max(seen.get(tensor.data_ptr(), 0), tensor.numel() * tensor.element_size())
        return tensor

    held = []  # so that no address is used twice
    with torch.enable_grad(), torch.autograd.graph.saved_tensors_hooks(lambda t: (held.append(t), keep(t))[1], _same):
        model.base_model(input_ids=_ids(model, PROBE), use_cache=False)
    with torch.no_grad():  # some models keep the states of their last pass, with its graph
        model.base_model(input_ids=_ids(model, PROBE), use_cache=False)
    return sum(seen.values()) // PROBE


def _same(tensor: Tensor) -> Tensor:
    return tensor


def keeps_rows_apart(model: PreTrainedModel) -> bool:
    """Whether rows can be taken out of the cache while others go on: attention keeps each row for itself."""
    return set(layer_kinds(model)) <= PLAIN


def sees_padding(model: PreTrainedModel) -> bool:
    """Whether padding before a prompt changes what a model says behind it, though the mask says what it is.

    Attention leaves padding out; what other layers make of it is measured.
    """
    if keeps_rows_apart(model):
        return False
    alone_1V = _next_logits(model, [_row(model, PROBE // 4)])
    try:
        beside_1V = _next_logits(model, [_row(model, PROBE // 4), _row(model, PROBE)])[:1]
    except RuntimeError:  # it can't even be asked (Llama 4's chunks)
        return True
    return float((alone_1V - beside_1V).abs().max()) > TOLERANCE * float(alone_1V.abs().max())


def _next_logits(model: PreTrainedModel, rows: Sequence[list[int]]) -> Tensor:
    """Logits [B, V] of the token behind each row, padded on the left as they are for decoding."""
    width = max(map(len, rows))
    ids_BT = torch.tensor([[0] * (width - len(row)) + row for row in rows], device=model.device)
    mask_BT = torch.tensor([[0] * (width - len(row)) + [1] * len(row) for row in rows], device=model.device)
    config = GenerationConfig(
        max_new_tokens=1, do_sample=False, pad_token_id=0, output_logits=True, return_dict_in_generate=True
    )
    output: Any = model.generate(input_ids=ids_BT, attention_mask=mask_BT, generation_config=config)  # pyright: ignore
    return output.logits[0].float()


def equally_long(prompts: Sequence[list[int]]) -> list[list[int]]:
    """Indices of prompts in groups of one length, so that none is padded; the longest first."""
    groups: dict[int, list[int]] = {}
    for index, prompt in enumerate(prompts):
        groups.setdefault(len(prompt), []).append(index)
    return [groups[length] for length in sorted(groups, reverse=True)]


def _row(model: PreTrainedModel, length: int) -> list[int]:
    """Different tokens that every vocabulary has."""
    return [2 + index % (model.config.get_text_config().vocab_size - 2) for index in range(length)]


def _ids(model: PreTrainedModel, length: int) -> Tensor:
    return torch.tensor([_row(model, length)], device=model.device)
