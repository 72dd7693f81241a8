"""The student answers: what a rollout is, and what it is sampled from.

Every engine samples from the same law: the student's softmax at the given temperature, ended by an end-of-turn
token or `max_completion_length`.
"""

import copy
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any

import torch
from torch import nn
from trl.models.utils import unwrap_model_for_generation

from ..errors import TrainerError
from ..models.architecture import CacheSize, cache_size, compile_obstacle, equally_long, sees_padding
from ..models.decoding import generate
from ..models.hidden_states import transformer_of
from ..models.packed_attention import pack_attention
from ..models.sharded import bare_copy, is_sharded, reshard, whole
from .continuous import continuous
from .engine_trial import MEASURED, keep, tokens_per_second, try_each
from .microbatches import device_memory

CACHE_SHARE = 0.25  # of the device's memory, for keys and values of rollouts that are sampled together


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


class Sampler:
    """Samples the rollouts of a step.

    Args:
        trainer: TRL's SDFT trainer, which has the model, the sampling settings and, where wanted, vLLM.
        engine: `generate`, `continuous`, `vllm`, or of weights that are spread over processes `sharded`. With `auto`
            the first call finds out whether `generate` or `continuous` is faster, and the later ones use that.
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
        self.half = bool(trainer.args.bf16)
        self.copy = self._copy() if engine != "vllm" else None
        self.unpadded = engine in ("generate", MEASURED) and sees_padding(transformer_of(self._student()))
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
        if self.engine == MEASURED:
            completions = self._ask_each(asked, numbers, tell)
        elif self.engine != "vllm":
            completions = self._ask_model(self.engine, asked, numbers, tell)
        else:
            completions, seen = self._ask_vllm(asked)
            if self.asked is None:
                logps = [*seen]
        return [Rollout(*rollout) for rollout in zip(numbers, prompts, completions, logps, strict=True)]

    def _student(self) -> nn.Module:
        return self.trainer.accelerator.unwrap_model(self.trainer.model)

    def _copy(self) -> "HalfCopy | WholeCopy | None":
        """What is sampled from instead of the student, if anything."""
        student = self._student()
        if not is_sharded(student):
            return HalfCopy(student) if self.half else None
        if self.engine == "sharded":
            return None
        dtype = torch.bfloat16 if self.half else torch.float32
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

    def _ask_each(
        self, prompts: list[list[int]], numbers: list[int], tell: Callable[[int, list[int]], object] | None
    ) -> list[list[int]]:
        """The answers of the engine that turns out to be the fastest, which is the engine from now on."""
        trials = try_each(lambda engine: self._ask_model(engine, prompts, numbers, None))
        rates = tokens_per_second(trials, self.trainer.accelerator)
        fastest = max(trials, key=lambda trial: rates[trial.engine])
        keep(self.trainer.run_directory, fastest.engine, rates)
        self.engine = fastest.engine
        fastest.after.restore()
        for number, completion in zip(numbers, fastest.completions, strict=True):
            if tell is not None:
                tell(number, completion)
        return fastest.completions

    def _ask_model(
        self,
        engine: str,
        prompts: list[list[int]],
        numbers: list[int],
        tell: Callable[[int, list[int]], object] | None,
    ) -> list[list[int]]:
        trainer, completions = self.trainer, []
        source = self._student() if self.copy is None else self.copy.refreshed(self._student())
        ask = continuous if engine == "continuous" else generate
        if engine == "sharded":
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
        by_length = self.unpadded and ask is generate
        groups = equally_long(prompts) if by_length else [[*range(len(prompts))]]
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
        size, element = self._cache_size, 2 if self.copy and self.half else 4
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
