"""Chat messages and tool calls on their way to a server and back, in OpenAI's spelling."""

import json
from dataclasses import dataclass, field
from typing import Any

import msgspec

from ...data.actions.spoken_values import STRICT_JSON
from ...data.actions.thinking import ends_in_a_thought, strip_thinking
from ...data.rows.row import Message

# What to do where a server's answers hold no text.
SILENT = (
    "If the model thinks, let it answer without (many chat templates take enable_thinking: false), and look whether "
    "the server's reasoning parser is that of the model."
)


class Function(msgspec.Struct):
    """A call as the server has read it."""

    name: str
    arguments: Any = None


class Call(msgspec.Struct):
    """An entry of `tool_calls`."""

    function: Function


class Said(msgspec.Struct):
    """The assistant's message."""

    content: str | list[Any] | None = None  # a reasoning parser leaves it null where the answer is all thinking
    tool_calls: list[Call] | None = None

    @property
    def text(self) -> str:
        """What is said, in parts or not; parts of other kinds are pictures, or what was thought."""
        if not isinstance(self.content, list):
            return self.content or ""
        return "".join(part["text"] for part in self.content if isinstance(part, dict) and part.get("type") == "text")


class Choice(msgspec.Struct):
    """One answer."""

    message: Said
    finish_reason: str | None = None


@dataclass(frozen=True)
class Usage:
    """Tokens of a request, as the server says."""

    told: Any

    def of(self, name: str) -> int:
        """A number of tokens; 0 where the server doesn't say it as a whole number."""
        found = self.told.get(name) if isinstance(self.told, dict) else None
        return found if type(found) is int and found >= 0 else 0


class Completion(msgspec.Struct):
    """An answer of `/v1/chat/completions`, as far as it is looked at."""

    choices: list[Choice]
    usage: Any = None


@dataclass(frozen=True)
class ChatAnswer:
    """What the teacher said.

    Attributes:
        text: The answer without its thinking; "" where there is nothing else.
        finish_reason: "stop", or why the server ended it before: see `is_cut` and `is_withheld`.
        prompt_tokens: Tokens of the rendered prompt; 0 where the server doesn't say.
        completion_tokens: Tokens written, thinking included; 0 where the server doesn't say.
        tool_calls: The calls that the server has read in the answer, `{"name": text, "arguments": object}`; arguments
            that are no JSON object stay as they were written.
    """

    text: str
    finish_reason: str | None
    prompt_tokens: int
    completion_tokens: int
    tool_calls: list[dict[str, Any]] = field(default_factory=list)

    @property
    def is_cut(self) -> bool:
        """Whether more would have come: `max_tokens` were written, or the server gave up."""
        return self.finish_reason in ("length", "abort")

    @property
    def is_withheld(self) -> bool:
        """Whether a filter of the server's took the answer, or what followed."""
        return self.finish_reason == "content_filter"

    @property
    def with_calls(self) -> str:
        """The text, and behind it each call as a line `<tool_call>{…}</tool_call>`."""
        calls = [f"<tool_call>{json.dumps(call, ensure_ascii=False)}</tool_call>" for call in self.tool_calls]
        return "\n".join([*filter(None, [self.text.rstrip() if calls else self.text]), *calls])


def openai_messages(messages: list[Message]) -> list[Message]:
    """Messages as OpenAI's API has them: arguments of calls are JSON text, each call has an id, its result names it.

    Servers make of them what their model's template wants.
    """
    sent, waiting = [], []
    for number, message in enumerate(messages):
        if message.get("tool_calls"):
            calls = [_sent_call(call, f"call_{number}_{place}") for place, call in enumerate(message["tool_calls"])]
            waiting = [call["id"] for call in calls]
            message = {**message, "tool_calls": calls}
        elif message["role"] == "tool" and "tool_call_id" not in message and waiting:
            message = {**message, "tool_call_id": waiting.pop(0)}
        sent.append(message)
    return sent


def _sent_call(call: dict[str, Any], number: str) -> dict[str, Any]:
    function = call.get("function", call)
    arguments = function.get("arguments") or {}
    text = arguments if isinstance(arguments, str) else json.dumps(arguments, ensure_ascii=False)
    return {
        "id": call.get("id") or number,
        "type": "function",
        "function": {"name": function["name"], "arguments": text},
    }


def call_of(function: Function) -> dict[str, Any]:
    """A call with its arguments decoded; as they are where they are no JSON object."""
    arguments = function.arguments or {}
    if isinstance(arguments, str):
        try:
            decoded = STRICT_JSON.decode(arguments)
        except (ValueError, RecursionError):
            decoded = None
        arguments = decoded if isinstance(decoded, dict) else arguments
    return {"name": function.name, "arguments": arguments}


def answer_of(completion: Completion) -> ChatAnswer:
    """The first choice of a completion, without its thinking; one that ends in a thought is cut, whatever is said."""
    choice, usage = completion.choices[0], Usage(completion.usage)
    said, calls = choice.message.text, [call_of(call.function) for call in choice.message.tool_calls or []]
    reason = "length" if ends_in_a_thought(said) else choice.finish_reason
    return ChatAnswer(strip_thinking(said), reason, usage.of("prompt_tokens"), usage.of("completion_tokens"), calls)
