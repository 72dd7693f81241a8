"""The losses against a served teacher, of whom only a few numbers a token are known.

As in `divergence.py` the logits of a whole sequence never exist, and the gradient is taken in the forward pass:
one chunk is projected, turned into its gradient in place and multiplied back, three products with the head a chunk.
What is kept is one buffer [C, V] of `chunk_bytes` and one small block [b, V] (2 MiB on a CPU, 64 MiB on a GPU; with a
soft cap a second one for its slope).

Every loss here depends on the student through a few outcomes a token: the J tokens of a support, and all the rest of
the vocabulary as one more, the tail. With g_o the slope of the loss for log p_S(o) and G their sum, the gradient
for the logits is `g_k - p_S(k) G` at a token k of the support, and `q(j) (g_tail - p_S(tail) G)` at any other token j,
where `q(j) = p_S(j) / p_S(tail)`.

Shapes: N tokens of the loss, C tokens of a chunk of logits or of a block of it, V vocabulary, H hidden, K tokens that
the teacher gave, J tokens of a support, O = J + 1 outcomes, M chunks of text that both tokenizers cut alike,
R runs of equal chunk numbers. Both models are at temperature 1. All reductions are in float32, or in float64 where the
hidden states are.
"""

import math
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields
from functools import partial

import torch
from torch import Tensor

from ..models.output_head import CHUNK_BYTES, OutputHead, Projection, block_rows, precise_dtype, with_gradient
from .divergence import TokenStatistics, importance
from .served_targets import (
    SLACK,
    ChunkTargets,
    SupportTargets,
    dense_or_certain,
    refuse,
    require_chunk_shapes,
    require_chunks,
    support_of,
)

TAIL_FLOOR = 1e-7  # probability; the teacher's float32 log-probabilities say nothing of a smaller tail
CREDITS = ("dpca", "uniform")
NAN = math.nan


def support_divergence(
    student_hidden_NH: Tensor,
    student_head: OutputHead,
    targets: SupportTargets,
    tokens_N: Tensor,
    weights_N: Tensor,
    alpha: float,
    rollout_logps_N: Tensor | None = None,
    max_ratio: float | None = None,
    chunk_bytes: int = CHUNK_BYTES,
) -> tuple[Tensor, TokenStatistics]:
    """The weighted sum of the tokens' divergences over the teacher's likeliest tokens and the tail.

    Alpha 0 is KL(T‖S) over the K tokens and the tail. Above it the sampled token is an outcome of its own, too: 1 is
    KL(S‖T), between is the generalised Jensen-Shannon divergence of `trainer.losses.divergence.Divergence`.
    The student's tail is summed over its tokens, so that it is exact however small it is. The teacher's is what its
    probabilities leave of 1, at least 0; its logarithm is that of `TAIL_FLOOR` at least, which keeps KL(S‖T)
    finite: the teacher's float32 numbers can't tell a smaller tail from none. Where the support is the whole
    vocabulary there is no tail.

    Args:
        student_hidden_NH: Last hidden states that predict `tokens_N`; the gradient flows into them and into the head.
        tokens_N: Sampled tokens, int64.
        weights_N: Share of each token in the loss; 0 leaves a token out.
        rollout_logps_N: Log-probabilities that the tokens were sampled with; needed for `max_ratio`.
        max_ratio: Bound of the importance weight p_now(token) / p_rollout(token); None: no weights.
        chunk_bytes: Size of the float32 logits [C, V]; more is a little faster.

    Returns:
        A scalar `sum_n weights[n] * ratio[n] * divergence[n]`, and the statistics of each token. In them
        `kl_forward_N`, `kl_reverse_N` and `teacher_entropy_N` are over support and tail: lower bounds of those over
        the vocabulary (the reverse KL where the teacher's tail is above its floor). `agreement_N` compares
        the student's likeliest token with the teacher's in the support.

    Raises:
        ValueError: a required number of the teacher is missing, not finite or no probability, ids are repeated or
            not in the vocabulary, or shapes or alpha don't fit. The message names the token.
    """
    outcomes = _Outcomes(targets, tokens_N, student_head.weight_VH.shape[0], alpha, precise_dtype(student_hidden_NH))
    rollout = _Rollout(tokens_N, weights_N, rollout_logps_N, max_ratio)
    return _train(student_hidden_NH, student_head, rollout, outcomes, chunk_bytes)


