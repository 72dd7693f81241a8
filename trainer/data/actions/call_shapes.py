"""What is a call: JSON objects and Python expressions that name a function and what it is given."""

import ast
import re
from collections.abc import Sequence
from typing import Any

from ..rows.row import Tool
from .spoken_values import (
    NO_VALUE,
    leading_value,
    literal,
    parse_python,
    read_input,
    strict_json,
    unfenced,
)

Call = tuple[str, Any]  # the name of what is called, and its input

NAMES = ("name", "action", "Action", "tool", "tool_name", "function_name", "function")
INPUTS = (
    "arguments",
    "parameters",
    "action_input",
    "Action_Input",
    "actionInput",
    "input",
    "args",
    "kwargs",
    "tool_input",
)
BESIDE = {"id", "type", "call_id", "index", "thought", "thoughts", "Thought", "reasoning", "status"}
WHOLE = ("tool_calls", "tool_call", "function_call", "calls")
FENCED = re.compile(r"^[ \t]*```[ \t]*(?P<kind>\w*)[ \t]*\n(?P<inner>.*?)\n?[ \t]*```", re.DOTALL | re.MULTILINE)
AT_LINE_START = re.compile(r"^[ \t>*•-]*`*(?=[{\[])", re.MULTILINE)
BETWEEN = re.compile(r"\s*(?:[;,]|<\|?[\w|]+\|?>)?\s*")
CALL_FENCES = ("tool_code", "tool_call", "tool_calls", "function_call")
MOST_TRIED = 100  # brackets that may begin a call; a text of nothing else is no answer
NOT_CALLED = {"final answer", "final_answer"}


def calls_of_json(value: Any, tools: Sequence[Tool] | None = None, *, marked: bool = False) -> list[Call]:
    """The calls that a JSON value is, else none: an object with a name and an input, or a list of such.

    Args:
        marked: The text says that it is a call, so an input that is left out is an empty one.
    """
    if isinstance(value, list):
        each = [calls_of_json(item, tools, marked=marked) for item in value]
        return [call for calls in each for call in calls] if all(each) else []
    if not isinstance(value, dict):
        return []
    for key in WHOLE:
        if key in value and (calls := calls_of_json(value[key], tools, marked=True)):
            return calls
    if isinstance(value.get("function"), dict) and "name" in value["function"]:
        return calls_of_json(value["function"], tools, marked=marked)
    return _one_call(value, marked=marked) or _keyed_by_name(value, tools)


def _one_call(value: dict[str, Any], *, marked: bool) -> list[Call]:
    name = next((key for key in NAMES if isinstance(value.get(key), str) and value[key].strip()), None)
    given = next((key for key in INPUTS if key in value), None)
    if name is None or (given is None and not marked) or value.keys() - {name, given, *BESIDE}:
        return []
    passed = {} if given is None else value[given]
    if given in ("arguments", "parameters", "input", "args") and not _can_be_passed(passed):
        return []
    if value[name].strip().casefold() in NOT_CALLED:
        return []
    return [(value[name].strip(), {} if passed is None else read_input(passed))]


def _can_be_passed(value: Any) -> bool:
    """An object, or its JSON text, that is not the schema of what a function takes."""
    passed = read_input(value)
    is_schema = (
        isinstance(passed, dict) and passed.get("type") == "object" and isinstance(passed.get("properties"), dict)
    )
    return passed is None or passed == "" or (isinstance(passed, dict) and not is_schema)


def _keyed_by_name(value: dict[str, Any], tools: Sequence[Tool] | None) -> list[Call]:
    """`{"get_weather": {"city": …}}`, which only a known name makes a call."""
    known = names_of(tools)
    return (
        [*value.items()] if value and value.keys() <= known and all(isinstance(v, dict) for v in value.values()) else []
    )


def names_of(tools: Sequence[Tool] | None) -> set[str]:
    """The names of the tools that are offered."""
    functions = [tool.get("function") or tool for tool in tools or ()]
    return {function["name"] for function in functions if isinstance(function.get("name"), str)}


