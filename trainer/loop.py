"""The training loop: TRL's SDFT trainer with a step of our own; TRL's SFT trainer for targets.

TRL keeps rows, sampling, optimizer, schedule and logging. The step between them is ours: its rollouts are scored
by the teacher, regrouped into micro-batches without padding, and learnt from through the chunked divergence.

Shapes: N tokens in the loss, H hidden.
"""

import copy
import dataclasses
import json
import math
import resource
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import torch
from accelerate.utils import is_peft_model
from accelerate.utils.memory import clear_device_cache
from torch import Tensor
from transformers import Trainer, TrainerCallback
from trl import SFTTrainer
from trl.experimental.sdft import SDFTConfig, SDFTTrainer
from trl.models.utils import _ForwardRedirection
from trl.trainer.utils import RepeatSampler, pad

from trainer.atomic import write_json
from trainer.checkpoint import WholeCheckpoints
from trainer.errors import TrainerError, UsageError
from trainer.losses import Divergence, TokenStatistics, chunked_divergence
from trainer.microbatches import MicrobatchLimit, group_by_length, token_weights
from trainer.rollout import Rollout, Sampler, evaluating
from trainer.runlog import RunDirectory
from trainer.scoring import check_head, head_of, predicting_states
from trainer.teachers.ema import EmaTeacher

ROLLOUTS_FILE = "rollouts.json"
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


