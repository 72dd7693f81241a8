"""The losses against a served teacher, of whom only a few numbers a token are known.

As in `trainer/losses.py` the logits of a whole sequence never exist, and the gradient is taken in the forward pass:
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
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from trainer.losses import CHUNK_BYTES, OutputHead, Projection, TokenStatistics, block_rows, importance

TAIL_FLOOR = 1e-7  # probability; the teacher's float32 log-probabilities say nothing of a smaller tail
SLACK = 1e-3  # by which rounding may bring probabilities above 1
CREDITS = ("dpca", "uniform")
NAN = math.nan


@dataclass(frozen=True)
class SupportTargets:
    """What the served teacher gives for N tokens, as tensors on the student's device, in ids of the student.

    Attributes:
        token_ids_NK: int64, distinct tokens in any order; -1 where there is no entry.
        logps_NK: Their log-probabilities in nats, of any float dtype; not read where there is no entry.
        sampled_logps_N: Log-probability of the completion's own token; not read at alpha 0.
    """

    token_ids_NK: Tensor
    logps_NK: Tensor
    sampled_logps_N: Tensor


@dataclass(frozen=True)
class ChunkTargets:
    """What a served teacher of another tokenizer gives for N tokens, cut into M chunks of equal text.

    Attributes:
        chunks_N: int64, the chunk of each student token, -1 for a token without signal. The tokens of a chunk are
            neighbours.
        logps_M: The teacher's log-likelihood of each chunk in nats, of any float dtype.
        dense: Targets for the tokens that `dense_N` marks; what it says of others is not read.
        dense_N: bool, tokens that are trained on `dense`; each is a chunk of its own, or has no chunk.
    """

    chunks_N: Tensor
    logps_M: Tensor
    dense: SupportTargets | None
    dense_N: Tensor


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
    KL(S‖T), between is the generalised Jensen-Shannon divergence of `trainer.losses.Divergence`.
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
    outcomes = _Outcomes(targets, tokens_N, student_head.weight_VH.shape[0], alpha, _precise(student_hidden_NH))
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
    one token and no clip it is the mode `sampled_token` of `trainer.losses`.
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
    vocabulary, precise = student_head.weight_VH.shape[0], _precise(student_hidden_NH)
    outcomes = _ChunkOutcomes(targets, tokens_N, vocabulary, alpha, precise, credit, clip)
    rollout = _Rollout(tokens_N, weights_N, rollout_logps_N, max_ratio)
    return _train(student_hidden_NH, student_head, rollout, outcomes, chunk_bytes)


def _precise(hidden_NH: Tensor) -> torch.dtype:
    return torch.float64 if hidden_NH.dtype == torch.float64 else torch.float32


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
        ids_NJ, logps_NJ = _support(targets, tokens_N, vocabulary, alpha)
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


def _support(targets: SupportTargets, tokens_N: Tensor, vocabulary: int, alpha: float) -> tuple[Tensor, Tensor]:
    """Ids and float64 log-probabilities of each token's support; -1 and -inf where there is no entry.

    Raises:
        ValueError: as `support_divergence`.
    """
    _check_support_shapes(targets, len(tokens_N))
    ids_NJ = targets.token_ids_NK
    logps_NJ = targets.logps_NK.double().masked_fill(ids_NJ < 0, -math.inf)
    if alpha > 0:
        tokens_N1, sampled_N1 = tokens_N.unsqueeze(1), targets.sampled_logps_N.double().unsqueeze(1)
        there_N1 = (ids_NJ == tokens_N1).any(-1, keepdim=True)
        ids_NJ = torch.cat([ids_NJ, tokens_N1.masked_fill(there_N1, -1)], 1)
        logps_NJ = torch.cat([logps_NJ, sampled_N1.masked_fill(there_N1, -math.inf)], 1)
        _refuse({"a finite log-probability of the sampled token": (~sampled_N1.isfinite().squeeze(1), sampled_N1)})
    _check_support(ids_NJ, logps_NJ, targets.token_ids_NK, vocabulary)
    return ids_NJ, logps_NJ


def _check_support_shapes(targets: SupportTargets, count: int) -> None:
    shapes = [tuple(x.shape) for x in (targets.token_ids_NK, targets.logps_NK, targets.sampled_logps_N)]
    width = shapes[0][-1] if shapes[0] else 0
    if width < 1 or shapes != [(count, width), (count, width), (count,)]:
        raise ValueError(f"expected targets [N, K], [N, K] and [N] with N = {count} and K > 0, found {shapes}")


def _check_support(ids_NJ: Tensor, logps_NJ: Tensor, token_ids_NK: Tensor, vocabulary: int) -> None:
    given_NJ = ids_NJ >= 0
    ordered_NJ = ids_NJ.sort(-1).values
    repeated_NJ = (ordered_NJ[:, 1:] == ordered_NJ[:, :-1]) & (ordered_NJ[:, 1:] >= 0)
    sums_N = logps_NJ.exp().sum(-1)
    _refuse(
        {
            f"ids from 0 to {vocabulary - 1}, or -1": (((ids_NJ < -1) | (ids_NJ >= vocabulary)).any(-1), ids_NJ),
            "at least one of the teacher's likeliest tokens": ((token_ids_NK < 0).all(-1), token_ids_NK),
            "each id once": (repeated_NJ.any(-1), ids_NJ),
            "finite log-probabilities": ((given_NJ & ~logps_NJ.isfinite()).any(-1), logps_NJ),
            "probabilities with a sum of at most 1": (sums_N > 1 + SLACK, sums_N),
        }
    )


def _refuse(faults: dict[str, tuple[Tensor, Tensor]]) -> None:
    """Raise for the first token at which an expectation is not met; faults: (where not, what was found) of each."""
    wrong_FN = torch.stack([wrong_N for wrong_N, _ in faults.values()])
    if wrong_FN.any():
        fault, token = wrong_FN.nonzero()[0].tolist()
        expected, (_, found) = list(faults.items())[fault]
        raise ValueError(f"token {token} of {wrong_FN.shape[1]}: expected {expected}, found {found[token].tolist()}")


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
        _check_chunk_shapes(targets, len(tokens_N))
        super().__init__(_dense_or_certain(targets, tokens_N), tokens_N, vocabulary, alpha, precise)
        self.credit, self.clip = credit, clip
        self.dense_N, self.signal_N = targets.dense_N, targets.chunks_N >= 0
        values_R, self.runs_N, counts_R = targets.chunks_N.unique_consecutive(return_inverse=True, return_counts=True)
        self.counts_N = counts_R[self.runs_N]
        padded_M1 = torch.cat([targets.logps_M.double(), targets.logps_M.new_zeros(1, dtype=torch.float64)])
        _check_chunks(targets, values_R, self.runs_N, self.counts_N)
        self.logps_N = padded_M1[targets.chunks_N]
        wrong_N = ~(self.logps_N.isfinite() & (self.logps_N <= SLACK)) & ~self.dense_N
        _refuse({"a finite log-likelihood of its chunk, at most 0": (wrong_N, self.logps_N)})
        self.ends = _chunk_ends(targets.chunks_N)

    def compare(self, part: slice, student: _Student) -> tuple[dict[str, Tensor], Tensor]:
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


def _dense_or_certain(targets: ChunkTargets, tokens_N: Tensor) -> SupportTargets:
    """The dense targets where there are some; at other tokens a teacher that is sure of the sampled one.

    That stands for no knowledge: what is computed from it is replaced. It puts the sampled token in the first column.
    """
    dense = targets.dense
    if dense is None:
        zeros_N = torch.zeros_like(tokens_N, dtype=torch.float64)
        return SupportTargets(tokens_N.unsqueeze(1), zeros_N.unsqueeze(1), zeros_N)
    _check_support_shapes(dense, len(tokens_N))
    dense_N1 = targets.dense_N.unsqueeze(1)
    ids_NK = dense.token_ids_NK.masked_fill(~dense_N1, -1)
    ids_NK[:, 0] = torch.where(targets.dense_N, ids_NK[:, 0], tokens_N)
    logps_NK = dense.logps_NK.masked_fill(~dense_N1, 0)
    return SupportTargets(ids_NK, logps_NK, dense.sampled_logps_N.masked_fill(~targets.dense_N, 0))


def _check_chunk_shapes(targets: ChunkTargets, count: int) -> None:
    shapes = [tuple(x.shape) for x in (targets.chunks_N, targets.dense_N)]
    if shapes != [(count,), (count,)] or targets.logps_M.dim() != 1:
        found = [*shapes, tuple(targets.logps_M.shape)]
        raise ValueError(f"expected chunks_N and dense_N [{count}] and logps_M [M], found {found}")
    if targets.dense is None and targets.dense_N.any():
        raise ValueError(f"expected dense targets for the {int(targets.dense_N.sum())} tokens that dense_N marks")


def _check_chunks(targets: ChunkTargets, values_R: Tensor, runs_N: Tensor, counts_N: Tensor) -> None:
    chunks_N, count = targets.chunks_N, len(targets.logps_M)
    _refuse({f"a chunk from 0 to {count - 1}, or -1": ((chunks_N < -1) | (chunks_N >= count), chunks_N)})
    runs_M = torch.bincount(values_R[values_R >= 0], minlength=count)
    apart_N = torch.cat([runs_M, runs_M.new_ones(1)])[chunks_N] > 1
    shared_N = targets.dense_N & (chunks_N >= 0) & (counts_N > 1)
    _refuse(
        {
            "the tokens of its chunk to be neighbours": (apart_N, chunks_N),
            "a dense token to be a chunk of its own": (shared_N, chunks_N),
        }
    )


def _chunk_ends(chunks_N: Tensor) -> list[int]:
    """Positions at which no chunk is cut, ascending, the end among them."""
    between_N = (chunks_N[1:] != chunks_N[:-1]) | (chunks_N[1:] < 0)
    return [*(between_N.nonzero().squeeze(1) + 1).tolist(), *([len(chunks_N)] if len(chunks_N) else [])]


def _train(
    student_hidden_NH: Tensor, head: OutputHead, rollout: _Rollout, outcomes: _Outcomes, chunk_bytes: int
) -> tuple[Tensor, TokenStatistics]:
    """The loss with its gradients attached, and the statistics."""
    leaves = {"hidden": student_hidden_NH, "weight": head.weight_VH, "bias": head.bias_V}
    wanted = {name: leaf for name, leaf in leaves.items() if leaf is not None and leaf.requires_grad}
    statistics, gradients = _walk(
        student_hidden_NH, head, rollout, outcomes, chunk_bytes, wanted if torch.is_grad_enabled() else {}
    )
    loss = (rollout.weights_N * statistics[0] * statistics[-1]).sum()
    loss = _KnownGradient.apply(loss, [gradients.get(name) for name in leaves], *leaves.values())
    return loss, TokenStatistics(*statistics.unbind())


@torch.no_grad()
def _walk(
    hidden_NH: Tensor,
    head: OutputHead,
    rollout: _Rollout,
    outcomes: _Outcomes,
    chunk_bytes: int,
    wanted: dict[str, Tensor],
) -> tuple[Tensor, dict[str, Tensor]]:
    """Statistics [S, N] of all tokens and the gradients of the loss that are wanted, in the precise dtype."""
    student = Projection(head, _precise(hidden_NH))
    count, vocabulary = len(hidden_NH), head.weight_VH.shape[0]
    with torch.autocast(hidden_NH.device.type, enabled=False):
        gradients = {name: torch.zeros_like(leaf, dtype=student.precise) for name, leaf in wanted.items()}
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
                statistics[:, piece] = _turn_into_gradient(logits_CV[rows], scratch, head, rollout, outcomes, piece)
            student.backward(logits_CV, hidden_CH, part, gradients)
    return statistics, gradients


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
    slope_CV = _apply_head(work_CV, head)
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


def _apply_head(products_CV: Tensor, head: OutputHead) -> Tensor | None:
    """Turn the products into logits, in place; returns the cap's slope at each logit where there is a cap."""
    if head.bias_V is not None:
        products_CV += head.bias_V.detach()
    if head.scale != 1:
        products_CV *= head.scale
    if head.softcap is None:
        return None
    products_CV.div_(head.softcap).tanh_()
    slope_CV = 1 - products_CV.square()
    products_CV *= head.softcap
    return slope_CV


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


class _KnownGradient(torch.autograd.Function):
    """A scalar whose gradients for its leaves were taken before."""

    @staticmethod
    def forward(ctx: Any, loss: Tensor, gradients: list[Tensor | None], *leaves: Tensor | None) -> Tensor:
        ctx.gradients = gradients
        ctx.dtypes = [None if leaf is None else leaf.dtype for leaf in leaves]
        return loss.clone()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_loss: Tensor) -> tuple[Tensor | None, ...]:
        if ctx.gradients is None:
            raise RuntimeError("the gradient of this loss was taken before; it can't be taken a second time")
        scaled = [
            None if gradient is None else gradient.mul_(grad_loss).to(dtype)
            for gradient, dtype in zip(ctx.gradients, ctx.dtypes, strict=True)
        ]
        ctx.gradients = None
        return (None, None, *scaled)
