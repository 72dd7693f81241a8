"""What a served teacher says of some completions, as tensors, and the checks without which nothing is learnt from it.

Shapes: N tokens of the loss, K tokens that the teacher gave, J tokens of a support, M chunks of text that both
tokenizers cut alike, R runs of equal chunk numbers.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate

import numpy as np
import torch
from torch import Tensor

from ..models.output_head import OutputHead
from ..teachers.served.routes import ChunkScores
from ..teachers.tokens.token_scores import TokenScores

SLACK = 1e-3  # by which rounding may bring probabilities above 1


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


def support_targets(scores: Sequence[TokenScores], tokens_N: Tensor, head: OutputHead) -> SupportTargets:
    """What the teacher gives for the tokens of several completions, one after another.

    Ids beyond the student's vocabulary, which a padded or extended head of the teacher's may have, join the tail. Where
    no other is left the support is the sampled token.
    """
    device, vocabulary = head.weight_VH.device, head.weight_VH.shape[0]
    width = max(each.token_ids_NK.shape[1] for each in scores)
    ids_NK = np.concatenate([_widened(each.token_ids_NK, width, -1) for each in scores])
    logps_NK = np.concatenate([_widened(each.logps_NK, width, -np.inf) for each in scores])
    ids_NK = np.where(ids_NK < vocabulary, ids_NK, -1)
    sampled_N = np.concatenate([each.sampled_logps_N for each in scores])
    empty_N = (ids_NK < 0).all(1)
    ids_NK[empty_N, 0], logps_NK[empty_N, 0] = tokens_N.cpu().numpy()[empty_N], sampled_N[empty_N]
    return SupportTargets(
        torch.from_numpy(ids_NK).to(device),
        torch.from_numpy(logps_NK).to(device),
        torch.from_numpy(sampled_N).to(device),
    )


def chunk_targets(chunks: Sequence[ChunkScores], skip: int, tokens_N: Tensor, head: OutputHead) -> ChunkTargets:
    """What a teacher of another tokenizer gives for the tokens of several completions, one after another.

    Args:
        skip: First tokens of each completion that are not in the loss; a chunk that one of them is in has no signal.
    """
    device = head.weight_VH.device
    before = [0, *accumulate(len(each.logps_C) for each in chunks)]
    numbers_N = [_numbered(each.chunks_N, skip, offset) for each, offset in zip(chunks, before, strict=False)]
    dense_N = np.concatenate([each.dense_N[skip:] for each in chunks])
    return ChunkTargets(
        torch.from_numpy(np.concatenate(numbers_N)).to(device),
        torch.from_numpy(np.concatenate([each.logps_C for each in chunks])).to(device),
        support_targets([without_first(each.dense, skip) for each in chunks], tokens_N, head)
        if dense_N.any()
        else None,
        torch.from_numpy(dense_N).to(device),
    )


def _numbered(chunks_N: np.ndarray, skip: int, offset: int) -> np.ndarray:
    """The chunks behind the first `skip` tokens, counted from `offset`; -1 for what those tokens are part of."""
    kept = chunks_N[skip:]
    begun = chunks_N[:skip].max(initial=-1)
    return np.where(kept > begun, kept + offset, -1)


def without_first(scores: TokenScores, skip: int) -> TokenScores:
    return TokenScores(scores.token_ids_NK[skip:], scores.logps_NK[skip:], scores.sampled_logps_N[skip:])


def _widened(values_NK: np.ndarray, width: int, fill: float) -> np.ndarray:
    return np.pad(values_NK, ((0, 0), (0, width - values_NK.shape[1])), constant_values=fill)


def support_of(targets: SupportTargets, tokens_N: Tensor, vocabulary: int, alpha: float) -> tuple[Tensor, Tensor]:
    """Ids and float64 log-probabilities of each token's support; -1 and -inf where there is no entry.

    Raises:
        ValueError: as `support_divergence`.
    """
    require_support_shapes(targets, len(tokens_N))
    ids_NJ = targets.token_ids_NK
    logps_NJ = targets.logps_NK.double().masked_fill(ids_NJ < 0, -math.inf)
    if alpha > 0:
        tokens_N1, sampled_N1 = tokens_N.unsqueeze(1), targets.sampled_logps_N.double().unsqueeze(1)
        there_N1 = (ids_NJ == tokens_N1).any(-1, keepdim=True)
        ids_NJ = torch.cat([ids_NJ, tokens_N1.masked_fill(there_N1, -1)], 1)
        logps_NJ = torch.cat([logps_NJ, sampled_N1.masked_fill(there_N1, -math.inf)], 1)
        refuse({"a finite log-probability of the sampled token": (~sampled_N1.isfinite().squeeze(1), sampled_N1)})
    _checksupport_of(ids_NJ, logps_NJ, targets.token_ids_NK, vocabulary)
    return ids_NJ, logps_NJ


def require_support_shapes(targets: SupportTargets, count: int) -> None:
    shapes = [tuple(x.shape) for x in (targets.token_ids_NK, targets.logps_NK, targets.sampled_logps_N)]
    width = shapes[0][-1] if shapes[0] else 0
    if width < 1 or shapes != [(count, width), (count, width), (count,)]:
        raise ValueError(f"expected targets [N, K], [N, K] and [N] with N = {count} and K > 0, found {shapes}")


def _checksupport_of(ids_NJ: Tensor, logps_NJ: Tensor, token_ids_NK: Tensor, vocabulary: int) -> None:
    given_NJ = ids_NJ >= 0
    ordered_NJ = ids_NJ.sort(-1).values
    repeated_NJ = (ordered_NJ[:, 1:] == ordered_NJ[:, :-1]) & (ordered_NJ[:, 1:] >= 0)
    sums_N = logps_NJ.exp().sum(-1)
    refuse(
        {
            f"ids from 0 to {vocabulary - 1}, or -1": (((ids_NJ < -1) | (ids_NJ >= vocabulary)).any(-1), ids_NJ),
            "at least one of the teacher's likeliest tokens": ((token_ids_NK < 0).all(-1), token_ids_NK),
            "each id once": (repeated_NJ.any(-1), ids_NJ),
            "finite log-probabilities": ((given_NJ & ~logps_NJ.isfinite()).any(-1), logps_NJ),
            "probabilities with a sum of at most 1": (sums_N > 1 + SLACK, sums_N),
        }
    )


def refuse(faults: dict[str, tuple[Tensor, Tensor]]) -> None:
    """Raise for the first token at which an expectation is not met; faults: (where not, what was found) of each."""
    wrong_FN = torch.stack([wrong_N for wrong_N, _ in faults.values()])
    if wrong_FN.any():
        fault, token = wrong_FN.nonzero()[0].tolist()
        expected, (_, found) = list(faults.items())[fault]
        raise ValueError(f"token {token} of {wrong_FN.shape[1]}: expected {expected}, found {found[token].tolist()}")


def dense_or_certain(targets: ChunkTargets, tokens_N: Tensor) -> SupportTargets:
    """The dense targets where there are some; at other tokens a teacher that is sure of the sampled one.

    That stands for no knowledge: what is computed from it is replaced. It puts the sampled token in the first column.
    """
    dense = targets.dense
    if dense is None:
        zeros_N = torch.zeros_like(tokens_N, dtype=torch.float64)
        return SupportTargets(tokens_N.unsqueeze(1), zeros_N.unsqueeze(1), zeros_N)
    require_support_shapes(dense, len(tokens_N))
    dense_N1 = targets.dense_N.unsqueeze(1)
    ids_NK = dense.token_ids_NK.masked_fill(~dense_N1, -1)
    ids_NK[:, 0] = torch.where(targets.dense_N, ids_NK[:, 0], tokens_N)
    logps_NK = dense.logps_NK.masked_fill(~dense_N1, 0)
    return SupportTargets(ids_NK, logps_NK, dense.sampled_logps_N.masked_fill(~targets.dense_N, 0))


def require_chunk_shapes(targets: ChunkTargets, count: int) -> None:
    shapes = [tuple(x.shape) for x in (targets.chunks_N, targets.dense_N)]
    if shapes != [(count,), (count,)] or targets.logps_M.dim() != 1:
        found = [*shapes, tuple(targets.logps_M.shape)]
        raise ValueError(f"expected chunks_N and dense_N [{count}] and logps_M [M], found {found}")
    if targets.dense is None and targets.dense_N.any():
        raise ValueError(f"expected dense targets for the {int(targets.dense_N.sum())} tokens that dense_N marks")


def require_chunks(targets: ChunkTargets, values_R: Tensor, runs_N: Tensor, counts_N: Tensor) -> None:
    """Raise ValueError unless the chunks are as `ChunkTargets` says.

    Args:
        values_R: The chunk of each run of tokens with the same chunk.
        runs_N: The run of each token.
        counts_N: Tokens of that run.
    """
    chunks_N, count = targets.chunks_N, len(targets.logps_M)
    refuse({f"a chunk from 0 to {count - 1}, or -1": ((chunks_N < -1) | (chunks_N >= count), chunks_N)})
    runs_M = torch.bincount(values_R[values_R >= 0], minlength=count)
    apart_N = torch.cat([runs_M, runs_M.new_ones(1)])[chunks_N] > 1
    shared_N = targets.dense_N & (chunks_N >= 0) & (counts_N > 1)
    refuse(
        {
            "the tokens of its chunk to be neighbours": (apart_N, chunks_N),
            "a dense token to be a chunk of its own": (shared_N, chunks_N),
        }
    )
