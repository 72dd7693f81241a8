"""What watches the training loop: the signal to stop, and the record of every step."""

import os
import signal
import sys
import threading
import time
from collections import deque
from contextlib import ExitStack
from pathlib import Path
from types import FrameType
from typing import Self

import torch
from rich.console import Console, ConsoleOptions, RenderResult
from rich.text import Text
from tqdm import tqdm
from transformers import TrainerCallback
from transformers.integrations import TensorBoardCallback

from ..run.checkpoint import RandomState
from ..run.directory import RunDirectory
from ..run.display import is_watched, shown, with_bar
from ..run.processes import has_launcher
from ..teachers.served.client import TeacherClient

STAGES = ("rollout", "teacher", "waiting", "student", "optimizer")

REMEMBERED = 100  # records that transformers keeps in memory and in each trainer_state.json; metrics.jsonl has all
PACE_OVER = 10  # loggings by whose mean the time that is left is reckoned


class StopOnSignal(TrainerCallback):
    """Turns the first SIGTERM or SIGINT into a clean stop: finish the micro-batch, save, leave.

    A step that can't be finished, because its teacher is gone, is given up in the same way.

    A stop within a step drops its gradients and returns the random generators to where the step began, so
    that the resumed run repeats the step exactly. Within the first step after a resume there is nothing to
    save: the checkpoint it resumed from is that state. With several processes all stop after the step, so that
    none waits for another. A second signal acts as if this class were not there; checkpoints are whole or
    absent, so it does no harm. Under a launcher one that comes at once is the first: Slurm and systemd signal every
    process, and torchrun passes on what it was sent.
    """

    SIGNALS = (signal.SIGTERM, signal.SIGINT)
    SECONDS_TO_PASS_ON = 5.0

    def __init__(self) -> None:
        self.requested = False
        self._requested_at = 0.0
        self._at_step_start: RandomState | None = None

    def __enter__(self) -> "StopOnSignal":
        hears = threading.current_thread() is threading.main_thread()  # Python gives signals to that thread alone
        self._previous = {number: signal.signal(number, self._on_signal) for number in self.SIGNALS if hears}
        return self

    def __exit__(self, *exception: object) -> None:
        self._restore_handlers()

    def _restore_handlers(self) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        if self.requested:
            self._on_another(number)
            return
        self.requested, self._requested_at = True, time.monotonic()
        if not has_launcher():
            self._restore_handlers()
        print("stopping at the next safe point; once more to stop at once", flush=True)

    def _on_another(self, number: int) -> None:
        if time.monotonic() - self._requested_at > self.SECONDS_TO_PASS_ON:
            self._restore_handlers()
            os.kill(os.getpid(), number)

    def on_train_begin(self, args, state, control, **kwargs):
        self._at_step_start = RandomState() if state.global_step == 0 else None

    def on_substep_end(self, args, state, control, **kwargs):
        if args.world_size > 1 or not (self.requested or control.should_training_stop):
            return control
        if self._at_step_start is not None:
            self._at_step_start.restore()
            control.should_save = True
        control.should_training_stop = True
        return control

    def on_step_end(self, args, state, control, **kwargs):
        self._at_step_start = RandomState()
        if self._requested_anywhere(args):
            self.requested = True
            control.should_save = control.should_training_stop = True
        return control

    def _requested_anywhere(self, args) -> bool:
        if args.world_size == 1:
            return self.requested
        flag = torch.tensor(float(self.requested), device=args.device)
        torch.distributed.all_reduce(flag, op=torch.distributed.ReduceOp.MAX)
        return bool(flag)


