"""The training loop: TRL's SDFT trainer with a step of our own; TRL's SFT trainer for targets.

TRL keeps rows, sampling, optimizer, schedule and logging. The step between them is ours: its rollouts are regrouped
into micro-batches without padding, and learnt from as soon as the teacher's view of them is there. Whose view that
is and how it becomes a loss is the matter of `self_distillation` and `served_distillation`.

Shapes: N tokens in the loss, H hidden.
"""

import dataclasses
import json
import math
import resource
import time
from abc import abstractmethod
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from contextlib import contextmanager, nullcontext
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import torch
from accelerate.utils.memory import clear_device_cache
from torch import Tensor
from transformers import Trainer, TrainerCallback
from trl import SFTTrainer
from trl.experimental.sdft import SDFTConfig, SDFTTrainer
from trl.models.utils import _ForwardRedirection
from trl.trainer.utils import RepeatSampler, pad

from trainer.errors import TeacherError, TrainerError, UsageError
from trainer.losses.divergence import TokenStatistics
from trainer.models.hidden_states import check_head, predicting_states
from trainer.models.output_head import OutputHead
from trainer.run.atomic import write_json
from trainer.run.checkpoint import WholeCheckpoints
from trainer.run.directory import RunDirectory
from trainer.training.microbatches import MicrobatchLimit, group_by_length, token_weights
from trainer.training.rollout import Rollout, Sampler
from trainer.training.samples import SampleRecorder

ROLLOUTS_FILE = "rollouts.json"
METRICS = {
    "sdft/distillation_loss": "loss_N",
    "kl/forward": "kl_forward_N",
    "kl/reverse": "kl_reverse_N",
    "entropy/student": "student_entropy_N",
    "entropy/teacher": "teacher_entropy_N",
    "agreement": "agreement_N",
}
SECONDS_BETWEEN_LOOKS = 0.2  # at whether a stop was asked for, while the served teacher is waited for
T = TypeVar("T")


class EpochSeededSampler(RepeatSampler):
    """TRL's sampler with an order that depends on the seed and the epoch alone, so that resuming finds it again."""

    def set_epoch(self, epoch: int) -> None:
        if self.shuffle:
            self.generator.manual_seed((self.seed or 0) + epoch)


class FiniteLoss(Trainer):
    """A `Trainer` that ends at a loss or gradient that is not finite, before the weights take it in."""

    def training_step(self, *args: Any, **kwargs: Any) -> Tensor:
        loss = super().training_step(*args, **kwargs)
        self._require_finite("loss", float(loss))
        return loss

    def _get_grad_norm(self, model: Any, grad_norm: Any = None) -> Any:
        norm: Any = super()._get_grad_norm(model, grad_norm=grad_norm)
        self._require_finite("gradient norm", float(norm))
        return norm

    def _require_finite(self, what: str, value: float) -> None:
        if not math.isfinite(value):
            raise TrainerError(
                f"the {what} is {value} at step {self.state.global_step + 1}; nothing of it was saved. Lower "
                "--learning_rate, or look for broken weights or data; the run goes on from its newest checkpoint."
            )


class StepAbandoned(Exception):
    """A stop was asked for between two micro-batches."""


