"""A tool in any of the spellings that people bring, as the one that chat templates and servers take.

OpenAI (wrapped in `function` or bare), MCP (`inputSchema`), Anthropic (`input_schema`), Gemini
(`functionDeclarations`), Bedrock (`toolSpec`); and arguments told otherwise than by a JSON Schema: as a list, by their
names, with types as Python, BFCL and Gemini write them.
"""

import json
import re
from collections.abc import Callable
from typing import Any, NamedTuple

from .row import BadRow, Tool

# Where a JSON Schema holds further schemas: alone, in a list, under names.
ALONE = (
    "items", "additionalProperties", "unevaluatedItems", "unevaluatedProperties", "contains", "propertyNames",
    "not", "if", "then", "else",
)  # fmt: skip
IN_LISTS = ("prefixItems", "allOf", "anyOf", "oneOf")
IN_MAPS = ("properties", "patternProperties", "dependentSchemas", "$defs", "definitions")

SCHEMA_KEYS = (
    "parameters", "inputSchema", "input_schema", "parametersJsonSchema", "parameters_json_schema",
    "parameter_definitions", "inputs",
)  # fmt: skip
WRAPPERS = ("function", "toolSpec", "tool_spec")
GROUPS = ("functionDeclarations", "function_declarations", "tools", "functions")  # what holds several tools
ABOUT_A_TOOL = frozenset(  # keys of objects or lists that say nothing of arguments
    ("annotations", "outputSchema", "output_schema", "_meta", "meta", "metadata", "icons", "cache_control", "response",
     "responses", "returns", "output", "examples", "input_examples", "tags", "execution", "allowed_callers")
)  # fmt: skip
OF_AN_OBJECT = frozenset(("properties", "patternProperties", "additionalProperties", "$ref", "$defs", *IN_LISTS))
TYPES = {
    "str": "string", "text": "string", "int": "integer", "long": "integer", "float": "number", "double": "number",
    "bool": "boolean", "dict": "object", "list": "array", "tuple": "array", "set": "array",
    **{kind: kind for kind in ("string", "integer", "number", "boolean", "object", "array", "null")},
}  # fmt: skip
ANYTHING = ("any", "typing.any")
LIST_OF = re.compile(r"(?:list|sequence|array|tuple|set)(?:\[(.+?)(?:, *\.\.\.)?\]|<(.+)>)", re.IGNORECASE)
OPTIONAL = re.compile(r"(.+), *optional|optional\[(.+)\]", re.IGNORECASE)


class Described(NamedTuple):
    """What a tool's entry says.

    Attributes:
        parameters: A schema with the type object; None where the tool takes no arguments.
    """

    name: str
    description: str | None
    parameters: dict[str, Any] | None


def as_openai(tool: Any) -> Tool:
    """A tool in OpenAI's spelling, `{"type": "function", "function": {"name", "description", "parameters"}}`.

    Args:
        tool: One tool in any spelling that this module knows.

    Raises:
        BadRow: it is none; says what was found and what was expected.
    """
    try:
        name, description, parameters = described(tool)
    except RecursionError:
        raise BadRow("the tool is nested too deeply, expected at most some hundred levels.") from None
    schema = {"type": "object", "properties": {}} if parameters is None else parameters
    function = {"name": name, "description": description or "", "parameters": schema}
    return {"type": "function", "function": function}


def tools_in(content: Any) -> list[Any]:
    """The entries of what holds tools: a list, one tool alone, an answer to MCP's tools/list, a request to a server.

    Args:
        content: One of these, or its JSON text, as columnar files have it.

    Raises:
        BadRow: no tools are to be found in it; says the keys.
    """
    if isinstance(content, str):
        content = _decoded(content)
    if isinstance(content, list):
        return [tool for entry in content for tool in _grouped(entry)]
    if not isinstance(content, dict):
        raise BadRow(f"found {_shortened(content)}, expected a list of tools.")
    for holder in ("result", "toolConfig", "tool_config"):
        if isinstance(content.get(holder), dict):
            return tools_in(content[holder])
    group = next((key for key in GROUPS if isinstance(content.get(key), list)), None)
    if group is not None:
        return tools_in(content[group])
    if "name" in content or any(key in content for key in WRAPPERS):
        return [content]
    raise BadRow(f"found an object with the keys {_shortened(list(content))}, expected a list of tools.")