class StepRecorder(TrainerCallback):
    """Writes one line of `metrics.jsonl` an optimizer step, and shows it: redrawn on a terminal, else as a line.

    As a context manager it leaves the terminal in order, however the training ends.

    Args:
        sequences_per_step: Rollouts of an optimizer step over all devices; their mean length is logged.
        teacher: The line to the served teacher that is asked meanwhile, if one is.
    """

    def __init__(self, run_directory: RunDirectory, sequences_per_step: int, teacher: TeacherClient | None = None):
        self.run_directory = run_directory
        self.sequences_per_step = sequences_per_step
        self.teacher = teacher
        self._tokens_seen = 0.0
        self._started: float | None = None
        self._steps_before = 0
        self._recent: deque[tuple[int, float]] = deque(maxlen=PACE_OVER)  # steps and seconds of each logging
        self._view: StepView | None = None
        self._display = ExitStack()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self._display.close()

    def on_train_begin(self, args, state, control, **kwargs):
        told = (logs["num_tokens"] for logs in reversed(state.log_history) if "num_tokens" in logs)
        self._tokens_seen = next(told, 0.0)  # of a run that goes on
        if state.is_world_process_zero and sys.stdout.isatty() and is_watched():
            self._view = StepView(state.global_step, state.max_steps, self.teacher)
            self._display.enter_context(shown(self._view))

    def on_train_end(self, args, state, control, **kwargs):
        self._display.close()

    def on_step_begin(self, args, state, control, **kwargs):
        if self._started is None:
            self._started, self._steps_before = time.monotonic(), state.global_step

    def on_step_end(self, args, state, control, **kwargs):
        if self._view is not None:
            self._view.step = state.global_step

    def on_log(self, args, state, control, logs=None, **kwargs):
        del state.log_history[:-REMEMBERED]
        if not state.is_world_process_zero or logs is None or "loss" not in logs or self._started is None:
            return
        steps, seconds = state.global_step - self._steps_before, time.monotonic() - self._started
        tokens = self._tokens(logs, steps)
        self._started = None
        rates = {
            "tokens": tokens,
            "tokens_per_second": round(tokens / seconds, 1),
            "seconds": round(seconds, 3),
            "steps": steps,
        }
        self.run_directory.append_metrics({"step": state.global_step, **logs, **rates})
        self._recent.append((steps, seconds))
        done, took = map(sum, zip(*self._recent, strict=True))
        remaining = (state.max_steps - state.global_step) * took / done
        if self._view is not None:
            self._view.update(logs | rates, remaining)
        else:
            print(console_line(state.global_step, state.max_steps, logs | rates, remaining), flush=True)

    def _tokens(self, logs: dict[str, float], steps: int) -> float:
        """Tokens of the logged steps: of the rollouts, or for SFT of the sequences."""
        if "completions/mean_length" in logs:
            return logs["completions/mean_length"] * self.sequences_per_step * steps
        before, self._tokens_seen = self._tokens_seen, logs.get("num_tokens", self._tokens_seen)
        return self._tokens_seen - before


class StepView:
    """How far the training is and what its last logged steps were like, as a terminal shows it."""

    def __init__(self, step: int, steps: int, teacher: TeacherClient | None):
        self.step, self.steps, self.teacher = step, steps, teacher
        self._logs: dict[str, float] = {}
        self._ends_at = 0.0

    def update(self, logs: dict[str, float], seconds_to_go: float) -> None:
        """Steps were logged."""
        self._logs, self._ends_at = logs, time.monotonic() + seconds_to_go

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        left = tqdm.format_interval(max(self._ends_at - time.monotonic(), 0)) if self._logs else "?"
        yield with_bar(self.step, self.steps, f"step {self.step}/{self.steps}, {left} left")
        if self._logs:
            *facts, seconds = step_facts(self._logs)
            yield from map(_with_bold_values, ("  ".join(facts), seconds))
        if self._logs and self.teacher is not None:
            yield _with_bold_values(f"teacher: {self._pace()}, {self.teacher.retries} retries")

    def _pace(self) -> str:
        waited = self._logs.get("seconds/waiting", 0.0)
        return f"waited for {waited:.1f} s a step" if waited >= 0.05 else "answers in time"


def _with_bold_values(line: str) -> Text:
    text = Text(line)
    text.highlight_regex(r"(?<!\S)[\d.]\S*", "bold")
    return text


def console_line(step: int, steps: int, logs: dict[str, float], seconds_to_go: float) -> str:
    """A step in one line: what is known of it, in the order in which one asks."""
    return "  ".join([f"step {step}/{steps}", *step_facts(logs), f"{seconds_to_go / 60:.1f} min to go"])


def step_facts(logs: dict[str, float]) -> list[str]:
    """What is known of a step, a few words each, its seconds last; the divergences are forward|reverse."""
    parts = [f"loss {logs['loss']:.4f}"]
    if "kl/reverse" in logs:
        forward = f"{logs['kl/forward']:.4f}" if "kl/forward" in logs else "–"
        parts.append(f"kl {forward}|{logs['kl/reverse']:.4f}")
    if "agreement" in logs:
        parts.append(f"agree {logs['agreement']:.0%}")
    if "signal/share" in logs:
        parts.append(f"signal {logs['signal/share']:.0%}")
    if "completions/mean_length" in logs:
        parts.append(f"length {logs['completions/mean_length']:.0f}")
    parts += [f"lr {logs['learning_rate']:.1e}", f"{logs['tokens_per_second']:.0f} tokens/s"]
    if "seconds/rollout" in logs:
        stages = [f"{stage} {logs[f'seconds/{stage}']:.1f}" for stage in STAGES if f"seconds/{stage}" in logs]
        parts.append(f"{logs['seconds']:.1f} s ({', '.join(stages)})")
    else:
        parts.append(f"{logs['seconds']:.1f} s")
    return parts


class EventFiles(TensorBoardCallback):
    """TensorBoard's curves, in `folder` unless TENSORBOARD_LOGGING_DIR says where.

    A resumed run goes on with them: what was written of steps that are done again is void.
    """

    def __init__(self, folder: Path):
        super().__init__()
        self.logging_dir = self.logging_dir or str(folder)

    def on_train_begin(self, args, state, control, **kwargs):
        if state.is_world_process_zero:
            self.tb_writer = self._SummaryWriter(self.logging_dir, purge_step=state.global_step + 1)
        super().on_train_begin(args, state, control, **kwargs)
