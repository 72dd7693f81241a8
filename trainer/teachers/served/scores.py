"""The served teacher's log-probabilities of one completion, from the raw bytes of an answer of `/v1/completions`.

Shapes: N tokens of the completion, K likeliest tokens, M entries of all N positions together (K or K + 1 a position).
"""

import json
from collections.abc import Mapping, Sequence
from itertools import chain
from typing import Any, Generic, TypeVar

import msgspec
import numpy as np

from ...errors import TeacherError
from ..tokens.token_scores import TokenScores

P = TypeVar("P")

LARGEST_ID = 2**31 - 1  # of a token
FLOOR = -9999.0  # what vLLM writes for -inf, which JSON can't hold
ALL_MASS = 0.999  # of tokens beside which no other counts
LARGEST_LOGP, LARGEST_MASS = 1e-3, 1.001  # 0 and 1, and room for what float32 rounds
# Reading every position costs less than skipping the prompt's first where those are so few of the completion's.
PROMPT_SHARE_TO_SKIP = 0.6


class NoPromptScores(TeacherError):
    """The answer holds no log-probabilities of a prompt where vLLM has them."""


class _Entry(msgspec.Struct, gc=False):
    logprob: float | None
    rank: int


class _EntryWithText(_Entry, gc=False):
    decoded_token: str | None = None


class _Choice(msgspec.Struct, Generic[P]):
    prompt_logprobs: list[P] | None


class _Answer(msgspec.Struct, Generic[P]):
    choices: list[_Choice[P]]


_Positions = Sequence[Mapping[int, _Entry]]
_whole = msgspec.json.Decoder(_Answer[dict[int, _Entry] | None])
_skipping = msgspec.json.Decoder(_Answer[msgspec.Raw])
_positions = msgspec.json.Decoder(list[dict[int, _Entry] | None])
_positions_with_texts = msgspec.json.Decoder(list[dict[int, _EntryWithText] | None])


def decode_scores(
    body: bytes, completion_ids: Sequence[int], prompt_length: int, top_k: int, with_texts: bool = False
) -> TokenScores:
    """The scores of `completion_ids`, which stood after `prompt_length` other tokens (at least 1) in the request.

    The K likeliest are the entries of rank 1 to K. The completion's own token is found by its id, whatever its rank.
    A token of probability 0 is none of the likeliest: its place holds -1 and -inf.

    Raises:
        TeacherError: the answer has another number of positions, lacks the completion's own token or some of the
            likeliest, or has values that are not finite or no log-probabilities.
        msgspec.DecodeError: the body is no whole JSON.
    """
    assert prompt_length >= 1, "nothing precedes the first token of all, so it has no probability"
    positions = _completion_region(body, prompt_length, len(completion_ids), with_texts)
    sampled_logps_N = _sampled(positions, completion_ids, prompt_length)
    token_ids_NK, logps_NK, given_N = _likeliest(positions, prompt_length, top_k)
    require_log_probabilities(sampled_logps_N, logps_NK, prompt_length)
    require_likeliest(given_N, logps_NK, prompt_length)
    return TokenScores(token_ids_NK, logps_NK, sampled_logps_N, _texts(positions) if with_texts else {})


def _completion_region(body: bytes, prompt_length: int, length: int, with_texts: bool) -> _Positions:
    """The entries of each position of the completion, by token id."""
    skip = with_texts or prompt_length > PROMPT_SHARE_TO_SKIP * length
    try:
        positions = _decode(_skipping if skip else _whole, body).choices[0].prompt_logprobs
        if positions is None or len(positions) != prompt_length + length:
            raise _wrong_length(positions, prompt_length, length)
        region = positions[prompt_length:]
        if skip:
            decoder = _positions_with_texts if with_texts else _positions
            region = decoder.decode(b"[" + b",".join(region) + b"]")
        return [position or {} for position in region]
    except (msgspec.ValidationError, IndexError) as error:
        raise NoPromptScores(
            f"the teacher answered {body[:200].decode(errors='replace')!r} ({error}), expected log-probabilities of a "
            "prompt as vLLM's /v1/completions gives them. Is it a vLLM server? Pass the URL of one."
        ) from error


def _decode(decoder: msgspec.json.Decoder, body: bytes) -> _Answer:
    try:
        return decoder.decode(body)
    except msgspec.ValidationError:
        raise
    except msgspec.DecodeError:
        if (standard := _without_nan(body)) is None:
            raise
        return decoder.decode(standard)


def _without_nan(body: bytes) -> bytes | None:
    """Null for NaN and Infinity, which some writers put into JSON against its standard; None for what is no JSON."""
    try:
        return msgspec.json.encode(json.loads(body))
    except (ValueError, RecursionError):
        return None


def _wrong_length(positions: list | None, prompt_length: int, length: int) -> TeacherError:
    found = "no log-probabilities" if positions is None else f"log-probabilities of {len(positions)} positions"
    return TeacherError(
        f"the teacher gave {found}, expected {prompt_length + length}: a prompt of {prompt_length} tokens and a "
        f"completion of {length}. Serve the model with stock vLLM, without truncation of prompts, and pass its URL: "
        "--vllm_server_base_url URL."
    )


def _sampled(positions: _Positions, completion_ids: Sequence[int], prompt_length: int) -> np.ndarray:
    """The log-probability [N] of each of `completion_ids`."""
    missing = [n for n, token in enumerate(completion_ids) if token not in positions[n]]
    if missing:
        raise unusable_score("no log-probability", missing[0], completion_ids[missing[0]], prompt_length)
    logps_N = _logps([position[token] for position, token in zip(positions, completion_ids, strict=True)])
    unusable = np.flatnonzero(~np.isfinite(logps_N))
    if len(unusable):
        n = int(unusable[0])
        raise unusable_score(f"the log-probability {logps_N[n]}", n, completion_ids[n], prompt_length)
    return logps_N


