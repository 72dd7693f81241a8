"""What an answer does: the actions in a response text, and whether they are the golden ones.

A response takes one or several actions, each a line `Action: NAME` followed by `Action_Input: VALUE`
(JSON or plain text, possibly over several lines), with `Thought: …` lines between.
"""

import json
import re
from dataclasses import dataclass
from typing import Any

THINKING = re.compile(r"<think>.*?</think>\s*", re.DOTALL)
MARKER = re.compile(
    r"^[ \t]*(?:(?P<action>Action)|(?P<input>Action[_ ]Input)|(?P<other>Thought|Observation))[ \t]*:[ \t]*",
    re.MULTILINE,
)


def _refused(constant: str) -> None:
    raise ValueError(f"{constant} is no JSON value")  # Python would read NaN, which doesn't even equal itself


STRICT_JSON = json.JSONDecoder(parse_constant=_refused)


@dataclass(frozen=True)
class Action:
    """A tool call: its name and its input (decoded where it is JSON, else the stripped text)."""

    name: str
    input: Any


def strip_thinking(text: str) -> str:
    """`text` without its `<think>…</think>` blocks; an unclosed block swallows the rest.

    Where the chat template opened the block in the prompt, `text` has only the closing mark: what stands
    before it is thinking too.
    """
    closed = THINKING.sub("", text)
    after_stray_close = closed.rpartition("</think>")[2].lstrip() if "</think>" in closed else closed
    return after_stray_close.partition("<think>")[0]


def parse_actions(text: str) -> list[Action]:
    """The actions of a response, in order; a name without an input has the input ''."""
    marks = list(MARKER.finditer(text))
    starts = [mark.start() for mark in marks]
    actions: list[Action] = []
    for mark, end in zip(marks, [*starts[1:], len(text)], strict=False):
        value = text[mark.end() : end].strip()
        if mark["action"]:
            actions.append(Action(value, ""))
        elif mark["input"] and actions:
            actions[-1] = Action(actions[-1].name, decode_input(value))
    return actions


def golden_actions(golden_answer: list[dict[str, Any]]) -> list[Action]:
    """A row's `golden_answer` in the form that `parse_actions` gives."""
    return [Action(item["Action"].strip(), decode_input(item["Action_Input"])) for item in golden_answer]


def decode_input(value: Any) -> Any:
    """An action's input: JSON texts decoded, other texts stripped, objects as they are."""
    if not isinstance(value, str):
        return value
    try:
        return STRICT_JSON.decode(value)
    except (ValueError, RecursionError):  # thousands of brackets exhaust the decoder's stack
        return value.strip()


def same_sequence(found: list[Action], golden: list[Action]) -> bool:
    """Whether both take the same actions in the same order, whatever their inputs."""
    return [action.name for action in found] == [action.name for action in golden]


def same_inputs(found: list[Action], golden: list[Action]) -> bool:
    """Whether the inputs agree position by position, nested values included, `1` and `1.0` being equal."""
    return [_comparable(a.input) for a in found] == [_comparable(a.input) for a in golden]


def _comparable(value: Any) -> Any:
    """`value` such that true and 1 differ, as they do in JSON and not in Python."""
    if isinstance(value, bool):
        return ("bool", value)
    if isinstance(value, dict):
        return {key: _comparable(item) for key, item in value.items()}
    return [_comparable(item) for item in value] if isinstance(value, list) else value