class SelfDistillationTrainer(WholeCheckpoints, FiniteLoss, SDFTTrainer):
    """SDFT over rows `{"prompt": token ids, "privileged_context": token ids of the teacher's prompt}`.

    A batch of the data loader is a whole optimizer step: `per_device_train_batch_size` rollouts on each device.

    Args:
        run_directory: Where sample rollouts are recorded.
        limit: What bounds a micro-batch.
        normalization: `sequence` or `token`, see `trainer.microbatches.token_weights`.
        engine: Who samples, see `trainer.rollout`.
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
        self.ema: EmaTeacher | None = None
        self.run_directory = run_directory
        self.limit = limit
        self.normalization = normalization
        self._rollouts: list[Rollout] | None = None
        self._learnt_at = 0.0
        super().__init__(*args, **kwargs)
        self.padding: Any = self._tokenizer.pad_token_id
        self.divergence = divergence_of(self.args)
        self.sampler = Sampler(self, engine)
        check_head(self.accelerator.unwrap_model(self.model), self.args.device)
        self.add_callback(_OptimizerClock(self))

    def _setup_teacher_model(self) -> None:
        if self.is_fsdp_enabled or self.is_deepspeed_enabled:
            raise UsageError(
                "found FSDP or DeepSpeed, expected one process or data-parallel ones (`accelerate launch`)."
            )
        student, kind = self.accelerator.unwrap_model(self.model), self.args.teacher_model_kind
        self.teacher_model = self.model
        if kind == "ema":
            of_student = EmaTeacher.of_adapter if is_peft_model(student) else EmaTeacher.of_model
            self.ema = of_student(student, self.args.teacher_update_rate)
            self.teacher_model = self.ema.model
            self.add_callback(self.ema)
        elif kind == "base" and not is_peft_model(student):
            self.teacher_model = copy.deepcopy(student).requires_grad_(False).eval()

    def _get_train_sampler(self, dataset: Any = None) -> EpochSeededSampler:
        theirs = vars(super()._get_train_sampler(dataset))
        names = ("data_source", "mini_repeat_count", "batch_size", "repeat_count", "shuffle", "seed")
        return EpochSeededSampler(**{name: theirs[name] for name in names})

    # ---- one optimizer step

    def training_step(self, model: Any, inputs: list[dict[str, Any]], num_items_in_batch: Any = None) -> Tensor:
        """Roll out, let the teacher score, learn; the gradient of the whole step is in `.grad` afterwards."""
        model.train()
        getattr(self.optimizer, "train", lambda: None)()  # schedule-free ones are told
        if self.args.device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(self.args.device)
        with self._stage("rollout"):
            rollouts = self._prepare_inputs(inputs)
        self._record_completions(rollouts)
        self._stop_if_asked()
        chosen, weights = self._with_loss(rollouts)
        with self._stage("teacher"):
            states = self._teacher_states(chosen)
        with self._stage("student"):
            loss, statistics = self._learn(model, chosen, weights, states)
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
            self._rollouts = self.sampler.sample(generation_batch)
        return self._rollouts

    def _with_loss(self, rollouts: list[Rollout]) -> tuple[list[Rollout], list[float]]:
        """Those with a token in the loss, and the weight of each of their tokens.

        If none has one it is the shortest, so that there is a gradient, of 0, to share with other processes.
        """
        weighted = list(zip(rollouts, self._token_weights(rollouts), strict=True))
        skip = self.args.num_loss_tokens_to_skip
        chosen = [(rollout, weight) for rollout, weight in weighted if len(rollout.completion_ids) > skip]
        chosen = chosen or [min(weighted, key=lambda pair: len(pair[0].prompt_ids))]
        return [rollout for rollout, _ in chosen], [weight for _, weight in chosen]

    @torch.no_grad()
    def _teacher_states(self, rollouts: list[Rollout]) -> list[Tensor]:
        """For each rollout the teacher's last hidden states [N, H] at its tokens in the loss, without dropout."""
        states: dict[int, Tensor] = {}
        teacher = self.accelerator.unwrap_model(self.teacher_model)
        lengths = [len(rollout.teacher_prompt_ids) + len(rollout.completion_ids) for rollout in rollouts]
        with (
            evaluating(teacher),
            self.compute_loss_context_manager(),
            self._get_teacher_context_for_self_distillation(),
        ):
            for group in group_by_length(lengths, self.limit):
                part = [rollouts[index] for index in group]
                hidden_NH = self._states(teacher, part, [rollout.teacher_prompt_ids for rollout in part])
                states |= zip(group, hidden_NH.split(self._tokens_in_loss(part)), strict=True)
                self._stop_if_asked()
        return [states[index] for index in range(len(rollouts))]

    def _learn(
        self, model: Any, rollouts: list[Rollout], weights: list[float], states: list[Tensor]
    ) -> tuple[Tensor, list[TokenStatistics]]:
        """Forward and backward of every micro-batch; the step's loss and each rollout's statistics."""
        lengths = [len(rollout.prompt_ids) + len(rollout.completion_ids) for rollout in rollouts]
        groups = group_by_length(lengths, self.limit)
        total, found = torch.zeros((), device=self.args.device), {}
        for group in groups:
            part = [rollouts[index] for index in group]
            loss_of_part = partial(
                self._microbatch_loss,
                part,
                [weights[index] for index in group],
                torch.cat([states[index] for index in group]),
            )
            last = group is groups[-1]
            with nullcontext() if last else self.accelerator.no_sync(model):
                with self.compute_loss_context_manager():
                    loss, statistics = self._through(model, loss_of_part)
                self.accelerator.backward(loss)
            total += loss.detach()
            found |= zip(group, statistics.split(self._tokens_in_loss(part)), strict=True)
            if not last:
                self._stop_if_asked()
        self._metrics["train"]["microbatches"].append(len(groups))
        return total, [found[index] for index in range(len(rollouts))]

    def _microbatch_loss(
        self, part: list[Rollout], weights: list[float], teacher_NH: Tensor
    ) -> tuple[Tensor, TokenStatistics]:
        student, teacher = (self.accelerator.unwrap_model(m) for m in (self.model, self.teacher_model))
        student_NH = self._states(student, part, [rollout.prompt_ids for rollout in part])
        counts, skip = self._tokens_in_loss(part), self.args.num_loss_tokens_to_skip
        tokens = [token for rollout in part for token in rollout.completion_ids[skip:]]
        weights_N = [weight for weight, count in zip(weights, counts, strict=True) for _ in range(count)]
        logps = [logp for rollout in part for logp in (rollout.logps or [])[skip:]]
        device = student_NH.device
        return chunked_divergence(
            student_NH,
            head_of(student),
            teacher_NH,
            head_of(teacher),
            torch.tensor(tokens, dtype=torch.int64, device=device),
            torch.tensor(weights_N, dtype=torch.float32, device=device),
            self.divergence,
            torch.tensor(logps, dtype=torch.float32, device=device) if logps else None,
        )

    def _states(self, model: Any, part: list[Rollout], prompts: list[list[int]]) -> Tensor:
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

    def _stop_if_asked(self) -> None:
        """Where a stop that was asked for takes effect: after the rollouts and after each micro-batch."""
        self.control = self.callback_handler.on_substep_end(self.args, self.state, self.control)
        if self.control.should_training_stop:
            raise StepAbandoned

    def _run_epoch(self, model: Any, **kwargs: Any) -> None:
        try:
            super()._run_epoch(model=model, **kwargs)
        except StepAbandoned:
            model.zero_grad()
            if self.control.should_save:
                self._save_checkpoint(model, kwargs.get("trial"))

    # ---- what a step tells

    @contextmanager
    def _stage(self, name: str) -> Iterator[None]:
        """Measure the seconds of a stage, the device's work included."""
        self._synchronize()
        started = time.monotonic()
        yield
        self._synchronize()
        self._metrics["train"][f"seconds/{name}"].append(time.monotonic() - started)

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
            self._record_sample(rollouts[0], statistics[0])

    def _record_metrics(self, statistics: TokenStatistics) -> None:
        names = {
            "sdft/distillation_loss": statistics.loss_N,
            "kl/forward": statistics.kl_forward_N,
            "kl/reverse": statistics.kl_reverse_N,
            "entropy/student": statistics.student_entropy_N,
            "entropy/teacher": statistics.teacher_entropy_N,
            "agreement": statistics.agreement_N,
        }
        if self.divergence.max_ratio is not None and any(rollout.logps for rollout in self._rollouts or []):
            names["importance/ratio"] = statistics.ratio_N
            names["importance/clipped"] = (statistics.ratio_N >= self.divergence.max_ratio).float()
        sums = torch.stack([*(values.sum() for values in names.values()), torch.ones_like(statistics.loss_N).sum()])
        over_processes: Any = self.accelerator.reduce(sums, "sum")
        *totals, count = over_processes.tolist()
        metrics = self._metrics["train"]
        for name, total in zip(names, totals, strict=True):
            metrics[name].append(total / max(count, 1))
        metrics["memory/peak_gib"].append(peak_memory(self.args.device) / 2**30)

    def _keep_logps(self, rollouts: list[Rollout], statistics: list[TokenStatistics]) -> None:
        """In the first of several iterations the weights are those that sampled; tokens out of the loss need none."""
        for rollout, seen in zip(rollouts, statistics, strict=True):
            if rollout.logps is None:
                skipped = len(rollout.completion_ids) - len(seen.logp_N)
                rollout.logps = [0.0] * skipped + seen.logp_N.tolist()

    def _record_sample(self, rollout: Rollout, seen: TokenStatistics) -> None:
        """Write one rollout of the step with its divergence per token, in nats; null where it is not in the loss."""
        skipped = len(rollout.completion_ids) - len(seen.loss_N)
        self.run_directory.append_sample(
            {
                "step": self.state.global_step + 1,
                "prompt": self._tokenizer.decode(rollout.prompt_ids),
                "tokens": [self._tokenizer.decode([token]) for token in rollout.completion_ids],
                "divergence": [None] * skipped + [round(value, 6) for value in seen.loss_N.tolist()],
                "in_loss": [False] * skipped + [True] * len(seen.loss_N),
            }
        )

    # ---- checkpoints

    def _save_more(self, folder: Path) -> None:
        if self.ema is not None and self.is_world_process_zero():
            self.ema.save(folder)
        if self._rollouts is not None and self.state.global_step % self.num_iterations:
            name = f"{self.args.process_index}_{ROLLOUTS_FILE}"
            write_json(folder / name, [dataclasses.asdict(rollout) for rollout in self._rollouts])

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: Any = None) -> None:
        super()._load_from_checkpoint(resume_from_checkpoint, model)
        folder = Path(resume_from_checkpoint)
        if self.ema is not None:
            self.ema.load(folder)
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

    def __init__(self, trainer: SelfDistillationTrainer):
        self.trainer = trainer

    def on_step_end(self, args, state, control, **kwargs):
        self.trainer._synchronize()
        self.trainer._metrics["train"]["seconds/optimizer"].append(time.monotonic() - self.trainer._learnt_at)


class SupervisedTrainer(WholeCheckpoints, FiniteLoss, SFTTrainer):
    """TRL's SFT over rows `{"input_ids": token ids, "labels": token ids, -100 on the prompt}`."""


def divergence_of(args: SDFTConfig) -> Divergence:
    """The divergence that TRL's arguments describe."""
    return Divergence(
        alpha=args.distillation_alpha,
        temperature=args.temperature,
        mode=args.distillation_mode,
        top_k=args.distillation_topk,
        add_tail=args.distillation_add_tail,
        max_ratio=args.distillation_is_clip,
    )


def peak_memory(device: torch.device) -> int:
    """Bytes: of a GPU the most that was allocated in the step, else the most that the process ever had."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
