"""The two engines of transformers that sample in this process.

Both sample from the same law: the model's softmax at the given temperature, ended by an end-of-turn token or
`max_new_tokens`.
"""

import copy
import dataclasses
import gc
import math
import warnings
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from transformers import ContinuousBatchingConfig, GenerationConfig, LogitsProcessor, StoppingCriteria

from ..errors import TrainerError, UsageError
from ..models.hidden_states import transformer_of
from ..run.checkpoint import RandomState

MANY = 2**13  # outcomes from which `Draw` pays
PAGE = 32  # tokens of a page of the continuous engine's cache
PREFILL = 1024  # tokens that the continuous engine reads at once; its attention mask grows with them


def generate(
    model: Any,
    prompts: list[list[int]],
    config: GenerationConfig,
    tell: Callable[[int, list[int]], object] | None = None,
    together: bool = False,
) -> list[list[int]]:
    """Completions by transformers' `generate`: one batch, padded on the left, until its last row ends.

    Args:
        together: Go on until the last row of every process has ended: each token takes a pass through weights that
            are spread over them.
        tell: Called with index and completion of a row when it ends before the others.
    """
    device, padding = model.device, int(config.pad_token_id or 0)
    width = max(map(len, prompts))
    ids_BT = torch.tensor([[padding] * (width - len(ids)) + ids for ids in prompts], device=device)
    mask_BT = torch.tensor([[0] * (width - len(ids)) + [1] * len(ids) for ids in prompts], device=device)
    watch: Any = [EndWatch(width, config, tell)] if tell else None
    draw, chosen = None, config
    if draws_faster(model, config):
        draw, chosen = [Draw(float(config.temperature or 1.0))], taking_the_likeliest(config)
    output_BT = model.generate(
        input_ids=ids_BT,
        attention_mask=mask_BT,
        generation_config=chosen,
        stopping_criteria=watch,
        logits_processor=draw,
        synced_gpus=together,
    )
    return [until_end(row, config) for row in output_BT[:, width:].cpu()]


def draws_faster(model: Any, config: GenerationConfig) -> bool:
    """Whether `Draw` samples from the same law as `torch.multinomial`, and faster: from many outcomes on a CPU."""
    whole = not config.top_k and config.top_p in (None, 1.0) and not config.min_p
    many = model.config.get_text_config().vocab_size >= MANY
    return bool(config.do_sample) and whole and many and model.device.type == "cpu"


def taking_the_likeliest(config: GenerationConfig) -> GenerationConfig:
    """The same settings for a `generate` that is left one token to take."""
    plain = copy.deepcopy(config)
    plain.do_sample = False
    plain.temperature = plain.top_k = plain.top_p = plain.min_p = None
    return plain


class Draw(LogitsProcessor):
    """Leaves the token that it draws from the softmax at a temperature, by the inverse of its cumulative sum.

    `torch.multinomial` draws a random number for each outcome, which on a CPU takes longer than the output head.
    """

    def __init__(self, temperature: float):
        self.temperature = temperature

    def __call__(self, input_ids: Any, scores: Any) -> Any:
        shares_BV = (scores / self.temperature).softmax(-1)
        sums_BV = shares_BV.cumsum(-1, dtype=torch.float64)  # in float32 the rare tokens behind would be rounded away
        drawn_B1 = torch.rand(len(scores), 1, dtype=torch.float64) * sums_BV[:, -1:]
        tokens_B1 = torch.searchsorted(sums_BV, drawn_B1, right=True).clamp_(max=scores.shape[-1] - 1)
        return torch.full_like(scores, -math.inf).scatter_(1, tokens_B1, 0.0)


