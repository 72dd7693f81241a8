"""Messages as they lie about: checked, and in the one spelling that chat templates take.

Roles are `system`, `developer`, `user`, `assistant`, `tool`, `function`. Content is a text, or
absent beside tool calls. An answer that is not to be learnt has the `weight` 0.
"""

import json
from typing import Any

from .blocks import is_call, unfolded
from .row import BadRow, Message

ROLES = ("system", "developer", "user", "assistant", "tool", "function")
OTHER_ROLES = {  # of ShareGPT and its kin
    "human": "user",
    "gpt": "assistant",
    "bot": "assistant",
    "model": "assistant",
    "prompter": "user",
    "chatgpt": "assistant",
    "observation": "tool",
    "tool_response": "tool",
    "ipython": "tool",
}
ASKING = ("user", "tool", "function")  # roles after which an assistant answers
TEXT_PARTS = ("text", "input_text", "output_text")
TEXT_KEYS = ("text", "content", "value")
WEIGHTS = ("weight", "loss_weight")  # of a message in the loss
MOST_SHOWN = 60


def conversation(value: Any, field: str) -> list[Message]:
    """The messages of a field.

    Raises:
        BadRow: names the message by its number, its key, what it holds, and what was expected.
    """
    if not isinstance(value, list) or not value:
        raise BadRow(f"field {field!r} is {shown(value)}, expected a list of messages, {{'role': …, 'content': …}}.")
    messages: list[Message] = []
    for number, item in enumerate(value, start=1):
        where = f"message {number} of {field!r}"
        found = [_message(each, where) for each in unfolded(item)]
        if is_call(item) and messages and messages[-1]["role"] == "assistant":
            messages[-1] = _with_calls(messages[-1], found[0]["tool_calls"])
        else:
            messages += found
    if not messages:
        raise BadRow(f"field {field!r} is {shown(value)}, expected messages that say something.")
    return messages


def _with_calls(message: Message, calls: list[dict[str, Any]]) -> Message:
    return message | {"tool_calls": [*message.get("tool_calls", []), *calls]}


def _message(value: Any, where: str) -> Message:
    if not isinstance(value, dict):
        raise BadRow(f"{where} is {shown(value)}, expected an object with 'role' and 'content'.")
    given = {key: item for key, item in value.items() if item is not None}
    role = _role(given, where)
    message: Message = {"role": role}
    calls = _calls(given, where) if role == "assistant" else []
    content = given.pop("content", given.pop("value", None))
    message["content"] = _content(content, where, role, may_lack=bool(calls))
    if calls:
        message["tool_calls"] = calls
    if role == "assistant" and any(given.get(name) == 0 for name in WEIGHTS):
        message["weight"] = 0
    spare = ("role", "from", "tool_calls", "function_call", "tools", "type", "status", *WEIGHTS)
    return message | {key: item for key, item in given.items() if key not in spare}


def _role(given: dict[str, Any], where: str) -> str:
    role = given.get("role", given.get("from"))
    known = OTHER_ROLES.get(role, role) if isinstance(role, str) else role
    if known == "function_call":  # ShareGPT's role of a call
        return "assistant"
    if known not in ROLES:
        raise BadRow(f"{where} has the role {shown(role)}, expected one of {', '.join(ROLES)}.")
    return known


def _content(value: Any, where: str, role: str, *, may_lack: bool) -> str | None:
    if value is None:
        if may_lack:
            return None
        raise BadRow(f"{where} has no 'content', expected a text.")
    if isinstance(value, str):
        return value
    if isinstance(value, list):
        return "".join(_part(part, f"part {number} of {where}") for number, part in enumerate(value, start=1))
    if role in ("tool", "function") and isinstance(value, dict):
        return json.dumps(value, ensure_ascii=False)
    raise BadRow(f"{where} has the content {shown(value)}, expected a text.")


def _part(value: Any, where: str) -> str:
    if isinstance(value, str):
        return value
    kind = value.get("type", "text") if isinstance(value, dict) else None
    text = next((value[key] for key in TEXT_KEYS if key in value), None) if isinstance(value, dict) else None
    if kind in TEXT_PARTS and isinstance(text, str):
        return text
    if kind == "refusal" and isinstance(value.get("refusal"), str):
        return value["refusal"]
    if isinstance(kind, str) and kind not in TEXT_PARTS:
        raise BadRow(f"{where} is of the type {kind!r}; this trainer reads text alone.")
    raise BadRow(f"{where} is {shown(value)}, expected {{'type': 'text', 'text': …}}.")


def _calls(given: dict[str, Any], where: str) -> list[dict[str, Any]]:
    """Tool calls in today's spelling: from a list, from the former `function_call`, or from ShareGPT's role of it."""
    if given.get("role", given.get("from")) == "function_call":
        text = given.pop("value", given.pop("content", None))
        return [_call(call, where) for call in _listed(_decoded(text, where))]
    if "function_call" in given:
        return [_call(given["function_call"], where)]
    calls = given.get("tool_calls", [])
    if not isinstance(calls, list):
        raise BadRow(f"{where} has the tool_calls {shown(calls)}, expected a list of calls.")
    return [_call(call, where) for call in calls]


def _call(value: Any, where: str) -> dict[str, Any]:
    value = _decoded(value, where)
    function = value.get("function", value) if isinstance(value, dict) else None
    name = function.get("name") if isinstance(function, dict) else None
    if not isinstance(function, dict) or not isinstance(name, str):
        raise BadRow(
            f"{where} has the tool call {shown(value)}, expected "
            "{'type': 'function', 'function': {'name': …, 'arguments': …}}."
        )
    arguments = function.get("arguments", function.get("parameters", {}))
    if isinstance(arguments, str) and not arguments.strip():
        arguments = {}
    for _ in range(2):  # some files hold them as JSON of JSON
        if isinstance(arguments, str):
            arguments = _decoded(arguments, f"the call of {name} in {where}")
    if not isinstance(arguments, dict):
        raise BadRow(f"{where} calls {name} with the arguments {shown(arguments)}, expected a JSON object.")
    call: dict[str, Any] = {"type": "function", "function": {"name": name, "arguments": arguments}}
    return call | ({"id": value["id"]} if isinstance(value.get("id"), str) else {})


def _decoded(text: Any, where: str) -> Any:
    if not isinstance(text, str):
        return text
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise BadRow(f"{where} holds {shown(text)}, expected JSON.") from error


def _listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def require_asking(messages: list[Message], field: str) -> None:
    """Raise BadRow unless the messages end where an assistant answers."""
    last = messages[-1]
    if last["role"] not in ASKING:
        raise BadRow(
            f"the last message of {field!r} is of role {last['role']!r}, expected 'user', or 'tool' with a result."
        )
    if last["role"] == "user" and not last["content"].strip():
        raise BadRow(f"field {field!r} is empty, expected a text.")


def calls_of(message: Message) -> list[dict[str, Any]]:
    """The calls of an assistant's message, `{"name": text, "arguments": object}`."""
    return [call["function"] for call in message.get("tool_calls", [])]


def shown(value: Any) -> str:
    """The beginning of a value, for a message."""
    text = json.dumps(value, ensure_ascii=False, default=str)
    return text if len(text) <= MOST_SHOWN else text[: MOST_SHOWN - 3] + "…"
