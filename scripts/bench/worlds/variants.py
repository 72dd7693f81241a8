#!/usr/bin/env python3
"""Ways to train that no flag offers, for learning.py: `variants.py NAME train …` is `python -m trainer train …` but for
the one change that the function NAME makes."""

import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[3]))

from trainer.__main__ import main
from trainer.losses import divergence as losses
from trainer.losses.divergence import Divergence, chunked_divergence
from trainer.models.hidden_states import head_of
from trainer.teachers.ema import EmaTeacher
from trainer.training.self_distillation import SelfDistillationTrainer

UNLIKELY, LIGHT = 0.05, 0.1
UNCERTAIN = 0.5  # nats of the teacher's entropy


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


def clip_each_entry(most: float) -> None:
    """Forward KL whose summands, one for each entry of the vocabulary, are at most so large (OPSD, miles#3292).

    A summand beyond that is a constant, so its token is no longer taught.
    """

    def compare(logp_s_CV: torch.Tensor, logp_t_CV: torch.Tensor, *rest: Any) -> tuple[dict[str, Any], torch.Tensor]:
        prob_t_CV, prob_s_CV = logp_t_CV.exp(), logp_s_CV.exp()
        summands_CV = prob_t_CV * (logp_t_CV - logp_s_CV)
        taught_CV = prob_t_CV.masked_fill(summands_CV > most, 0.0)
        seen, _ = plain(logp_s_CV, logp_t_CV, *rest)
        return seen | {"loss": summands_CV.clamp(max=most).sum(-1)}, prob_s_CV * taught_CV.sum(-1, True) - taught_CV

    plain, losses._compare = losses._compare, compare


def clip_each_token(most: float) -> None:
    """The divergence of a token counts at most so much: its gradient is scaled down to that."""

    def compare(*args: Any) -> tuple[dict[str, Any], torch.Tensor]:
        seen, gradient_CV = plain(*args)
        scale_C = (most / seen["loss"]).clamp(max=1.0)
        return seen | {"loss": seen["loss"].clamp(max=most)}, gradient_CV * scale_C.unsqueeze(1)

    plain, losses._compare = losses._compare, compare


def forward_where_uncertain() -> None:
    """Reverse KL, but the forward KL at tokens where the teacher's entropy is above `UNCERTAIN`."""

    def microbatch_loss(self: Any, part: list[Any], weights: list[float], view: torch.Tensor) -> Any:
        student, teacher = (self.accelerator.unwrap_model(m) for m in (self.model, self.teacher_model))
        tokens_N, weights_N, _ = self._tokens_of(part, weights, view.device)
        entropy_N = torch.distributions.Categorical(logits=head_of(teacher).logits(view)).entropy()
        student_NH = self._states(student, part, [rollout.prompt_ids for rollout in part])
        both = []
        for alpha, chosen_N in ((0.0, entropy_N > UNCERTAIN), (1.0, entropy_N <= UNCERTAIN)):
            heads, share_N = (head_of(student), head_of(teacher)), weights_N * chosen_N
            both.append(chunked_divergence(student_NH, heads[0], view, heads[1], tokens_N, share_N, Divergence(alpha)))
        (forward, seen), (reverse, _) = both
        return forward + reverse, seen

    SelfDistillationTrainer._microbatch_loss = microbatch_loss


VARIANTS: dict[str, Callable[[], None]] = {
    **{f.__name__: f for f in (bfloat16_ema, light_after_mistakes, forward_where_uncertain)},
    "entries_clipped_at_0.05": partial(clip_each_entry, 0.05),
    "entries_clipped_at_1": partial(clip_each_entry, 1.0),
    "tokens_clipped_at_1": partial(clip_each_token, 1.0),
    "tokens_clipped_at_3": partial(clip_each_token, 3.0),
}

if __name__ == "__main__":
    VARIANTS[sys.argv.pop(1)]()
    sys.exit(main())
