"""The engine `continuous`: transformers' continuous batching, where a rollout that ends makes room at once."""

import copy
import dataclasses
import gc
import warnings
from collections.abc import Callable
from typing import Any

import torch
from transformers import ContinuousBatchingConfig, GenerationConfig

from ..errors import TrainerError, UsageError
from ..models.hidden_states import transformer_of
from ..run.checkpoint import RandomState

PAGE = 32  # tokens of a page of its cache
PREFILL = 1024  # tokens that it reads at once; its attention mask grows with them


def continuous(
    model: Any,
    prompts: list[list[int]],
    config: GenerationConfig,
    tell: Callable[[int, list[int]], object] | None = None,
) -> list[list[int]]:
    """Completions by transformers' continuous batching.

    The engine seeds the global random generator itself; here the seed is
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
