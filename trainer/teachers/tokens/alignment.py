"""Two tokenizations of one text, cut where the byte boundaries of their tokens coincide.

What lies between two cuts is a chunk: the shortest run of bytes that is made of whole tokens on both sides, so that
both models' log-likelihoods of it can be compared. Chunks may begin and end inside a character.

Shapes: N student tokens and M teacher tokens of one completion, C chunks.
"""

import codecs
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Self

import numpy as np

from .token_bytes import END, Special, Token, joined, spelled


class NoSignal(StrEnum):
    """Why the teacher tells nothing of a student's token.

    SPECIAL: its chunk holds a token of a template, on either side.
    INCOMPLETE: it lies behind the last common boundary of a completion that was cut off inside a character.
    END: it ends the turn, and the teacher's end of turn was not scored.
    INVALID: its completion is no valid UTF-8 from this token, or one before it, on.
    CHANGED: the teacher's tokenizer makes another text of the completion.
    LONG: its completion, in the teacher's tokens, does not fit the teacher's context.
    UNKNOWN: it stands within a token of the teacher's whose likely continuations are not known in the student's tokens.
    """

    SPECIAL = "special_token"
    INCOMPLETE = "incomplete_character"
    END = "end_of_turn"
    INVALID = "invalid_utf8"
    CHANGED = "text_changed"
    LONG = "too_long"
    UNKNOWN = "unknown_continuation"


@dataclass(frozen=True)
class Alignment:
    """Which tokens of the two sides belong together.

    Attributes:
        student_chunks_N, teacher_chunks_M: int64, each token's chunk; -1 where it is in none and gives no signal.
            Apart from -1 they ascend, and each chunk from 0 to C - 1 has tokens on both sides.
        count: C.
        without_signal: How many of the student's tokens are in no chunk, by reason.
    """

    student_chunks_N: np.ndarray
    teacher_chunks_M: np.ndarray
    count: int
    without_signal: Counter[NoSignal]

    @classmethod
    def impossible(cls, tokens: int, reason: NoSignal) -> Self:
        """That of a completion of so many student tokens that the teacher can't score."""
        return cls(np.full(tokens, -1), np.zeros(0, dtype=np.int64), 0, Counter({reason: tokens}))


def scorable_tokens(tokens: Sequence[Token]) -> int:
    """How many of a student's tokens, from the first on, spell valid UTF-8: all, or those before the first that don't.

    A last character that is cut off is no fault, unless `END` follows it.
    """
    decoder = codecs.getincrementaldecoder("utf-8")()
    whole = 0
    for count, token in enumerate(tokens):
        try:
            decoder.decode(spelled(token), final=token == END)
        except UnicodeDecodeError:
            return whole
        if not decoder.getstate()[0]:
            whole = count + 1
    return len(tokens)


def scorable_text(tokens: Sequence[Token]) -> str:
    """The text of tokens that are all scorable; a last character that is cut off is left out."""
    return codecs.getincrementaldecoder("utf-8")().decode(joined(tokens))


def align(student: Sequence[Token], teacher: Sequence[Token]) -> Alignment:
    """Cut both sides at all of their common byte boundaries.

    A token without bytes belongs to the chunk before it; at the start of the text, to the one after it. A chunk with
    a special token on either side gives no signal. `END` of both sides is one symbol behind the text, and a chunk.

    Args:
        student: The tokens of a completion.
        teacher: The teacher's tokens of the same text. Where the completion was cut off inside a character, the
            teacher's text is shorter by the bytes of that character.

    Raises:
        ValueError: the texts differ in more than that, or `END` is not the last.
    """
    _check(student, teacher)
    student_ends_N, teacher_ends_M = _ends(student), _ends(teacher)
    cuts_C = np.setdiff1d(np.intersect1d(student_ends_N, teacher_ends_M), [0])
    student_places_N = np.searchsorted(cuts_C, student_ends_N)
    teacher_places_M = np.searchsorted(cuts_C, teacher_ends_M)
    keeps_C1 = np.append(np.ones(len(cuts_C), dtype=bool), False)  # the last entry: all that lies behind the last cut
    keeps_C1[student_places_N[_are_special(student)]] = False
    keeps_C1[teacher_places_M[_are_special(teacher)]] = False
    number_C1 = np.where(keeps_C1, keeps_C1.cumsum() - 1, -1)
    lost = np.flatnonzero(~keeps_C1[student_places_N])
    return Alignment(
        number_C1[student_places_N],
        number_C1[teacher_places_M],
        int(keeps_C1.sum()),
        Counter(_reason(student[n], behind=student_places_N[n] == len(cuts_C)) for n in lost.tolist()),
    )


def chunk_sums(teacher_logps_M: np.ndarray, alignment: Alignment) -> np.ndarray:
    """The teacher's log-likelihood of each chunk: float64 [C], in nats.

    Together with those of the tokens in no chunk they sum to the log-likelihood of the whole completion.

    Raises:
        ValueError: there is not one log-probability for each of the teacher's tokens.
    """
    chunks_M = alignment.teacher_chunks_M
    if teacher_logps_M.shape != chunks_M.shape:
        raise ValueError(f"found {len(teacher_logps_M)} log-probabilities, expected one a token: {len(chunks_M)}")
    inside = chunks_M >= 0
    return np.bincount(chunks_M[inside], weights=teacher_logps_M[inside], minlength=alignment.count)


def _check(student: Sequence[Token], teacher: Sequence[Token]) -> None:
    if END in student[:-1] or END in teacher[:-1]:
        raise ValueError("found an end of turn with tokens behind it, expected it as the last token")
    texts = joined(student), joined(teacher)
    if not texts[0].startswith(texts[1]) and not texts[1].startswith(texts[0]):
        raise ValueError("the two sides are tokens of different texts")
    if len(texts[0]) != len(texts[1]) and (END in student or END in teacher):
        raise ValueError("one side ends its turn, and the texts of the two sides are not of the same length")


def _ends(tokens: Sequence[Token]) -> np.ndarray:
    """int64, the byte behind each token; `END` counts as one byte that no text has."""
    return np.cumsum(np.array([1 if token == END else len(spelled(token)) for token in tokens], dtype=np.int64))


def _are_special(tokens: Sequence[Token]) -> np.ndarray:
    return np.array([isinstance(token, Special) and token != END for token in tokens], dtype=bool)


def _reason(token: Token, behind: bool) -> NoSignal:
    if not behind:
        return NoSignal.SPECIAL
    return NoSignal.END if token == END else NoSignal.INCOMPLETE
