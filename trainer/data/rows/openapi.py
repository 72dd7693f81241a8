"""The operations of an OpenAPI 3 document as tools: https://spec.openapis.org/oas/v3.1.1."""

import re
from collections.abc import Iterator
from typing import Any, NamedTuple
from urllib.parse import quote, unquote

from .schemas import (
    BadTool,
    Schema,
    as_list,
    as_object,
    is_read_only,
    reached,
    shortened,
    subschemas,
    target_of,
    within,
)
from .tools import rebuilt

METHODS = ("get", "put", "post", "delete", "options", "head", "patch", "trace")
NOT_MERGEABLE = {
    "anyOf", "oneOf", "not", "if", "enum", "const", "patternProperties", "propertyNames", "minProperties",
    "maxProperties", "dependentRequired", "dependentSchemas", "unevaluatedProperties",
}  # fmt: skip


class _Argument(NamedTuple):
    name: str
    place: str  # path, query or body
    schema: Any
    required: bool


Described = tuple[str, Any, Any, Any]  # where a tool stands, its name, its description, its parameters


def operations(document: Schema) -> Iterator[Described]:
    """The operations of an OpenAPI document, not yet checked as tools.

    Raises:
        BadTool: says where, what was found and expected.
    """
    if "swagger" in document:
        found = f"found Swagger {document['swagger']}"
        raise BadTool(f"{found}, expected OpenAPI 3. Convert it first, for example with `npx swagger2openapi FILE`.")
    if not str(document.get("openapi", "")).startswith("3."):
        keys = shortened(list(document))
        raise BadTool(f"found an object with the keys {keys}, expected a list of tools, or 'openapi' with 3.x.")
    for path, item in as_object(document.get("paths", {}), "'paths'").items():
        if not path.startswith("x-"):
            with within(path):
                methods = _followed(item, document, "the path")
            for method in filter(METHODS.__contains__, methods):
                place = f"{method.upper()} {path}"
                with within(place):
                    described = _operation(document, path, methods, method)
                yield (place, *described)


def _operation(document: Schema, path: str, methods: Schema, method: str) -> tuple[Any, Any, Schema]:
    operation = as_object(methods[method], "the operation")
    name = operation.get("operationId", re.sub(r"[^A-Za-z0-9]+", "_", f"{method.upper()}_{path}").strip("_"))
    arguments = [*_parameters(methods, operation, document)]
    body, additional = _body(operation, document)
    parameters = _with_definitions(_as_schema([*arguments, *body]) | additional, document)
    return (name, operation.get("summary") or operation.get("description"), parameters)


def _as_schema(arguments: list[_Argument]) -> Schema:
    """The schema of an object with these arguments."""
    properties, required = {}, []
    for argument in arguments:
        name = argument.name if argument.name not in properties else f"{argument.place}_{argument.name}"
        if name in properties:
            raise BadTool(f"has two arguments {name!r}, expected different names. Rename one.")
        properties[name] = argument.schema
        required += [name] if argument.required else []
    return {"type": "object", "properties": properties, "required": required}


def _parameters(methods: Schema, operation: Schema, document: Schema) -> Iterator[_Argument]:
    """The path and query parameters; an operation's own replace the same ones of its path."""
    listed = [*as_list(methods.get("parameters", []), "'parameters'")]
    listed += as_list(operation.get("parameters", []), "'parameters'")
    followed = [_checked_parameter(_followed(parameter, document, "a parameter")) for parameter in listed]
    for (name, place), parameter in {(each["name"], each["in"]): each for each in followed}.items():
        if place in ("path", "query"):
            what = f"parameter {name!r}"
            schema = parameter["schema"] if "schema" in parameter else _media_schema(parameter, what)
            required = _is_required(parameter, what, default=False) or place == "path"
            yield _Argument(name, place, _described(schema, parameter), required)


def _checked_parameter(parameter: Schema) -> Schema:
    if not isinstance(parameter.get("name"), str) or parameter.get("in") not in ("path", "query", "header", "cookie"):
        expected = "expected a name, and path, query, header or cookie as 'in'"
        raise BadTool(f"found the parameter {shortened(parameter)}, {expected}.")
    return parameter


