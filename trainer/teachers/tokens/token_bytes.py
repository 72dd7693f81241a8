"""The exact bytes of tokens: the common ground of two tokenizers.

A tokenizer writes its tokens as strings, in a spelling of its own. Servers (`/tokenize` with token strings) and
transformers (`convert_ids_to_tokens`) hand out these strings; here they become bytes.
"""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any

from ...errors import TeacherError, UsageError


@dataclass(frozen=True)
class Special:
    """A token of the template, not of what was said.

    Attributes:
        spelled: The bytes that it takes up in the completion's text, if any.
        ends_turn: True for `END` alone.
    """

    spelled: bytes = b""
    ends_turn: bool = False


END = Special(ends_turn=True)  # one symbol for every token that ends a turn, on either side
Token = bytes | Special

# Texts that no two spellings write alike.
SPELLING_PROBES = ("naïve 東京 🙂 кот\n\tif x_1 == 3.14:", "Is it here ? Yes , it's there .")

# What no vocabulary holds as ordinary text. `<think>` and `<tool_call>` are not here: a student is to learn them.
SPECIAL_STRING = re.compile(
    r"<[|｜][^|｜<>]+[|｜]>"
    r"|</?s>|<(?:unk|pad|bos|eos|mask|cls|sep|sop|eop|start_of_turn|end_of_turn|unused\d+)>"
    r"|\[[gs]?MASK\]|\[(?:CLS|SEP|PAD|UNK|BOS|EOS|/?INST|/?SYSTEM_PROMPT)\]"
)

_SHOWN = (*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100))
_HIDDEN = tuple(byte for byte in range(256) if byte not in _SHOWN)
# GPT-2's alphabet: visible characters of Latin-1 stand for their own code, the other bytes are lined up from U+0100.
_BYTE_OF = {chr(byte): byte for byte in _SHOWN} | {chr(256 + place): byte for place, byte in enumerate(_HIDDEN)}
_BYTE_FALLBACK = re.compile(r"<0x([0-9A-F]{2})>")


class Spelling(Enum):
    """How a tokenizer writes its tokens.

    BYTE_LEVEL (Qwen, Llama 3, GLM): each character of GPT-2's alphabet is a byte. A string with any other character
    is an added token, written as it is; the `tokenizers` library decodes by the same rule. Printable ASCII is the
    same in both readings. An added token that has other characters, all of them in the alphabet, would be misread;
    `fitted` then refuses each text that holds it.
    SENTENCEPIECE (Llama 2, Mistral, Gemma): `▁` is a space, `<0xE2>` a byte, all the rest is written as it is.
    """

    BYTE_LEVEL = "byte-level"
    SENTENCEPIECE = "SentencePiece"

    def bytes_of(self, string: str) -> bytes:
        """The bytes that a token string stands for."""
        if self is Spelling.BYTE_LEVEL:
            return bytes(map(_BYTE_OF.__getitem__, string)) if _BYTE_OF.keys() >= set(string) else string.encode()
        byte = _BYTE_FALLBACK.fullmatch(string)
        return bytes([int(byte[1], 16)]) if byte else string.replace("▁", " ").encode()

    def token(self, string: str) -> Token:
        """The token of a string, where nothing but the string itself tells whether it is special."""
        return Special(string.encode()) if SPECIAL_STRING.fullmatch(string) else self.bytes_of(string)


