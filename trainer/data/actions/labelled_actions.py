"""Actions in the text format: a line `Action: NAME`, then `Action_Input: VALUE`, as people and models spell it."""

import re
from collections.abc import Callable, Sequence
from typing import Any

from ..rows.row import Tool
from .call_shapes import Call, calls_of_text, names_of
from .spoken_values import decode_input, read_input, unfenced

SEED_MARKER = re.compile(
    r"^[ \t]*(?:(?P<action>Action)|(?P<input>Action[_ ]Input)|(?P<other>Thought|Observation))[ \t]*:[ \t]*",
    re.MULTILINE,
)
SPEAKER = r"(?:(?:assistant|ai|agent|model|bot|gpt|chatgpt)\b[ \t]*[:>]?[ \t]*)?"
LEAD = r"(?:(?:[-*•+>]+|\d+[.)])[ \t]+|```\w*[ \t]*)*"
NUMBER = r"(?:[ \t]*#?\d+)?"
INPUT = r"Action[_ -]?(?:Inputs?|Arguments?)"
OTHER = r"Thoughts?|Observation|Final[_ ]Answer|Tool[_ ](?:Output|Result|Response)"
COLON = r"[ \t]*[:：][*_`]*[ \t]*"
MARKER = re.compile(  # a label in bold, or one that is a heading, needs no colon where it stands alone
    rf"^[ \t]*{LEAD}(?P<loud>#+[ \t]+|\*\*)?[*_`]*+{SPEAKER}[*_`]*+"
    rf"(?:(?P<input>{INPUT})|(?P<action>Action)|(?P<other>{OTHER})){NUMBER}[*_`]*+(?(loud)(?:{COLON}|[ \t]*$)|{COLON})",
    re.MULTILINE | re.IGNORECASE,
)
ON_ONE_LINE = re.compile(
    r"(?:^|[ \t]+)(?P<action>[*_]*\bAction[*_]*[ \t]*:[ \t]*[^\s:{}]+?)"
    r"[ \t]*[,;.|]?[ \t]+(?=[*_]*Action[_ ]Input[*_]*[ \t]*:)",
    re.IGNORECASE | re.MULTILINE,
)
NO_ACTIONS = ("none", "n/a", "final answer")  # what stands behind "Action:" where nothing is called


def first_label(text: str) -> int | None:
    """Where the first `Action:` stands; None where there is none."""
    return next((mark.start() for mark in MARKER.finditer(_one_a_line(text)) if mark["action"]), None)


def read_seed_format(text: str) -> list[Call]:
    """The actions of a text that keeps to the format to the letter."""
    return _read(text, SEED_MARKER, lambda name: [(name, "")], decode_input)


def read_labelled(text: str, tools: Sequence[Tool] | None) -> list[Call]:
    """The actions of a text in the format as a person reads it."""
    found = _read(_one_a_line(text), MARKER, lambda value: _named(value, tools), read_input)
    return [call for call in found if call[0].casefold() not in ("", *NO_ACTIONS) or call[0] in names_of(tools)]


def _one_a_line(text: str) -> str:
    return ON_ONE_LINE.sub(lambda found: f"\n{found['action']}\n", text)


def _read(
    text: str, marker: re.Pattern[str], named: Callable[[str], list[Call]], read: Callable[[str], Any]
) -> list[Call]:
    marks = list(marker.finditer(text))
    ends = [mark.start() for mark in marks[1:]] + [len(text)] * bool(marks)
    calls: list[Call] = []
    for mark, end in zip(marks, ends, strict=True):
        value = text[mark.end() : end].strip()
        if mark["action"]:
            calls.extend(named(value))
        elif mark["input"] and calls:
            calls[-1] = (calls[-1][0], read(value))
    return calls


def _named(value: str, tools: Sequence[Tool] | None) -> list[Call]:
    """What stands behind `Action:`: a name, a name with its input in the next line, or calls."""
    bare = unfenced(value)
    if calls := calls_of_text(bare, tools) or calls_of_text(bare.partition("\n")[0], tools):
        return calls
    first, brace, rest = bare.partition("{") if re.match(r"[^\n{]+[ \t]*\n?[ \t]*\{", bare) else (bare, "", "")
    passed = read_input(brace + rest)
    return [(_name(first.partition("\n")[0]), passed if isinstance(passed, dict) else "")]


def _name(text: str) -> str:
    """A tool's name without marks around it."""
    before = None
    while text != before:
        before, text = text, text.strip().strip("*`\"'").rstrip(".,;:")
    return text
