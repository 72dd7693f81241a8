"""A tool in plain text, as prompts show it."""

import json
import re
from collections.abc import Iterator
from typing import Any

from ..data.rows.schemas import (
    Schema,
    has_fields,
    in_place,
    in_place_or_items,
    names_any,
    on_one_line,
    reached,
    referred,
)
from .tools import Tool


def documentation(tool: Tool) -> str:
    """The tool as prompts show it: a line `name: description`, then a line an argument, nested fields indented.

    Fields that a schema uses again are spelled out the first time only, so recursive schemas end.
    """
    root = tool.parameters
    head = f"{tool.name}: {on_one_line(tool.description)}" if tool.description.strip() else tool.name
    return "\n".join([head, *_field_lines(root, root, "  ", {_fields_identity(root, root): tool.name})])


def _field_lines(schema: Schema, root: Schema, indent: str, spelled: dict[frozenset[int], str]) -> Iterator[str]:
    """A line a field of `schema`, followed by those of its own fields; `spelled` has what needs no repetition."""
    required = _required(schema, root)
    for name, field in _fields(schema, root).items():
        identity = _fields_identity(field, root)
        described = next((part["description"] for part in reached(field, root) if "description" in part), "")
        again = f"Same fields as {spelled[identity]}." if identity in spelled else ""
        text = on_one_line(f"{described} {again}")
        need = "required" if name in required else "optional"
        yield f"{indent}{name} ({_type_words(field, root)}, {need})" + (f": {text}" if text else "")
        if identity and not again:
            spelled[identity] = name
            yield from _field_lines(field, root, indent + "  ", spelled)


def _fields(schema: Any, root: Schema) -> Schema:
    """The fields of an object, or of an array's objects; of all alternatives where there are several."""
    variants: dict[str, list[Any]] = {}
    for owner in filter(has_fields, reached(schema, root, in_place_or_items)):
        patterns = {f"<name matching {key}>": each for key, each in owner.get("patternProperties", {}).items()}
        any_name = {"<any name>": owner["additionalProperties"]} if names_any(owner) else {}
        for name, field in (owner.get("properties", {}) | patterns | any_name).items():
            same = variants.setdefault(name, [])
            same += [] if field in same else [field]
    return {name: same[0] if len(same) == 1 else {"anyOf": same} for name, same in variants.items()}


def _fields_identity(schema: Any, root: Schema) -> frozenset[int]:
    """The same for schemas that share their fields by a reference, empty where there are no fields."""
    owners = filter(has_fields, reached(schema, root, in_place_or_items))
    return frozenset(map(id, owners)) if _fields(schema, root) else frozenset()


def _required(schema: Any, root: Schema, passed: frozenset[int] = frozenset()) -> set[str]:
    """The fields that an object can't do without, whichever of its alternatives it takes."""
    if not isinstance(schema, dict) or id(schema) in passed:
        return set()
    passed |= {id(schema)}
    together = [*referred(schema, root), *schema.get("allOf", []), schema.get("items")]
    names = {*schema.get("required", []), *(name for part in together for name in _required(part, root, passed))}
    for keyword in ("anyOf", "oneOf"):
        options = [each for each in schema.get(keyword, []) if _fields(each, root)]
        names |= set.intersection(*(_required(each, root, passed) for each in options)) if options else set()
    return names


def _type_words(schema: Any, root: Schema, passed: tuple[Any, ...] = ()) -> str:
    """How the documentation names a type: 'integer', 'date', '"a" | "b"', 'array of objects'."""
    if not isinstance(schema, dict) or any(schema is each for each in passed):
        return "any value"
    passed = (*passed, schema)
    if schema.get("enum") or "const" in schema:
        values = schema.get("enum") or [schema["const"]]
        return " | ".join(json.dumps(value, ensure_ascii=False) for value in values)
    if "type" in schema:
        kinds = schema["type"] if isinstance(schema["type"], list) else [schema["type"]]
        words = [_kind_words(kind, schema, root, passed) for kind in kinds]
    else:
        options = schema.get("anyOf") or schema.get("oneOf")
        words = [_type_words(each, root, passed) for each in options or in_place(schema, root)]
        words = [word for word in words if word != "any value"][: None if options else 1]
    return " | ".join(dict.fromkeys(words)) or ("object" if has_fields(schema) else "any value")


def _kind_words(kind: str, schema: Schema, root: Schema, passed: tuple[Any, ...]) -> str:
    if kind == "string":
        return schema.get("format", kind)
    if kind != "array" or "items" not in schema:
        return kind
    inner = _type_words(schema["items"], root, passed)
    return f"array of {inner}s" if re.fullmatch("[a-z-]+", inner) else f"array of ({inner})"