def properties_of(tools: Sequence[Tool] | None, name: str) -> dict[str, Any]:
    """What a tool takes: schemas by name, in their order."""
    for tool in tools or ():
        function = tool.get("function") or tool
        if function.get("name") == name:
            return ((function.get("parameters") or {}).get("properties")) or {}
    return {}


def calls_of_text(text: str, tools: Sequence[Tool] | None = None) -> list[Call]:
    """The calls that the whole text is, as JSON or as Python writes them; else none."""
    bare = unfenced(text)
    value = strict_json(bare)
    if value is NO_VALUE:
        found, end = leading_value(bare)
        value = found if not bare[end:].strip() else NO_VALUE
    return calls_of_json(value, tools) if value is not NO_VALUE else calls_of_python(bare, tools)


def calls_of_python(text: str, tools: Sequence[Tool] | None = None) -> list[Call]:
    """The calls of a text that is nothing but calls with literal arguments, in lines or a list; else none."""
    if "(" not in text or (tree := parse_python(text.strip())) is None:
        return []
    nodes: list[Any] = [statement.value if isinstance(statement, ast.Expr) else None for statement in tree.body]
    if len(nodes) == 1 and isinstance(nodes[0], ast.List | ast.Tuple):
        nodes = [*nodes[0].elts]
    calls = [_python_call(node, tools) for node in nodes]
    return [call for call in calls if call is not None] if calls and None not in calls else []


def _python_call(node: Any, tools: Sequence[Tool] | None) -> Call | None:
    if not isinstance(node, ast.Call) or (name := _dotted(node.func)) is None:
        return None
    if name == "print" and len(node.args) == 1 and isinstance(node.args[0], ast.Call):  # as Gemma writes it
        return _python_call(node.args[0], tools)
    given = {keyword.arg: literal(keyword.value) for keyword in node.keywords}
    places = [literal(argument) for argument in node.args]
    if None in given or NO_VALUE in (*given.values(), *places):
        return None
    if len(places) == 1 and isinstance(places[0], dict) and not given:
        return name, places[0]
    order = list(properties_of(tools, name))
    return (name, dict(zip(order, places, strict=False)) | given) if len(places) <= len(order) else None


def _dotted(node: ast.expr) -> str | None:
    if isinstance(node, ast.Name):
        return node.id
    inner = _dotted(node.value) if isinstance(node, ast.Attribute) else None
    return f"{inner}.{node.attr}" if inner and isinstance(node, ast.Attribute) else None


def calls_within(text: str, tools: Sequence[Tool] | None = None) -> list[Call]:
    """The calls that stand in a text: as JSON from the beginning of a line, or as Python in a code fence for calls."""
    calls: list[Call] = []
    place = 0
    for _ in range(MOST_TRIED):
        if (start := AT_LINE_START.search(text, place)) is None:
            break
        here, place = _calls_from(text, start.end(), tools)
        calls += here
    fences = [] if calls else FENCED.finditer(text)
    return calls or [call for fence in fences for call in _of_fence(fence["kind"], fence["inner"], tools)]


def _calls_from(text: str, start: int, tools: Sequence[Tool] | None) -> tuple[list[Call], int]:
    """The calls from a bracket on, several with a mark between them, and where to look on."""
    found, length = leading_value(text[start:])
    place, calls = start + max(length, 1), calls_of_json(found, tools)
    between = BETWEEN.match(text, place) if calls else None
    if between is None or text[between.end() : between.end() + 1] not in ("{", "["):
        return calls, place
    more, place = _calls_from(text, between.end(), tools)
    return calls + more, place


def _of_fence(kind: str, text: str, tools: Sequence[Tool] | None) -> list[Call]:
    """Code that only shows a call is none: the fence or the names must say so."""
    calls = calls_of_python(text, tools)
    return calls if kind in CALL_FENCES or names_of(tools).issuperset(name for name, _ in calls) else []
