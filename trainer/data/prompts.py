"""Prompts as token ids: what the student reads, and what the same model reads with a demonstration.

Text prompts are rendered with the chat template of the model that reads them.
"""

import hashlib
import json
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from copy import copy
from dataclasses import astuple, dataclass
from functools import cached_property, lru_cache
from typing import Any

import transformers
from transformers import PreTrainedTokenizerBase

from ..errors import UsageError
from .chat_template import ChatTemplate
from .privileged import shown_text
from .rows.row import BadRow, Message, Row, Tool, as_message
from .showing import Showing, probe_of

KEPT = 4096  # encoded prompts


@dataclass(frozen=True)
class Prompt:
    """Token ids of a prompt and whether something had to be cut for it to fit."""

    ids: list[int]
    was_cut: bool


def report_cuts(what: str, cuts: int, total: int) -> None:
    """Say how many texts were cut, if any."""
    if cuts:
        print(f"warning: {cuts} of {total} {what}")


class DemonstratedPrompts:
    """What the teacher of `sdft` reads for each row: prompt and demonstration, encoded when first needed.

    Args:
        demonstration: Asks for a row's demonstration; None where there is no usable one.

    Attributes:
        cuts: Rows whose demonstration lost its end.
    """

    def __init__(
        self, encoder: "PromptEncoder", rows: Sequence[Row], demonstration: Callable[[int], Future[str | None]]
    ):
        self.encoder = encoder
        self.rows = rows
        self.demonstration = demonstration
        self.cuts = 0
        self._requests: dict[int, Future[str | None]] = {}
        self._encoded: dict[int, list[int] | None] = {}

    def request(self, number: int) -> Future[str | None]:
        """The demonstration of a row, asked for now where it was not before, or where that failed."""
        known = self._requests.get(number)
        if known is None or (known.done() and known.exception() is not None):
            self._requests[number] = self.demonstration(number)
        return self._requests[number]

    def ids(self, number: int) -> list[int] | None:
        """The token ids, as soon as the demonstration is there; None where there is no usable one."""
        if number not in self._encoded:
            text = self.request(number).result()
            prompt = None if text is None else self.encoder.demonstration_prompt(self.rows[number], text)
            self.cuts += prompt is not None and prompt.was_cut
            self._encoded[number] = prompt.ids if prompt else None
        return self._encoded[number]


class ShownPrompts:
    """As `DemonstratedPrompts`, where each row's own context or golden response is shown; few are kept at a time."""

    def __init__(self, encoder: "PromptEncoder", rows: Sequence[Row]):
        self.encoder = encoder
        self.rows = rows
        self.cuts = 0
        self.ids = lru_cache(KEPT)(self._encode)

    def request(self, number: int) -> Future[bool]:
        """An answer that is there."""
        future: Future[bool] = Future()
        future.set_result(True)
        return future

    def _encode(self, number: int) -> list[int]:
        row = self.rows[number]
        return self.encoder.demonstration_prompt(row, self.encoder.shown_text(row) or "").ids