class DistillationTrainer(WholeCheckpoints, FiniteLoss, SDFTTrainer):
    """Learns from a teacher's view of the student's own answers; the base of the two kinds of teacher.

    Rows are `{"prompt": token ids, "row": number}`. A batch of the data loader is a whole optimizer step:
    `per_device_train_batch_size` rollouts on each device.

    Args:
        run_directory: Where sample rollouts are recorded.
        limit: What bounds a micro-batch.
        normalization: `sequence` or `token`, see `trainer.training.microbatches.token_weights`.
        engine: Who samples, see `trainer.training.rollout`.
    """

    args: SDFTConfig

    def __init__(
        self,
        *args: Any,
        run_directory: RunDirectory,
        limit: MicrobatchLimit,
        normalization: str = "sequence",
        engine: str = "generate",
        **kwargs: Any,
    ):
        self.limit = limit
        self.normalization = normalization
        self._rollouts: list[Rollout] | None = None
        self._seconds: defaultdict[str, float] = defaultdict(float)
        self._nested_seconds = 0.0
        self._learnt_at = 0.0
        super().__init__(*args, **kwargs)
        self.padding: Any = self._tokenizer.pad_token_id
        self.samples = SampleRecorder(run_directory, self._tokenizer, self.loss_temperature)
        self.sampler = self._make_sampler(engine)
        check_head(self.accelerator.unwrap_model(self.model), self.args.device)
        self.add_callback(_OptimizerClock(self))

    @property
    def loss_temperature(self) -> float:
        """Of the two distributions that are compared."""
        return self.args.temperature

    def _refuse_sharding(self) -> None:
        if self.is_fsdp_enabled or self.is_deepspeed_enabled:
            raise UsageError(
                "found FSDP or DeepSpeed, expected one process or data-parallel ones (`accelerate launch`)."
            )

    def _make_sampler(self, engine: str) -> Sampler:
        return Sampler(self, engine, max(map(len, self.train_dataset["prompt"])))  # pyright: ignore

    @abstractmethod
    def _teacher_views(self, rollouts: list[Rollout], groups: list[list[int]]) -> Iterator[tuple[list[int], Any]]:
        """The groups of rollouts, by their indices, or parts of them, with what the teacher thinks of them.

        They come in the order to learn; every rollout is in one of them.
        """

    @abstractmethod
    def _microbatch_loss(self, part: list[Rollout], weights: list[float], view: Any) -> tuple[Tensor, TokenStatistics]:
        """The share of a group in the step's loss, and what was seen at its tokens, rollout after rollout."""

    def _get_train_sampler(self, dataset: Any = None) -> EpochSeededSampler:
        theirs = vars(super()._get_train_sampler(dataset))
        names = ("data_source", "mini_repeat_count", "batch_size", "repeat_count", "shuffle", "seed")
        return EpochSeededSampler(**{name: theirs[name] for name in names})

    # ---- one optimizer step

    def training_step(self, model: Any, inputs: list[dict[str, Any]], num_items_in_batch: Any = None) -> Tensor:
        """Roll out and learn as the teacher's views come in; the gradient of the whole step is then in `.grad`."""
        model.train()
        getattr(self.optimizer, "train", lambda: None)()  # schedule-free ones are told
        if self.args.device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(self.args.device)
        self._seconds.clear()
        self._nested_seconds = 0.0
        try:
            return self._learn_step(model, inputs)
        except TeacherError:
            self.control.should_training_stop = True
            self._stop_if_asked(give_up=False)
            raise

    def _learn_step(self, model: Any, inputs: list[dict[str, Any]]) -> Tensor:
        with self._stage("rollout"):
            rollouts = self._prepare_inputs(inputs)
        self._record_completions(rollouts)
        self._stop_if_asked()
        chosen, weights = self._with_loss(rollouts)
        if self.is_world_process_zero():
            self.samples.watch(chosen[0], self.state.global_step, self.state.max_steps)
        with self._stage("student"):
            loss, statistics = self._learn(model, chosen, weights)
        if self.args.torch_empty_cache_steps and self.state.global_step % self.args.torch_empty_cache_steps == 0:
            clear_device_cache()
        self._require_finite("loss", float(loss))
        self._record(chosen, statistics)
        self._learnt_at = time.monotonic()
        return loss

    def compute_loss_context_manager(self) -> Any:
        """Autocast where `--bf16` asks for it: accelerate has it in the model's `forward`, which is not called."""
        return self.accelerator.autocast()

    def _prepare_inputs(self, generation_batch: list[dict[str, Any]]) -> list[Rollout]:
        """The step's rollouts: new ones, or with `num_iterations` > 1 those of the step before."""
        if self._rollouts is None or self.state.global_step % self.num_iterations == 0:
            self._begin_step([row["row"] for row in generation_batch])
            self._rollouts = self.sampler.sample(generation_batch, self._rollout_known)
        return self._rollouts

    def _begin_step(self, rows: list[int]) -> None:
        """Hook: the rows that the student is about to answer."""

    # Hook, called with row and completion as soon as a completion is whole, while others are still sampled.
    _rollout_known: Callable[[int, list[int]], object] | None = None

    def _with_loss(self, rollouts: list[Rollout]) -> tuple[list[Rollout], list[float]]:
        """Those with a token in the loss, and the weight of each of their tokens.

        If none has one it is the shortest, so that there is a gradient, of 0, to share with other processes.
        """
        weighted = list(zip(rollouts, self._token_weights(rollouts), strict=True))
        skip = self.args.num_loss_tokens_to_skip
        chosen = [(rollout, weight) for rollout, weight in weighted if len(rollout.completion_ids) > skip]
        chosen = chosen or [min(weighted, key=lambda pair: len(pair[0].prompt_ids))]
        return [rollout for rollout, _ in chosen], [weight for _, weight in chosen]

    def _learn(self, model: Any, rollouts: list[Rollout], weights: list[float]) -> tuple[Tensor, list[TokenStatistics]]:
        """Forward and backward of every micro-batch; the step's loss and each rollout's statistics."""
        lengths = [len(rollout.prompt_ids) + len(rollout.completion_ids) for rollout in rollouts]
        groups = group_by_length(lengths, self.limit)
        total, found, microbatches = torch.zeros((), device=self.args.device), {}, 0
        for group, view in self._teacher_views(rollouts, groups):
            part = [rollouts[index] for index in group]
            loss_of_part = partial(self._microbatch_loss, part, [weights[index] for index in group], view)
            last = len(found) + len(group) == len(rollouts)
            with nullcontext() if last else self.accelerator.no_sync(model):
                with self.compute_loss_context_manager():
                    loss, statistics = self._through(model, loss_of_part)
                self.accelerator.backward(loss)
            total += loss.detach()
            found |= zip(group, statistics.split(self._tokens_in_loss(part)), strict=True)
            microbatches += 1
            if not last:
                self._stop_if_asked()
        self._metrics["train"]["microbatches"].append(microbatches)
        return total, [found[index] for index in range(len(rollouts))]

    def _tokens_of(
        self, part: list[Rollout], weights: list[float], device: torch.device
    ) -> tuple[Tensor, Tensor, Tensor | None]:
        """The tokens in the loss, their weights, and where known the log-probabilities that sampled them; each [N]."""
        counts, skip = self._tokens_in_loss(part), self.args.num_loss_tokens_to_skip
        tokens = [token for rollout in part for token in rollout.completion_ids[skip:]]
        weights_N = [weight for weight, count in zip(weights, counts, strict=True) for _ in range(count)]
        logps = [logp for rollout in part for logp in (rollout.logps or [])[skip:]]
        return (
            torch.tensor(tokens, dtype=torch.int64, device=device),
            torch.tensor(weights_N, dtype=torch.float32, device=device),
            torch.tensor(logps, dtype=torch.float32, device=device) if logps else None,
        )

    def _wait_for_all(self, requests: Sequence[Future[Any]]) -> None:
        """Until each of the requests is answered; the seconds are told apart where one was not."""
        if all(request.done() for request in requests):
            return
        with self._stage("waiting"):
            for request in requests:
                self._wait_for_any([request])

    def _wait_for_any(self, requests: Sequence[Future[Any]]) -> None:
        """Until one of the requests is answered. A stop that is asked for meanwhile takes effect."""
        while requests and not wait(requests, SECONDS_BETWEEN_LOOKS, FIRST_COMPLETED).done:
            self._stop_if_asked()

    def _states(self, model: Any, part: list[Rollout], prompts: list[list[int]]) -> Tensor:
        """Last hidden states [N, H] at the tokens in the loss, each completion behind its prompt."""
        completions = [rollout.completion_ids for rollout in part]
        return predicting_states(model, prompts, completions, self.args.num_loss_tokens_to_skip, self.padding)

    def _through(self, model: Any, compute: Callable[[], T]) -> T:
        """Call `compute` inside the forward of a data-parallel wrapper, which gets ready for the backward there.

        On GPUs the wrapper takes a forward without any argument for an error, hence the one that is ignored.
        """
        inner = self.accelerator.unwrap_model(model)
        return compute() if inner is model else _ForwardRedirection()(model, inner, lambda _: compute(), None)

    def _tokens_in_loss(self, rollouts: list[Rollout]) -> list[int]:
        skip = self.args.num_loss_tokens_to_skip
        return [max(len(rollout.completion_ids) - skip, 0) for rollout in rollouts]

    def _token_weights(self, rollouts: list[Rollout]) -> list[float]:
        counts = self._tokens_in_loss(rollouts)
        total = torch.tensor(float(sum(counts)), device=self.args.device)
        mean_over_processes: Any = self.accelerator.reduce(total, "mean")
        return token_weights(counts, self.normalization, float(mean_over_processes))

    def _stop_if_asked(self, give_up: bool = True) -> None:
        """Where a stop that was asked for takes effect: after the rollouts and after each micro-batch."""
        self.control = self.callback_handler.on_substep_end(self.args, self.state, self.control)
        if give_up and self.control.should_training_stop:
            raise StepAbandoned

    def _run_epoch(self, model: Any, **kwargs: Any) -> None:
        try:
            super()._run_epoch(model=model, **kwargs)
        except (StepAbandoned, TeacherError) as reason:
            model.zero_grad()
            if self.control.should_save:
                self._save_checkpoint(model, kwargs.get("trial"))
            if isinstance(reason, TeacherError):
                raise

    # ---- what a step tells

    @contextmanager
    def _stage(self, name: str) -> Iterator[None]:
        """Measure the seconds of a stage, the device's work included, and without those of stages within it."""
        self._synchronize()
        started, others = time.monotonic(), self._nested_seconds
        self._nested_seconds = 0.0
        yield
        self._synchronize()
        spent = time.monotonic() - started
        self._seconds[name] += spent - self._nested_seconds
        self._nested_seconds = others + spent

    def _synchronize(self) -> None:
        if self.args.device.type == "cuda":
            torch.cuda.synchronize(self.args.device)

    def _record_completions(self, rollouts: list[Rollout]) -> None:
        """TRL's statistics of the completions."""
        completions = [torch.tensor(rollout.completion_ids, device=self.args.device) for rollout in rollouts]
        lengths = torch.tensor([len(ids) for ids in completions], device=self.args.device)
        padded = pad(completions, padding_value=self.padding)
        self._record_completion_metrics("train", {"completion_ids": padded, "raw_completion_lengths": lengths})

    def _record(self, rollouts: list[Rollout], statistics: list[TokenStatistics]) -> None:
        """Metrics over the tokens in the loss, the log-probabilities that later iterations need, a sample."""
        self._record_metrics(TokenStatistics.join(statistics))
        if self.num_iterations > 1 and not self.generate_from_teacher:
            self._keep_logps(rollouts, statistics)
        if self.is_world_process_zero():
            self.samples.write(rollouts[0], self.state.global_step + 1, statistics[0])

    def _record_metrics(self, statistics: TokenStatistics) -> None:
        values = {name: getattr(statistics, attribute) for name, attribute in METRICS.items()}
        if self.args.distillation_is_clip is not None and any(rollout.logps for rollout in self._rollouts or []):
            values["importance/ratio"] = statistics.ratio_N
            values["importance/clipped"] = (statistics.ratio_N >= self.args.distillation_is_clip).float()
        metrics = self._metrics["train"]
        for name, mean in self._means(values).items():
            metrics[name].append(mean)
        for stage, seconds in self._seconds.items():
            metrics[f"seconds/{stage}"].append(seconds)
        metrics["memory/peak_gib"].append(peak_memory(self.args.device) / 2**30)

    def _means(self, values: dict[str, Tensor]) -> dict[str, float]:
        """The mean over the tokens of all processes of each that is known (NaN where it is not) of any token."""
        known = [values_N.isfinite() for values_N in values.values()]
        sums = [torch.where(k, values_N, 0).sum() for k, values_N in zip(known, values.values(), strict=True)]
        over_processes: Any = self.accelerator.reduce(torch.stack([*sums, *(k.sum() for k in known)]), "sum")
        totals, counts = over_processes.view(2, -1).tolist()
        return {name: total / n for name, total, n in zip(values, totals, counts, strict=True) if n}

    def _keep_logps(self, rollouts: list[Rollout], statistics: list[TokenStatistics]) -> None:
        """In the first of several iterations the weights are those that sampled; tokens out of the loss need none."""
        for rollout, seen in zip(rollouts, statistics, strict=True):
            if rollout.logps is None:
                skipped = len(rollout.completion_ids) - len(seen.logp_N)
                rollout.logps = [0.0] * skipped + seen.logp_N.tolist()

    def _look_closer(self, part: list[Rollout], **models: tuple[Tensor, OutputHead]) -> None:
        """Show what each model, given by its states [N, H] and head, expected at the tokens of the step's sample."""
        span = self.samples.span_in(part, self._tokens_in_loss(part))
        if span is not None:
            for name, (hidden_NH, head) in models.items():
                self.samples.look_closer(name, hidden_NH[span], head)

    # ---- checkpoints

    def _save_more(self, folder: Path) -> None:
        if self._rollouts is not None and self.state.global_step % self.num_iterations:
            name = f"{self.args.process_index}_{ROLLOUTS_FILE}"
            write_json(folder / name, [dataclasses.asdict(rollout) for rollout in self._rollouts])

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: Any = None) -> None:
        super()._load_from_checkpoint(resume_from_checkpoint, model)
        folder = Path(resume_from_checkpoint)
        kept = folder / f"{self.args.process_index}_{ROLLOUTS_FILE}"
        if kept.exists():
            self._rollouts = [Rollout(**rollout) for rollout in json.loads(kept.read_text(encoding="utf-8"))]
            if len(self._rollouts) != self.args.per_device_train_batch_size:
                raise UsageError(
                    f"{folder} has {len(self._rollouts)} rollouts in use for this process, expected "
                    f"{self.args.per_device_train_batch_size}. Go on with as many processes as the run began with."
                )


class _OptimizerClock(TrainerCallback):
    """Measures the end of a step, from the gradient's clipping to the EMA teacher's update."""

    def __init__(self, trainer: DistillationTrainer):
        self.trainer = trainer

    def on_step_end(self, args, state, control, **kwargs):
        self.trainer._synchronize()
        self.trainer._metrics["train"]["seconds/optimizer"].append(time.monotonic() - self.trainer._learnt_at)


class SupervisedTrainer(WholeCheckpoints, FiniteLoss, SFTTrainer):
    """TRL's SFT over rows `{"input_ids": token ids, "labels": token ids, -100 on the prompt}`."""


def peak_memory(device: torch.device) -> int:
    """Bytes: of a GPU the most that was allocated in the step, else the most that the process ever had."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
