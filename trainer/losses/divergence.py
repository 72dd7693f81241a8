"""The distillation loss from hidden states, through the output heads, one chunk of tokens at a time.

Logits of a whole sequence never exist: of each model one chunk is projected, compared, turned into its gradient
and dropped. The gradient is taken in the forward pass (every token's weight in the loss is known beforehand), so
that each head is multiplied with once a direction: four products a chunk. TRL's chunked divergence needs six,
because it projects again in the backward pass; it and Liger's have no top-K, and Liger's has no weights of tokens.

Shapes: N tokens of the loss, C tokens of a chunk, V vocabulary, H hidden, K tokens of a top-K support.
All reductions are in float32, or in float64 where the hidden states are.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, fields
from functools import partial

import torch
from torch import Tensor
from trl.experimental.sdft.loss_utils import add_tail_bucket, compute_divergence

from ..models.output_head import CHUNK_BYTES, OutputHead, Projection, block_rows, precise_dtype, with_gradient

MODES = ("full_logits", "topk_logits", "sampled_token")


@dataclass(frozen=True)
class Divergence:
    """What is measured between teacher T and student S at a token, over temperature-scaled distributions.

    Args:
        alpha: 0 is KL(T‖S), 1 is KL(S‖T), between is the generalised Jensen-Shannon divergence
            `alpha KL(T‖M) + (1 - alpha) KL(S‖M)` with `M = alpha T + (1 - alpha) S` (arXiv 2306.13649).
        temperature: Divides both models' logits.
        mode: `full_logits`: over the vocabulary. `topk_logits`: over the student's `top_k` likeliest tokens.
            `sampled_token`: reverse KL's score-function estimate at the sampled token, alpha 1 only.
        add_tail: The rest of the vocabulary is one more outcome; else both top-K parts are renormalised.
        max_ratio: Bound of the importance weight p_now(token) / p_rollout(token) of a token; None: no weights.
    """

    alpha: float = 0.0
    temperature: float = 1.0
    mode: str = "full_logits"
    top_k: int | None = None
    add_tail: bool = True
    max_ratio: float | None = None

    def __post_init__(self) -> None:
        if not 0 <= self.alpha <= 1 or self.temperature <= 0:
            raise ValueError(f"expected 0 <= alpha <= 1 and temperature > 0, found {self.alpha}, {self.temperature}")
        if self.mode not in MODES:
            raise ValueError(f"expected a mode of {', '.join(MODES)}, found {self.mode!r}")
        if self.mode == "topk_logits" and not self.top_k:
            raise ValueError("the mode topk_logits needs top_k, the number of tokens of its support")
        if self.mode == "sampled_token" and self.alpha != 1:
            raise ValueError(f"the mode sampled_token estimates the reverse KL, alpha 1; found alpha {self.alpha}")


@dataclass(frozen=True)
class TokenStatistics:
    """What the two distributions look like at each of N tokens; float32, without gradient.

    Attributes:
        loss_N: The divergence that is trained on, before weights, in nats.
        kl_forward_N, kl_reverse_N: KL(T‖S) and KL(S‖T) over the whole vocabulary, in nats.
        student_entropy_N, teacher_entropy_N: In nats.
        agreement_N: 1 where both models' likeliest tokens are the same, else 0.
        logp_N: The student's log-probability of the sampled token.
        ratio_N: The importance weight of the token, 1 where there is none.
    """

    loss_N: Tensor
    kl_forward_N: Tensor
    kl_reverse_N: Tensor
    student_entropy_N: Tensor
    teacher_entropy_N: Tensor
    agreement_N: Tensor
    logp_N: Tensor
    ratio_N: Tensor

    def split(self, counts: Sequence[int]) -> list["TokenStatistics"]:
        """The statistics of consecutive sequences of so many tokens each."""
        parts = zip(*(getattr(self, field.name).split(list(counts)) for field in fields(self)), strict=True)
        return [TokenStatistics(*part) for part in parts]

    @classmethod
    def join(cls, parts: Sequence["TokenStatistics"]) -> "TokenStatistics":
        """Those of all sequences, one after another."""
        return cls(*(torch.cat([getattr(part, field.name) for part in parts]) for field in fields(cls)))


def chunked_divergence(
    student_hidden_NH: Tensor,
    student_head: OutputHead,
    teacher_hidden_NH: Tensor,
    teacher_head: OutputHead,
    tokens_N: Tensor,
    weights_N: Tensor,
    divergence: Divergence,
    rollout_logps_N: Tensor | None = None,
    chunk_bytes: int = CHUNK_BYTES,
) -> tuple[Tensor, TokenStatistics]:
    """The weighted sum of the tokens' divergences, and what was seen on the way.

    Args:
        student_hidden_NH: Last hidden states that predict `tokens_N`; the gradient flows into them and into the
            student's head. The teacher's may have another width, but the same vocabulary.
        tokens_N: Sampled tokens, int64.
        weights_N: Share of each token in the loss; 0 leaves a token out.
        rollout_logps_N: Log-probabilities that the tokens were sampled with; needed for `max_ratio`.
        chunk_bytes: Size of the float32 logits [C, V] of one model; more is a little faster.

    Returns:
        A scalar `sum_n weights[n] * ratio[n] * divergence[n]`, and the statistics of each token.
    """
    precise = precise_dtype(student_hidden_NH)
    walk = partial(
        _walk,
        (student_hidden_NH, Projection(student_head, precise)),
        (teacher_hidden_NH, Projection(teacher_head, precise)),
        tokens_N,
        weights_N,
        divergence,
        rollout_logps_N if divergence.max_ratio is not None else None,
        chunk_bytes,
    )
    loss, statistics = with_gradient(student_hidden_NH, student_head, walk)
    return loss, TokenStatistics(*statistics.unbind())


def _walk(
    student: tuple[Tensor, Projection],
    teacher: tuple[Tensor, Projection],
    tokens_N: Tensor,
    weights_N: Tensor,
    divergence: Divergence,
    rollout_logps_N: Tensor | None,
    chunk_bytes: int,
    gradients: dict[str, Tensor],
) -> tuple[Tensor, Tensor]:
    """The loss and the statistics [S, N]; the gradients that are wanted are added to."""
    (student_hidden_NH, student_head), (teacher_hidden_NH, teacher_head) = student, teacher
    count, vocabulary = len(student_hidden_NH), len(student_head.weight_VH)
    rows = max(1, min(count, chunk_bytes // (4 * vocabulary)))
    logits = student_hidden_NH.new_empty(2, rows, vocabulary, dtype=student_head.precise)
    compare = _Comparison(divergence, min(rows, block_rows(logits)), logits)
    statistics = logits.new_empty(len(fields(TokenStatistics)), count)
    for start in range(0, count, rows):
        part = slice(start, min(start + rows, count))
        hidden_CH = student_head.operand(student_hidden_NH[part])
        student_CV, teacher_CV = logits[:, : part.stop - start]
        student_head.project(hidden_CH, student_CV)
        teacher_head.project(teacher_head.operand(teacher_hidden_NH[part]), teacher_CV)
        rollout_C = None if rollout_logps_N is None else rollout_logps_N[part]
        statistics[:, part] = compare.chunk(
            (student_CV, student_head.head), (teacher_CV, teacher_head.head), tokens_N[part], weights_N[part], rollout_C
        )
        student_head.backward(student_CV, hidden_CH, part, gradients)
    return (weights_N * statistics[0] * statistics[-1]).sum(), statistics


class _Comparison:
    """Turns the products of a chunk into statistics and, in their place, the gradient for the student's.

    Args:
        rows: Tokens compared at once, b; four buffers [b, V] are kept, five for Jensen-Shannon.
        like: A tensor with vocabulary, dtype and device.
    """

    def __init__(self, divergence: Divergence, rows: int, like: Tensor):
        self.divergence = divergence
        self.rows = rows
        self.buffers = like.new_empty(5 if 0 < divergence.alpha < 1 else 4, rows, like.shape[-1])

    def chunk(
        self,
        student: tuple[Tensor, OutputHead],
        teacher: tuple[Tensor, OutputHead],
        tokens_C: Tensor,
        weights_C: Tensor,
        rollout_logps_C: Tensor | None,
    ) -> Tensor:
        """The statistics [S, C] of a chunk; the student's products are overwritten with their gradient."""
        student_CV, student_head = student
        teacher_CV, teacher_head = teacher
        columns = []
        for start in range(0, len(tokens_C), self.rows):
            block = slice(start, min(start + self.rows, len(tokens_C)))
            logp_s_CV, logp_t_CV, *scratch = self.buffers[:, : block.stop - start]
            slope_CV = self._log_probabilities(student_CV[block], student_head, logp_s_CV)
            self._log_probabilities(teacher_CV[block], teacher_head, logp_t_CV)
            seen, gradient_CV = _compare(logp_s_CV, logp_t_CV, tokens_C[block], self.divergence, scratch)
            seen["ratio"] = importance(
                seen["logp"], None if rollout_logps_C is None else rollout_logps_C[block], self.divergence.max_ratio
            )
            columns.append(torch.stack([seen[field.name[:-2]] for field in fields(TokenStatistics)]))
            share_C = weights_C[block] * seen["ratio"] * (student_head.scale / self.divergence.temperature)
            torch.mul(gradient_CV, share_C.unsqueeze(1), out=student_CV[block])
            if slope_CV is not None:
                student_CV[block] *= slope_CV
        return torch.cat(columns, dim=1)

    def _log_probabilities(self, products_CV: Tensor, head: OutputHead, out_CV: Tensor) -> Tensor | None:
        """Write log-probabilities into `out_CV`; returns the cap's slope at each logit where there is a cap."""
        slope_CV = head.apply_(products_CV)
        if self.divergence.temperature != 1:
            products_CV /= self.divergence.temperature
        torch.log_softmax(products_CV, -1, out=out_CV)
        return slope_CV


