"""Tool calls as the chat templates of model families write them, told from each other by their marks.

XML, GLM's and Gemma's spelling are read by transformers' parser with TRL's description of the family, one whole call
at a time: over several it loses text, and what is cut off it takes for a call without arguments. The others are JSON
between marks. A mark may be missing where the text was decoded without special tokens.
"""

import re
from collections.abc import Callable, Sequence
from typing import Any

from ..rows.row import Tool
from .call_shapes import Call, calls_of_json, calls_of_python, calls_of_text, properties_of
from .spoken_values import NO_VALUE, leading_value, read_input, strict_json, unfenced

TAGS = r"tool_call|function_call|functioncall|start_function_call"
TAGGED = re.compile(
    rf"<\|?(?:{TAGS})\|?>(?P<inner>.*?)(?=<\|?/?(?:{TAGS}|end_function_call)\|?>|<\|im_end\|>|\Z)", re.DOTALL
)
FUNCTION = re.compile(r"<function=(?P<name>[^>\n]+)>(?P<inner>.*?)</function>", re.DOTALL)
PARAMETER = re.compile(r"<parameter=[^>\n]+>.*?</parameter>", re.DOTALL)
INVOKED = re.compile(r"<invoke name=\"(?P<name>[^\"\n]+)\">(?P<inner>.*?)</invoke>", re.DOTALL)
INVOKED_WITH = re.compile(r"<parameter name=\"(?P<name>[^\"\n]+)\"[^>\n]*>(?P<value>.*?)</parameter>", re.DOTALL)
HARMONY = re.compile(
    r"\bto=functions\.(?P<name>[\w.-]+?)(?=commentary|analysis|json|[^\w.-])(?:\s|commentary|analysis|json|<\|[a-z]+\|>)*(?=\{)"
)
MISTRAL = re.compile(r"\[TOOL_CALLS\]\s*(?:(?P<name>[^\s\[\]{}]+)\s*(?:\[CALL_ID\][^\[{]*)?(?:\[ARGS\])?\s*)?(?=[\[{])")
MISTRAL_BARE = re.compile(r"\s*(?P<name>[\w.-]+)\[ARGS\]\s*(?=\{)")
KIMI = re.compile(
    r"<\|tool_call_begin\|>\s*(?:functions\.)?(?P<name>[\w.-]+?)(?::\d+)?\s*<\|tool_call_argument_begin\|>\s*(?=\{)"
)
DEEPSEEK = re.compile(
    r"<｜tool▁call▁begin｜>(?:function<｜tool▁sep｜>)?(?P<name>[\w.-]+)\s*(?:<｜tool▁sep｜>|```json)\s*(?=\{)"
)
PYTHON_TAG = re.compile(r"<\|python_tag\|>(?P<inner>.*?)(?:<\|e\w+_id\|>|\Z)", re.DOTALL)
GEMMA = re.compile(r"call:(?P<name>[\w.-]+)\{.*\}", re.DOTALL)
PYTHONIC = re.compile(r"<\|tool_call_start\|>(?P<inner>.*?)(?:<\|tool_call_end\|>|\Z)", re.DOTALL)

Reader = Callable[[str, Sequence[Tool] | None], list[Call]]


def read_native(text: str, tools: Sequence[Tool] | None) -> tuple[list[Call], int | None]:
    """The calls of a text that marks them, and where the first mark stands; None where there is no mark."""
    for mark, read in FAMILIES:
        if (first := mark.search(text)) is not None and (calls := read(text, tools)):
            return calls, first.start()
    return [], None


def _tagged(text: str, tools: Sequence[Tool] | None) -> list[Call]:
    """Between `<tool_call>` and its end: JSON (Hermes, Qwen), XML (Qwen3-Coder), keys and values (GLM), Gemma's."""
    return [call for found in TAGGED.finditer(text) for call in _within_tag(found["inner"].strip(), tools)]


def _within_tag(inner: str, tools: Sequence[Tool] | None) -> list[Call]:
    if "<function=" in inner:
        return _functions(inner, tools)
    if GEMMA.match(inner):
        return _gemma(inner, tools)
    if "<arg_key>" in inner or re.fullmatch(r"[\w.-]+", inner):
        return _glm(inner, tools)
    value, _ = leading_value(unfenced(inner))
    return calls_of_json(value, tools, marked=True) or calls_of_python(inner, tools)


def _functions(text: str, tools: Sequence[Tool] | None) -> list[Call]:
    """`<function=NAME>` with parameters in tags, or with a JSON object (Llama 3.1)."""
    calls: list[Call] = []
    for found in FUNCTION.finditer(text):
        inner = found["inner"].strip()
        if inner.startswith("{"):
            passed = read_input(inner)
            calls += [(found["name"].strip(), passed)] if isinstance(passed, dict) else []
        elif not PARAMETER.sub("", inner).strip():  # else a parameter is not closed
            calls += _parsed("qwen3_5_template", f"<tool_call>\n{found[0]}\n</tool_call>", tools)
    return calls


