"""Tools that a teacher's answers may call: read from a file, and the rule that calls break."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from referencing import Registry

from ..data.actions.answers import Action
from ..data.rows.row import BadRow
from ..data.rows.schemas import (
    CHECKER,
    FORMATS,
    BadTool,
    Schema,
    as_object,
    as_sent,
    closed,
    list_or_none,
    require_json_schema,
    shortened,
    within,
)
from ..data.rows.tool_files import described_entry, described_in
from ..errors import UsageError

NO_ACTION, UNKNOWN_TOOL, BAD_ARGUMENTS = "no_action", "unknown_tool", "bad_arguments"
MAX_LEVELS = 16  # of nested arguments: deeper ones can take minutes, or end the process, where a schema is recursive


@dataclass(frozen=True)
class Tool:
    """A tool as `load_tools` gives it.

    Attributes:
        parameters: JSON Schema of type object; its references start with `#` and lead to schemas within it.
    """

    name: str
    description: str
    parameters: Schema

    @cached_property
    def validator(self) -> Any:
        """Checks arguments; made once, since making it takes longer than many answers' checks."""
        rules = closed("", self.parameters, self.parameters)
        return CHECKER(rules, registry=Registry(), format_checker=FORMATS)


def load_tools(path: str, *, kept_back: bool = False) -> list[Tool]:
    """The tools of a JSON or YAML file, in its order.

    The file holds tools in any spelling that `data.rows.tools` knows (as a list, JSON lines, one alone, or within
    an answer to MCP's tools/list), or an OpenAPI 3 document, of which every operation becomes a tool:

    - Its name is the `operationId`, else METHOD_path with runs of other characters than letters and digits as `_`.
    - Its arguments are the path and query parameters and the properties of an object body. Any other body (an array,
      alternatives, free-form or conditional objects) is the one argument `body`. A name that is taken already gets
      its place in front: `query_id`, `body_id`.
    - Header and cookie parameters are left out: they belong to the connection (keys, tracing), and no request of a
      person states them.
    - Fields that are `readOnly` are left out. Arguments of a body are optional only where the document says
      `required: false`: many documents leave the key away and mean true, although the standard says false.

    Args:
        kept_back: Also the entries with `"seen": false`, which a catalogue keeps back for evaluation.

    Raises:
        UsageError: no file, no tools, or one that can't be used; says which, what was found and expected.
    """
    try:
        with within(path):
            tools = [_tool(*each) for each in described_in(Path(path), kept_back=kept_back)]
            _check_names(tools)
    except BadTool as error:
        raise UsageError(str(error)) from error
    except RecursionError as error:
        raise UsageError(f"{path} is nested too deeply to be read. Take out the deepest schemas.") from error
    return tools


def broken_rule(actions: list[Action], tools: Sequence[Tool]) -> str | None:
    """The rule that an answer's actions break first, None where they break none.

    Returns:
        `no_action`; `unknown_tool`: an action names none of `tools`; `bad_arguments`: an input that isn't an object
        (the empty text counts as no arguments), breaks the tool's schema, or has a field that the schema doesn't
        name where it names fields and says nothing of additional ones.
    """
    by_name = {tool.name: tool for tool in tools}
    for action in actions:
        if action.name not in by_name:
            return UNKNOWN_TOOL
        if not _accepts(by_name[action.name], {} if action.input == "" else action.input):
            return BAD_ARGUMENTS
    return None if actions else NO_ACTION


def _accepts(tool: Tool, arguments: Any) -> bool:
    if not isinstance(arguments, dict) or _is_deeper(arguments, MAX_LEVELS):
        return False
    try:
        return tool.validator.is_valid(arguments)
    except (ArithmeticError, ValueError):  # numbers that no float holds
        return False


def _is_deeper(value: Any, levels: int) -> bool:
    inner = [value]
    for _ in range(levels):
        inner = [each for one in inner for each in (one.values() if isinstance(one, dict) else list_or_none(one))]
    return any(isinstance(each, dict | list) for each in inner)


def tools_of_row(tools: Sequence[Any], *, checked: bool = True) -> list[Tool]:
    """The tools of a row.

    Args:
        checked: Whether their schemas must be usable, as those of a catalogue must. It takes milliseconds for each,
            and where no rule looks at calls, a schema that only some parser understands is no reason to refuse a row.

    Raises:
        BadRow: one can't be used; says which, what was found and expected.
    """
    try:
        found = [(f"entry {number}", tool) for number, tool in enumerate(tools, start=1)]
        known = [(place, *described_entry(place, tool)) for place, tool in found]
        if not checked:
            return [Tool(name, text or "", schema or {"type": "object"}) for _, name, text, schema in known]
        usable = [_tool(*each) for each in known]
        _check_names(usable)
    except BadTool as error:
        raise BadRow(f"field 'tools', {error}") from None
    except RecursionError:
        raise BadRow("field 'tools' is nested too deeply. Take out the deepest schemas.") from None
    return usable


def _tool(place: str, name: Any, description: Any, parameters: Any) -> Tool:
    """A checked tool; without parameters it takes no arguments."""
    with within(place):
        if not isinstance(name, str) or name.splitlines() != [name.strip()]:
            raise BadTool(f"'name' is {shortened(name)}, expected a text on one line without blanks around it.")
    with within(place), within(name):
        if not isinstance(description, str | None):
            raise BadTool(f"'description' is {shortened(description)}, expected a text.")
        schema = as_object({"type": "object"} if parameters is None else parameters, "'parameters'")
        if schema.get("type") != "object":
            raise BadTool(f"'parameters' has the type {shortened(schema.get('type'))}, expected 'object'.")
        sent = as_sent("", schema)
        require_json_schema(sent)
        return Tool(name, description or "", sent)


def _check_names(tools: list[Tool]) -> None:
    if not tools:
        raise BadTool('found no tools to offer, expected at least one that isn\'t kept back by "seen": false.')
    names = [tool.name for tool in tools]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise BadTool(
            f"{names.count(twice)} tools are named {twice!r}, expected different names. Rename all but one "
            "(in an OpenAPI document: give each operation an operationId of its own)."
        )