def chunk_policy_gradient(
    student_hidden_NH: Tensor,
    student_head: OutputHead,
    targets: ChunkTargets,
    tokens_N: Tensor,
    weights_N: Tensor,
    *,
    credit: str,
    clip: float,
    alpha: float = 0.0,
    rollout_logps_N: Tensor | None = None,
    max_ratio: float | None = None,
    chunk_bytes: int = CHUNK_BYTES,
) -> tuple[Tensor, TokenStatistics]:
    """Reverse KL's policy gradient from the teacher's log-likelihoods of chunks of the text.

    The advantage of a chunk is `A_c = log p_T(chunk) - sum_t log p_S(y_t)`, that of its token t a share of it:
    `dpca`: `A_c log p_S(y_t) / sum_t log p_S(y_t)` (arXiv 2606.09456; in equal parts where the sum is 0), `uniform`:
    in equal parts. The loss is `-A_t log p_S(y_t)` with `A_t` held fixed and clipped to [-clip, clip]. With chunks of
    one token and no clip it is the mode `sampled_token` of `trainer.losses.divergence`.
    Tokens marked in `dense_N` have `support_divergence` at `alpha` instead. Tokens without a chunk have loss 0.

    Args:
        credit: `dpca` or `uniform`.
        clip: Bound of a token's advantage in nats; `math.inf` for none.
        alpha: Of the divergence at dense tokens.
        chunk_bytes: Size of the float32 logits [C, V]; a chunk of text that needs more gets more.

    The other arguments are those of `support_divergence`.

    Returns:
        A scalar `sum_n weights[n] * ratio[n] * loss[n]`, and the statistics of each token. Where a token is not
        dense `kl_reverse_N` is `-A_t` before the clip, an estimate, and `kl_forward_N`, `teacher_entropy_N` and
        `agreement_N` are NaN; without a chunk `kl_reverse_N` is NaN, too.

    Raises:
        ValueError: a required number of the teacher is missing, not finite or no probability, the chunks are not as
            `ChunkTargets` says, or shapes or settings don't fit. The message names the token.
    """
    vocabulary, precise = student_head.weight_VH.shape[0], precise_dtype(student_hidden_NH)
    outcomes = _ChunkOutcomes(targets, tokens_N, vocabulary, alpha, precise, credit, clip)
    rollout = _Rollout(tokens_N, weights_N, rollout_logps_N, max_ratio)
    return _train(student_hidden_NH, student_head, rollout, outcomes, chunk_bytes)


@dataclass(frozen=True)
class _Rollout:
    """The sampled tokens and what they weigh."""

    tokens_N: Tensor
    weights_N: Tensor
    logps_N: Tensor | None
    max_ratio: float | None

    def ratios(self, logp_C: Tensor, part: slice) -> Tensor:
        return importance(logp_C, None if self.logps_N is None else self.logps_N[part], self.max_ratio)


@dataclass(frozen=True)
class _Student:
    """What the student says of the tokens of a block."""

    logp_CO: Tensor
    prob_CO: Tensor
    argmax_C: Tensor
    sampled_logp_C: Tensor


