#!/usr/bin/env python3
"""Ways to train that no flag offers, for learning.py: `variants.py NAME train …` is `python -m trainer train …` but for
the one change that the function NAME makes."""

import sys
from pathlib import Path
from typing import Any

import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[3]))

from trainer.__main__ import main
from trainer.losses.divergence import chunked_divergence
from trainer.models.hidden_states import head_of
from trainer.teachers.ema import EmaTeacher
from trainer.training.self_distillation import SelfDistillationTrainer

UNLIKELY, LIGHT = 0.05, 0.1


def bfloat16_ema() -> None:
    """The EMA teacher as it would be, were its weights kept in bfloat16. It still computes in float32."""

    @torch.no_grad()
    def update(self: Any) -> None:
        for teacher, student in self.pairs.values():
            teacher.copy_(teacher.bfloat16().lerp_(student.bfloat16(), self.rate))

    EmaTeacher.update = update


def light_after_mistakes() -> None:
    """Tokens behind the first one to which the teacher gives less than `UNLIKELY` weigh `LIGHT` of the others."""

    def microbatch_loss(self: Any, part: list[Any], weights: list[float], view: torch.Tensor) -> Any:
        student, teacher = (self.accelerator.unwrap_model(m) for m in (self.model, self.teacher_model))
        tokens_N, weights_N, _ = self._tokens_of(part, weights, view.device)
        logp_N = head_of(teacher).logits(view).log_softmax(-1).gather(1, tokens_N[:, None]).squeeze(1)
        mistakes = [some.exp() < UNLIKELY for some in logp_N.split(self._tokens_in_loss(part))]
        behind_N = torch.cat([some.cumsum(0) - some.long() > 0 for some in mistakes])
        weights_N = torch.where(behind_N, LIGHT * weights_N, weights_N)
        student_NH = self._states(student, part, [rollout.prompt_ids for rollout in part])
        heads = head_of(student), head_of(teacher)
        return chunked_divergence(student_NH, heads[0], view, heads[1], tokens_N, weights_N, self.divergence)

    SelfDistillationTrainer._microbatch_loss = microbatch_loss


VARIANTS = {f.__name__: f for f in (bfloat16_ema, light_after_mistakes)}

if __name__ == "__main__":
    VARIANTS[sys.argv.pop(1)]()
    sys.exit(main())