def _glm(inner: str, tools: Sequence[Tool] | None) -> list[Call]:
    """Newer models leave out the line breaks that TRL's description asks for."""
    name, _, rest = inner.partition("<arg_key>")
    keys = re.sub(r">\s*<(arg_\w+)>", r">\n<\1>", f"<arg_key>{rest}" if rest else "")
    if keys.count("<arg_value>") != keys.count("</arg_value>"):
        return []
    return _parsed("glm4moe_template", f"<tool_call>{name.strip()}\n{keys.strip()}\n</tool_call>", tools)


def _gemma(inner: str, tools: Sequence[Tool] | None) -> list[Call]:
    texts = inner.replace("<escape>", '<|"|>')
    return _parsed("gemma4_template", f"<|tool_call>{texts}<tool_call|>", tools)


def _parsed(family: str, text: str, tools: Sequence[Tool] | None) -> list[Call]:
    """What transformers' parser finds by TRL's description of a family."""
    from transformers.utils.chat_parsing import parse_response  # both take seconds, which few answers need
    from trl import chat_template_utils

    try:
        message = parse_response(
            text, getattr(chat_template_utils, family), prefix="", tools=[*tools] if tools else None
        )
    except (ValueError, TypeError, KeyError, AttributeError, IndexError, RecursionError):  # no call of that family
        return []
    return calls_of_json(message.get("tool_calls") or [], marked=True)


def _invoked(text: str, tools: Sequence[Tool] | None) -> list[Call]:
    """`<invoke name="…">` with parameters in tags (Claude, MiniMax, DeepSeek)."""
    return [
        (call["name"], {p["name"]: _typed(p["value"], call["name"], p["name"], tools) for p in _passed(call["inner"])})
        for call in INVOKED.finditer(text)
    ]


def _passed(text: str) -> list[re.Match[str]]:
    return [*INVOKED_WITH.finditer(text)]


def _typed(text: str, function: str, parameter: str, tools: Sequence[Tool] | None) -> Any:
    schema = properties_of(tools, function).get(parameter)
    value = strict_json(text) if isinstance(schema, dict) and schema.get("type") != "string" else NO_VALUE
    return text if value is NO_VALUE else value


def _harmony(text: str, tools: Sequence[Tool] | None) -> list[Call]:
    """`<|channel|>commentary to=functions.NAME <|constrain|>json<|message|>{…}<|call|>`, its marks in either order."""
    return _named_objects(HARMONY, text)


def _kimi(text: str, tools: Sequence[Tool] | None) -> list[Call]:
    """`<|tool_call_begin|>functions.NAME:0<|tool_call_argument_begin|>{…}`."""
    return _named_objects(KIMI, text)


def _deepseek(text: str, tools: Sequence[Tool] | None) -> list[Call]:
    """`<｜tool▁call▁begin｜>NAME<｜tool▁sep｜>{…}`, or `function` first, then the name and a code fence."""
    return _named_objects(DEEPSEEK, text)


def _named_objects(mark: re.Pattern[str], text: str) -> list[Call]:
    each = [(found["name"], leading_value(text[found.end() :])[0]) for found in mark.finditer(text)]
    return [(name, passed) for name, passed in each if name and isinstance(passed, dict)]


def _mistral(text: str, tools: Sequence[Tool] | None) -> list[Call]:
    """`[TOOL_CALLS]` before a list of calls, or before each name and its arguments."""
    calls: list[Call] = []
    for found in MISTRAL.finditer(text):
        value, _ = leading_value(text[found.end() :])
        if found["name"] is None:
            calls += calls_of_json(value, tools, marked=True)
        elif isinstance(value, dict):
            calls.append((found["name"], value))
    return calls


def _mistral_bare(text: str, tools: Sequence[Tool] | None) -> list[Call]:
    """The same without its first mark."""
    return _named_objects(MISTRAL_BARE, text)


def _python_tag(text: str, tools: Sequence[Tool] | None) -> list[Call]:
    """Llama 3: JSON or calls as Python writes them."""
    calls: list[Call] = []
    for found in PYTHON_TAG.finditer(text):
        calls += _several(found["inner"].strip(), tools)
    return calls


def _several(text: str, tools: Sequence[Tool] | None) -> list[Call]:
    """JSON objects one after the other, `;` between them, or Python."""
    calls: list[Call] = []
    while text.startswith(("{", "[")):
        value, end = leading_value(text)
        if not (here := calls_of_json(value, tools, marked=True)):
            break
        calls += here
        text = text[end:].lstrip(" \t\n;,")
    return calls or calls_of_python(text, tools)


def _pythonic(text: str, tools: Sequence[Tool] | None) -> list[Call]:
    """LFM2: a list of calls as Python writes them."""
    return [call for found in PYTHONIC.finditer(text) for call in calls_of_text(found["inner"].strip(), tools)]


FAMILIES: tuple[tuple[re.Pattern[str], Reader], ...] = (
    (TAGGED, _tagged),
    (FUNCTION, _functions),
    (MISTRAL, _mistral),
    (MISTRAL_BARE, _mistral_bare),
    (HARMONY, _harmony),
    (KIMI, _kimi),
    (DEEPSEEK, _deepseek),
    (PYTHON_TAG, _python_tag),
    (PYTHONIC, _pythonic),
    (INVOKED, _invoked),
)
UNTYPED = re.compile(r"<function=|<arg_key>|<invoke name=")  # spellings whose values are texts, whatever their types