class _Outcomes:
    """The teacher's distribution over the outcomes of each token, and the divergence from it.

    Attributes:
        ends: Where the tokens may be cut into blocks, ascending; the last is N.
        ids_NJ: Tokens of the support; a missing entry repeats another of its row.
        given_NO: Whether there is such an outcome; the tail is the last one.
        logp_NO, prob_NO: The teacher's; 0 where there is no such outcome.
    """

    ends: Sequence[int]

    def __init__(self, targets: SupportTargets, tokens_N: Tensor, vocabulary: int, alpha: float, precise: torch.dtype):
        if not 0 <= alpha <= 1:
            raise ValueError(f"expected 0 <= alpha <= 1, found {alpha}")
        self.alpha = alpha
        self.ends = range(1, len(tokens_N) + 1)
        ids_NJ, logps_NJ = support_of(targets, tokens_N, vocabulary, alpha)
        given_NJ = ids_NJ >= 0
        likeliest_N1 = ids_NJ.gather(1, logps_NJ.argmax(-1, keepdim=True))
        self.likeliest_N = likeliest_N1.squeeze(1)
        self.ids_NJ = torch.where(given_NJ, ids_NJ, likeliest_N1)
        prob_NJ = logps_NJ.exp()
        tail_N1 = (1 - prob_NJ.sum(-1, keepdim=True)).clamp(min=0)
        rest_N1 = given_NJ.sum(-1, keepdim=True) < vocabulary
        self.given_NO = torch.cat([given_NJ, rest_N1], 1)
        logp_NO = torch.cat([logps_NJ, tail_N1.clamp(min=TAIL_FLOOR).log()], 1)
        self.logp_NO = logp_NO.masked_fill(~self.given_NO, 0).to(precise)
        self.prob_NO = torch.cat([prob_NJ, tail_N1], 1).masked_fill(~self.given_NO, 0).to(precise)

    def compare(self, part: slice, student: _Student) -> tuple[dict[str, Tensor], Tensor]:
        """Statistics of a block, the loss among them, and the slopes [C, O] of the loss for the student's logps."""
        logp_CO, prob_CO = self.logp_NO[part], self.prob_NO[part]
        gap_CO = logp_CO - student.logp_CO
        seen = {
            "kl_forward": (prob_CO * gap_CO).sum(-1),
            "kl_reverse": -(student.prob_CO * gap_CO).sum(-1),
            "teacher_entropy": -(prob_CO * logp_CO).sum(-1),
            "agreement": (student.argmax_C == self.likeliest_N[part]).to(gap_CO.dtype),
        }
        if self.alpha == 0:
            return {**seen, "loss": seen["kl_forward"]}, -prob_CO
        if self.alpha == 1:
            return {**seen, "loss": seen["kl_reverse"]}, -student.prob_CO * gap_CO
        seen["loss"], slopes_CO = _jensen_shannon(logp_CO, prob_CO, student, self.alpha)
        return seen, slopes_CO


def _jensen_shannon(logp_CO: Tensor, prob_CO: Tensor, student: _Student, alpha: float) -> tuple[Tensor, Tensor]:
    """Generalised Jensen-Shannon divergences and their slopes for the student's log-probabilities.

    Slopes leave out a term in proportion to p_S, as that of the reverse KL does: it has no gradient for the logits.
    """
    mixture_CO = torch.logaddexp(student.logp_CO + math.log(1 - alpha), logp_CO + math.log(alpha))
    inside_CO = student.prob_CO * (student.logp_CO - mixture_CO)
    loss_C = alpha * (prob_CO * (logp_CO - mixture_CO)).sum(-1) + (1 - alpha) * inside_CO.sum(-1)
    return loss_C, (1 - alpha) * inside_CO


