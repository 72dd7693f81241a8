"""The JSON Schema subset that describes arguments: rendered for prompts, and checked strictly."""

import re
from collections.abc import Iterator
from datetime import date

Schema = dict


def render(name: str, schema: Schema, required: bool, indent: str = "  ") -> list[str]:
    """One line of documentation for a parameter, then one for each field of its object(s)."""
    need = "required" if required else "optional"
    lines = [f"{indent}{name} ({type_words(schema)}, {need}): {schema['description']}"]
    inner = schema.get("items", schema)
    for field, field_schema in inner.get("properties", {}).items():
        lines += render(field, field_schema, field in inner["required"], indent + "  ")
    return lines


def type_words(schema: Schema) -> str:
    """How the documentation names a type: 'integer', 'date', '"a" | "b"', 'array of objects'."""
    if "enum" in schema:
        return " | ".join(f'"{value}"' for value in schema["enum"])
    if schema["type"] == "array":
        inner = type_words(schema["items"])
        return f"array of ({inner})" if "|" in inner else f"array of {inner}s"
    return schema.get("format", schema["type"])


def problems(schema: Schema, value: object, where: str = "arguments") -> Iterator[str]:
    """Every way in which `value` breaks `schema`; yields nothing for a valid value."""
    if not _TYPES[schema["type"]](value):
        yield f"{where}: {value!r} is not of type {schema['type']}"
    elif schema["type"] == "object":
        yield from _object_problems(schema, value, where)
    elif schema["type"] == "array":
        if not value:
            yield f"{where}: the array is empty"
        for position, item in enumerate(value):
            yield from problems(schema["items"], item, f"{where}[{position}]")
    else:
        yield from _leaf_problems(schema, value, where)


def _object_problems(schema: Schema, value: dict, where: str) -> Iterator[str]:
    for name in schema["required"]:
        if name not in value:
            yield f"{where}: '{name}' is missing"
    for name, inner in value.items():
        if name not in schema["properties"]:
            yield f"{where}: '{name}' is not a known name"
        else:
            yield from problems(schema["properties"][name], inner, f"{where}.{name}")


def _leaf_problems(schema: Schema, value: object, where: str) -> Iterator[str]:
    if "enum" in schema and value not in schema["enum"]:
        yield f"{where}: {value!r} is not one of {schema['enum']}"
    if "minimum" in schema and not schema["minimum"] <= value <= schema["maximum"]:
        yield f"{where}: {value!r} is outside {schema['minimum']}..{schema['maximum']}"
    if schema.get("format") == "date" and not _is_date(value):
        yield f"{where}: {value!r} is not a YYYY-MM-DD date"
    if schema.get("format") == "time" and not re.fullmatch(r"([01]\d|2[0-3]):[0-5]\d", value):
        yield f"{where}: {value!r} is not an HH:MM time"
    if schema["type"] == "string" and value != value.strip():
        yield f"{where}: {value!r} has blanks around it"


def _is_date(text: str) -> bool:
    try:
        return date.fromisoformat(text).isoformat() == text
    except ValueError:
        return False


# bool is a subclass of int in Python, so numbers must rule it out by name.
_TYPES = {
    "object": lambda value: isinstance(value, dict),
    "array": lambda value: isinstance(value, list),
    "string": lambda value: isinstance(value, str) and value != "",
    "boolean": lambda value: isinstance(value, bool),
    "integer": lambda value: isinstance(value, int) and not isinstance(value, bool),
    "number": lambda value: isinstance(value, (int, float)) and not isinstance(value, bool),
}
