"""Completions by transformers' `generate`, of one batch, from which rows are taken out when they have ended.

Shapes: B rows of the batch, T tokens, V tokens to choose from.
"""

import copy
import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import pad
from transformers import GenerationConfig, LogitsProcessor, StoppingCriteria

from .architecture import keeps_rows_apart
from .hidden_states import transformer_of

MANY = 2**13  # tokens to choose from at which each row costs a CPU more than what is done once for all rows
KEPT = 0.5  # of a batch; when less goes on, it goes on without the rest


def generate(
    model: Any,
    prompts: list[list[int]],
    config: GenerationConfig,
    tell: Callable[[int, list[int]], object] | None = None,
    together: bool = False,
) -> list[list[int]]:
    """Completions of prompts, until the last one has ended.

    On a CPU, where each row of a costly model takes time, rows that have ended are taken out of the batch. It changes
    nothing of what the others sample.

    Args:
        together: Go on until the last row of every process has ended: each token takes a pass through weights that
            are spread over them.
        tell: Called with index and completion of a row when it ends before the others.
    """
    ids_BT, mask_BT = padded_on_the_left(prompts, int(config.pad_token_id or 0), model.device)
    width = ids_BT.shape[1]
    shrinks = is_costly(model) and keeps_rows_apart(transformer_of(model)) and not together
    batch = Batch(len(prompts), width, config, tell, shrinks)
    chosen, draw = copy.deepcopy(config), None
    if draws_faster(model, config):
        chosen, draw = taking_the_likeliest(config), [Draw(float(config.temperature or 1.0), batch)]
    chosen.return_dict_in_generate = True
    cache, longest = None, width + int(config.max_new_tokens or 0)
    found: dict[int, list[int]] = {}
    while True:
        chosen.max_new_tokens = longest - ids_BT.shape[1]
        output = model.generate(
            input_ids=ids_BT,
            attention_mask=mask_BT,
            past_key_values=cache,
            generation_config=chosen,
            stopping_criteria=[batch] if tell or shrinks else None,
            logits_processor=draw,
            synced_gpus=together,
        )
        ids_BT, cache = output.sequences, output.past_key_values
        found |= zip(batch.rows.tolist(), (until_end(row, config) for row in ids_BT[:, width:].cpu()), strict=True)
        if ids_BT.shape[1] == longest or not (shrinks and batch.going.any()):
            return [found[index] for index in range(len(prompts))]
        going = batch.shrink()
        cache.batch_select_indices(going)
        ids_BT = ids_BT[going]
        mask_BT = pad(mask_BT[going], (0, ids_BT.shape[1] - mask_BT.shape[1]), value=1)


def padded_on_the_left(rows: list[list[int]], padding: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """Token ids [B, T], and a mask [B, T] that is 0 at the padding; both int64."""
    width = max(map(len, rows))
    ids_BT = torch.tensor([[padding] * (width - len(ids)) + ids for ids in rows], device=device)
    mask_BT = torch.tensor([[0] * (width - len(ids)) + [1] * len(ids) for ids in rows], device=device)
    return ids_BT, mask_BT


def is_costly(model: Any) -> bool:
    """Whether each row costs time: on a CPU, with many tokens to choose from."""
    return model.device.type == "cpu" and model.config.get_text_config().vocab_size >= MANY


class Batch(StoppingCriteria):
    """Which rows are in the batch, and which of them go on; tells of each one when it has ended.

    Attributes:
        count: Of the rows at first.
        rows: [B] Which of the first rows each row of the batch is.
        going: [B] Which of them have not ended.
    """

    def __init__(
        self,
        count: int,
        width: int,
        config: GenerationConfig,
        tell: Callable[[int, list[int]], object] | None,
        shrinks: bool,
    ):
        self.count, self.width, self.ends = count, width, torch.tensor(config.eos_token_id)
        self.rows, self.going = torch.arange(count), torch.ones(count, dtype=torch.bool)
        self.tell, self.shrinks = tell, shrinks

    def __call__(self, input_ids: Any, scores: Any, **kwargs: Any) -> Any:
        ended_B = self.going & torch.isin(input_ids[:, -1].cpu(), self.ends)  # the padding behind may be an end, too
        self.going &= ~ended_B
        if self.tell:
            for index in ended_B.nonzero().flatten().tolist():
                self.tell(int(self.rows[index]), input_ids[index, self.width :].tolist())
        few = self.shrinks and int(self.going.sum()) <= KEPT * len(self.going)
        return torch.full((len(input_ids),), few, device=input_ids.device)

    def shrink(self) -> Tensor:
        """Leave out what has ended, and return which rows of the batch are left."""
        left = self.going.nonzero().flatten()
        self.rows, self.going = self.rows[left], self.going[left]
        return left


def draws_faster(model: Any, config: GenerationConfig) -> bool:
    """Whether `Draw` samples from the same law as `torch.multinomial`, and faster: from many outcomes on a CPU."""
    whole = not config.top_k and config.top_p in (None, 1.0) and not config.min_p
    return bool(config.do_sample) and whole and is_costly(model)


def taking_the_likeliest(config: GenerationConfig) -> GenerationConfig:
    """The same settings for a `generate` that is left one token to take."""
    plain = copy.deepcopy(config)
    plain.do_sample = False
    plain.temperature = plain.top_k = plain.top_p = plain.min_p = None
    return plain


class Draw(LogitsProcessor):
    """Leaves the token that it draws from the softmax at a temperature, by the inverse of its cumulative sum.

    `torch.multinomial` draws a random number for each outcome, which on a CPU takes longer than the output head. Each
    row has a number of its own, whichever others are still in the batch.
    """

    def __init__(self, temperature: float, batch: Batch):
        self.temperature, self.batch = temperature, batch

    def __call__(self, input_ids: Any, scores: Any) -> Any:
        shares_BV = (scores / self.temperature).softmax(-1)
        sums_BV = shares_BV.cumsum(-1, dtype=torch.float64)  # in float32 the rare tokens behind would be rounded away
        drawn_B1 = torch.rand(self.batch.count, 1, dtype=torch.float64)[self.batch.rows] * sums_BV[:, -1:]
        tokens_B1 = torch.searchsorted(sums_BV, drawn_B1, right=True).clamp_(max=scores.shape[-1] - 1)
        return torch.full_like(scores, -math.inf).scatter_(1, tokens_B1, 0.0)


def until_end(row_T: Tensor, config: GenerationConfig) -> list[int]:
    """A row up to its first end-of-turn token, which is part of it."""
    ends = torch.isin(row_T, torch.tensor(config.eos_token_id)).nonzero()
    return row_T[: int(ends[0]) + 1 if len(ends) else len(row_T)].tolist()
