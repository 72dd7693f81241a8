"""How a teacher is shown more than the prompt: a demonstration, demonstrations of other rows, a context."""

from dataclasses import dataclass, replace
from itertools import takewhile
from typing import Any

from ..errors import UsageError
from ..settings.options import TEACHER_PROMPT_TEMPLATE
from .privileged import plain_golden, shown_text
from .rows.row import BadRow, Message, Row, as_message

BETWEEN = "\n\n"  # what stands between texts of which no template says how they are joined


@dataclass(frozen=True)
class Showing:
    """Where a row's context, or else its demonstration, stands beside its prompt.

    Attributes:
        how: `template`: the last question stands in `template` with the text; what comes behind the question, calls
            and their results, stays. `system`: the text is the system message, or goes before the one there is.
            `turns`: the demonstration is the assistant's answer in an earlier exchange of the same conversation, and
            the question comes again.
        template: Has the places `{prompt}` and `{demonstration}`; both texts are taken literally.
        request: With `turns`, what the user says behind the demonstration; None: the question again.
    """

    how: str = "template"
    template: str = TEACHER_PROMPT_TEMPLATE
    request: str | None = None

    def __post_init__(self) -> None:
        check_template(self.template)

    @classmethod
    def of(cls, settings: Any) -> "Showing":
        """As the settings of a subcommand say.

        Raises:
            UsageError: a template without its places.
        """
        how = "template" if settings.show_context == "auto" else settings.show_context  # until one was chosen
        return cls(how, settings.teacher_prompt_template, settings.ask_again)

    def messages(self, row: Row, text: str, *, own: Message | None = None, is_chat: bool = True) -> list[Message]:
        """The row's prompt as the teacher reads it, together with `text` and the row's examples.

        Args:
            text: The row's context or demonstration; empty where it has none to show.
            own: With `turns`, the demonstration as a message, where it is more than `text`.
            is_chat: Whether the reader has a chat template; else turns become one text.

        Raises:
            BadRow: a context that is no exchange, to be shown as turns.
        """
        if self.how != "turns":
            together = BETWEEN.join(filter(None, [*map(_asked_and_answered, row.examples), text]))
            stands = self._before_all if self.how == "system" else self._around
            return stands(row.prompt, together)
        head = [*takewhile(lambda message: message["role"] in ("system", "developer"), row.prompt)]
        place = _last_question(row.prompt, len(head))
        history, question = row.prompt[len(head) : place], row.prompt[place:]
        answer = as_message if is_chat else _as_plain_message
        examples = [message for example in row.examples for message in (*_without_head(example), answer(example))]
        shown = self._exchange(row, question, text, own)
        again = [{"role": "user", "content": self.request}] if self.request and (examples or shown) else question
        messages = [*head, *examples, *history, *shown, *again]
        return messages if is_chat else [{"role": "user", "content": _as_text(messages)}]

    def repeats(self) -> int:
        """How often the prompt's texts stand in what the teacher reads, at most."""
        return 2 if self.how == "turns" else 1

    def _exchange(self, row: Row, question: list[Message], text: str, own: Message | None) -> list[Message]:
        """The row's own question and its demonstration, or its context where that is an exchange itself."""
        context = row.privileged_context
        if context is None:
            return [*question, own or {"role": "assistant", "content": text}] if text else []
        if isinstance(context, str) or context[-1]["role"] != "assistant" or context[0]["role"] == "system":
            raise BadRow(
                "its privileged_context is no exchange that ends with an answer of the assistant, and --show_context "
                "turns shows it as one. Pass --show_context system, or template."
            )
        return [*context] if context[0]["role"] == "user" else [*question, *context]

    def _around(self, prompt: list[Message], text: str) -> list[Message]:
        """The user's last message in the template; a prompt in which the user says nothing gets a message more."""
        before, _, rest = self.template.partition("{prompt}")
        after = rest.replace("{demonstration}", text)
        asked = [number for number, message in enumerate(prompt) if message["role"] == "user"]
        if not asked:
            return [*prompt, {"role": "user", "content": (before + after).strip()}]
        question = prompt[asked[-1]]
        shown = {**question, "content": before + (question.get("content") or "") + after}
        return [*prompt[: asked[-1]], shown, *prompt[asked[-1] + 1 :]]

    @staticmethod
    def _before_all(prompt: list[Message], text: str) -> list[Message]:
        if prompt[0]["role"] != "system":
            return [{"role": "system", "content": text}, *prompt]
        both = BETWEEN.join(filter(None, [text, prompt[0].get("content")]))
        return [{**prompt[0], "content": both}, *prompt[1:]]


def shown_by(showing: Showing, row: Row, text: str | None = None) -> list[Message]:
    """What a served teacher reads: the row's prompt, with `text` or what the row has to show.

    Raises:
        UsageError: it can't be shown in this way.
    """
    own = shown_text(row, plain_golden)
    text = own if text is None else text
    if not text and not row.examples:
        return row.prompt
    calls = as_message(row) if row.golden_calls and row.privileged_context is None and text == own else None
    try:
        return showing.messages(row, text or "", own=calls)
    except BadRow as error:
        raise UsageError(f"row {row.id}: {error}") from error


def check_template(template: str) -> None:
    """Raise UsageError unless `template` has each of its two places once, the prompt first."""
    counts = [template.count("{prompt}"), template.count("{demonstration}")]
    if counts != [1, 1] or template.index("{prompt}") > template.index("{demonstration}"):
        raise UsageError(
            f"--teacher_prompt_template is {template!r}; expected one {{prompt}} and after it one {{demonstration}}."
        )


def probe_of(row: Row) -> Row:
    """The row with "?" for what its user says and is shown, which leaves the marks around them."""
    prompt = [{**message, "content": "?"} if message["role"] == "user" else message for message in row.prompt]
    return replace(row, prompt=prompt, examples=())


def _last_question(prompt: list[Message], begin: int) -> int:
    """Where the user's last message stands; `begin` where there is none."""
    asked = [number for number, message in enumerate(prompt) if message["role"] == "user"]
    return asked[-1] if asked else begin


def _without_head(row: Row) -> list[Message]:
    """Another row's prompt without its system message: the conversation has the row's own."""
    return [message for message in row.prompt if message["role"] not in ("system", "developer")]


def _asked_and_answered(row: Row) -> str:
    """Another row's exchange as a text."""
    asked = [message.get("content") or "" for message in _without_head(row)]
    return "\n".join([*asked, plain_golden(row) or ""])


def _as_plain_message(row: Row) -> Message:
    return {"role": "assistant", "content": plain_golden(row)}


def _as_text(messages: list[Message]) -> str:
    """Turns for a model without a chat template: each question directly before its answer, as training joins them."""
    behind = {"assistant": BETWEEN}
    return "".join((message.get("content") or "") + behind.get(message["role"], "") for message in messages)