def importance(logp_C: Tensor, rollout_logps_C: Tensor | None, max_ratio: float | None) -> Tensor:
    """The clipped ratio of the tokens' probabilities now and at the rollout; 1 where either argument is None."""
    if rollout_logps_C is None or max_ratio is None:
        return torch.ones_like(logp_C)
    return (logp_C - rollout_logps_C).clamp(-20, 20).exp().clamp(max=max_ratio)


def _compare(
    logp_s_CV: Tensor, logp_t_CV: Tensor, tokens_C: Tensor, divergence: Divergence, scratch: list[Tensor]
) -> tuple[dict[str, Tensor], Tensor]:
    """Statistics of a block and the gradient of its divergences for the student's logits.

    All [C, V] arguments are overwritten. With p_S = softmax(z) the gradients are: KL(T‖S): p_S - p_T;
    KL(S‖T): p_S (log p_S - log p_T - KL); Jensen-Shannon: (1 - alpha) p_S (log p_S - log m - KL(S‖M)).
    """
    prob_t_CV, work_CV, *_ = scratch
    seen = {
        "logp": logp_s_CV.gather(1, tokens_C.unsqueeze(1)).squeeze(1),
        "agreement": (logp_s_CV.argmax(-1) == logp_t_CV.argmax(-1)).to(logp_s_CV.dtype),
    }
    special = None
    if divergence.mode == "topk_logits":
        special = _TopK(logp_s_CV, logp_t_CV, divergence)
    elif divergence.mode == "sampled_token":
        special = _SampledToken(logp_s_CV, logp_t_CV, tokens_C)
    elif 0 < divergence.alpha < 1:
        special = _JensenShannon(logp_s_CV, logp_t_CV, divergence.alpha, scratch)

    torch.exp(logp_t_CV, out=prob_t_CV)
    torch.sub(logp_t_CV, logp_s_CV, out=work_CV)
    seen["kl_forward"] = work_CV.mul_(prob_t_CV).sum(-1)
    seen["teacher_entropy"] = -torch.mul(prob_t_CV, logp_t_CV, out=work_CV).sum(-1)
    prob_s_CV = torch.exp(logp_s_CV, out=work_CV)
    gap_CV = logp_t_CV.sub_(logp_s_CV).mul_(prob_s_CV)
    seen["kl_reverse"] = -gap_CV.sum(-1)
    seen["student_entropy"] = -logp_s_CV.mul_(prob_s_CV).sum(-1)

    if special is not None:
        seen["loss"] = special.loss_C
        return seen, special.gradient(prob_s_CV)
    if divergence.alpha == 0:
        seen["loss"] = seen["kl_forward"]
        return seen, prob_s_CV.sub_(prob_t_CV)
    seen["loss"] = seen["kl_reverse"]
    return seen, prob_s_CV.mul_(seen["kl_reverse"].unsqueeze(1)).add_(gap_CV).neg_()


