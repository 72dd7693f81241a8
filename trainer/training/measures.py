"""What a step tells: the seconds of its stages, the divergences at its tokens, the memory it took.

All of it goes into TRL's own metrics, which TRL averages over the logged steps.

Shapes: N tokens in the loss.
"""

import resource
import time
from collections import defaultdict
from collections.abc import Iterator, MutableMapping, Sequence
from contextlib import contextmanager

import torch
from accelerate import Accelerator
from torch import Tensor
from transformers import TrainerCallback

from ..losses.divergence import TokenStatistics

AT_TOKENS = {
    "sdft/distillation_loss": "loss_N",
    "kl/forward": "kl_forward_N",
    "kl/reverse": "kl_reverse_N",
    "entropy/student": "student_entropy_N",
    "entropy/teacher": "teacher_entropy_N",
    "agreement": "agreement_N",
}


class StepMeasures(TrainerCallback):
    """Measures the step that is under way.

    As a callback it measures the end of the step, from the gradient's clipping to the EMA teacher's update.

    Args:
        accelerator: Of the trainer; what is told of tokens is a mean over those of all its processes.
        metrics: TRL's, by name: each step appends a value.
    """

    def __init__(self, accelerator: Accelerator, metrics: MutableMapping[str, list[float]]):
        self.accelerator = accelerator
        self.device: torch.device = accelerator.device
        self.metrics = metrics
        self._seconds: defaultdict[str, float] = defaultdict(float)
        self._nested_seconds = 0.0
        self._learnt_at = 0.0

    def begin(self) -> None:
        """A step begins."""
        if self.device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(self.device)
        self._seconds.clear()
        self._nested_seconds = 0.0

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Measure the seconds of a stage, the device's work included, and without those of stages within it."""
        self._synchronize()
        started, others = time.monotonic(), self._nested_seconds
        self._nested_seconds = 0.0
        yield
        self._synchronize()
        spent = time.monotonic() - started
        self._seconds[name] += spent - self._nested_seconds
        self._nested_seconds = others + spent

    def expect(self, stage: str) -> None:
        """Tell of this stage also where it does not come."""
        self._seconds[stage] += 0.0

    def add(self, name: str, value: float) -> None:
        """A value of the step."""
        self.metrics[name].append(value)

    def add_tokens(self, statistics: TokenStatistics, largest_ratio: float | None) -> None:
        """What was seen at the tokens in the loss.

        Args:
            largest_ratio: Where ratios of importance are clipped; None where there are none.
        """
        values = {name: getattr(statistics, attribute) for name, attribute in AT_TOKENS.items()}
        if largest_ratio is not None:
            values["importance/ratio"] = statistics.ratio_N
            values["importance/clipped"] = (statistics.ratio_N >= largest_ratio).float()
        for name, mean in self._means(values).items():
            self.add(name, mean)

    def add_replayed(self, losses: Sequence[Tensor]) -> None:
        """How far the student is from what it was, in nats a token of what is replayed, of all processes."""
        loss_N = torch.cat([*losses, torch.zeros(0, device=self.device)])
        for name, mean in self._means({"replay/kl": loss_N}).items():
            self.add(name, mean)

    def _means(self, values: dict[str, Tensor]) -> dict[str, float]:
        """The mean over the tokens of all processes of each that is known (NaN where it is not) of any token."""
        known = [values_N.isfinite() for values_N in values.values()]
        sums = [torch.where(k, values_N, 0).sum() for k, values_N in zip(known, values.values(), strict=True)]
        over_processes = self.accelerator.reduce(torch.stack([*sums, *(k.sum() for k in known)]), "sum")
        assert isinstance(over_processes, Tensor)
        totals, counts = over_processes.view(2, -1).tolist()
        return {name: total / n for name, total, n in zip(values, totals, counts, strict=True) if n}

    def add_costs(self) -> None:
        """The seconds of the stages that are over, and the memory."""
        for stage, seconds in self._seconds.items():
            self.add(f"seconds/{stage}", seconds)
        self.add("memory/peak_gib", peak_memory(self.device) / 2**30)

    def learnt(self) -> None:
        """The gradient is there; what is left of the step is the optimizer's."""
        self._learnt_at = time.monotonic()

    def on_step_end(self, args, state, control, **kwargs):
        self._synchronize()
        self.add("seconds/optimizer", time.monotonic() - self._learnt_at)

    def _synchronize(self) -> None:
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)


def peak_memory(device: torch.device) -> int:
    """Bytes: of a GPU the most that was allocated in the step, else the most that the process ever had."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