class PromptEncoder:
    """Renders and tokenizes prompts for one model.

    Args:
        tokenizer: The model's tokenizer. Without a chat template a prompt must be a single text.
        max_prompt_length: Tokens of a student prompt.
        context_room: Tokens that a demonstration prompt may have: the model's context window less the
            completion.
        max_completion_length: Tokens of a demonstration. It is a response, so `--max_completion_length`
            bounds it as it bounds the responses of the student.
        showing: How a prompt is shown with a demonstration.
        enable_thinking: Passed to the chat template.
        embeddings: Tokens that the model has embeddings of; None where all are known to have one.
    """

    def __init__(
        self,
        tokenizer: PreTrainedTokenizerBase,
        *,
        max_prompt_length: int,
        context_room: int,
        max_completion_length: int,
        showing: Showing,
        enable_thinking: bool = False,
        embeddings: int | None = None,
    ):
        self.tokenizer = tokenizer
        self.max_prompt_length = max_prompt_length
        self.context_room = context_room
        self.max_completion_length = max_completion_length
        self.showing = showing
        self.enable_thinking = enable_thinking
        self.embeddings = embeddings
        self._marks_of: dict[tuple[Any, ...], str] = {}
        has_template = tokenizer.chat_template is not None
        self.chat_template = ChatTemplate(tokenizer, enable_thinking=enable_thinking) if has_template else None

    def text(self, messages: list[Message], tools: list[Tool] | None = None) -> str:
        """`messages` as text, up to where the answer begins.

        Raises:
            BadRow: they can't be written without a loss.
        """
        if self.chat_template is not None:
            return self.chat_template.text(messages, tools)
        if len(messages) > 1 or tools:
            what = f"a prompt of {len(messages)} messages" if len(messages) > 1 else "a prompt with tools"
            raise BadRow(
                f"found {what}, and the tokenizer of {self.tokenizer.name_or_path} has no chat template. Use an "
                "instruct model or text prompts."
            )
        return messages[0]["content"]

    def render(self, messages: list[Message], tools: list[Tool] | None = None) -> list[int]:
        """Token ids of `messages` up to where the answer begins.

        Raises:
            UsageError: a conversation or tools, and the tokenizer has no chat template; or the template refuses them,
                or leaves out a part of them; or a token has no embedding.
        """
        try:
            return self._token_ids(self.text(messages, tools), add_special_tokens=self.chat_template is None)
        except BadRow as error:
            raise UsageError(str(error)) from error

    def student_prompt(self, row: Row) -> Prompt:
        """The plain prompt; one over the limit loses its beginning, as in TRL."""
        ids = self.render(row.prompt, row.tools)
        return Prompt(ids[-self.max_prompt_length :], len(ids) > self.max_prompt_length)

    def demonstration_prompt(self, row: Row, demonstration: str) -> Prompt:
        """The prompt shown with a demonstration. Where it is too long, the demonstration alone is cut, at its end.

        Raises:
            UsageError: question and template leave no room for a demonstration in the context window.
        """
        token_ids = self._token_ids(demonstration)
        # A response is as long as responses may be; a context that is none has the room of the model.
        keep = len(token_ids) if row.privileged_context else min(len(token_ids), self.max_completion_length)
        while keep > 0 or not token_ids:
            text = demonstration if keep == len(token_ids) else str(self.tokenizer.decode(token_ids[:keep]))
            ids = self.render(self.shown(row, text), row.tools)
            if len(ids) <= self.context_room:
                return Prompt(ids, keep < len(token_ids))
            if not token_ids:
                break
            keep -= len(ids) - self.context_room
        bare = len(self.render(self.shown(row, ""), row.tools))
        raise UsageError(f"row {row.id}: {self.no_room(bare)}")

    def with_showing(self, showing: Showing) -> "PromptEncoder":
        """An encoder that differs in how it shows."""
        other = copy(self)
        other.showing, other._marks_of = showing, {}
        other.__dict__.pop("fingerprint", None)
        return other

    def shown(self, row: Row, text: str) -> list[Message]:
        """The messages that show the row's prompt together with `text`.

        Raises:
            UsageError: it can't be shown in this way.
        """
        is_own = bool(row.golden_calls) and row.privileged_context is None and text == self.golden_text(row)
        try:
            return self.showing.messages(
                row, text, own=as_message(row) if is_own else None, is_chat=self.chat_template is not None
            )
        except BadRow as error:
            raise UsageError(f"row {row.id}: {error}") from error

    def marks_when_shown(self, row: Row) -> str:
        """More than what is written around question and demonstration when the row is shown with one.

        Raises:
            BadRow: the template refuses a conversation of this kind.
        """
        kind = (*(message["role"] for message in row.prompt), type(row.privileged_context))
        if kind not in self._marks_of:
            is_chat = self.chat_template is not None
            self._marks_of[kind] = self.text(self.showing.messages(probe_of(row), "?", is_chat=is_chat), row.tools)
        return self._marks_of[kind]

    def no_room(self, bare: int) -> str:
        """What is wrong with a row whose prompt has so many tokens before any demonstration."""
        return (
            f"its prompt in the demonstration template has {bare} tokens before any demonstration; "
            f"the model's context leaves room for {self.context_room}. Shorten the prompt, lower "
            "--max_completion_length or --demonstrations_shown, or use a model with a longer context."
        )

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 of all that decides how rows are encoded."""
        backend: Any = getattr(self.tokenizer, "backend_tokenizer", None)
        decides = [
            backend.to_str() if backend else repr(self.tokenizer.get_vocab()), self.tokenizer.chat_template,
            self.tokenizer.eos_token_id, self.max_prompt_length, self.context_room, self.max_completion_length,
            astuple(self.showing), self.enable_thinking, self.embeddings, transformers.__version__,
        ]  # fmt: skip
        return hashlib.sha256(json.dumps(decides, default=str).encode()).hexdigest()

    def golden_text(self, row: Row) -> str | None:
        """The row's demonstration as this model would write it, without the end of its turn; None where it has none.

        Raises:
            BadRow: it has tool calls, and the model's template can't write them.
        """
        if not row.golden_calls:
            return row.golden_response
        if self.chat_template is None:
            raise BadRow(
                f"its golden response calls tools, and the tokenizer of {self.tokenizer.name_or_path} has no chat "
                "template to write calls with. Use an instruct model."
            )
        return self.chat_template.answer_text(row.prompt, as_message(row), row.tools)

    def shown_text(self, row: Row) -> str | None:
        """What the teacher is shown of the row, when this model is the teacher: its context, else its demonstration.

        Raises:
            BadRow: as `golden_text`.
        """
        return shown_text(row, self.golden_text)

    def target(self, text: str) -> Prompt:
        """A response as training target: its tokens and the end of turn, cut at the end where too long."""
        return self.ended(text, self._token_ids(self.opened(text)))

    def ended(self, text: str, ids: list[int]) -> Prompt:
        """The tokens of a response's text as a target."""
        limit, whole = self.max_completion_length, ids + self._end_behind(text)
        return Prompt(whole[:limit], len(whole) > limit)

    def opened(self, text: str) -> str:
        """A text behind what the template writes before one; calls have their own."""
        return text if self.chat_template is None or self._is_whole(text) else self.chat_template.opening + text

    def _end_behind(self, text: str) -> list[int]:
        if self.chat_template is None:
            eos: Any = self.tokenizer.eos_token_id
            return [eos]
        return [] if self._is_whole(text) else self.chat_template.end_ids

    def _is_whole(self, text: str) -> bool:
        """Whether the text ends with the end of a turn of calls."""
        end = self.chat_template.end_of_calls if self.chat_template is not None else None
        return end is not None and text.endswith(end)

    def _token_ids(self, text: str, *, add_special_tokens: bool = False) -> list[int]:
        encoded: Any = self.tokenizer(text, add_special_tokens=add_special_tokens)
        ids = encoded["input_ids"]
        if self.embeddings is not None and ids and max(ids) >= self.embeddings:
            raise UsageError(self.without_embedding(ids))
        return ids

    def without_embedding(self, ids: list[int]) -> str:
        """What is wrong with tokens of which the model lacks one."""
        token = next(token for token in ids if token >= (self.embeddings or 0))
        name = self.tokenizer.convert_ids_to_tokens(token)
        return (
            f"found the token {name!r} (id {token}), and the model has embeddings of {self.embeddings} tokens: this "
            "one has no row. Resize them, "
            "`model.resize_token_embeddings(len(tokenizer))`, and save the model, or leave the token out of the texts."
        )
