"""What a row is, whatever file it comes from."""

from dataclasses import dataclass, field
from typing import Any

Message = dict[str, Any]  # as chat templates take it: role, content (text, or None beside tool_calls), tool_calls, …
Tool = dict[str, Any]  # in OpenAI's spelling: {"type": "function", "function": {name, description, parameters}}


class BadRow(ValueError):
    """A record that breaks the data format; the text says which field and how."""


@dataclass(frozen=True)
class Row:
    """One example.

    Attributes:
        id: The row's own id, else its position in the file.
        prompt: Messages up to where the answer begins.
        golden_response: The text of the demonstration; None where the file has none, or one of tool calls alone.
        golden_answer: The actions that a right answer takes, for exact scoring; None where the file has none.
        tools: What the answer may call; None where the row names none.
        golden_calls: The tool calls of the demonstration, `{"name": text, "arguments": object}`, which each model's own
            template writes in its own way; None where it has none.
        privileged_context: What the teacher is shown besides: a text, or messages; None where there is none.
        extra: All other keys of the row.
        examples: Other rows, whose demonstrations the teacher is shown before the row's own.
        shows_own: Whether the teacher is shown the row's own demonstration.
    """

    id: str
    prompt: list[Message]
    golden_response: str | None = None
    golden_answer: list[dict[str, Any]] | None = None
    extra: dict[str, Any] = field(default_factory=dict)
    tools: list[Tool] | None = None
    golden_calls: list[dict[str, Any]] | None = None
    privileged_context: str | list[Message] | None = None
    examples: tuple["Row", ...] = ()
    shows_own: bool = True

    @property
    def has_demonstration(self) -> bool:
        """Whether there is a golden response, be it of text or of tool calls."""
        return self.golden_response is not None or bool(self.golden_calls)

    def to_json(self) -> dict[str, Any]:
        """The row in the data format; a prompt of one user message is written as a text."""
        single = len(self.prompt) == 1 and self.prompt[0]["role"] == "user"
        record: dict[str, Any] = {
            "id": self.id,
            "prompt": self.prompt[0]["content"] if single else self.prompt,
        }
        if self.golden_calls:
            record["golden_response"] = [as_message(self)]
        elif self.golden_response is not None:
            record["golden_response"] = self.golden_response.split("\n")
        more = {"golden_answer": self.golden_answer, "tools": self.tools, "privileged_context": self.privileged_context}
        return record | {key: value for key, value in more.items() if value is not None} | self.extra


def as_message(row: Row) -> Message:
    """The demonstration of a row as the assistant's message."""
    message: Message = {"role": "assistant", "content": row.golden_response}
    if row.golden_calls:
        message["tool_calls"] = [{"type": "function", "function": call} for call in row.golden_calls]
    return message
