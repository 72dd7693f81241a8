"""The training loop: TRL's SDFT trainer with our teacher, prompts, checkpoints and records; SFT for targets.

Shapes: B sequences, T completion tokens, V vocabulary.
"""

import math
import signal
import time
from pathlib import Path
from types import FrameType
from typing import Any

import torch
from accelerate.utils import is_peft_model
from transformers import Trainer, TrainerCallback
from trl import SFTTrainer
from trl.experimental.sdft import SDFTConfig, SDFTTrainer
from trl.experimental.sdft.loss_utils import compute_divergence
from trl.experimental.sdft.sdft_trainer import DemonstrationTeacherContextBuilder, DistillationLogits
from trl.trainer.utils import RepeatSampler

from trainer.checkpoint import RandomState, WholeCheckpoints
from trainer.errors import TrainerError, UsageError
from trainer.runlog import RunDirectory
from trainer.teachers.ema import EmaTeacher


class EncodedContexts(DemonstrationTeacherContextBuilder):
    """Demonstration prompts come encoded from `trainer.prompts`; TRL would format and cut them itself."""

    def _compose_teacher_prompt(self, prompt: list[int], privileged_context: list[int]) -> list[int]:
        return privileged_context


class EpochSeededSampler(RepeatSampler):
    """TRL's sampler with an order that depends on the seed and the epoch alone, so that resuming finds it again."""

    def set_epoch(self, epoch: int) -> None:
        if self.shuffle:
            self.generator.manual_seed((self.seed or 0) + epoch)


class FiniteLoss(Trainer):
    """A `Trainer` that ends at a loss or gradient that is not finite, before the weights take it in."""

    def training_step(self, *args: Any, **kwargs: Any) -> torch.Tensor:
        loss = super().training_step(*args, **kwargs)
        if not torch.isfinite(loss):
            raise self._not_finite("loss", loss.item())
        return loss

    def _clip_grad_norm(self, model: Any) -> Any:
        norm = super()._clip_grad_norm(model)
        if norm is not None and not math.isfinite(float(norm)):
            raise self._not_finite("gradient norm", float(norm))
        return norm

    def _not_finite(self, what: str, value: float) -> TrainerError:
        return TrainerError(
            f"the {what} is {value} at step {self.state.global_step + 1}; nothing of it was saved. Lower "
            "--learning_rate, or look for broken weights or data; the run goes on from its newest checkpoint."
        )


class SelfDistillationTrainer(WholeCheckpoints, FiniteLoss, SDFTTrainer):
    """TRL's SDFT over rows `{"prompt": token ids, "privileged_context": token ids}`.

    Replaces the teacher (float32, saved in checkpoints), the prompt handling (encoded beforehand, never cut
    blindly) and the sampler's seeding; the mathematics of the step is TRL's.

    Args:
        run_directory: Where sample rollouts are recorded.
    """

    args: SDFTConfig

    def __init__(self, *args: Any, run_directory: RunDirectory, **kwargs: Any):
        self.ema: EmaTeacher | None = None
        self.run_directory = run_directory
        self._sampled_at_step = -1
        super().__init__(*args, **kwargs)
        self.teacher_context_builder = EncodedContexts(self)

    def _setup_teacher_model(self) -> None:
        if self.is_fsdp_enabled or self.is_deepspeed_enabled:
            raise UsageError(
                "found FSDP or DeepSpeed, expected one process or data-parallel ones (`accelerate launch`)."
            )
        if self.args.teacher_model_kind != "ema":
            super()._setup_teacher_model()
            return
        student = self.accelerator.unwrap_model(self.model)
        if is_peft_model(student):
            self.ema = EmaTeacher.of_adapter(student, self.args.teacher_update_rate)
            self.teacher_model = self.model
        else:
            self.ema = EmaTeacher.of_model(student, self.args.teacher_update_rate)
            self.teacher_model = self.accelerator.prepare_model(self.ema.model, evaluation_mode=True)
        self.add_callback(self.ema)

    def _tokenize_prompts(self, prompts: list[list[int]]) -> list[list[int]]:
        return prompts

    def _get_train_sampler(self, dataset: Any = None) -> EpochSeededSampler:
        theirs = vars(super()._get_train_sampler(dataset))
        names = ("data_source", "mini_repeat_count", "batch_size", "repeat_count", "shuffle", "seed")
        return EpochSeededSampler(**{name: theirs[name] for name in names})

    def _compute_self_distillation_loss(
        self, model: Any, inputs: dict[str, Any], distillation_logits: DistillationLogits
    ) -> torch.Tensor:
        loss = super()._compute_self_distillation_loss(model, inputs, distillation_logits)
        if self._sampled_at_step != self.state.global_step and self.is_world_process_zero():
            self._sampled_at_step = self.state.global_step
            self._record_sample(inputs, distillation_logits)
        return loss

    @torch.no_grad()
    def _record_sample(self, inputs: dict[str, Any], logits: DistillationLogits) -> None:
        """Write the first rollout of the step with its divergence per token, in nats."""
        length = int(inputs["completion_mask"][0].sum())
        student_TV = logits.student_logits[0, :length].float().log_softmax(-1)
        teacher_TV = logits.teacher_logits[0, :length].float().log_softmax(-1)
        divergence_T = compute_divergence(student_TV, teacher_TV, self.args.distillation_alpha)
        prompt = inputs["prompt_ids"][0][inputs["prompt_mask"][0].bool()]
        tokens = inputs["completion_ids"][0, :length]
        self.run_directory.append_sample(
            {
                "step": self.state.global_step + 1,
                "prompt": self._tokenizer.decode(prompt),
                "tokens": [self._tokenizer.decode([token]) for token in tokens.tolist()],
                "divergence": [round(value, 6) for value in divergence_T.tolist()],
                "in_loss": logits.loss_mask[0, :length].bool().tolist(),
            }
        )

    def _save_more(self, folder: Path) -> None:
        if self.ema is not None:
            self.ema.save(folder)

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: Any = None) -> None:
        super()._load_from_checkpoint(resume_from_checkpoint, model)
        if self.ema is not None:
            self.ema.load(Path(resume_from_checkpoint))


