"""The teacher's distribution over its next tokens, in tokens of a student that cuts the same text otherwise.

At the begin of a chunk both have read the same text, so that the teacher's candidates are what the student might write
there. Each becomes the student's own tokens of the same bytes. Of these the first is the student's next token; where
the student has written the first ones already, those candidates remain that begin so. A candidate that is one token of
the student's is known where the chunk is one token on both sides. Elsewhere the teacher cuts finer, and the student
may write a longer token that begins so.

That the teacher cut its text at the begin of a chunk is due to what the student wrote behind it. Before it was written
the tokens before might as well have been a longer one: " " the begin of " the". So longer candidates are possible
there, too, and the teacher's distribution at the cut has only the weight of the tokens that stand there.

Shapes: N student tokens of a completion, M teacher tokens of it, K likeliest tokens.
"""

import re
from bisect import bisect_right
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from tokenizers import Tokenizer

from .alignment import Alignment
from .token_bytes import END, Spelling, Token, Vocabulary
from .token_scores import TokenScores

LOOK_BACK = 4  # tokens of the teacher's that may have been one longer token instead
IMPOSSIBLE = 1e-30  # a weight that counts as none beside any other
OPEN = -1  # in place of the student's tokens where they depend on what follows
UNLIKELY = 1e-7  # a probability; float32 knows no smaller rest of 1
KNOWN = 0.9  # share of the teacher's probability that has to be known in the student's tokens
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


class Spellings:
    """How the student writes a token of the teacher's.

    Args:
        tokenizer: The student's, of transformers.
        vocabulary: Its tokens.
    """

    def __init__(self, tokenizer: Any, vocabulary: Vocabulary):
        # One of its own: the tokenizers of transformers are not to be used by two threads at once.
        self._tokenizer = Tokenizer.from_str(tokenizer.backend_tokenizer.to_str())
        self._tokenizer.no_truncation()
        self._tokenizer.no_padding()
        self.vocabulary = vocabulary
        self._sorted = sorted(token for token in vocabulary.id_of if isinstance(token, bytes))
        self._known: dict[Token, tuple[int, ...]] = {}

    def of(self, token: Token) -> tuple[int, ...]:
        """The student's tokens of the same bytes; none where it can't write them, as parts of characters may be.

        Where several of them at the end may become one with what follows (`":` before ` "`), `OPEN` stands for them.
        """
        if token not in self._known:
            self._known[token] = self._written(token)
        return self._known[token]

    def behind(self, size: int, token: bytes) -> tuple[int, ...] | None:
        """Of the student's tokens those behind the first bytes; None where none of them begins there."""
        ids = self.of(token)
        for count, id in enumerate(ids):
            if size <= 0:
                return ids[count:] if size == 0 else None
            if id == OPEN:
                return None
            size -= len(self.vocabulary.by_id[id])  # type: ignore
        return None

    def _written(self, token: Token) -> tuple[int, ...]:
        if token in self.vocabulary.id_of:
            return (self.vocabulary.id_of[token],)
        if not isinstance(token, bytes):
            return ()
        try:
            ids = self._tokenizer.encode(token.decode(), add_special_tokens=False).ids
        except UnicodeDecodeError:
            return ()
        if not self._spells(ids, token):
            return ()
        for begin in range(len(ids) - 1):
            if self._may_go_on(b"".join(self.vocabulary.tokens(ids[begin:]))):  # type: ignore
                return (*ids[:begin], OPEN)
        return tuple(ids)

    def _may_go_on(self, text: bytes) -> bool:
        """Whether one of the student's tokens is longer and begins so."""
        place = bisect_right(self._sorted, text)
        return place < len(self._sorted) and self._sorted[place].startswith(text)

    def _spells(self, ids: list[int], token: bytes) -> bool:
        tokens = self.vocabulary.tokens(ids)
        return all(isinstance(each, bytes) for each in tokens) and b"".join(tokens) == token  # type: ignore


@dataclass(frozen=True)
class Projection:
    """The teacher's distributions in the student's tokens.

    Attributes:
        known_N: bool, for which of the student's tokens there is one.
        covered_N: bool, tokens of chunks that it is known at the begin of; the others rest on their chunk's likelihood.
        targets: The distributions; rows where `known_N` is false mean nothing.
    """

    known_N: np.ndarray
    covered_N: np.ndarray
    targets: TokenScores


def project(
    completion_ids: Sequence[int],
    alignment: Alignment,
    teacher_ids_M: Sequence[int],
    scores: TokenScores,
    teacher_tokens: Mapping[int, Token],
    spellings: Spellings,
    *,
    replaced: bool = False,
) -> Projection:
    """The teacher's distributions at and behind the begin of each chunk.

    They are told for a token of the student's where of the candidates that are still possible there at least a share
    `KNOWN` of the probability has a known next token of the student's.

    Args:
        completion_ids: The student's tokens.
        teacher_ids_M: The teacher's tokens of the same text, which `scores` are of.
        teacher_tokens: `tokens_of_answer`, or `Vocabulary.by_id` of the teacher's tokenizer.
        replaced: Whether the last token of the teacher's stands for another one of the student's, which it can't write.
    """
    count, width = len(completion_ids), (1 + LOOK_BACK) * scores.token_ids_NK.shape[1] + 1
    targets = TokenScores(
        np.full((count, width), -1), np.full((count, width), -np.inf, dtype=np.float32), np.zeros(count, np.float32)
    )
    known_N, covered_N = np.zeros(count, dtype=bool), np.zeros(count, dtype=bool)
    for chunk in _chunks(alignment):
        taken = tuple(completion_ids[n] for n in chunk.members)
        own = () if replaced and chunk.places[-1] == len(teacher_ids_M) - 1 else taken
        candidates = _candidates(chunk, own, teacher_ids_M, scores, teacher_tokens, spellings)
        for step, n in enumerate(chunk.members):
            following = _following(candidates, taken[:step])
            if following is None and step == 0:
                break
            covered_N[n] = True
            if following is not None:
                known_N[n] = True
                _write(targets, n, following, taken[step])
    return Projection(known_N, covered_N, targets)


