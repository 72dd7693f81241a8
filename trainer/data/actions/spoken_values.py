"""What a value in an answer says, however it is spelt: JSON, a Python literal, code fences, text behind it."""

import ast
import json
import re
import warnings
from typing import Any

FENCE = re.compile(r"```[ \t]*[\w+-]*[ \t]*\n?(?P<inner>.*?)(?:\n?[ \t]*```|\Z)", re.DOTALL)
OPEN_END = re.compile(r"\n[ \t]*```[ \t]*\Z")  # of a fence that began before the value
CONSTANTS = {"true": True, "false": False, "null": None}
DEEPEST = 200  # levels of a Python literal; Python's own parser gives up at as many


def _refused(constant: str) -> None:
    raise ValueError(f"{constant} is no JSON value")  # Python would read NaN, which doesn't even equal itself


STRICT_JSON = json.JSONDecoder(parse_constant=_refused)
LOOSE_JSON = json.JSONDecoder(parse_constant=_refused, strict=False)  # line breaks within texts, as models write them
NO_VALUE = object()


def decode_input(value: Any) -> Any:
    """An action's input: JSON texts decoded, other texts stripped, objects as they are. The format to the letter."""
    if not isinstance(value, str):
        return value
    decoded = strict_json(value)
    return value.strip() if decoded is NO_VALUE else decoded


def read_input(value: Any) -> Any:
    """As `decode_input`, and what a person still reads: fences, backticks, Python's spelling, text behind an object."""
    if not isinstance(value, str):
        return value
    for text in (value, bare := unfenced(value)):
        for read in (strict_json, _literal):
            if (found := read(text)) is not NO_VALUE:
                return found
    found, end = leading_value(bare)
    ends_line = not bare[end:].lstrip(" \t") or bare[end:].lstrip(" \t").startswith("\n")
    if isinstance(found, dict) or (isinstance(found, list) and ends_line):
        return found
    return bare


def strict_json(text: str) -> Any:
    """The JSON value that the whole text is, else `NO_VALUE`."""
    try:
        return STRICT_JSON.decode(text)
    except (ValueError, RecursionError):  # thousands of brackets exhaust the decoder's stack
        return NO_VALUE


def unfenced(text: str) -> str:
    """`text` without a code fence, backticks or emphasis around it, stripped; what stands behind a fence is dropped."""
    text = text.strip()
    if fence := FENCE.match(text):
        return fence["inner"].strip()
    text = OPEN_END.sub("", text).strip()
    for mark in ("**", "``", "`"):
        inner = text[len(mark) : -len(mark)]
        if text.startswith(mark) and text.endswith(mark) and inner.strip() and mark not in inner:
            return inner.strip()
    return text


def leading_value(text: str) -> tuple[Any, int]:
    """The object or list that `text` begins with, and where it ends; `(NO_VALUE, 0)` where it begins with none."""
    if text[:1] not in ("{", "["):
        return NO_VALUE, 0
    try:
        return LOOSE_JSON.raw_decode(text)
    except (ValueError, RecursionError):
        end = _closing(text)
    found = _literal(text[:end]) if end else NO_VALUE
    return found, 0 if found is NO_VALUE else end


def _closing(text: str) -> int:
    """Where the bracket that `text` begins with is closed; 0 where it isn't. Brackets within quotes don't count."""
    depth, quote, escaped = 0, "", False
    for place, mark in enumerate(text):
        if quote:
            quote = quote if escaped or mark != quote else ""
            escaped = mark == "\\" and not escaped
        elif mark in "\"'":
            quote = mark
        elif mark in "{[(":
            depth += 1
        elif mark in "}])":
            depth -= 1
            if depth == 0:
                return place + 1
    return 0


def _literal(text: str) -> Any:
    """The object or list that `text` is in Python's spelling, JSON's constants allowed; else `NO_VALUE`."""
    text = text.strip()
    if text[:1] not in ("{", "[") or text[-1:] not in ("}", "]"):
        return NO_VALUE
    tree = parse_python(text)
    return (
        literal(tree.body[0].value) if tree and len(tree.body) == 1 and isinstance(tree.body[0], ast.Expr) else NO_VALUE
    )


def parse_python(text: str) -> ast.Module | None:
    """The syntax tree of a text that is Python; nothing is run."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of odd escapes in texts
            return ast.parse(text)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return None


def literal(node: ast.expr, levels: int = DEEPEST) -> Any:
    """The value of an expression of constants, lists and dictionaries with texts as keys; else `NO_VALUE`."""
    match node:
        case ast.Constant(value=str() | int() | float() | None as value):
            return value
        case ast.Name(id=name) if name in CONSTANTS:
            return CONSTANTS[name]
        case ast.UnaryOp(op=ast.USub(), operand=ast.Constant(value=int() | float() as value)):
            return -value
        case ast.List(elts=items) | ast.Tuple(elts=items) if levels:
            values = [literal(item, levels - 1) for item in items]
            return NO_VALUE if NO_VALUE in values else values
        case ast.Dict(keys=keys, values=items) if levels:
            names = [key.value if isinstance(key, ast.Constant) else None for key in keys]
            values = [literal(item, levels - 1) for item in items]
            if NO_VALUE in values or not all(isinstance(name, str) for name in names):
                return NO_VALUE
            return dict(zip(names, values, strict=True))
    return NO_VALUE