class Vocabulary:
    """Every token of a tokenizer that is at hand.

    Args:
        tokenizer: A transformers tokenizer. The tokens that it calls special are; its other added tokens are content.
        end_ids: Ids that end a turn; they become `END`.

    Attributes:
        spelling: How the tokenizer writes its tokens.
        by_id: The token of each id.
        id_of: The id of each ordinary token and of `END`. Of several it is the first one, of `end_ids` or by number;
            a byte fallback (`<0x41>`) only where there is no other.

    Raises:
        UsageError: the tokenizer is neither byte-level nor SentencePiece.
    """

    def __init__(self, tokenizer: Any, end_ids: Sequence[int] = ()):
        self.spelling = _spelling_of(tokenizer)
        strings = {id: string for string, id in tokenizer.get_vocab().items()}
        self.by_id: dict[int, Token] = {id: self.spelling.bytes_of(string) for id, string in strings.items()}
        named = set(tokenizer.all_special_ids)
        for id, added in tokenizer.added_tokens_decoder.items():
            written = added.content.encode()
            self.by_id[id] = Special(written) if added.special or id in named else written
        self.by_id |= dict.fromkeys(end_ids, END)
        fallbacks = {id for id, string in strings.items() if _BYTE_FALLBACK.fullmatch(string)}
        best_last = sorted(strings, key=lambda id: (id not in fallbacks, -id))
        self.id_of: dict[Token, int] = {self.by_id[id]: id for id in best_last if isinstance(self.by_id[id], bytes)}
        if end_ids:
            self.id_of[END] = end_ids[0]

    def tokens(self, ids: Iterable[int]) -> list[Token]:
        """The tokens of these ids. An id that has none, as embeddings are padded, is special and has no text."""
        return [self.by_id.get(id, Special()) for id in ids]


def spelled(token: Token) -> bytes:
    """The bytes that a token takes up in the completion's text."""
    return token.spelled if isinstance(token, Special) else token


def joined(tokens: Iterable[Token]) -> bytes:
    """The bytes of a completion's text."""
    return b"".join(map(spelled, tokens))


def fitted(tokens: Sequence[Token], text: str) -> list[Token] | None:
    """The tokens that a tokenizer made of `text`; None if they don't spell it byte by byte, for some normalise it.

    One space that a tokenizer puts before every text (SentencePiece's dummy prefix) is taken off again; a token of
    this space alone stays, without bytes.
    """
    found, wanted = joined(tokens), text.encode()
    if found == wanted:
        return list(tokens)
    if found != b" " + wanted or not isinstance(tokens[0], bytes) or not tokens[0]:
        return None
    return [tokens[0][1:], *tokens[1:]]


def detect_spelling(probes: Sequence[tuple[str, Sequence[str]]]) -> Spelling:
    """The spelling in which the served teacher's token strings give back the text of every probe.

    Args:
        probes: Pairs of a text (`SPELLING_PROBES`) and the token strings that the server makes of it.

    Raises:
        TeacherError: there is none.
    """
    spelling = _fitting_spelling(probes)
    if spelling is None:
        text, strings = probes[0]
        found = f"cuts the text {text!r} into {list(strings)!r}" if strings else "tells ids of tokens and no strings"
        raise TeacherError(
            f"the teacher's server {found}; expected the token strings of a byte-level or a SentencePiece tokenizer, "
            "which give the text back. Start the server with the model's tokenizer.json (vLLM: without "
            "`--tokenizer-mode mistral`; SGLang tells no strings), or learn what it writes: --objective sdft or seqkd."
        )
    return spelling


def _spelling_of(tokenizer: Any) -> Spelling:
    ids = [tokenizer(text, add_special_tokens=False)["input_ids"] for text in SPELLING_PROBES]
    strings = [tokenizer.convert_ids_to_tokens(of_one_text) for of_one_text in ids]
    spelling = _fitting_spelling(list(zip(SPELLING_PROBES, strings, strict=True)))
    if spelling is None:
        raise UsageError(
            f"the tokenizer {tokenizer.name_or_path!r} cuts {SPELLING_PROBES[0]!r} into {strings[0]!r}; expected a "
            "byte-level or a SentencePiece tokenizer, whose tokens give the text back. Pass --teacher_tokenizer or "
            "--model_name_or_path FOLDER|HUB_NAME of such a one."
        )
    return spelling


def _fitting_spelling(probes: Sequence[tuple[str, Sequence[str]]]) -> Spelling | None:
    fitting = [
        spelling
        for spelling in Spelling
        if all(fitted([spelling.token(string) for string in strings], text) is not None for text, strings in probes)
    ]
    if len(fitting) > 1:
        raise ValueError("every spelling writes these probes alike; take SPELLING_PROBES")
    return fitting[0] if fitting else None