class _ChunkOutcomes(_Outcomes):
    """Advantages of the sampled tokens from chunks of text; divergences where the targets are dense.

    A token that is not dense has the sampled token and the tail as its outcomes.
    """

    def __init__(
        self,
        targets: ChunkTargets,
        tokens_N: Tensor,
        vocabulary: int,
        alpha: float,
        precise: torch.dtype,
        credit: str,
        clip: float,
    ):
        if credit not in CREDITS or not clip > 0:
            raise ValueError(f"expected a credit of {', '.join(CREDITS)} and clip > 0, found {credit!r}, {clip}")
        require_chunk_shapes(targets, len(tokens_N))
        super().__init__(dense_or_certain(targets, tokens_N), tokens_N, vocabulary, alpha, precise)
        self.credit, self.clip = credit, clip
        self.dense_N, self.signal_N = targets.dense_N, targets.chunks_N >= 0
        values_R, self.runs_N, counts_R = targets.chunks_N.unique_consecutive(return_inverse=True, return_counts=True)
        self.counts_N = counts_R[self.runs_N]
        padded_M1 = torch.cat([targets.logps_M.double(), targets.logps_M.new_zeros(1, dtype=torch.float64)])
        require_chunks(targets, values_R, self.runs_N, self.counts_N)
        self.logps_N = padded_M1[targets.chunks_N]
        wrong_N = ~(self.logps_N.isfinite() & (self.logps_N <= SLACK)) & ~self.dense_N
        refuse({"a finite log-likelihood of its chunk, at most 0": (wrong_N, self.logps_N)})
        self.ends = _chunk_ends(targets.chunks_N)

    def compare(self, part: slice, student: _Student) -> tuple[dict[str, Tensor], Tensor]:
        """As for outcomes at dense tokens; at the others the advantage alone, in the sampled token's column."""
        seen, slopes_CO = super().compare(part, student)
        advantage_C = self._advantages(part, student.sampled_logp_C)
        clipped_C = advantage_C.clamp(-self.clip, self.clip)
        unknown_C = torch.full_like(advantage_C, NAN)
        policy = dict.fromkeys(seen, unknown_C)
        policy["loss"] = -clipped_C * student.sampled_logp_C
        policy["kl_reverse"] = torch.where(self.signal_N[part], -advantage_C, unknown_C)
        dense_C = self.dense_N[part]
        at_sampled_CO = torch.zeros_like(slopes_CO)
        at_sampled_CO[:, 0] = -clipped_C
        seen = {name: torch.where(dense_C, values, policy[name]) for name, values in seen.items()}
        return seen, torch.where(dense_C.unsqueeze(1), slopes_CO, at_sampled_CO)

    def _advantages(self, part: slice, logp_C: Tensor) -> Tensor:
        """Each token's share of its chunk's advantage; 0 without a chunk. The block holds all of every chunk."""
        runs_C = self.runs_N[part] - self.runs_N[part.start]
        precise_C = logp_C.double()  # so that the order of a GPU's sum does not show
        student_C = torch.zeros_like(precise_C).index_add_(0, runs_C, precise_C)[runs_C]
        shares_C = 1 / self.counts_N[part].double()
        if self.credit == "dpca":
            shares_C = torch.where(student_C == 0, shares_C, precise_C / student_C)
        advantage_C = (self.logps_N[part] - student_C) * shares_C
        return advantage_C.masked_fill(~self.signal_N[part], 0).to(logp_C.dtype)


def _chunk_ends(chunks_N: Tensor) -> list[int]:
    """Positions at which no chunk is cut, ascending, the end among them."""
    between_N = (chunks_N[1:] != chunks_N[:-1]) | (chunks_N[1:] < 0)
    return [*(between_N.nonzero().squeeze(1) + 1).tolist(), *([len(chunks_N)] if len(chunks_N) else [])]


def _train(
    student_hidden_NH: Tensor, head: OutputHead, rollout: _Rollout, outcomes: _Outcomes, chunk_bytes: int
) -> tuple[Tensor, TokenStatistics]:
    """The loss with its gradients attached, and the statistics."""
    student = Projection(head, precise_dtype(student_hidden_NH))
    walk = partial(_walk, student_hidden_NH, student, rollout, outcomes, chunk_bytes)
    loss, statistics = with_gradient(student_hidden_NH, head, walk)
    return loss, TokenStatistics(*statistics.unbind())


