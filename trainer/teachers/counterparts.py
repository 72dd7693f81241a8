"""The teacher's likeliest tokens as single tokens of the student with the same bytes.

Shapes: N tokens of a completion, K likeliest tokens.
"""

import re
from collections.abc import Collection, Mapping, Sequence

import numpy as np

from trainer.teachers.token_bytes import END, Spelling, Token

_CLEANED_UP = re.compile(r"[.?!,']")


def tokens_of_answer(
    ids: Sequence[int],
    strings: Sequence[str],
    decoded: Mapping[int, str],
    spelling: Spelling,
    *,
    end_ids: Collection[int],
    cleaned_up: bool,
) -> dict[int, Token]:
    """The teacher's tokens whose bytes are certain from what a server says of one completion.

    A growing collection over several answers would make a run depend on the order in which they come in.

    Args:
        ids, strings: The completion's tokens as `/tokenize` gives them.
        decoded: Texts of single tokens, as `prompt_logprobs` give them. Only ASCII of a byte-level tokenizer is
            certain: vLLM completes a part of a character from what stands before it, and decoders of SentencePiece
            drop a space in front.
        end_ids: The teacher's ids that end a turn.
        cleaned_up: Whether the server drops spaces before punctuation, as releases of transformers before 5 do for
            Llama 3; `/detokenize` then doesn't give `SPELLING_PROBES` back, and texts with punctuation aren't certain.
    """
    certain = {
        id: spelling.token(text)
        for id, text in decoded.items()
        if spelling is Spelling.BYTE_LEVEL and text.isascii() and not (cleaned_up and _CLEANED_UP.search(text))
    }
    return certain | dict(zip(ids, map(spelling.token, strings), strict=True)) | dict.fromkeys(end_ids, END)


def counterparts(
    teacher_ids_NK: np.ndarray,
    logps_NK: np.ndarray,
    teacher_tokens: Mapping[int, Token],
    student_ids: Mapping[Token, int],
) -> tuple[np.ndarray, np.ndarray]:
    """The student's tokens with the bytes of the teacher's, and their log-probabilities.

    Teacher tokens with one and the same counterpart (two that end a turn, a letter and its byte) are one outcome:
    their probabilities are added at the first place.

    Args:
        teacher_ids_NK: int64, -1 where there is none.
        logps_NK: Log-probabilities in nats, -inf where there is none.
        teacher_tokens: `tokens_of_answer`, or `Vocabulary.by_id` of the teacher's tokenizer.
        student_ids: `Vocabulary.id_of` of the student's.

    Returns:
        int64 [N, K] with -1 and an array like `logps_NK` with -inf where a token has no counterpart.
    """
    distinct, places = np.unique(teacher_ids_NK, return_inverse=True)
    found = [student_ids.get(teacher_tokens[id], -1) if id in teacher_tokens else -1 for id in distinct.tolist()]
    ids_NK = np.array(found, dtype=np.int64)[places].reshape(teacher_ids_NK.shape)
    mapped_NK = np.where(ids_NK >= 0, logps_NK, -np.inf).astype(logps_NK.dtype)
    for n, k in np.argwhere(_repeated(ids_NK)):
        first = int(np.argmax(ids_NK[n] == ids_NK[n, k]))
        mapped_NK[n, first] = np.logaddexp(mapped_NK[n, first], mapped_NK[n, k])
        mapped_NK[n, k], ids_NK[n, k] = -np.inf, -1
    return ids_NK, mapped_NK


def _repeated(ids_NK: np.ndarray) -> np.ndarray:
    """bool [N, K], whether an id that isn't -1 also stands further left in its row."""
    order_NK = np.argsort(ids_NK, axis=1, kind="stable")
    sorted_NK = np.take_along_axis(ids_NK, order_NK, axis=1)
    same_NK = np.zeros(ids_NK.shape, dtype=bool)
    again_NK = (sorted_NK[:, 1:] == sorted_NK[:, :-1]) & (sorted_NK[:, 1:] >= 0)
    np.put_along_axis(same_NK, order_NK[:, 1:], again_NK, axis=1)
    return same_NK
