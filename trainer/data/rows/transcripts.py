"""Conversations that are one text, or a tree of answers to choose from, as messages."""

import json
import re
from collections.abc import Iterator
from typing import Any

from .messages import conversation, shown
from .row import BadRow, Message

TURN = re.compile(r"\n\n(Human|Assistant): ?")
GLAIVE_TURN = re.compile(r"(?:^|\n)\s*(USER|ASSISTANT|FUNCTION RESPONSE): ?")
GLAIVE_END = "<|endoftext|>"
GLAIVE_CALL = "<functioncall>"
QUOTED_ARGUMENTS = re.compile(r"""\{\s*"name":\s*"([^"]+)",\s*"arguments":\s*'(.*)'\s*\}""", re.DOTALL)
ROLES = {"Human": "user", "Assistant": "assistant", "USER": "user", "FUNCTION RESPONSE": "tool"}


def of_transcript(text: str) -> list[Message]:
    """The messages of one text, `\\n\\nHuman: …\\n\\nAssistant: …`, as Anthropic's HH-RLHF has them."""
    parts = TURN.split(text)
    if len(parts) < 5 or parts[0].strip():
        raise BadRow(f"field 'chosen' is {shown(text)} and there is no 'prompt', expected one, or messages.")
    pairs = zip(parts[1::2], parts[2::2], strict=True)
    return [{"role": ROLES[who], "content": said.strip()} for who, said in pairs]


def of_glaive(system: Any, chat: Any) -> tuple[list[Message], list[Any]]:
    """The messages and the tools of a row of Glaive's function calling, whose calls and tools stand in its texts."""
    if not isinstance(chat, str) or not isinstance(system, str | None):
        raise BadRow(f"field 'chat' is {shown(chat)}, expected a text, USER: … ASSISTANT: …")
    parts = GLAIVE_TURN.split(chat)
    if len(parts) < 3 or parts[0].strip():
        raise BadRow(f"field 'chat' is {shown(chat)}, expected a text, USER: … ASSISTANT: …")
    before, brace, rest = (system or "").removeprefix("SYSTEM: ").partition("{")
    said = [{"role": "system", "content": before.strip()}] if before.strip() else []
    for who, text in zip(parts[1::2], parts[2::2], strict=True):
        plain = text.replace(GLAIVE_END, "").strip()
        said.append(_answer(plain) if who == "ASSISTANT" else {"role": ROLES[who], "content": plain})
    return conversation(said, "chat"), [*_objects(brace + rest)]


def _answer(text: str) -> dict[str, Any]:
    words, mark, call = text.partition(GLAIVE_CALL)
    if not mark:
        return {"role": "assistant", "content": text}
    found = QUOTED_ARGUMENTS.fullmatch(call.strip())
    given = {"name": found[1], "arguments": found[2]} if found else _loaded(call)
    return {"role": "assistant", "content": words.strip() or None, "tool_calls": [given]}


def _loaded(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError as error:
        raise BadRow(f"field 'chat' calls {shown(text.strip())}, expected a JSON object.") from error


def _objects(text: str) -> Iterator[Any]:
    """JSON objects, one behind the other."""
    decoder, place = json.JSONDecoder(), 0
    while (place := text.find("{", place)) >= 0:
        try:
            found, place = decoder.raw_decode(text, place)
        except ValueError as error:
            raise BadRow(f"field 'system' has {shown(text[place:])}, expected a tool as JSON.") from error
        yield found


def of_tree(root: Any) -> list[Message]:
    """The best ranked answers, from the root of a tree of OpenAssistant's on, up to the last one of the assistant."""
    said, node = [], root
    while isinstance(node, dict):
        said.append({"role": node.get("role"), "content": node.get("text")})
        replies = node.get("replies")
        replies = [each for each in replies if isinstance(each, dict)] if isinstance(replies, list) else []
        replies = [each for each in replies if not each.get("deleted")]
        node = min(replies, key=_rank, default=None)
    messages = conversation(said, "prompt")
    while len(messages) > 1 and messages[-1]["role"] != "assistant":
        messages.pop()
    return messages


def _rank(reply: dict[str, Any]) -> float:
    rank = reply.get("rank")
    return rank if isinstance(rank, int | float) else float("inf")