def _walk(
    hidden_NH: Tensor,
    student: Projection,
    rollout: _Rollout,
    outcomes: _Outcomes,
    chunk_bytes: int,
    gradients: dict[str, Tensor],
) -> tuple[Tensor, Tensor]:
    """The loss and the statistics [S, N]; the gradients that are wanted are added to."""
    count, vocabulary = len(hidden_NH), len(student.weight_VH)
    statistics = hidden_NH.new_empty(len(fields(TokenStatistics)), count, dtype=student.precise)
    parts = list(_cut(outcomes.ends, 0, count, chunk_bytes // (4 * vocabulary)))
    logits = statistics.new_empty(_longest(parts), vocabulary)
    blocks = [list(_cut(outcomes.ends, part.start, part.stop, block_rows(logits))) for part in parts]
    scratch = logits.new_empty(max(map(_longest, blocks), default=0), vocabulary)
    for part, pieces in zip(parts, blocks, strict=True):
        hidden_CH = student.operand(hidden_NH[part])
        logits_CV = logits[: part.stop - part.start]
        student.project(hidden_CH, logits_CV)
        for piece in pieces:
            rows = slice(piece.start - part.start, piece.stop - part.start)
            statistics[:, piece] = _turn_into_gradient(logits_CV[rows], scratch, student.head, rollout, outcomes, piece)
        student.backward(logits_CV, hidden_CH, part, gradients)
    return (rollout.weights_N * statistics[0] * statistics[-1]).sum(), statistics


def _cut(ends: Sequence[int], start: int, stop: int, rows: int) -> Iterator[slice]:
    """Parts of [start, stop) of at most `rows` tokens that stop at `ends`; longer where two ends are further apart."""
    while start < stop:
        last = bisect_right(ends, start + rows) - 1
        if last < 0 or ends[last] <= start:
            last = bisect_right(ends, start)
        yield slice(start, min(ends[last], stop))
        start = ends[last]


def _longest(parts: Sequence[slice]) -> int:
    return max((part.stop - part.start for part in parts), default=0)


def _turn_into_gradient(
    work_CV: Tensor, scratch: Tensor, head: OutputHead, rollout: _Rollout, outcomes: _Outcomes, part: slice
) -> Tensor:
    """The statistics [S, C] of a block; its products in `work_CV` are overwritten with their gradient."""
    slope_CV = head.apply_(work_CV)
    logp_CV = torch.log_softmax(work_CV, -1, out=scratch[: part.stop - part.start])
    tokens_C, ids_CJ = rollout.tokens_N[part], outcomes.ids_NJ[part]
    logp_C, argmax_C, logp_CJ = _at(logp_CV, tokens_C), logp_CV.argmax(-1), logp_CV.gather(1, ids_CJ)
    entropy_C = -torch.exp(logp_CV, out=work_CV).mul_(logp_CV).sum(-1)
    log_tail_C1, mass_C1 = _tail(logp_CV, ids_CJ, work_CV)

    given_CO = outcomes.given_NO[part]
    logp_CO = torch.cat([logp_CJ, log_tail_C1], 1).masked_fill_(~given_CO, 0)
    prob_CO = logp_CO.exp().mul_(given_CO)
    seen, slopes_CO = outcomes.compare(part, _Student(logp_CO, prob_CO, argmax_C, logp_C))
    seen |= {"student_entropy": entropy_C, "logp": logp_C, "ratio": rollout.ratios(logp_C, part)}

    slopes_CO = slopes_CO * (rollout.weights_N[part] * seen["ratio"] * head.scale).to(logp_C.dtype).unsqueeze(1)
    inside_CO = slopes_CO - prob_CO * slopes_CO.sum(-1, keepdim=True)
    work_CV.mul_(inside_CO[:, -1:] / mass_C1)
    work_CV.scatter_add_(1, ids_CJ, inside_CO[:, :-1])
    if slope_CV is not None:
        work_CV.mul_(slope_CV)
    return torch.stack([seen[field.name[:-2]] for field in fields(TokenStatistics)])


def _at(values_CV: Tensor, tokens_C: Tensor) -> Tensor:
    return values_CV.gather(1, tokens_C.unsqueeze(1)).squeeze(1)


def _tail(logp_CV: Tensor, ids_CJ: Tensor, rest_CV: Tensor) -> tuple[Tensor, Tensor]:
    """The log-probability [C, 1] of all tokens but some, and the mass [C, 1] that `rest_CV` sums to.

    `logp_CV` is overwritten; `rest_CV` is filled with numbers in proportion to the others' probabilities, 0 at the
    given tokens. A sum over the others, as 1 less the given ones would lose a small tail.
    """
    logp_CV.scatter_(1, ids_CJ, -math.inf)
    peak_C1 = logp_CV.amax(-1, keepdim=True).clamp(min=torch.finfo(logp_CV.dtype).min)  # -inf where no others are
    torch.sub(logp_CV, peak_C1, out=rest_CV).exp_()
    mass_C1 = rest_CV.sum(-1, keepdim=True)
    return peak_C1 + mass_C1.log(), mass_C1.clamp(min=1)  # the peak's own share is 1
