"""Tools that a teacher's answers may call: read from a file, and the rule that calls break."""

import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import yaml
from referencing import Registry

from trainer.data.answers import Action
from trainer.errors import UsageError
from trainer.generation.openapi import Described, operations
from trainer.generation.schemas import (
    CHECKER,
    FORMATS,
    BadTool,
    Schema,
    as_object,
    as_sent,
    closed,
    list_or_none,
    on_one_line,
    require_json_schema,
    shortened,
    within,
)

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

    The file holds a list of tools (`{"name", "description", "parameters"}`, or OpenAI's `{"type": "function",
    "function": {…}}`), or an OpenAPI 3 document, of which every operation becomes a tool:

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
            content = _content(Path(path))
            described = operations(content) if isinstance(content, dict) else _entries(content, kept_back)
            tools = [_tool(*each) for each in described]
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


class _YamlLoader(yaml.SafeLoader):
    """YAML 1.2's scalars, as OpenAPI wants them: `no`, `2026-11-22` and `12:30` stay texts."""

    yaml_implicit_resolvers = {}  # noqa: RUF012 (declared by PyYAML)


for _tag, _pattern, _first in (
    ("null", r"(?:~|null|Null|NULL|)", ["~", "n", "N", ""]),
    ("bool", r"(?:true|True|TRUE|false|False|FALSE)", list("tTfF")),
    ("int", r"-?(?:0|[1-9][0-9]*)", list("-0123456789")),
    ("float", r"-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][-+]?[0-9]+)?", list("-0123456789")),
    ("merge", r"<<", ["<"]),
):
    _YamlLoader.add_implicit_resolver(f"tag:yaml.org,2002:{_tag}", re.compile(f"^{_pattern}$"), _first)


def _content(source: Path) -> Any:
    """What a file holds, as JSON values."""
    if not source.exists():
        raise BadTool("there is no such file. Pass the path of a JSON or YAML file with tools, or an OpenAPI document.")
    try:
        text = source.read_text(encoding="utf-8-sig")
        if source.suffix in (".yaml", ".yml"):
            return json.loads(json.dumps(yaml.load(text, _YamlLoader)))
        return json.loads(text)
    except (OSError, ValueError, TypeError, yaml.YAMLError) as error:
        kinds = "expected JSON, or YAML in a file whose name ends in .yaml or .yml"
        raise BadTool(f"can't be read ({on_one_line(str(error))}); {kinds}.") from error


def _entries(content: Any, kept_back: bool) -> Iterator[Described]:
    """The entries of a catalogue, ours or in OpenAI's form, not yet checked as tools."""
    if not isinstance(content, list):
        raise BadTool(f"found {shortened(content)}, expected a list of tools or an OpenAPI 3 document.")
    for number, entry in enumerate(content, start=1):
        with within(f"entry {number}"):
            whole = as_object(entry, "the entry")
            function = as_object(whole.get("function", whole), "'function'")
        if kept_back or whole.get("seen") is not False:
            yield f"entry {number}", function.get("name"), function.get("description"), function.get("parameters")


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
