"""JSON Schemas of arguments: walked through, checked, and made to rule out fields that they don't name.

The dialect is Draft 2020-12 (https://json-schema.org/draft/2020-12). References in a schema stay within it, so nothing
is ever fetched.
"""

import json
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import date
from functools import lru_cache
from typing import Any, NamedTuple
from urllib.parse import unquote

from jsonschema import Draft202012Validator, FormatChecker
from jsonschema.exceptions import SchemaError, ValidationError
from jsonschema.validators import extend

from .tools import ALONE, IN_LISTS, IN_MAPS, rebuilt

Schema = dict[str, Any]
OF_A_VALUE = ("items", "prefixItems", "additionalProperties", "properties", "patternProperties")
OF_A_CONDITION = ("contains", "propertyNames", "not", "if", "then", "else", "dependentSchemas")
ADDITIONAL = ("additionalProperties", "unevaluatedProperties")
FORMATS = FormatChecker(formats=())


@FORMATS.checks("date", raises=ValueError)
def _is_date(value: object) -> bool:
    return not isinstance(value, str) or date.fromisoformat(value).isoformat() == value


@FORMATS.checks("time")
def _is_time(value: object) -> bool:
    return not isinstance(value, str) or re.fullmatch(r"([01][0-9]|2[0-3]):[0-5][0-9]", value) is not None


ONLY_NAMED = "fields: only those named"  # a keyword of ours that no schema of a user's has


class _Named(NamedTuple):
    names: frozenset[str]
    patterns: list[re.Pattern[str]]


def _only_named(_: Any, named: _Named, value: Any, __: Any) -> Iterator[ValidationError]:
    for name in value if isinstance(value, dict) else ():
        if name not in named.names and not any(pattern.search(name) for pattern in named.patterns):
            yield ValidationError(f"{name!r} is not a known name")


CHECKER = extend(Draft202012Validator, {ONLY_NAMED: _only_named})


class BadTool(ValueError):
    """What can't be used as tools; the text says where, what was found and what was expected."""


@contextmanager
def within(place: str) -> Iterator[None]:
    try:
        yield
    except BadTool as error:
        raise BadTool(f"{place}: {error}") from error


def require_json_schema(root: Schema) -> None:
    """Raise BadTool unless `root` is a JSON Schema whose references lead to schemas within it."""
    definitions = _dict_or_none(root.get("$defs"))
    own = root | {"$defs": {}} if definitions else root
    for place, schema in (("$", own), *((f"$['$defs'][{name!r}]", each) for name, each in definitions.items())):
        problem = _problem(json.dumps(schema))
        if problem:
            raise BadTool(f"'parameters' is no JSON Schema: at {place}{problem}; expected Draft 2020-12.")
    schemas = list(subschemas(root))
    places = {id(schema) for schema in schemas}
    for schema in schemas:
        if "$dynamicRef" in schema:
            raise BadTool("'parameters' has a $dynamicRef, expected $ref.")
        if "$ref" in schema:
            _check_reference(schema, root, places)


@lru_cache(maxsize=4096)
def _problem(schema_json: str) -> str | None:
    """Where and how a JSON text breaks the rules for schemas; remembered, as an API's tools share definitions."""
    try:
        Draft202012Validator.check_schema(json.loads(schema_json))
    except SchemaError as error:
        return f"{error.json_path.removeprefix('$')} {_cut(error.message, 200)}"
    return None


def _check_reference(schema: Schema, root: Schema, places: set[int]) -> None:
    """A reference must lead to another schema of the same tool; one to itself could never be decided."""
    target = target_of(schema["$ref"], root)
    if not isinstance(target, bool) and id(target) not in places:
        raise BadTool(f"$ref {schema['$ref']!r} leads to no schema, expected one like '#/$defs/NAME'.")
    if any(schema is part for inner in _on_same_value(schema, root) for part in reached(inner, root, _on_same_value)):
        raise BadTool(f"$ref {schema['$ref']!r} leads back to itself, expected a schema with a type.")


def subschemas(schema: Any) -> Iterator[Schema]:
    """`schema` and all schemas in it, definitions included; references aren't followed."""
    if isinstance(schema, dict):
        yield schema
        alone = [schema.get(keyword) for keyword in ALONE]
        listed = [each for keyword in IN_LISTS for each in list_or_none(schema.get(keyword))]
        named = [each for keyword in IN_MAPS for each in _dict_or_none(schema.get(keyword)).values()]
        for each in (*alone, *listed, *named):
            yield from subschemas(each)


def as_sent(_: str, schema: Any) -> Any:
    """A schema for what a caller sends, with OpenAPI 3.0's keywords in today's form.

    `$id` and `$schema` are taken out: an address of its own changes what a schema's references start from.
    """
    if not isinstance(schema, dict):
        return schema
    local = {key: value for key, value in schema.items() if key not in ("$id", "$schema")}
    copy = _without_read_only(rebuilt(local, as_sent))
    for exclusive, limit in (("exclusiveMinimum", "minimum"), ("exclusiveMaximum", "maximum")):
        if isinstance(copy.get(exclusive), bool) and copy.pop(exclusive) and limit in copy:
            copy[exclusive] = copy.pop(limit)
    return _with_null(copy) if copy.pop("nullable", False) is True else copy