def _decoded(text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        raise BadRow(f"found {_shortened(text)}, expected a list of tools, or its JSON text.") from None


def _grouped(entry: Any) -> list[Any]:
    """The tools of an entry that holds several, as Gemini's do."""
    group = next((key for key in GROUPS[:2] if isinstance(entry, dict) and isinstance(entry.get(key), list)), None)
    return [entry] if group is None else entry[group]


def described(tool: Any) -> Described:
    """Name, description and parameters of one tool.

    Raises:
        BadRow: as `as_openai`.
    """
    whole = _object(tool, "the entry")
    wrapper = next((key for key in WRAPPERS if key in whole), None)
    function = whole if wrapper is None else {**_without(whole, wrapper), **_object(whole[wrapper], repr(wrapper))}
    name, description = function.get("name"), function.get("description")
    if not isinstance(name, str) or name.splitlines() != [name.strip()]:
        keys = f" (its keys: {', '.join(map(str, function))})" if name is None else ""
        raise BadRow(f"'name' is {_shortened(name)}, expected a text on one line without blanks around it{keys}.")
    try:
        if not isinstance(description, str | None):
            raise BadRow(f"'description' is {_shortened(description)}, expected a text.")
        return Described(name, description, _parameters(function))
    except BadRow as error:
        raise BadRow(f"{name}: {error}") from None


def _parameters(function: dict[str, Any]) -> dict[str, Any] | None:
    given = [key for key in SCHEMA_KEYS if function.get(key) is not None]
    if not given:
        _require_no_arguments(function)
        return None
    key = next(filter(function.get, given), given[0])  # one that says something rather than an empty one
    value = function[key]
    if isinstance(value, dict) and value.keys() == {"json"} and isinstance(value["json"], dict):
        value = value["json"]  # Bedrock's
    return _arguments_schema(value, key)


def _require_no_arguments(function: dict[str, Any]) -> None:
    """A tool whose arguments stand under a key that we don't know must not pass as one without arguments."""
    held = [key for key, value in function.items() if isinstance(value, dict | list) and value]
    if unknown := [key for key in held if key not in ABOUT_A_TOOL]:
        raise BadRow(
            f"found the keys {', '.join(map(str, function))}, expected the arguments as 'parameters', 'inputSchema' or "
            f"'input_schema'. Rename {unknown[0]!r} if these are the arguments."
        )


def _arguments_schema(value: Any, key: str) -> dict[str, Any]:
    """The schema of an object of arguments, however they are told."""
    if isinstance(value, list):
        return _of_list(value, key)
    schema = _object(value, repr(key))
    if not schema:
        return {"type": "object"}
    if _is_by_name(schema):
        return _as_json_schema("", {"type": "object", "properties": schema})
    found = _as_json_schema("", {"type": "object", **schema} if "properties" in schema else schema)
    if found.get("type") != "object":
        raise BadRow(f"{key!r} has the type {_shortened(found.get('type'))}, expected 'object'.")
    return found


def _is_by_name(value: dict[str, Any]) -> bool:
    """Whether an object is arguments by their names: all its values are objects, and no key is a word of schemas."""
    return not OF_AN_OBJECT & value.keys() and all(isinstance(item, dict) for item in value.values())


def _of_list(value: list[Any], key: str) -> dict[str, Any]:
    """Arguments as a list of `{"name", "type", "required"}`, the schema beside the name or under `schema`."""
    properties: dict[str, Any] = {}
    for number, each in enumerate(value, start=1):
        argument = _object(each, f"argument {number} of {key!r}")
        name = argument.get("name")
        if not isinstance(name, str) or name in properties:
            expected = "expected a text as 'name' that no other argument has"
            raise BadRow(f"argument {number} of {key!r} has the keys {_shortened(list(argument))}, {expected}.")
        inner = argument["schema"] if isinstance(argument.get("schema"), dict) else {}
        properties[name] = {k: item for k, item in argument.items() if k not in ("name", "schema")} | inner
    return _as_json_schema("", {"type": "object", "properties": properties} if value else {"type": "object"})


def _as_json_schema(_: str, schema: Any) -> Any:
    """A schema whose types are JSON Schema's, and whose `required` stands with the object and not with its fields."""
    if not isinstance(schema, dict):
        return schema
    return rebuilt(_with_required(_with_types(schema)), _as_json_schema)


def _with_required(schema: dict[str, Any]) -> dict[str, Any]:
    fields = schema.get("properties")
    if not isinstance(fields, dict) or not any(map(_says_required, fields.values())):
        return schema
    listed = schema["required"] if isinstance(schema.get("required"), list) else []
    needed = [name for name, field in fields.items() if _says_required(field) and field["required"]]
    plain = {name: _without(each, "required") if _says_required(each) else each for name, each in fields.items()}
    return {**schema, "properties": plain, "required": [*listed, *(name for name in needed if name not in listed)]}


def _says_required(field: Any) -> bool:
    return isinstance(field, dict) and isinstance(field.get("required"), bool)


def _with_types(schema: dict[str, Any]) -> dict[str, Any]:
    kind = schema.get("type")
    if isinstance(kind, list):
        known = [TYPES.get(each.lower(), each) if isinstance(each, str) else each for each in kind]
        return {**schema, "type": known}
    if not isinstance(kind, str) or kind in TYPES.values():
        return schema
    meant = _meant(kind)
    return schema if meant is None else {**_without(schema, "type"), **meant, **_only(schema, "items")}


def _meant(kind: str) -> dict[str, Any] | None:
    """The schema that a type means which isn't JSON Schema's; None where nobody knows."""
    kind = kind.strip()
    if kind.lower() in ANYTHING:
        return {}
    if kind.lower() in TYPES:
        return {"type": TYPES[kind.lower()]}
    if found := OPTIONAL.fullmatch(kind):
        return _meant(found[1] or found[2])
    if found := LIST_OF.fullmatch(kind):
        items = _meant(found[1] or found[2])
        return None if items is None else {"type": "array", "items": items}
    return None


def _only(schema: dict[str, Any], key: str) -> dict[str, Any]:
    return {key: schema[key]} if key in schema else {}


def _without(schema: dict[str, Any], key: str) -> dict[str, Any]:
    return {name: value for name, value in schema.items() if name != key}


def rebuilt(schema: dict[str, Any], change: Callable[[str, Any], Any]) -> dict[str, Any]:
    """A copy whose direct inner schemas are `change(keyword, schema)`."""

    def changed(keyword: str, value: Any) -> Any:
        if keyword in IN_LISTS and isinstance(value, list):
            return [change(keyword, each) for each in value]
        if keyword in IN_MAPS and isinstance(value, dict):
            return {name: change(keyword, each) for name, each in value.items()}
        return change(keyword, value) if keyword in ALONE else value

    return {keyword: changed(keyword, value) for keyword, value in schema.items()}


def _object(value: Any, what: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise BadRow(f"{what} is {_shortened(value)}, expected an object.")
    return value


def _shortened(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:59] + "…"
