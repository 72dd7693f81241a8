"""Attention for compiled decoding where several query heads share a key head.

Shapes: B sequences, Q query heads, K key heads, T cached tokens, D width of a head.
"""

from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn
from transformers import AttentionInterface, AttentionMaskInterface, PreTrainedModel
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

NAME = "packed_sdpa"


def packed_sdpa(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    dropout: float = 0.0,
    scaling: float | None = None,
    **kwargs: Any,
) -> tuple[Tensor, None]:
    """What transformers' `sdpa` computes, without copies of the keys and values for one new token.

    Compiled, `sdpa` repeats keys and values for every query head that shares them, for the whole cache at every token.
    Here those query heads take the place of several tokens, which is the same sum.

    Args:
        query: [B, Q, new tokens, D].
        key, value: [B, K, T, D].
        attention_mask: [B, 1, new tokens, T], or None where all is seen.

    Returns:
        [B, new tokens, Q, D], and None for the weights.
    """
    batch, heads, tokens, width = query.shape
    alike = attention_mask is None or attention_mask.shape[1] == 1
    if tokens > 1 or heads == key.shape[1] or dropout or not alike or kwargs.get("position_bias") is not None:
        return sdpa_attention_forward(
            module, query, key, value, attention_mask, dropout=dropout, scaling=scaling, **kwargs
        )
    packed = query.reshape(batch, key.shape[1], heads // key.shape[1], width)
    output = F.scaled_dot_product_attention(packed, key, value, attn_mask=attention_mask, scale=scaling)
    return output.reshape(batch, 1, heads, value.shape[-1]), None


AttentionInterface.register(NAME, packed_sdpa)
AttentionMaskInterface.register(NAME, sdpa_mask)


def pack_attention(model: PreTrainedModel) -> None:
    """Let a model that attends by `sdpa` decode so; another one is left as it is."""
    if model.config.get_text_config()._attn_implementation == "sdpa":
        model.set_attn_implementation(NAME)
