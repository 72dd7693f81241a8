"""What a teacher is shown besides the prompt: a demonstration, a hint, a document, a long system prompt."""

import json
from collections.abc import Callable
from pathlib import Path

from ..errors import UsageError
from .rows.row import BadRow, Message, Row


def shown_text(row: Row, golden: Callable[[Row], str | None]) -> str | None:
    """The text that the teacher of a row is shown: its privileged context, else its demonstration; None without both.

    It is empty where demonstrations of other rows are shown alone.

    Args:
        golden: Writes the row's demonstration for whoever reads it.
    """
    if row.privileged_context is None:
        return golden(row) if row.shows_own else ""
    if isinstance(row.privileged_context, str):
        return row.privileged_context
    return "\n\n".join(filter(None, map(_plain_message, row.privileged_context)))


def read_context(path: str) -> str:
    """The text of `--context`.

    Raises:
        UsageError: it can't be read, or is empty.
    """
    try:
        text = Path(path).read_text(encoding="utf-8-sig").strip()
    except (OSError, ValueError) as error:
        raise UsageError(f"can't read --context {path}: {error}. Pass a text file.") from error
    if not text:
        raise UsageError(f"--context {path} is empty, expected a text.")
    return text


def require_shown(row: Row) -> None:
    """Raise BadRow where there is nothing that a teacher could be shown of the row."""
    if row.privileged_context is not None or row.examples:
        return
    if not row.shows_own:
        raise BadRow("no other row of its kind has a demonstration, and --demonstrations_of is others.")
    if not row.has_demonstration:
        raise BadRow(
            "field 'golden_response' is missing, and so is 'privileged_context'; expected one of them, to be shown. "
            "--context FILE is one for all rows."
        )


def plain_golden(row: Row) -> str | None:
    """A demonstration for a reader whose template is not at hand: its text, and a JSON object for each call, a line."""
    if not row.golden_calls:
        return row.golden_response
    return "\n".join(filter(None, [row.golden_response, *map(call_line, row.golden_calls)]))


def call_line(call: dict) -> str:
    """A tool call as one line of JSON."""
    return json.dumps({"name": call["name"], "arguments": call["arguments"]}, ensure_ascii=False)


def _plain_message(message: Message) -> str:
    calls = [call.get("function", call) for call in message.get("tool_calls") or []]
    lines = [json.dumps({key: call.get(key) for key in ("name", "arguments")}, ensure_ascii=False) for call in calls]
    return "\n".join(filter(None, [message.get("content"), *lines]))
