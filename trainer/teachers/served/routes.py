"""How a student's completion is put to the served teacher: token by token, or over the bytes that both read.

Shapes: N student tokens of a completion, M teacher tokens of it, C chunks, K likeliest tokens.
"""

from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field

import numpy as np

from ...errors import TeacherError
from ..tokens.alignment import Alignment, NoSignal, align, chunk_sums, scorable_text, scorable_tokens
from ..tokens.projection import Spellings, project, tokens_of_answer
from ..tokens.token_bytes import END, Spelling, Token, Vocabulary, fitted
from ..tokens.token_scores import TokenScores
from .client import TeacherClient, Tokenized

Ask = Callable[[Sequence[int], Sequence[int], bool], Awaitable[TokenScores]]


class TooLong(TeacherError):
    """A prompt and a completion that together do not fit the teacher's context."""


@dataclass(frozen=True)
class ChunkScores:
    """What a teacher of another tokenizer says of the N student tokens of a completion.

    Attributes:
        chunks_N: int64, the chunk of each token; -1 where the teacher tells nothing of it.
        logps_C: float64, the teacher's log-likelihood of each chunk, in nats.
        dense_N: bool, where the teacher's distribution over the student's tokens is known instead.
        dense: That distribution; rows where `dense_N` is false mean nothing.
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
        spellings: How the student writes the teacher's tokens, to compare distributions wherever the teacher's likely
            tokens tell the student's next one; None: likelihoods of chunks alone.
        vocabulary: The teacher's, where its tokenizer is at hand.
        cleaned_up: See `trainer.teachers.tokens.projection.tokens_of_answer`.
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
        spellings: Spellings | None = None,
        vocabulary: Vocabulary | None = None,
        cleaned_up: bool = False,
    ):
        self.ask = ask
        self.client = client
        self.student = student
        self.spelling = spelling
        self.end_id = end_id
        self.spellings = spellings
        self.vocabulary = vocabulary
        self.cleaned_up = cleaned_up

    async def view(self, prompt_ids: list[int], completion_ids: list[int]) -> ChunkScores:
        """The teacher's scores of a completion behind a prompt, which is in the teacher's tokens."""
        student = self.student.tokens(completion_ids)
        valid = scorable_tokens(student)
        cut_off = valid < len(student)
        if cut_off:  # what is no text is put as an end of turn: the teacher's distribution is all that is taken of it
            student = [*student[:valid], END]
        text = scorable_text(student)
        cut = await self.client.tokenize(text) if text else Tokenized([], [])
        teacher = fitted(self._tokens(cut), text)
        if teacher is None:
            return unscored(len(completion_ids), NoSignal.CHANGED)
        ids, tokens = list(cut.ids), [*teacher]
        if END in student:
            ids, tokens = [*ids, self.end_id], [*tokens, END]
        if not ids:
            return unscored(len(completion_ids), NoSignal.INCOMPLETE)
        try:
            scores = await self.ask(prompt_ids, ids, self.spellings is not None and self.vocabulary is None)
        except TooLong:  # in the teacher's tokens, of which no one could know the number beforehand
            return unscored(len(completion_ids), NoSignal.LONG)
        alignment = align(student, tokens)
        view = self._view(completion_ids[: len(student)], alignment, ids, scores, cut, replaced=cut_off)
        return lengthened(view, len(completion_ids)) if cut_off else view

    def _view(
        self,
        completion_ids: list[int],
        alignment: Alignment,
        ids: list[int],
        scores: TokenScores,
        cut: Tokenized,
        *,
        replaced: bool,
    ) -> ChunkScores:
        """What the scores say of aligned tokens; where the last is `replaced`, not by its own likelihood."""
        logps_C = chunk_sums(scores.sampled_logps_N, alignment)
        chunks_N, without_signal = alignment.student_chunks_N.copy(), alignment.without_signal
        if self.spellings is None:
            view = without_dense(alignment, logps_C)
        else:
            known = self._known(cut, scores)
            found = project(completion_ids, alignment, ids, scores, known, self.spellings, replaced=replaced)
            chunks_N[found.covered_N] = -1
            unknown = Counter({NoSignal.UNKNOWN: int((found.covered_N & ~found.known_N).sum())})
            view = ChunkScores(chunks_N, logps_C, found.known_N, found.targets, without_signal + unknown)
        if replaced:
            view.chunks_N[-1] = -1
        return view

    def _tokens(self, cut: Tokenized) -> list[Token]:
        if self.vocabulary is not None:
            return self.vocabulary.tokens(cut.ids)
        return [self.spelling.token(string) for string in cut.strings]

    def _known(self, cut: Tokenized, scores: TokenScores) -> dict[int, Token]:
        """The teacher's tokens whose bytes are known."""
        if self.vocabulary is not None:
            return self.vocabulary.by_id
        return tokens_of_answer(
            cut.ids, cut.strings, scores.decoded, self.spelling, end_ids=[self.end_id], cleaned_up=self.cleaned_up
        )


def lengthened(view: ChunkScores, tokens: int) -> ChunkScores:
    """The view of a completion of so many tokens, of which those behind the given ones are no text.

    The last of the given ones is the first that is none.
    """
    more = tokens - len(view.chunks_N)
    lost = more + (0 if view.dense_N[-1] else 1)
    rows = [(0, more), (0, 0)]
    return ChunkScores(
        np.pad(view.chunks_N, (0, more), constant_values=-1),
        view.logps_C,
        np.pad(view.dense_N, (0, more)),
        TokenScores(
            np.pad(view.dense.token_ids_NK, rows, constant_values=-1),
            np.pad(view.dense.logps_NK, rows, constant_values=-np.inf),
            np.pad(view.dense.sampled_logps_N, (0, more)),
        ),
        view.without_signal + Counter({NoSignal.INVALID: lost}),
    )


def unscored(tokens: int, reason: NoSignal) -> ChunkScores:
    """What is said of so many tokens of a completion that the teacher can't score."""
    return without_dense(Alignment.impossible(tokens, reason), np.zeros(0))


def without_dense(alignment: Alignment, logps_C: np.ndarray) -> ChunkScores:
    """Likelihoods of chunks alone."""
    tokens = len(alignment.student_chunks_N)
    nothing = TokenScores(
        np.full((tokens, 1), -1), np.full((tokens, 1), -np.inf, dtype=np.float32), np.zeros(tokens, dtype=np.float32)
    )
    dense_N = np.zeros(tokens, dtype=bool)
    return ChunkScores(alignment.student_chunks_N.copy(), logps_C, dense_N, nothing, alignment.without_signal)
