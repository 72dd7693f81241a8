"""The good answer of a question/answer row, and how an answer is judged by it."""

import json
import re
from typing import Any

from .messages import shown
from .row import BadRow

Check = dict[str, Any]
FINAL_ANSWER = re.compile(r"^####[ \t]*(\S.*?)[ \t]*\Z", re.MULTILINE)  # as GSM8K ends its solutions
SAID_LAST = re.compile(r"^The answer is:[ \t]*(\S.*?)[ \t]*\Z", re.MULTILINE)  # as MetaMathQA does
BOXED = "\\boxed{"


def final_answer(text: str) -> str | None:
    """The answer that a solution ends with: behind `####`, behind "The answer is:", or in the last `\\boxed{}`."""
    found = FINAL_ANSWER.search(text) or SAID_LAST.search(text)
    return found[1] if found else _boxed(text)


def _boxed(text: str) -> str | None:
    """What the last box holds; None where there is none, or it isn't closed."""
    begin = text.rfind(BOXED)
    if begin < 0:
        return None
    place = begin = begin + len(BOXED)
    depth = 1
    while place < len(text):
        depth += {"{": 1, "}": -1}.get(text[place], 0) if text[place - 1] != "\\" else 0
        if not depth:
            return text[begin:place].strip() or None
        place += 1
    return None


def as_maths(value: Any) -> Check | None:
    """A check for a short answer that a column gives beside the solution; None where it gives none."""
    if isinstance(value, int | float) and not isinstance(value, bool):
        value = json.dumps(value)
    return {"kind": "maths", "value": value.strip()} if isinstance(value, str) and value.strip() else None


def reference(value: Any, column: str) -> tuple[Any, Check | None]:
    """The golden response that a column's value is, and the check that it makes, where it makes one.

    A number is its text, and checked as one. Of several right answers (a list, SQuAD's `text`, TriviaQA's `aliases`)
    the first is golden, and each is right.

    Raises:
        BadRow: it is nothing that can be an answer.
    """
    if isinstance(value, bool):
        raise BadRow(f"field {column!r} is {shown(value)}, expected a text.")
    if isinstance(value, int | float):
        return json.dumps(value), as_maths(value)
    if isinstance(value, str) and not value.strip():
        raise BadRow(f"field {column!r} is empty, expected a text.")
    if isinstance(value, dict) and isinstance(value.get("text"), list):
        return _accepted(value["text"])
    if isinstance(value, dict) and isinstance(value.get("value"), str):
        aliases = value.get("aliases")
        return _accepted([value["value"], *(aliases if isinstance(aliases, list) else [])])
    if column in ("answer", "answers", "target") and isinstance(value, list) and all(map(_is_text, value)):
        return _accepted(value)
    return value, None


def _is_text(value: Any) -> bool:
    return isinstance(value, str)


def _accepted(texts: list[Any]) -> tuple[str | None, Check | None]:
    known = [*dict.fromkeys(text for text in texts if isinstance(text, str) and text.strip())]
    accepted = [text for text in known if any(map(str.isalnum, text))]
    check: Check | None = {"kind": "text", "accept": accepted} if accepted else None
    return (known[0] if known else None), check
