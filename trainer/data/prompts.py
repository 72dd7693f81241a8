"""Prompts as token ids: what the student reads, and what the same model reads with a demonstration.

Text prompts are rendered with the chat template of the model that reads them.
"""

from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any

from jinja2 import TemplateError
from transformers import PreTrainedTokenizerBase

from trainer.data.rows import Message, Row
from trainer.errors import UsageError


@dataclass(frozen=True)
class Prompt:
    """Token ids of a prompt and whether something had to be cut for it to fit."""

    ids: list[int]
    was_cut: bool


def with_demonstration(prompt: list[Message], demonstration: str, template: str) -> list[Message]:
    """`prompt` with its last message shown together with a demonstration, by `template`.

    `template` has the places `{prompt}` and `{demonstration}`; both texts are taken literally.
    """
    question = prompt[-1]["content"]
    before, _, rest = template.partition("{prompt}")
    text = before + question + rest.replace("{demonstration}", demonstration)
    return [*prompt[:-1], {"role": "user", "content": text}]


def report_cuts(what: str, cuts: int, total: int) -> None:
    """Say how many texts were cut, if any."""
    if cuts:
        print(f"warning: {cuts} of {total} {what}")


def check_template(template: str) -> None:
    """Raise UsageError unless `template` has each of its two places once, the prompt first."""
    counts = [template.count("{prompt}"), template.count("{demonstration}")]
    if counts != [1, 1] or template.index("{prompt}") > template.index("{demonstration}"):
        raise UsageError(
            f"--teacher_prompt_template is {template!r}; expected one {{prompt}} and after it one {{demonstration}}."
        )


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


class PromptEncoder:
    """Renders and tokenizes prompts for one model.

    Args:
        tokenizer: The model's tokenizer. Without a chat template a prompt must be a single text.
        max_prompt_length: Tokens of a student prompt.
        context_room: Tokens that a demonstration prompt may have: the model's context window less the
            completion.
        max_completion_length: Tokens of a demonstration. It is a response, so `--max_completion_length`
            bounds it as it bounds the responses of the student.
        enable_thinking: Passed to the chat template.
    """

    def __init__(
        self,
        tokenizer: PreTrainedTokenizerBase,
        *,
        max_prompt_length: int,
        context_room: int,
        max_completion_length: int,
        template: str,
        enable_thinking: bool = False,
    ):
        check_template(template)
        self.tokenizer = tokenizer
        self.max_prompt_length = max_prompt_length
        self.context_room = context_room
        self.max_completion_length = max_completion_length
        self.template = template
        self.enable_thinking = enable_thinking

    def render(self, messages: list[Message]) -> list[int]:
        """Token ids of `messages` up to where the answer begins.

        Raises:
            UsageError: a conversation, and the tokenizer has no chat template.
        """
        if self.tokenizer.chat_template is None:
            if len(messages) > 1:
                raise UsageError(
                    f"found a prompt of {len(messages)} messages, and the tokenizer of "
                    f"{self.tokenizer.name_or_path} has no chat template. Use an instruct model or text prompts."
                )
            return self._token_ids(messages[0]["content"], add_special_tokens=True)
        try:
            encoded: Any = self.tokenizer.apply_chat_template(
                messages, add_generation_prompt=True, return_dict=True, enable_thinking=self.enable_thinking
            )
        except TemplateError as error:
            raise UsageError(
                f"the chat template of {self.tokenizer.name_or_path} refuses a prompt with the roles "
                f"{', '.join(m['role'] for m in messages)}: {error}. Change the prompts, or use another model."
            ) from error
        return encoded["input_ids"]

    def student_prompt(self, row: Row) -> Prompt:
        """The plain prompt; one over the limit loses its beginning, as in TRL."""
        ids = self.render(row.prompt)
        return Prompt(ids[-self.max_prompt_length :], len(ids) > self.max_prompt_length)

    def demonstration_prompt(self, row: Row, demonstration: str) -> Prompt:
        """The prompt shown with a demonstration. Where it is too long, the demonstration alone is cut, at its end.

        Raises:
            UsageError: question and template leave no room for a demonstration in the context window.
        """
        token_ids = self._token_ids(demonstration)
        keep = min(len(token_ids), self.max_completion_length)
        while keep > 0:
            text = demonstration if keep == len(token_ids) else str(self.tokenizer.decode(token_ids[:keep]))
            ids = self.render(with_demonstration(row.prompt, text, self.template))
            if len(ids) <= self.context_room:
                return Prompt(ids, keep < len(token_ids))
            keep -= len(ids) - self.context_room
        raise self._no_room(row)

    def check_room(self, row: Row) -> None:
        """Raise UsageError unless the row's prompt leaves room for a demonstration of at least one token."""
        if len(self.render(with_demonstration(row.prompt, "", self.template))) >= self.context_room:
            raise self._no_room(row)

    def _no_room(self, row: Row) -> UsageError:
        bare = len(self.render(with_demonstration(row.prompt, "", self.template)))
        return UsageError(
            f"row {row.id}: its prompt in the demonstration template has {bare} tokens before any demonstration; "
            f"the model's context leaves room for {self.context_room}. Shorten the prompt, lower "
            "--max_completion_length, or use a model with a longer context."
        )

    def target(self, text: str) -> Prompt:
        """A response as training target: its tokens and the end-of-turn token, cut at the end where too long."""
        limit = self.max_completion_length
        ids: list[Any] = [*self._token_ids(text), self.tokenizer.eos_token_id]
        return Prompt(ids[:limit], len(ids) > limit)

    def _token_ids(self, text: str, *, add_special_tokens: bool = False) -> list[int]:
        encoded: Any = self.tokenizer(text, add_special_tokens=add_special_tokens)
        return encoded["input_ids"]
