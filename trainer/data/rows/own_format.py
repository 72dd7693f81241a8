"""Our own format of a row, which all others become."""

from collections.abc import Sequence
from typing import Any

from .messages import calls_of, conversation, require_asking, shown
from .references import final_answer
from .row import BadRow, Message, Row, Tool
from .tools import as_openai, tools_in
from .values import jsonable, unfit_value


def parse_row(record: dict[str, Any], number: int, *, tools: Sequence[Tool] = ()) -> Row:
    """A record of our format as a `Row`.

    Args:
        number: Its id where it has none.
        tools: Its tools where it names none.

    Raises:
        BadRow: says which field is wrong, what it holds and what was expected.
    """
    rest = {key: value for key, value in record.items() if value is not None}
    prompt = _prompt(rest.pop("prompt", None))
    text, calls = _golden_response(rest.pop("golden_response", None))
    answer = _golden_answer(rest.pop("golden_answer", None))
    if answer is None and calls:
        answer = [{"Action": call["name"], "Action_Input": call["arguments"]} for call in calls]
    named = _tools(rest)
    context = _context(rest.pop("privileged_context", None))
    id, turn = rest.pop("id", number), rest.pop("turn", None)
    if answer is None and "check" not in rest and text is not None and (final := final_answer(text)):
        rest["check"] = {"kind": "maths", "value": final}
    row = Row(
        str(id) if turn is None else f"{id}.{turn}",
        prompt,
        text,
        answer,
        jsonable(rest),
        named or [*tools] or None,
        calls or None,
        context,
    )
    fields = {"prompt": prompt, "golden_response": text, "golden_answer": answer, "tools": row.tools}
    if unfit := unfit_value(fields | {"golden_calls": calls, "privileged_context": context}):
        raise BadRow(unfit)
    return row


def require_whole(row: Row, *, needs_golden: bool) -> None:
    """Raise BadRow for a row that lacks a golden response where one is needed."""
    if needs_golden and not row.has_demonstration:
        raise BadRow("field 'golden_response' is missing, expected a list of lines.")


def _prompt(value: Any) -> list[Message]:
    if value is None:
        raise BadRow("field 'prompt' is missing, expected a text or a list of messages.")
    if not isinstance(value, str | list):
        raise BadRow(f"field 'prompt' is {shown(value)}, expected a text or a list of messages.")
    messages = [{"role": "user", "content": value}] if isinstance(value, str) else conversation(value, "prompt")
    require_asking(messages, "prompt")
    return messages


def _golden_response(value: Any) -> tuple[str | None, list[dict[str, Any]]]:
    """Its text, and its tool calls where it is the assistant's message."""
    if value is None:
        return None, []
    if isinstance(value, dict) or (isinstance(value, list) and value and isinstance(value[0], dict)):
        return _golden_message(value if isinstance(value, list) else [value])
    lines = [value] if isinstance(value, str) else value
    if not isinstance(lines, list) or not all(isinstance(line, str) for line in lines):
        raise BadRow(f"field 'golden_response' is {shown(value)}, expected a list of texts.")
    text = "\n".join(lines)
    if not text.strip():
        raise BadRow("field 'golden_response' is empty, expected a list of lines.")
    return text, []


def _golden_message(value: list[Any]) -> tuple[str | None, list[dict[str, Any]]]:
    messages = conversation(value, "golden_response")
    if len(messages) > 1 or messages[0]["role"] != "assistant":
        roles = ", ".join(message["role"] for message in messages)
        raise BadRow(f"field 'golden_response' has messages of {roles}, expected one of the assistant.")
    text, calls = messages[0]["content"] or None, calls_of(messages[0])
    if not calls and not (text or "").strip():
        raise BadRow("field 'golden_response' is empty, expected a text or tool calls.")
    return text, calls


def _golden_answer(value: Any) -> list[dict[str, Any]] | None:
    if value is None:
        return None
    if not isinstance(value, list) or not all(_is_action(item) for item in value):
        raise BadRow(
            f"field 'golden_answer' is {shown(value)}, expected a list of "
            "{'Action': text, 'Action_Input': text or object}."
        )
    return value


def _is_action(value: Any) -> bool:
    return isinstance(value, dict) and isinstance(value.get("Action"), str) and "Action_Input" in value


def _tools(rest: dict[str, Any]) -> list[Tool]:
    """The tools of a record in OpenAI's spelling; names alone stay with the row's other keys, for they define none."""
    key = next((name for name in ("tools", "functions") if name in rest), None)
    if key is None:
        return []
    value = rest[key]
    if isinstance(value, list) and value and all(isinstance(item, str) for item in value):
        return []
    try:
        tools = [as_openai(tool) for tool in tools_in(value)] if value != "" else []
    except BadRow as error:
        raise BadRow(f"field {key!r}: {error}") from None
    rest.pop(key)
    return tools


def _context(value: Any) -> str | list[Message] | None:
    if value is None or isinstance(value, str):
        return value or None
    return conversation(value, "privileged_context")
