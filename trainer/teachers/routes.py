"""How a student's completion is put to the served teacher: token by token, or over the bytes that both read.

Shapes: N student tokens of a completion, M teacher tokens of it, C chunks, K likeliest tokens.
"""

from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field

import numpy as np

from trainer.teachers.alignment import Alignment, NoSignal, align, chunk_sums, scorable_text
from trainer.teachers.client import TeacherClient, Tokenized
from trainer.teachers.counterparts import counterparts, tokens_of_answer
from trainer.teachers.scores import TokenScores
from trainer.teachers.token_bytes import END, Spelling, Token, Vocabulary, fitted

Ask = Callable[[Sequence[int], Sequence[int], bool], Awaitable[TokenScores]]


@dataclass(frozen=True)
class ChunkScores:
    """What a teacher of another tokenizer says of the N student tokens of a completion.

    Attributes:
        chunks_N: int64, the chunk of each token; -1 where the teacher tells nothing of it.
        logps_C: float64, the teacher's log-likelihood of each chunk, in nats.
        dense_N: bool, where the teacher's distribution over single student tokens is known too.
        dense: That distribution, in the student's ids; rows where `dense_N` is false mean nothing.
        without_signal: How many tokens have no chunk, by reason.
    """

    chunks_N: np.ndarray
    logps_C: np.ndarray
    dense_N: np.ndarray
    dense: TokenScores
    without_signal: Counter[NoSignal] = field(default_factory=Counter)


class TokenRoute:
    """For a teacher of the student's tokenizer: its scores are of the student's own tokens."""

    name = "token"

    def __init__(self, ask: Ask):
        self.ask = ask

    async def view(self, prompt_ids: list[int], completion_ids: list[int]) -> TokenScores:
        """The teacher's scores of a completion behind a prompt."""
        return await self.ask(prompt_ids, completion_ids, False)


class ByteRoute:
    """For a teacher of any tokenizer: it scores its own tokens of the completion's text.

    Args:
        client: Who cuts the text into the teacher's tokens.
        student: The student's vocabulary, which knows its end-of-turn tokens.
        spelling: Of the server's token strings.
        end_id: The teacher's end-of-turn token.
        dense: Whether to compare distributions where a chunk is one token on both sides.
        vocabulary: The teacher's, where its tokenizer is at hand.
        cleaned_up: See `trainer.teachers.counterparts.tokens_of_answer`.
    """

    name = "byte"

    def __init__(
        self,
        ask: Ask,
        client: TeacherClient,
        student: Vocabulary,
        spelling: Spelling,
        *,
        end_id: int,
        dense: bool = False,
        vocabulary: Vocabulary | None = None,
        cleaned_up: bool = False,
    ):
        self.ask = ask
        self.client = client
        self.student = student
        self.spelling = spelling
        self.end_id = end_id
        self.dense = dense
        self.vocabulary = vocabulary
        self.cleaned_up = cleaned_up

    async def view(self, prompt_ids: list[int], completion_ids: list[int]) -> ChunkScores:
        """The teacher's scores of a completion behind a prompt, which is in the teacher's tokens."""
        student = self.student.tokens(completion_ids)
        text = scorable_text(student)
        if text is None:
            return unscored(len(student), NoSignal.INVALID)
        cut = await self.client.tokenize(text) if text else Tokenized([], [])
        teacher = fitted(self._tokens(cut), text)
        if teacher is None:
            return unscored(len(student), NoSignal.CHANGED)
        ids, tokens = list(cut.ids), [*teacher]
        if END in student:
            ids, tokens = [*ids, self.end_id], [*tokens, END]
        if not ids:
            return unscored(len(student), NoSignal.INCOMPLETE)
        scores = await self.ask(prompt_ids, ids, self.dense and self.vocabulary is None)
        alignment = align(student, tokens)
        return ChunkScores(
            alignment.student_chunks_N,
            chunk_sums(scores.sampled_logps_N, alignment),
            *self._dense(completion_ids, alignment, scores, cut),
            alignment.without_signal,
        )

    def _tokens(self, cut: Tokenized) -> list[Token]:
        if self.vocabulary is not None:
            return self.vocabulary.tokens(cut.ids)
        return [self.spelling.token(string) for string in cut.strings]

    def _dense(
        self, completion_ids: list[int], alignment: Alignment, scores: TokenScores, cut: Tokenized
    ) -> tuple[np.ndarray, TokenScores]:
        """Where a chunk is one token on both sides, and there the teacher's distribution in the student's ids."""
        partners_N = alignment.partners_N if self.dense else np.full(len(completion_ids), -1)
        ids_MK, logps_MK = np.full(scores.token_ids_NK.shape, -1), np.full(scores.logps_NK.shape, -np.inf)
        if self.dense:
            known = self._known(cut, scores)
            ids_MK, logps_MK = counterparts(scores.token_ids_NK, scores.logps_NK, known, self.student.id_of)
        if self.student.tokens(completion_ids[-1:]) == [END]:  # of several the one that the student took
            ids_MK = np.where(ids_MK == self.student.id_of[END], completion_ids[-1], ids_MK)
        sampled_N = scores.sampled_logps_N[partners_N]
        dense_N = (partners_N >= 0) & np.any(ids_MK[partners_N] >= 0, axis=1)
        return dense_N, TokenScores(ids_MK[partners_N], logps_MK[partners_N], sampled_N)

    def _known(self, cut: Tokenized, scores: TokenScores) -> dict[int, Token]:
        """The teacher's tokens whose bytes are known."""
        if self.vocabulary is not None:
            return self.vocabulary.by_id
        return tokens_of_answer(
            cut.ids, cut.strings, scores.decoded, self.spelling, end_ids=[self.end_id], cleaned_up=self.cleaned_up
        )


def unscored(tokens: int, reason: NoSignal) -> ChunkScores:
    """What is said of so many tokens of a completion that the teacher can't score."""
    nothing = TokenScores(
        np.full((tokens, 1), -1), np.full((tokens, 1), -np.inf, dtype=np.float32), np.zeros(tokens, dtype=np.float32)
    )
    alignment = Alignment.impossible(tokens, reason)
    return ChunkScores(
        alignment.student_chunks_N, np.zeros(0), np.zeros(tokens, dtype=bool), nothing, alignment.without_signal
    )