class SupervisedTrainer(WholeCheckpoints, FiniteLoss, SFTTrainer):
    """TRL's SFT over rows `{"input_ids": token ids, "labels": token ids, -100 on the prompt}`."""


class StopOnSignal(TrainerCallback):
    """Turns the first SIGTERM or SIGINT into a clean stop: finish the micro-batch, save, leave.

    A stop within a step drops its gradients and returns the random generators to where the step began, so
    that the resumed run repeats the step exactly. Within the first step after a resume there is nothing to
    save: the checkpoint it resumed from is that state. A second signal acts as if this class were not there;
    checkpoints are whole or absent, so it does no harm.
    """

    SIGNALS = (signal.SIGTERM, signal.SIGINT)

    def __init__(self) -> None:
        self.requested = False
        self._at_step_start: RandomState | None = None

    def __enter__(self) -> "StopOnSignal":
        self._previous = {number: signal.signal(number, self._on_signal) for number in self.SIGNALS}
        return self

    def __exit__(self, *exception: object) -> None:
        self._restore_handlers()

    def _restore_handlers(self) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        self.requested = True
        self._restore_handlers()
        print("stopping at the next safe point; once more to stop at once", flush=True)

    def on_train_begin(self, args, state, control, **kwargs):
        self._at_step_start = RandomState() if state.global_step == 0 else None

    def on_substep_end(self, args, state, control, **kwargs):
        if not self.requested:
            return control
        if self._at_step_start is not None:
            self._at_step_start.restore()
            control.should_save = True
        control.should_training_stop = True
        return control

    def on_step_end(self, args, state, control, **kwargs):
        self._at_step_start = RandomState()
        if self.requested:
            control.should_save = control.should_training_stop = True
        return control


class StepRecorder(TrainerCallback):
    """Writes one line of `metrics.jsonl` and one console line an optimizer step.

    Args:
        sequences_per_step: Rollouts of an optimizer step over all devices; their mean length is logged.
    """

    def __init__(self, run_directory: RunDirectory, sequences_per_step: int):
        self.run_directory = run_directory
        self.sequences_per_step = sequences_per_step
        self._tokens_seen = 0.0
        self._started: float | None = None
        self._steps_before = 0

    def on_step_begin(self, args, state, control, **kwargs):
        if self._started is None:
            self._started, self._steps_before = time.monotonic(), state.global_step

    def on_log(self, args, state, control, logs=None, **kwargs):
        if not state.is_world_process_zero or logs is None or "loss" not in logs or self._started is None:
            return
        steps, seconds = state.global_step - self._steps_before, time.monotonic() - self._started
        tokens = self._tokens(logs, steps)
        self._started = None
        self.run_directory.append_metrics(
            {
                "step": state.global_step,
                **logs,
                "tokens": tokens,
                "tokens_per_second": round(tokens / seconds, 1),
                "seconds": round(seconds, 3),
            }
        )
        remaining = (state.max_steps - state.global_step) * seconds / steps
        print(
            f"step {state.global_step}/{state.max_steps}  loss {logs['loss']:.4f}  lr {logs['learning_rate']:.1e}  "
            f"{tokens / seconds:.0f} tokens/s  {seconds:.1f} s  {remaining / 60:.1f} min to go",
            flush=True,
        )

    def _tokens(self, logs: dict[str, float], steps: int) -> float:
        """Tokens of the logged steps: of the rollouts, or for SFT of the sequences."""
        if "completions/mean_length" in logs:
            return logs["completions/mean_length"] * self.sequences_per_step * steps
        before, self._tokens_seen = self._tokens_seen, logs.get("num_tokens", self._tokens_seen)
        return self._tokens_seen - before
