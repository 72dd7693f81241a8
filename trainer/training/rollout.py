"""The student answers: what a rollout is, and the engine that samples it.

Every engine samples from the same law: the student's softmax at the given temperature, ended by an end-of-turn
token or `max_completion_length`.
"""

import copy
import dataclasses
import importlib.util
import math
import os
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any

import torch
from torch import Tensor, nn
from transformers import ContinuousBatchingConfig, GenerationConfig, LogitsProcessor, PreTrainedConfig, StoppingCriteria
from trl.models.utils import unwrap_model_for_generation

from trainer.errors import TrainerError, UsageError
from trainer.models.architecture import (
    CacheSize,
    cache_size,
    compile_obstacle,
    equally_long,
    head_width,
    paging_obstacle,
    sees_padding,
)
from trainer.models.hidden_states import transformer_of
from trainer.models.packed_attention import pack_attention
from trainer.models.sharded import bare_copy, is_sharded, reshard, whole
from trainer.run.checkpoint import RandomState
from trainer.training.microbatches import device_memory

COPY_SHARE = 0.25  # of the device's memory, for a whole copy of a model whose weights are spread
CACHE_SHARE = 0.25  # of the device's memory, for keys and values of rollouts that are sampled together
MANY = 2**13  # outcomes from which `Draw` pays
PAGE = 32  # tokens of a page of the continuous engine's cache
PREFILL = 1024  # tokens that the continuous engine reads at once; its attention mask grows with them


@dataclass
class Rollout:
    """One sampled completion with what the student read before it; all token ids.

    Attributes:
        row: Number of the row that it answers.
        prompt_ids: The prompt as the student reads it.
        completion_ids: The sampled tokens, the end-of-turn token included where it was reached.
        logps: Log-probability that each token was sampled with, where the weights that are trained may give it
            another by now; None where they give the same, up to the rounding of a bfloat16 copy.
    """

    row: int
    prompt_ids: list[int]
    completion_ids: list[int]
    logps: list[float] | None = None


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

    Without flash attention continuous batching attends, masked, to the cache of all rollouts. On a CPU that is
    worth it where it is cheaper than the weights: rollouts that have ended then cost nothing.

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


