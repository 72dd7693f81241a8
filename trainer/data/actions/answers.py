"""What an answer does: the actions in a response text, and whether they are the golden ones.

A response takes one or several actions, in the text format each a line `Action: NAME` followed by
`Action_Input: VALUE` (JSON or plain text, possibly over several lines), with `Thought: …` lines between. Models write
the same in their own ways, which `parse_actions` reads too. What a data file shall show is read to the letter, by
`parse_seed_format`.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from ..rows.row import Tool
from . import accepted
from .call_shapes import Call, calls_of_text, calls_within
from .labelled_actions import first_label, read_labelled, read_seed_format
from .native_calls import UNTYPED, read_native
from .spoken_values import decode_input, read_input, strict_json

NOTHING = ("", "none", "null", "n/a", "{}")


@dataclass(frozen=True)
class Action:
    """A tool call.

    Attributes:
        name: What is called.
        input: What it is given, decoded where it is JSON, else the stripped text.
        accepts: Of a golden action: the values that each parameter may have, see `data.rows.bfcl`; None: `input`.
        any_order: Of a golden action: whether it may come before or after the others.
        untyped: Whether the texts in `input` may stand for other values, as in XML without the tool's schema.
    """

    name: str
    input: Any
    accepts: dict[str, list[Any]] | None = None
    any_order: bool = False
    untyped: bool = False


def parse_actions(text: str, tools: Sequence[Tool] | None = None) -> list[Action]:
    """The actions of a response, in order, as a person reads them; a name without an input has the input ''.

    Read are the text format with its decorations (fences, emphasis, numbers, speakers, text behind the input), and the
    calls of Qwen, Qwen3-Coder, Llama 3, Mistral, GLM, gpt-oss, Gemma and LFM2, and plain JSON that is a call.

    Args:
        tools: What may be called; gives the values their types where the spelling has none.
    """
    native, start = read_native(text, tools)
    label = first_label(text)
    if native and start is not None and (label is None or start < label):
        untyped = UNTYPED.search(text) is not None
        return [Action(name, passed, untyped=untyped) for name, passed in native]
    calls: list[Call] = read_labelled(text, tools) if label is not None else []
    calls = calls or native or calls_of_text(text, tools) or calls_within(text, tools)
    return [Action(name, passed) for name, passed in calls]


def parse_seed_format(text: str) -> list[Action]:
    """The actions of a response that keeps to the text format to the letter, as data files shall show it."""
    return [Action(name, passed) for name, passed in read_seed_format(text)]


def golden_actions(golden_answer: list[dict[str, Any]]) -> list[Action]:
    """A row's `golden_answer` in the form that `parse_actions` gives."""
    return [
        Action(
            item["Action"].strip(),
            read_input(item["Action_Input"]),
            item.get("accepts"),
            bool(item.get("any_order")),
        )
        for item in golden_answer
    ]


def same_sequence(found: list[Action], golden: list[Action]) -> bool:
    """Whether both take the same actions in the same order, whatever their inputs; parallel ones in any order."""
    if _in_any_order(golden):
        return len(found) == len(golden) and _matched(found, golden, _same_name)
    return len(found) == len(golden) and all(map(_same_name, found, golden))


def same_inputs(found: list[Action], golden: list[Action]) -> bool:
    """Whether the inputs agree position by position, nested values included, `1` and `1.0` being equal.

    Parallel actions are paired by name first. An action that accepts several values agrees with any of them.
    """
    if _in_any_order(golden):
        pairs_up = _matched(found, golden, lambda one, other: _same_name(one, other) and _same_input(one, other))
        return len(found) == len(golden) and pairs_up
    return len(found) == len(golden) and all(map(_same_input, found, golden))


def _in_any_order(golden: list[Action]) -> bool:
    return len(golden) > 1 and all(action.any_order for action in golden)


def _matched(found: list[Action], golden: list[Action], agree: Any) -> bool:
    """Whether each golden action has a found one of its own that agrees with it (augmenting paths)."""
    partner: dict[int, int] = {}

    def assign(number: int, tried: set[int]) -> bool:
        for place, action in enumerate(found):
            if place not in tried and agree(action, golden[number]):
                tried.add(place)
                if place not in partner or assign(partner[place], tried):
                    partner[place] = number
                    return True
        return False

    return all(assign(number, set()) for number in range(len(golden)))


def _same_name(found: Action, golden: Action) -> bool:
    """Servers take no dots in names, so functions of BFCL may be offered with underscores."""
    if golden.accepts is not None:
        return found.name.replace(".", "_") == golden.name.replace(".", "_")
    return found.name == golden.name


def _same_input(found: Action, golden: Action) -> bool:
    if golden.accepts is not None:
        passed = {} if _is_nothing(found.input) else found.input
        return accepted.accepts(golden.accepts, passed, untyped=found.untyped)
    if _is_nothing(found.input) and _is_nothing(golden.input):
        return True
    return _agree(found.input, golden.input, untyped=found.untyped)


def _is_nothing(value: Any) -> bool:
    return value is None or value == {} or (isinstance(value, str) and value.strip().casefold() in NOTHING)


def _agree(found: Any, golden: Any, *, untyped: bool) -> bool:
    if untyped and isinstance(found, dict) and isinstance(golden, dict):
        return found.keys() == golden.keys() and all(_stands_for(found[key], golden[key]) for key in golden)
    return accepted.comparable(found) == accepted.comparable(golden)


def _stands_for(text: Any, golden: Any) -> bool:
    """Whether a text, or what it is as JSON, is the golden value."""
    read = strict_json(text) if isinstance(text, str) else text
    return any(accepted.comparable(value) == accepted.comparable(golden) for value in (text, read))


__all__ = [
    "Action",
    "decode_input",
    "golden_actions",
    "parse_actions",
    "parse_seed_format",
    "same_inputs",
    "same_sequence",
]
