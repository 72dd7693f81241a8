"""Training that can be stopped within a step, and that ends before it takes in what is not finite."""

import math
from collections.abc import Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from contextlib import contextmanager
from typing import Any

from torch import Tensor
from transformers import Trainer

from ..errors import TeacherError, TrainerError

SECONDS_BETWEEN_LOOKS = 0.2  # at whether a stop was asked for, while others' answers are waited for


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


class StoppableSteps(Trainer):
    """A `Trainer` whose steps can be given up half-way: a callback asks for it, or the served teacher is gone.

    What a step did until then leaves no trace; `trainer.training.callbacks.StopOnSignal` says what is saved.
    """

    def stop_if_asked(self) -> None:
        """Where a stop that was asked for takes effect: after the rollouts and after each micro-batch.

        Raises:
            StepAbandoned: it was asked for.
        """
        self._ask_callbacks()
        if self.control.should_training_stop:
            raise StepAbandoned

    def _ask_callbacks(self) -> None:
        self.control = self.callback_handler.on_substep_end(self.args, self.state, self.control)

    def wait_for_any(self, requests: Sequence[Future[Any]]) -> None:
        """Until one of the requests is answered. A stop that is asked for meanwhile takes effect."""
        while requests and not wait(requests, SECONDS_BETWEEN_LOOKS, FIRST_COMPLETED).done:
            self.stop_if_asked()

    @contextmanager
    def given_up_without_teacher(self) -> Iterator[None]:
        """A step that ends in a `TeacherError` is given up like one that is stopped."""
        try:
            yield
        except TeacherError:
            self.control.should_training_stop = True
            self._ask_callbacks()
            raise

    def _run_epoch(self, model: Any, **kwargs: Any) -> None:
        try:
            super()._run_epoch(model=model, **kwargs)
        except (StepAbandoned, TeacherError) as reason:
            model.zero_grad()
            if self.control.should_save:
                self._save_checkpoint(model, kwargs.get("trial"))
            if isinstance(reason, TeacherError):
                raise
