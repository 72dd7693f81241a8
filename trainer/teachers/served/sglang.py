"""Log-probabilities of given tokens from SGLang's own `/generate`; its OpenAI-like API tells none of a prompt.

As SGLang 0.5.23 writes them: `meta_info` holds a list of positions from `logprob_start_len` on, each `[log-probability,
id, text or null]`; the first has null for the log-probability, though tokens stand before it. The last id of the
vocabulary is written as 0, so that ids say little; the places say which token is meant.

Shapes: N tokens of the completion, K likeliest tokens.
"""

from collections.abc import Sequence
from typing import Any

import msgspec
import numpy as np

from ...errors import TeacherError
from ..tokens.token_scores import TokenScores
from .scores import require_likeliest, require_log_probabilities, unusable_score

PATH = "/generate"
DESCRIPTIONS = ("/model_info", "/get_model_info")  # the second until release 0.5

_Token = tuple[float | None, int, str | None]


class _Meta(msgspec.Struct):
    input_token_logprobs: list[_Token]
    input_top_logprobs: list[list[_Token] | None]


class _Answer(msgspec.Struct):
    meta_info: _Meta


_decoder = msgspec.json.Decoder(_Answer)


def question(
    prompt_ids: Sequence[int], completion_ids: Sequence[int], top_k: int, with_texts: bool = False
) -> dict[str, Any]:
    """The body that asks for the scores of a completion behind a prompt of at least one token; nothing is written."""
    return {
        "input_ids": [*prompt_ids, *completion_ids],
        "sampling_params": {"max_new_tokens": 0, "temperature": 1.0},
        "return_logprob": True,
        "logprob_start_len": len(prompt_ids) - 1,
        "top_logprobs_num": top_k,
        "return_text_in_logprobs": with_texts,
    }


def decode_scores(
    body: bytes, completion_ids: Sequence[int], prompt_length: int, top_k: int, with_texts: bool = False
) -> TokenScores:
    """The scores of `completion_ids`, as `scores.decode_scores` gives them of a vLLM's answer.

    Raises:
        TeacherError: the answer has another number of positions, other tokens, or values that are not finite or no
            log-probabilities.
        msgspec.DecodeError: the body is no whole JSON.
    """
    meta = _meta_info(body)
    own, likeliest = meta.input_token_logprobs[1:], meta.input_top_logprobs[1:]
    if len(own) != len(completion_ids) or len(likeliest) != len(completion_ids):
        raise TeacherError(
            f"the teacher gave log-probabilities of {len(own)} and {len(likeliest)} positions, expected "
            f"{len(completion_ids)}. Serve the model with SGLang 0.5 or newer, or with vLLM."
        )
    sampled_logps_N = np.array([logp for logp, _, _ in own], dtype=np.float32)
    for n, (token, (_, told, _)) in enumerate(zip(completion_ids, own, strict=True)):
        if told not in (token, 0) or not np.isfinite(sampled_logps_N[n]):
            found = "no log-probability" if told not in (token, 0) else f"the log-probability {sampled_logps_N[n]}"
            raise unusable_score(found, n, token, prompt_length)
    token_ids_NK, logps_NK = _likeliest([position or [] for position in likeliest], completion_ids, top_k)
    require_log_probabilities(sampled_logps_N, logps_NK, prompt_length)
    require_likeliest(np.array([len(each or []) for each in likeliest]), logps_NK, prompt_length)
    return TokenScores(token_ids_NK, logps_NK, sampled_logps_N, _texts([own, *likeliest]) if with_texts else {})


def _meta_info(body: bytes) -> _Meta:
    try:
        return _decoder.decode(body).meta_info
    except msgspec.ValidationError as error:
        raise TeacherError(
            f"the teacher answered {body[:200].decode(errors='replace')!r} ({error}), expected log-probabilities of a "
            "prompt as SGLang's /generate gives them. Serve the model with SGLang 0.5 or newer, or with vLLM."
        ) from error


def _likeliest(
    positions: list[list[_Token]], completion_ids: Sequence[int], top_k: int
) -> tuple[np.ndarray, np.ndarray]:
    """Ids and log-probabilities [N, K], the likeliest first; a place of probability 0 holds -1 and -inf."""
    token_ids_NK = np.full((len(positions), top_k), -1, dtype=np.int64)
    logps_NK = np.full((len(positions), top_k), -np.inf, dtype=np.float32)
    for n, position in enumerate(positions):
        for k, (logp, token, _) in enumerate(position[:top_k]):
            if logp is None or np.isnan(logp):
                raise unusable_score("no log-probability of a likely token", n, completion_ids[n], 0)
            if logp > -np.inf:
                token_ids_NK[n, k], logps_NK[n, k] = token, logp
    return token_ids_NK, logps_NK


def _texts(positions: Sequence[Sequence[_Token] | None]) -> dict[int, str]:
    """The text of each token that has the same one wherever it occurs."""
    texts: dict[int, str] = {}
    for position in positions:
        for _, token, text in position or []:
            if texts.setdefault(token, text or "") != text:
                texts[token] = ""
    return {token: text for token, text in texts.items() if text}