def _without_read_only(schema: Schema) -> Schema:
    fields, required = schema.get("properties"), schema.get("required")
    if not isinstance(fields, dict) or not any(map(is_read_only, fields.values())):
        return schema
    copy = schema | {"properties": {name: each for name, each in fields.items() if not is_read_only(each)}}
    if isinstance(required, list):
        copy["required"] = [n for n in required if not (isinstance(n, str) and is_read_only(fields.get(n)))]
    return copy


def is_read_only(schema: Any) -> bool:
    return isinstance(schema, dict) and schema.get("readOnly") is True


def _with_null(schema: Schema) -> Schema:
    if isinstance(schema.get("type"), str):
        members = {"enum": [*schema["enum"], None]} if isinstance(schema.get("enum"), list) else {}
        return schema | {"type": [schema["type"], "null"]} | members
    described = {key: schema[key] for key in ("description",) if key in schema}
    return {"anyOf": [schema, {"type": "null"}]} | described


def closed(keyword: str, schema: Any, root: Schema) -> Any:
    """`schema` with fields that it doesn't name ruled out.

    Parts that apply to the same object (`allOf`, `anyOf`, the target of a `$ref`, …) must not close it on their own,
    so it is closed where its value is described. The standard's `unevaluatedProperties` would do that too, but
    checks the parts again, and so takes twice the time with each level of a recursive schema.
    """
    if not isinstance(schema, dict) or keyword in OF_A_CONDITION:
        return schema
    copy = rebuilt(schema, lambda inner_keyword, inner: closed(inner_keyword, inner, root))
    parts = list(reached(schema, root))
    names_fields = schema is root or (keyword in OF_A_VALUE and any(map(has_fields, parts)))
    if names_fields and not any(part.get(key) not in (None, False) for part in parts for key in ADDITIONAL):
        copy[ONLY_NAMED] = _Named(
            frozenset(name for part in parts for name in part.get("properties", {})),
            [re.compile(pattern) for part in parts for pattern in part.get("patternProperties", {})],
        )
    return copy


def has_fields(schema: Schema) -> bool:
    return "properties" in schema or "patternProperties" in schema or names_any(schema)


def names_any(schema: Schema) -> bool:
    return isinstance(schema.get("additionalProperties"), dict)


def target_of(reference: Any, root: Schema) -> Any:
    """What a reference leads to (a JSON pointer, RFC 6901, in a fragment)."""
    steps = unquote(reference).split("/") if isinstance(reference, str) else [""]
    if steps[0] != "#":
        expected = "expected one within the same file, like '#/components/schemas/NAME' or '#/$defs/NAME'"
        raise BadTool(f"found $ref {shortened(reference)}, {expected}. Bundle all files into one.")
    found: Any = root
    for step in (step.replace("~1", "/").replace("~0", "~") for step in steps[1:]):
        inner: Any = dict(enumerate(found)) if isinstance(found, list) else found
        key = int(step) if isinstance(found, list) and step.isdecimal() else step
        if not isinstance(inner, dict) or key not in inner:
            raise BadTool(f"$ref {reference!r} leads nowhere: there is no {step!r}. Mend it.")
        found = inner[key]
    return found


def referred(schema: Schema, root: Schema) -> list[Any]:
    return [target_of(schema["$ref"], root)] if "$ref" in schema else []


def in_place(schema: Schema, root: Schema) -> list[Any]:
    """The schemas that `schema` applies to the very same value."""
    return [
        *referred(schema, root),
        *(each for key in ("allOf", "anyOf", "oneOf") for each in list_or_none(schema.get(key))),
    ]


def _on_same_value(schema: Schema, root: Schema) -> list[Any]:
    """Also those that only decide whether others apply."""
    conditions = [schema.get(keyword) for keyword in ("not", "if", "then", "else")]
    return [*in_place(schema, root), *conditions, *_dict_or_none(schema.get("dependentSchemas")).values()]


def in_place_or_items(schema: Schema, root: Schema) -> list[Any]:
    return [*in_place(schema, root), schema.get("items")]


def reached(schema: Any, root: Schema, step: Callable[[Schema, Schema], list[Any]] = in_place) -> Iterator[Schema]:
    """`schema` and all that `step` leads to, each once, in the order of the text."""
    waiting, seen = [schema], set[int]()
    while waiting:
        part = waiting.pop(0)
        if isinstance(part, dict) and id(part) not in seen:
            seen.add(id(part))
            yield part
            waiting = [*step(part, root), *waiting]


def on_one_line(text: str) -> str:
    return " ".join(text.split())


def shortened(value: Any) -> str:
    return _cut(repr(value), 60)


def _cut(text: str, length: int) -> str:
    return text if len(text) <= length else text[: length - 1] + "…"


def as_object(value: Any, what: str) -> Schema:
    if not isinstance(value, dict):
        raise BadTool(f"{what} is {shortened(value)}, expected an object.")
    return value


def as_list(value: Any, what: str) -> list[Any]:
    if not isinstance(value, list):
        raise BadTool(f"{what} is {shortened(value)}, expected a list.")
    return value


def list_or_none(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def _dict_or_none(value: Any) -> Schema:
    return value if isinstance(value, dict) else {}