class EndWatch(StoppingCriteria):
    """Tells of each row when it has ended, and stops nothing."""

    def __init__(self, width: int, config: GenerationConfig, tell: Callable[[int, list[int]], object]):
        self.width = width
        self.ends = torch.tensor(config.eos_token_id)
        self.tell = tell
        self.told: set[int] = set()

    def __call__(self, input_ids: Any, scores: Any, **kwargs: Any) -> Any:
        ended_B = torch.isin(input_ids[:, -1], self.ends.to(input_ids.device))
        for index in ended_B.nonzero().flatten().tolist():
            if index not in self.told:  # the padding behind an end may be an end-of-turn token too
                self.told.add(index)
                self.tell(index, input_ids[index, self.width :].tolist())
        return torch.zeros(len(input_ids), dtype=torch.bool, device=input_ids.device)


def until_end(row_T: Tensor, config: GenerationConfig) -> list[int]:
    """A row up to its first end-of-turn token, which is part of it."""
    ends = torch.isin(row_T, torch.tensor(config.eos_token_id)).nonzero()
    return row_T[: int(ends[0]) + 1 if len(ends) else len(row_T)].tolist()


def continuous(
    model: Any,
    prompts: list[list[int]],
    config: GenerationConfig,
    tell: Callable[[int, list[int]], object] | None = None,
) -> list[list[int]]:
    """Completions by transformers' continuous batching.

    A rollout that ends makes room at once. The engine seeds the global random generator itself; here the seed is
    drawn from it, and the generator continues where that draw left it.

    Args:
        tell: Called with index and completion of each as soon as it ends.

    Raises:
        TrainerError: the engine failed on a request.
    """
    seed = int(torch.randint(2**31, ()))
    random_state, manager, done = RandomState(), None, {}
    gc.freeze()  # the engine collects garbage twice, each time through every object there is, libraries' included
    try:
        manager = transformer_of(model).init_continuous_batching(
            generation_config=for_continuous(config),
            continuous_batching_config=cache_for(prompts, int(config.max_new_tokens or 0), seed),
        )
        # Everything is queued before the start: which rollouts share a batch must not depend on timing.
        names = [manager.add_request(ids, request_id=f"rollout{i}") for i, ids in enumerate(prompts)]
        manager.start()
        while len(done) < len(names):
            result = manager.get_result(timeout=1)
            if result is None and not manager.is_running():
                raise TrainerError("continuous batching stopped; try --rollout_engine generate.")
            if result is not None and result.error:
                raise TrainerError(f"continuous batching failed: {result.error}; try --rollout_engine generate.")
            if result is not None and result.is_finished():
                done[result.request_id] = result
                if tell is not None:
                    tell(names.index(result.request_id), result.generated_tokens)
    finally:
        if manager is not None:
            manager.stop(block=True, hard_stop=len(done) < len(prompts))
            manager.destroy()
        gc.unfreeze()
        random_state.restore()
    return [done[name].generated_tokens for name in names]


def for_continuous(config: GenerationConfig) -> GenerationConfig:
    """The sampling settings without processors that do nothing and that the engine warns of.

    Raises:
        UsageError: a setting that the engine would drop.
    """
    if config.repetition_penalty not in (None, 1.0):
        raise UsageError(
            f"continuous batching has no repetition penalty, found {config.repetition_penalty}. "
            "Use --rollout_engine generate."
        )
    plain = copy.deepcopy(config)
    plain.min_p = config.min_p or None
    plain.no_repeat_ngram_size = None
    return plain


def cache_for(prompts: list[list[int]], max_new_tokens: int, seed: int) -> ContinuousBatchingConfig:
    """A cache that holds these rollouts, and not most of the memory, which would be the engine's default.

    Older releases of transformers have another name for its pages, and no switch of attention to turn off.
    """
    pages = sum(-(-(len(ids) + max_new_tokens) // PAGE) + 1 for ids in prompts)
    known = {field.name for field in dataclasses.fields(ContinuousBatchingConfig)}
    values = {
        "page_size" if "page_size" in known else "block_size": PAGE,
        "num_blocks": pages,
        "max_batch_tokens": max(PREFILL, len(prompts)),
        "max_requests_per_batch": len(prompts),
        "allow_block_sharing": False,  # prefixes cached under older weights would be reused
        "seed": seed,
    }
    if "auto_switch_to_flash" in known:
        values["auto_switch_to_flash"] = False
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return ContinuousBatchingConfig(**values)
