"""In which order rows are learnt, and who answers them; both depend on the seed, the epoch and the step alone.

So a resumed run finds again what it would have done.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch.utils.data import DataLoader
from transformers import Trainer
from trl.trainer.utils import RepeatSampler

from ..errors import UsageError

GOLDEN_RATIO = 0.618034  # its multiples spread evenly between 0 and 1


class EpochSeededSampler(RepeatSampler):
    """TRL's sampler with an order that depends on the seed and the epoch alone, so that resuming finds it again."""

    def set_epoch(self, epoch: int) -> None:
        if self.shuffle:
            self.generator.manual_seed((self.seed or 0) + epoch)


class ReplaySampler(EpochSeededSampler):
    """Steps of which a share are prompts to replay; an epoch is one pass over the others.

    Args:
        trained: Rows to learn, the first of `data_source`; those behind them are replayed, round and round.
        share: Of the prompts of a step. Over the steps the mean is exact, also where a step's share is a fraction.
        at_once: Prompts of a step on one device; each device gets its part of the replayed ones, at its end.
    """

    def __init__(self, *args: Any, trained: int, share: float, at_once: int, **kwargs: Any):
        super().__init__(*args, **kwargs)
        self.trained = trained
        self.share = share
        self.at_once = at_once

    def __iter__(self) -> Iterator[int]:
        learnt, replayed = self._round(0, self.trained), self._endless(self.trained, self.num_samples)
        for step in range(self._steps()):
            chunk = self._one_step(step, learnt, replayed)
            for _ in range(self.repeat_count):
                for index in chunk:
                    yield from [index] * self.mini_repeat_count

    def __len__(self) -> int:
        return self._steps() * self.batch_size * self.mini_repeat_count * self.repeat_count

    def replayed_at(self, step: int) -> int:
        """Prompts of a step, counted from 0, that are replayed."""
        return share_of(self.share * (step + 1) * self.batch_size) - share_of(self.share * step * self.batch_size)

    def _steps(self) -> int:
        steps, left = 0, self.trained
        while (needed := self.batch_size - self.replayed_at(steps)) <= left:
            steps, left = steps + 1, left - needed
        return steps

    def _one_step(self, step: int, learnt: Iterator[int], replayed: Iterator[int]) -> list[int]:
        devices = self.batch_size // self.at_once
        count, chunk = self.replayed_at(step), []
        for device in range(devices):
            replays = count // devices + (device < count % devices)
            chunk += [next(learnt) for _ in range(self.at_once - replays)]
            chunk += [next(replayed) for _ in range(replays)]
        return chunk

    def _round(self, begin: int, end: int) -> Iterator[int]:
        count = end - begin
        order = torch.randperm(count, generator=self.generator).tolist() if self.shuffle else range(count)
        return (begin + place for place in order)

    def _endless(self, begin: int, end: int) -> Iterator[int]:
        while True:
            yield from self._round(begin, end)


class ResumedOrder(Trainer):
    """A `Trainer` that goes on within an epoch in the order of that epoch, on several processes too."""

    def get_train_dataloader(self) -> DataLoader:
        loader = super().get_train_dataloader()
        let_epochs_through(loader)
        return loader


def let_epochs_through(loader: DataLoader) -> None:
    """Have the sampler of a process's share of the batches told of each epoch, also where batches are skipped.

    transformers tells what a skipping loader wraps. On several processes that is accelerate's share of the batches,
    which tells nobody (1.15): a run that went on within its second epoch learnt in the order of the first.
    """
    share: Any = loader.batch_sampler
    sampler: Any = getattr(getattr(share, "batch_sampler", None), "sampler", None)
    if hasattr(sampler, "set_epoch"):
        share.set_epoch = sampler.set_epoch


@dataclass(frozen=True)
class TeacherShare:
    """The share of a step's prompts that the shown teacher answers: `begin` at the first step, `end` at the last."""

    begin: float
    end: float

    @classmethod
    def parse(cls, text: str) -> "TeacherShare":
        """Of `0.5`, or `1:0` for a share that falls evenly.

        Raises:
            UsageError: it is neither.
        """
        try:
            begin, end = map(float, text.split(":") if ":" in text else (text, text))
        except ValueError:
            begin = end = math.nan
        if not (0 <= begin <= 1 and 0 <= end <= 1):
            raise UsageError(
                f"--teacher_rollouts is {text!r}; expected a share from 0 to 1, as 0.5, or one that falls, as 1:0."
            )
        return cls(begin, end)

    def chosen(self, rows: list[int], *, step: int, steps: int, epoch: int) -> set[int]:
        """Places in `rows` that the teacher answers at a step; in the next epoch they are others."""
        count = share_of(len(rows) * self._until(step + 1, steps)) - share_of(len(rows) * self._until(step, steps))
        order = sorted(range(len(rows)), key=lambda place: (GOLDEN_RATIO * rows[place] + epoch / 2) % 1)
        return {*order[:count]}

    def _until(self, step: int, steps: int) -> float:
        """The sum of the shares of so many steps."""
        return self.begin * step + (self.end - self.begin) * step * step / (2 * max(steps, 1))


def share_of(count: float) -> int:
    """So many whole ones; what rounding took from a whole one is given back."""
    return math.floor(count + 1e-9)