@dataclass(frozen=True)
class _Chunk:
    """Places of the student's tokens, and of the teacher's."""

    members: list[int]
    places: list[int]


def _chunks(alignment: Alignment) -> list[_Chunk]:
    chunks = [_Chunk([], []) for _ in range(alignment.count)]
    for n in np.flatnonzero(alignment.student_chunks_N >= 0):
        chunks[alignment.student_chunks_N[n]].members.append(int(n))
    for m in np.flatnonzero(alignment.teacher_chunks_M >= 0):
        chunks[alignment.teacher_chunks_M[m]].places.append(int(m))
    return chunks


Candidates = list[tuple[tuple[int, ...] | None, float]]


def _candidates(
    chunk: _Chunk,
    taken: tuple[int, ...],
    teacher_ids_M: Sequence[int],
    scores: TokenScores,
    teacher_tokens: Mapping[int, Token],
    spellings: Spellings,
) -> Candidates:
    """What the teacher thinks possible at a chunk's begin: the student's tokens of it (None: unknown), its probability.

    The rest of the teacher's vocabulary is one more, that none of the student's tokens stands for. What stands there is
    written as the student did.
    """
    place, shortest = chunk.places[0], 1 if len(chunk.places) == len(chunk.members) == 1 else 2
    whole = taken or spellings.of(teacher_tokens.get(teacher_ids_M[place], b""))
    own = whole if len(chunk.places) == 1 else None
    found: Candidates = [(own, float(np.exp(scores.sampled_logps_N[place])))]
    for id, probability in _told(scores, place, teacher_ids_M[place]):
        token = teacher_tokens.get(id, b"")
        written = spellings.of(token) if not is_letter(token) else ()
        found.append((written if len(written) >= shortest else None, probability))
    rest = 1.0 - sum(probability for _, probability in found)
    here = [*found, ((), max(rest, 0.0))]
    going_on, ended = _going_on(place - 1, teacher_ids_M, scores, teacher_tokens, spellings)
    total = ended + sum(probability for _, probability in going_on)
    return [(written, probability / total) for written, probability in going_on] + [
        (written, probability * ended / total) for written, probability in here
    ]


def is_letter(token: Token) -> bool:
    """Whether a token is a single letter: the begin of a word that the student may write in longer pieces."""
    return isinstance(token, bytes) and len(token) == 1 and token.isalpha()


def _told(scores: TokenScores, place: int, besides: int) -> list[tuple[int, float]]:
    """The likeliest tokens at a place, without one of them, and their probabilities."""
    pairs = zip(scores.token_ids_NK[place].tolist(), np.exp(scores.logps_NK[place]).tolist(), strict=True)
    return [(id, probability) for id, probability in pairs if id >= 0 and id != besides]


def _going_on(
    place: int,
    teacher_ids_M: Sequence[int],
    scores: TokenScores,
    teacher_tokens: Mapping[int, Token],
    spellings: Spellings,
) -> tuple[Candidates, float]:
    """Candidates that spell what the last tokens up to a place spell, and more: what is behind it, and their weights.

    The second value is the weight of the tokens that stand there, so that the text was cut behind `place`. Before the
    first place is the prompt, which ends for certain.
    """
    found, standing = [], 1.0
    for begin in range(max(0, place + 1 - LOOK_BACK), place + 1):
        tokens = [teacher_tokens.get(id) for id in teacher_ids_M[begin : place + 1]]
        spelt = b"".join(token for token in tokens if isinstance(token, bytes))
        known = bool(spelt) and all(isinstance(token, bytes) for token in tokens)
        for id, probability in _told(scores, begin, teacher_ids_M[begin]):
            longer = teacher_tokens.get(id)
            if known and isinstance(longer, bytes) and len(longer) > len(spelt) and longer.startswith(spelt):
                found.append((spellings.behind(len(spelt), longer), standing * probability))
        standing *= float(np.exp(scores.sampled_logps_N[begin]))
    return found, max(standing, IMPOSSIBLE)


def _following(candidates: Candidates, begun: tuple[int, ...]) -> dict[int, float] | None:
    """Probabilities of the next token behind `begun`; None where too much of the teacher's probability is unknown.

    What is unknown is left out and not given to the rest: that would ask the student for any token but the right one.
    """
    step, unknown, rest, following = len(begun), 0.0, 0.0, {}
    for written, probability in candidates:
        if written is None or (written[:step] == begun and written[step : step + 1] == (OPEN,)):
            unknown += probability
        elif written[:step] == begun and len(written) > step:
            following[written[step]] = following.get(written[step], 0.0) + probability
        elif written[:step] == begun:
            rest += probability
    known = sum(following.values())
    if not known or known < KNOWN * (known + unknown):
        return None
    return {token: probability / (known + rest) for token, probability in following.items()}


def _write(targets: TokenScores, n: int, following: dict[int, float], own: int) -> None:
    """Put a distribution into row `n`, likeliest first."""
    with np.errstate(divide="ignore"):
        order = sorted(following, key=lambda token: -following[token])
        logps = np.log([following[token] for token in order])
        # Where the student's token is no candidate, its probability is part of what is unknown.
        targets.sampled_logps_N[n] = np.log(following.get(own, max(1 - sum(following.values()), UNLIKELY)))
    targets.token_ids_NK[n, : len(order)] = order
    targets.logps_NK[n, : len(order)] = logps