def _likeliest(positions: _Positions, prompt_length: int, top_k: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Ids and log-probabilities [N, K] of the entries of rank 1 to K, and how many there are [N].

    One beyond K is the completion's own token.
    """
    entries = [entry for position in positions for entry in position.values()]
    logps_M, ranks_M = _logps(entries), _whole_numbers([entry.rank for entry in entries])
    tokens_M = _whole_numbers(list(chain.from_iterable(positions)))
    n_M = np.repeat(np.arange(len(positions)), np.fromiter(map(len, positions), dtype=np.int64))
    unusable = np.flatnonzero(np.isnan(logps_M) | (ranks_M < 1) | (tokens_M < 0) | (tokens_M > LARGEST_ID))
    if len(unusable):
        m = int(unusable[0])
        found = f"the log-probability {logps_M[m]} and the rank {ranks_M[m]}"
        raise unusable_score(found, int(n_M[m]), int(tokens_M[m]), prompt_length)
    kept_M = (ranks_M <= top_k) & (logps_M > -np.inf)
    at_M = (n_M * top_k + ranks_M - 1)[kept_M]
    token_ids_NK = np.full((len(positions), top_k), -1, dtype=np.int64)
    logps_NK = np.full((len(positions), top_k), -np.inf, dtype=np.float32)
    token_ids_NK.ravel()[at_M], logps_NK.ravel()[at_M] = tokens_M[kept_M], logps_M[kept_M]
    if np.count_nonzero(token_ids_NK >= 0) < len(at_M):
        raise TeacherError(
            f"the teacher gave two tokens of one position the same rank, expected ranks 1 to {top_k} as vLLM counts "
            "them. Serve the model with stock vLLM, and pass its URL: --vllm_server_base_url URL."
        )
    return token_ids_NK, logps_NK, np.bincount(n_M[ranks_M <= top_k], minlength=len(positions))


def require_likeliest(given_N: np.ndarray, logps_NK: np.ndarray, prompt_length: int) -> None:
    """Of the K likeliest tokens only those of no probability may be left out: others would be learnt as impossible.

    Args:
        given_N: How many of them the answer has at each position.
    """
    top_k = logps_NK.shape[1]
    masses_N = np.exp(logps_NK, dtype=np.float64).sum(1)
    wrong = np.flatnonzero((given_N < top_k) & (masses_N < ALL_MASS))
    if len(wrong):
        n = int(wrong[0])
        raise TeacherError(
            f"at position {prompt_length + n} the teacher gave {given_N[n]} of the {top_k} likeliest tokens, with a "
            f"probability of {masses_N[n]:.4g} together, expected all of them. Serve the model with stock vLLM, and "
            "pass its URL: --vllm_server_base_url URL."
        )


def _whole_numbers(told: list[int]) -> np.ndarray:
    """int64; a number that no model's vocabulary reaches becomes -1."""
    try:
        return np.array(told, dtype=np.int64)
    except OverflowError:
        return np.array([number if abs(number) < 2**63 else -1 for number in told], dtype=np.int64)


def _logps(entries: list[_Entry]) -> np.ndarray:
    """float32; NaN where the answer has null, -inf where vLLM had it."""
    with np.errstate(over="ignore"):  # what float32 doesn't reach is -inf
        logps_M = np.array([entry.logprob for entry in entries], dtype=np.float32)
    logps_M[logps_M <= FLOOR] = -np.inf
    return logps_M


def require_log_probabilities(sampled_logps_N: np.ndarray, logps_NK: np.ndarray, prompt_length: int) -> None:
    """Positive values, or ones whose probabilities sum to more than 1, are logits or belong to another temperature."""
    masses_N = np.exp(logps_NK, dtype=np.float64).sum(1)
    highest_N = np.maximum(sampled_logps_N, logps_NK.max(1, initial=-np.inf))
    wrong = np.flatnonzero((highest_N > LARGEST_LOGP) | (masses_N > LARGEST_MASS))
    if len(wrong):
        n = int(wrong[0])
        raise TeacherError(
            f"at position {prompt_length + n} the teacher's largest value is {highest_N[n]:.4g} and its likeliest "
            f"tokens have a probability of {masses_N[n]:.4g} together, expected at most 0 and 1: these are no "
            "log-probabilities at temperature 1. Start vLLM without --logprobs-mode, or with "
            "`--logprobs-mode raw_logprobs`."
        )


def _texts(positions: Sequence[Mapping[int, Any]]) -> dict[int, str]:
    """The text of each token that has the same one wherever it occurs."""
    texts: dict[int, str] = {}
    for position in positions:
        for token, entry in position.items():
            if texts.setdefault(token, entry.decoded_token or "") != entry.decoded_token:
                texts[token] = ""
    return {token: text for token, text in texts.items() if text}


def unusable_score(found: str, n: int, token: int, prompt_length: int) -> TeacherError:
    """The error for token `n` of a completion, of which the server told `found`."""
    return TeacherError(
        f"the teacher gave {found} for token {token} at position {prompt_length + n} (token {n} of the completion), "
        "expected a finite one. Is its vocabulary the student's, and its model sound? Look into vLLM's log, or name "
        "another teacher: --vllm_server_base_url URL."
    )