class _JensenShannon:
    """The generalised Jensen-Shannon divergence over the vocabulary."""

    def __init__(self, logp_s_CV: Tensor, logp_t_CV: Tensor, alpha: float, scratch: list[Tensor]):
        work_CV, log_s_CV, self.log_ratio_CV = scratch
        torch.add(logp_s_CV, math.log(1 - alpha), out=log_s_CV)
        mixture_CV = torch.logaddexp(log_s_CV, logp_t_CV + math.log(alpha), out=self.log_ratio_CV)
        torch.sub(logp_t_CV, mixture_CV, out=work_CV)
        kl_teacher_C = work_CV.mul_(torch.exp(logp_t_CV, out=log_s_CV)).sum(-1)
        torch.sub(logp_s_CV, mixture_CV, out=self.log_ratio_CV)
        torch.exp(logp_s_CV, out=work_CV)
        self.kl_student_C = work_CV.mul_(self.log_ratio_CV).sum(-1)
        self.alpha = alpha
        self.loss_C = alpha * kl_teacher_C + (1 - alpha) * self.kl_student_C

    def gradient(self, prob_s_CV: Tensor) -> Tensor:
        """For the student's logits."""
        inner_CV = self.log_ratio_CV.sub_(self.kl_student_C.unsqueeze(1)).mul_(1 - self.alpha)
        return prob_s_CV.mul_(inner_CV)


