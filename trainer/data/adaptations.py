"""Ways to hand over the same messages to templates that don't take them as they are, and what of them gets lost."""

import json
from collections.abc import Callable, Iterable
from itertools import combinations
from typing import Any

from .rows.row import Message, Tool

Adaptation = Callable[[list[Message]], list[Message]]


def developer_as_system(messages: list[Message]) -> list[Message]:
    """A developer's message as a system message; behind a system message it goes on with that."""
    changed: list[Message] = []
    for message in messages:
        if message["role"] != "developer":
            changed.append(message)
        elif changed and changed[-1]["role"] == "system":
            texts = [each.get("content") or "" for each in (changed[-1], message)]
            changed[-1] = {**changed[-1], "content": "\n\n".join(filter(None, texts))}
        else:
            changed.append({**message, "role": "system"})
    return changed


def empty_for_none(messages: list[Message]) -> list[Message]:
    """No content, as beside tool calls, as an empty text."""
    return [message if message.get("content") is not None else {**message, "content": ""} for message in messages]


def with_numbered_calls(messages: list[Message]) -> list[Message]:
    """Calls under ids of nine characters, which Mistral's templates ask for."""
    known: dict[Any, str] = {}
    changed = []
    for message in messages:
        if message.get("tool_calls"):
            calls = []
            for call in message["tool_calls"]:
                number = f"call{len(known):05d}"
                known[call.get("id", number)] = number
                calls.append({**call, "id": number})
            message = {**message, "tool_calls": calls}
        if message["role"] == "tool":
            waiting = list(known.values())
            given = known.get(message.get("tool_call_id"), waiting[-1] if waiting else "call00000")
            message = {**message, "tool_call_id": given}
        changed.append(message)
    return changed


def as_parts(messages: list[Message]) -> list[Message]:
    """Texts as lists of one part, which templates of models with eyes ask for."""
    return [
        {**message, "content": [{"type": "text", "text": message["content"]}]}
        if isinstance(message.get("content"), str)
        else message
        for message in messages
    ]


def calls_as_text(messages: list[Message]) -> list[Message]:
    """Calls within the text, as Hermes and Qwen write them, and what they gave as the user's words."""
    changed = []
    for message in messages:
        if message.get("tool_calls"):
            lines = [
                f"<tool_call>\n{json.dumps(call['function'], ensure_ascii=False)}\n</tool_call>"
                for call in message["tool_calls"]
            ]
            rest = {key: value for key, value in message.items() if key != "tool_calls"}
            message = {**rest, "content": "\n".join(filter(None, [message.get("content"), *lines]))}
        elif message["role"] == "tool":
            message = {"role": "user", "content": f"<tool_response>\n{message.get('content')}\n</tool_response>"}
        changed.append(message)
    return changed


def with_tools(messages: list[Message], tools: list[Tool], place: str) -> list[Message]:
    """The messages with the tools as text, in the system message or before the user's first words."""
    text = "\n".join(["Tools:", *(json.dumps(tool, ensure_ascii=False) for tool in tools)])
    role = "system" if place == "the system message" else "user"
    number = next((number for number, message in enumerate(messages) if message["role"] == role), None)
    if number is None:
        return [{"role": role, "content": text}, *messages]
    own = messages[number].get("content") or ""
    both = f"{own}\n\n{text}" if role == "system" else f"{text}\n\n{own}"
    return [*messages[:number], {**messages[number], "content": both.strip()}, *messages[number + 1 :]]


ADAPTATIONS: tuple[Adaptation, ...] = (developer_as_system, empty_for_none, with_numbered_calls, as_parts)


def subsets(adaptations: list[Adaptation]) -> list[tuple[Adaptation, ...]]:
    return [some for size in range(len(adaptations) + 1) for some in combinations(adaptations, size)]


def adapted(messages: list[Message], adaptations: Iterable[Adaptation]) -> list[Message]:
    for adapt in adaptations:
        messages = adapt(messages)
    return messages


# ---- what is lost


def kind_of(message: Message) -> tuple[Any, ...]:
    """What of a message a template's program may look at; its words are not."""
    text, calls = message.get("content"), message.get("tool_calls") or []
    nine = [str(call.get("id", "")).isalnum() and len(str(call["id"])) == 9 for call in calls]
    result = str(message.get("tool_call_id", ""))
    more = (result.isalnum() and len(result) == 9, *(key in message for key in ("name", "reasoning_content")))
    return message["role"], text is None, isinstance(text, str) and bool(text.strip()), tuple(nine), more


def marked(messages: list[Message]) -> list[Message]:
    """The messages with words in place of their texts and calls that tell them from each other."""
    marked = []
    for number, message in enumerate(messages):
        if isinstance(message.get("content"), str) and message["content"].strip():
            message = {**message, "content": f"zqxm{number}q"}
        if message.get("tool_calls"):
            calls = [
                {**call, "function": {"name": f"zqxc{number}c{place}q", "arguments": {f"zqxa{number}c{place}q": "v"}}}
                for place, call in enumerate(message["tool_calls"])
            ]
            message = {**message, "tool_calls": calls}
        marked.append(message)
    return marked


def lost(messages: list[Message], text: str) -> str | None:
    """What of the messages is missing in the rendering of their marked ones; None where all is there."""
    for number, message in enumerate(messages):
        what = f"message {number + 1} (role {message['role']!r})"
        content = message.get("content")
        if isinstance(content, str) and content.strip() and f"zqxm{number}q" not in text:
            beside = " beside its tool calls" if message.get("tool_calls") else ""
            return f"the text of {what}{beside}"
        for place, call in enumerate(message.get("tool_calls") or []):
            if f"zqxc{number}c{place}q" not in text or f"zqxa{number}c{place}q" not in text:
                return f"the call of {call['function']['name']} in {what}"
    return None
