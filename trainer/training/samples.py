"""One rollout a step for people to look at: `samples.jsonl`, from which the report makes its token heat map.

Shapes: N tokens of the sample in the loss, K likeliest tokens, H hidden.
"""

import math
from typing import Any

import numpy as np
from torch import Tensor

from ..losses.divergence import TokenStatistics
from ..models.hidden_states import likeliest
from ..models.output_head import OutputHead
from ..run.directory import RunDirectory
from .rollout import Rollout

TOP = 5  # likeliest tokens of student and teacher that a closer look shows
CLOSER_LOOKS = 48  # in a run at most, evenly spread: their lines are long, and the report shows no more of them


class SampleRecorder:
    """Writes one rollout of each step with its divergence per token, now and then with what both models expected.

    Args:
        temperature: Of both distributions in the loss.
    """

    def __init__(self, run_directory: RunDirectory, tokenizer: Any, temperature: float):
        self.run_directory = run_directory
        self.tokenizer = tokenizer
        self.temperature = temperature
        self._watched: Rollout | None = None
        self._tops: dict[str, list[Any]] = {}

    def watch(self, rollout: Rollout, step: int, steps: int) -> None:
        """Begin the step, `step` of `steps` counted from 0, of which this is the sample."""
        self._tops = {}
        self._watched = rollout if step % math.ceil(steps / CLOSER_LOOKS) == 0 else None

    def span_in(self, part: list[Rollout], counts: list[int]) -> slice | None:
        """Where the sample's tokens are among those of `part`, so many each; None if it needs no closer look."""
        place = next((index for index, rollout in enumerate(part) if rollout is self._watched), None)
        return None if place is None else slice(sum(counts[:place]), sum(counts[: place + 1]))

    def look_closer(self, name: str, hidden_NH: Tensor, head: OutputHead) -> None:
        """Keep what a model (`student`, `teacher`) finds likeliest where the sample's tokens are."""
        ids_NK, logps_NK = likeliest(hidden_NH.detach(), head, self.temperature, TOP)
        self._keep(name, ids_NK.tolist(), logps_NK.tolist())

    def told(self, name: str, ids_NK: np.ndarray, logps_NK: np.ndarray) -> None:
        """Keep what a server says that it finds likeliest there, likeliest first; -inf where it says nothing."""
        self._keep(name, ids_NK[:, :TOP].tolist(), logps_NK[:, :TOP].tolist())

    def _keep(self, name: str, ids_NK: list[list[int]], logps_NK: list[list[float]]) -> None:
        self._tops[f"{name}_top"] = [
            [
                (self.tokenizer.decode([token]), round(logp, 3))
                for token, logp in zip(ids_K, logps_K, strict=True)
                if logp > -math.inf
            ]
            for ids_K, logps_K in zip(ids_NK, logps_NK, strict=True)
        ]

    def write(self, rollout: Rollout, step: int, seen: TokenStatistics) -> None:
        """Write the sample: divergences in nats; null where a token is not in the loss."""
        skipped = len(rollout.completion_ids) - len(seen.loss_N)
        self.run_directory.append_sample(
            {
                "step": step,
                "prompt": self.tokenizer.decode(rollout.prompt_ids),
                "tokens": [self.tokenizer.decode([token]) for token in rollout.completion_ids],
                "divergence": [None] * skipped + [round(value, 6) for value in seen.loss_N.tolist()],
                "in_loss": [False] * skipped + [True] * len(seen.loss_N),
                **{name: [None] * skipped + tops for name, tops in self._tops.items()},
            }
        )