class _TopK:
    """A divergence over the student's K likeliest tokens and, where asked for, the rest as one outcome (TRL's).

    With g the gradient for the K log-probabilities, small enough for autograd, that of the logits is
    `g - p_S sum(g)`, where g is 0 outside the support.
    """

    def __init__(self, logp_s_CV: Tensor, logp_t_CV: Tensor, divergence: Divergence):
        top_CK, self.support_CK = logp_s_CV.topk(min(int(divergence.top_k or 1), logp_s_CV.shape[1]), dim=-1)
        with torch.enable_grad():
            top_CK.requires_grad_()
            outcomes = [top_CK, logp_t_CV.gather(1, self.support_CK)]
            student, teacher = [add_tail_bucket(x) if divergence.add_tail else x.log_softmax(-1) for x in outcomes]
            loss_C = compute_divergence(student, teacher, divergence.alpha)
            (self.inside_CK,) = torch.autograd.grad(loss_C.sum(), top_CK)
        self.loss_C = loss_C.detach()

    def gradient(self, prob_s_CV: Tensor) -> Tensor:
        """For the student's logits."""
        prob_s_CV.mul_(-self.inside_CK.sum(-1, keepdim=True))
        return prob_s_CV.scatter_add_(1, self.support_CK, self.inside_CK)


class _SampledToken:
    """`(log p_S - log p_T).detach() * log p_S` at the sampled token, as TRL's `sampled_token`."""

    def __init__(self, logp_s_CV: Tensor, logp_t_CV: Tensor, tokens_C: Tensor):
        self.tokens_C1 = tokens_C.unsqueeze(1)
        logp_C1 = logp_s_CV.gather(1, self.tokens_C1)
        self.advantage_C1 = logp_C1 - logp_t_CV.gather(1, self.tokens_C1)
        self.loss_C = (self.advantage_C1 * logp_C1).squeeze(1)

    def gradient(self, prob_s_CV: Tensor) -> Tensor:
        """For the student's logits: advantage * (one-hot - p_S)."""
        prob_s_CV.mul_(-self.advantage_C1)
        return prob_s_CV.scatter_add_(1, self.tokens_C1, self.advantage_C1)