class Sampler:
    """Samples the rollouts of a step.

    Args:
        trainer: TRL's SDFT trainer, which has the model, the sampling settings and, where wanted, vLLM.
        engine: `generate`, `continuous`, `vllm`, or of weights that are spread over processes `sharded`.
        longest: Tokens of the longest prompt that is answered.
        asked: What of each row is answered; its prompt unless told otherwise. Then log-probabilities that a rollout
            was sampled with are not kept: they are from another law on purpose, with nothing to correct for.
    """

    def __init__(
        self,
        trainer: Any,
        engine: str,
        longest: int,
        asked: Callable[[list[dict[str, Any]]], list[list[int]]] | None = None,
    ):
        self.trainer = trainer
        self.engine = engine
        self.asked = asked
        self.longest = longest + trainer.max_completion_length
        cuda = trainer.args.device.type == "cuda"
        # Under autocast a static cache gets keys and values of different dtypes (transformers 5.23), and every
        # decoding step would cast all weights again: a bfloat16 copy has neither trouble.
        self.copy = self._copy(half=cuda and trainer.args.bf16) if engine != "vllm" else None
        self.unpadded = engine == "generate" and sees_padding(transformer_of(self._student()))
        if cuda and engine == "generate":
            self._compile_decoding()

    def sample(
        self, rows: list[dict[str, Any]], tell: Callable[[int, list[int]], object] | None = None
    ) -> list[Rollout]:
        """One rollout for each row, in their order.

        Args:
            rows: Each with `row` (its number) and `prompt`.
            tell: Called with the row's number and the completion as soon as one is whole, others still being sampled.
        """
        numbers, prompts = [row["row"] for row in rows], [row["prompt"] for row in rows]
        asked = self.asked(rows) if self.asked else prompts
        logps: list[list[float] | None] = [None] * len(rows)
        if self.engine != "vllm":
            completions = self._ask_model(asked, numbers, tell)
        else:
            completions, seen = self._ask_vllm(asked)
            if self.asked is None:
                logps = [*seen]
        return [Rollout(*rollout) for rollout in zip(numbers, prompts, completions, logps, strict=True)]

    def _student(self) -> nn.Module:
        return self.trainer.accelerator.unwrap_model(self.trainer.model)

    def _copy(self, half: bool) -> "HalfCopy | WholeCopy | None":
        """What is sampled from instead of the student, if anything."""
        student = self._student()
        if not is_sharded(student):
            return HalfCopy(student) if half else None
        if self.engine == "sharded":
            return None
        dtype = torch.bfloat16 if half else torch.float32
        return WholeCopy(bare_copy(self.trainer.bare, self.trainer.args.device, dtype))

    def _compile_decoding(self) -> None:
        """A cache of one size for all steps, so that decoding is compiled once."""
        source = transformer_of(self.copy.model if self.copy else self._student())
        if obstacle := compile_obstacle(source):
            print(f"decoding is not compiled: {obstacle}")
            return
        source._previous_max_cache_length = self.longest
        if self.copy:
            pack_attention(source)
        config = self.trainer.generation_config
        config.cache_implementation, config.disable_compile = "static", False

    def _ask_vllm(self, prompts: list[list[int]]) -> tuple[list[list[int]], list[list[float]]]:
        trainer = self.trainer
        engine = trainer.vllm_generation
        engine.logprobs = 0  # of the sampled token, and of no other
        # vLLM has no such penalty, and knows of ends only what the model declares.
        engine.generation_kwargs.pop("no_repeat_ngram_size", None)
        engine.generation_kwargs["stop_token_ids"] = trainer.eos_token_ids
        if trainer.state.global_step != trainer._last_loaded_step:
            trainer.vllm_generation.sync_weights()
            trainer._last_loaded_step = trainer.state.global_step
        _, completions, logps, _ = trainer.vllm_generation.generate(
            prompts=prompts, images=None, num_generations=trainer.num_generations
        )
        return completions, [[token[0] for token in row] for row in logps]

    def _ask_model(
        self, prompts: list[list[int]], numbers: list[int], tell: Callable[[int, list[int]], object] | None
    ) -> list[list[int]]:
        trainer, completions = self.trainer, []
        source = self._student() if self.copy is None else self.copy.refreshed(self._student())
        ask = continuous if self.engine == "continuous" else generate
        if self.engine == "sharded":
            ask = partial(generate, together=True)
        with (
            unwrap_model_for_generation(
                source, trainer.accelerator, generation_kwargs=trainer.generation_kwargs
            ) as model,
            evaluating(model),
            torch.no_grad(),
            of_finite_weights(trainer.state.global_step + 1),
        ):
            for part in self._parts(len(prompts)):
                told = partial(_tell_of, tell, numbers[part]) if tell else None
                completions += self._answers(ask, model, prompts[part], told)
        return completions

    def _answers(
        self,
        ask: Callable[..., list[list[int]]],
        model: Any,
        prompts: list[list[int]],
        tell: Callable[[int, list[int]], object] | None,
    ) -> list[list[int]]:
        """Completions of prompts that fit the memory: of all at once, or where padding would be seen by length."""
        groups = equally_long(prompts) if self.unpadded else [[*range(len(prompts))]]
        found: dict[int, list[int]] = {}
        for group in groups:
            told = partial(_tell_of, tell, group) if tell else None
            completions = ask(model, [prompts[index] for index in group], self.trainer.generation_config, told)
            found |= zip(group, completions, strict=True)
        return [found[index] for index in range(len(prompts))]

    @cached_property
    def _cache_size(self) -> CacheSize:
        return cache_size(transformer_of(self._student()))

    def _parts(self, count: int) -> list[slice]:
        """So many prompts in equal parts whose caches fit the memory; one part wherever it does."""
        size, element = self._cache_size, 2 if self.copy else 4
        sequence = element * (self.longest * size.token + size.sequence)
        room = CACHE_SHARE * device_memory(self.trainer.args.device) / max(1, sequence)
        rows = -(-count // -(-count // max(1, int(room))))
        return [slice(start, start + rows) for start in range(0, count, rows)]


@contextmanager
def of_finite_weights(step: int) -> Iterator[None]:
    """Turns torch's refusal to draw from what is no probability, by whichever engine, into an error that explains."""
    try:
        yield
    except (RuntimeError, TrainerError) as error:
        if "probability tensor" not in str(error):
            raise
        raise TrainerError(
            f"the student's probabilities are not finite at step {step}; nothing of it was saved. Lower "
            "--learning_rate, or look for broken weights; the run goes on from its newest checkpoint."
        ) from error


def _tell_of(tell: Callable[[int, list[int]], object], numbers: list[int], index: int, completion: list[int]) -> None:
    tell(numbers[index], completion)


class HalfCopy:
    """A bfloat16 copy of the student to sample from, brought up to date for every step."""

    def __init__(self, student: nn.Module):
        packed = {id(weight): weight for weight in student.parameters() if not weight.is_floating_point()}
        self.model = copy.deepcopy(student, packed).requires_grad_(False).eval()  # what is in four bits is shared
        self.weights = {name: weight for name, weight in self.model.named_parameters() if id(weight) not in packed}
        for weight in self.weights.values():
            weight.data = weight.data.to(torch.bfloat16)  # buffers stay: rotary frequencies must not be rounded

    @torch.no_grad()
    def refreshed(self, student: nn.Module) -> nn.Module:
        """The copy with the student's present weights."""
        source = dict(student.named_parameters())
        for name, weight in self.weights.items():
            weight.copy_(source[name])
        return self.model


class WholeCopy:
    """A copy of a student that is spread over processes, to sample from; gathered anew for every step.

    Args:
        model: The student's modules, with weights of any values.
    """

    def __init__(self, model: nn.Module):
        self.model = model.requires_grad_(False).eval()

    @torch.no_grad()
    def refreshed(self, student: nn.Module) -> nn.Module:
        """The copy with the student's present weights, gathered one after another."""
        reshard(student)
        source = dict(student.named_parameters())
        for name, weight in self.model.named_parameters():
            weight.copy_(whole(source[name]))
        return self.model


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """Every module in evaluation mode, and back in its own mode afterwards."""
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        yield
    finally:
        for module, training in modes:
            module.training = training


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