def _is_required(holder: Schema, what: str, *, default: bool) -> bool:
    required = holder.get("required", default)
    if not isinstance(required, bool):
        raise BadTool(f"'required' of {what} is {shortened(required)}, expected true or false.")
    return required


def _body(operation: Schema, document: Schema) -> tuple[list[_Argument], Schema]:
    """The arguments in a request body, and what it says of additional ones."""
    if "requestBody" not in operation:
        return [], {}
    body = _followed(operation["requestBody"], document, "'requestBody'")
    schema = _media_schema(body, "'requestBody'")
    required = _is_required(body, "'requestBody'", default=True)
    parts = list(reached(schema, document))
    if not _are_mergeable(parts):
        return [_Argument("body", "body", _described(schema, body), required)], {}
    properties = _merged_properties(parts)
    needed = [name for part in parts for name in as_list(part.get("required", []), "'required'")]
    arguments = [_Argument(name, "body", each, required and name in needed) for name, each in properties.items()]
    return arguments, {key: part[key] for part in parts for key in part if key == "additionalProperties"}


def _are_mergeable(parts: list[Schema]) -> bool:
    """Whether these schemas together say no more than which fields an object has."""
    plain = all(part.get("type", "object") == "object" and not NOT_MERGEABLE & part.keys() for part in parts)
    return plain and any("properties" in part for part in parts)


def _merged_properties(parts: list[Schema]) -> Schema:
    """The fields of an object that satisfies all of `parts`."""
    merged: Schema = {}
    for part in parts:
        for name, schema in as_object(part.get("properties", {}), "'properties'").items():
            merged[name] = {"allOf": [merged[name], schema]} if name in merged else schema
    return {name: schema for name, schema in merged.items() if not is_read_only(schema)}


def _media_schema(holder: Schema, what: str) -> Any:
    """The schema of the JSON among the media types of `content`, else of the first; anything goes without one."""
    content = as_object(holder.get("content"), f"'schema' or 'content' of {what}")
    media = sorted(content, key=lambda kind: not re.match(r"application/(?:[^;]+\+)?json\b", kind))
    return as_object(content[media[0]], f"{media[0]} of {what}").get("schema", True) if media else True


def _described(schema: Any, holder: Schema) -> Any:
    """`schema` with the description that stands beside it in a document."""
    text = holder.get("description")
    return schema | {"description": text} if text and isinstance(schema, dict) else schema


def _with_definitions(schema: Schema, document: Schema) -> Schema:
    """`schema` with all that its references into the document lead to under `$defs`."""
    definitions: Schema = {}
    waiting = _references(schema)
    while waiting:
        reference = waiting.pop()
        target = target_of(reference, document)
        if reference not in definitions:
            definitions[reference] = target
            waiting += _references(target)
    moved = {_definition_name(reference): _relocated("", each) for reference, each in definitions.items()}
    return _relocated("", schema) | ({"$defs": moved} if moved else {})


def _references(schema: Any) -> list[Any]:
    return [each["$ref"] for each in subschemas(schema) if "$ref" in each]


def _relocated(_: str, schema: Any) -> Any:
    """`schema` with its references pointing into `$defs`."""
    if not isinstance(schema, dict):
        return schema
    copy = rebuilt(schema, _relocated)
    if "$ref" in copy:
        step = _definition_name(copy["$ref"]).replace("~", "~0").replace("/", "~1")
        copy["$ref"] = f"#/$defs/{quote(step, safe='~')}"
    return copy


def _definition_name(reference: str) -> str:
    return unquote(reference).removeprefix("#/").removeprefix("components/schemas/")


def _followed(value: Any, document: Schema, what: str) -> Schema:
    """An object of the document, after the references that stand in its place."""
    passed = []
    while isinstance(value, dict) and "$ref" in value:
        if value["$ref"] in passed:
            raise BadTool(f"$ref {value['$ref']!r} leads back to itself.")
        passed.append(value["$ref"])
        value = target_of(value["$ref"], document)
    return as_object(value, what)
