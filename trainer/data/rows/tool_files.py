"""Files of tools: a catalogue in any spelling, as JSON, JSON lines or YAML, or an OpenAPI document."""

import json
import re
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import yaml

from ...errors import UsageError
from ...settings.yaml_files import bounded
from .openapi import Described, operations
from .row import BadRow, Tool
from .schemas import BadTool, as_sent, on_one_line, within
from .tools import described, tools_in


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


def load_tools(path: str) -> tuple[Tool, ...]:
    """The tools of `--tools FILE`, in OpenAI's spelling.

    Raises:
        UsageError: it can't be read, or holds none.
    """
    try:
        with within(f"--tools {path}"):
            tools = tuple(_as_tool(*each) for each in described_in(Path(path)))
            if not tools:
                raise BadTool("it holds no tools, expected at least one.")
    except BadTool as error:
        raise UsageError(str(error)) from error
    except RecursionError as error:
        raise UsageError(f"--tools {path} is nested too deeply to be read. Take out the deepest schemas.") from error
    return tools


def _as_tool(_: str, name: str, description: str | None, parameters: dict[str, Any] | None) -> Tool:
    schema = {"type": "object", "properties": {}} if parameters is None else as_sent("", parameters)
    return {"type": "function", "function": {"name": name, "description": description or "", "parameters": schema}}


def described_in(source: Path, *, kept_back: bool = True) -> Iterator[Described]:
    """What a file says of each of its tools, with the place of each, not yet checked as tools.

    Args:
        kept_back: Also the entries with `"seen": false`, which a catalogue keeps back for evaluation.

    Raises:
        BadTool: it can't be read, or holds something else; says what was found and expected.
    """
    content = _content(source)
    is_document = isinstance(content, dict) and ("openapi" in content or "swagger" in content)
    return operations(content) if is_document else _entries(content, kept_back)


def _content(source: Path) -> Any:
    """What a file holds, as JSON values."""
    if not source.exists():
        raise BadTool("there is no such file. Pass the path of a JSON or YAML file with tools, or an OpenAPI document.")
    try:
        text = source.read_text(encoding="utf-8-sig")
        if source.suffix in (".yaml", ".yml"):
            return json.loads(json.dumps(bounded(yaml.load(text, _YamlLoader))))
        return _json_or_lines(text)
    except (OSError, ValueError, TypeError, yaml.YAMLError) as error:
        kinds = "expected JSON, or YAML in a file whose name ends in .yaml or .yml"
        raise BadTool(f"can't be read ({on_one_line(str(error))}); {kinds}.") from error


def _json_or_lines(text: str) -> Any:
    """A JSON text, or a list of those that stand on a line each.

    Raises:
        ValueError: it is neither; says what is wrong with it as one JSON text.
    """
    try:
        return json.loads(text)
    except ValueError:
        lines = [line for line in text.split("\n") if line.strip()]
        if len(lines) > 1:
            with suppress(ValueError):
                return [json.loads(line) for line in lines]
        raise


def _entries(content: Any, kept_back: bool) -> Iterator[Described]:
    """The entries of a catalogue, not yet checked as tools."""
    try:
        entries = tools_in(content)
    except BadRow as error:
        raise BadTool(f"{error} An OpenAPI document has the key 'openapi', with 3.x.") from None
    for number, entry in enumerate(entries, start=1):
        if kept_back or not isinstance(entry, dict) or entry.get("seen") is not False:
            place = f"entry {number}"
            yield (place, *described_entry(place, entry))


def described_entry(place: str, entry: Any) -> tuple[str, str | None, dict[str, Any] | None]:
    """What an entry of a catalogue says.

    Raises:
        BadTool: it is no tool.
    """
    try:
        return described(entry)
    except BadRow as error:
        raise BadTool(f"{place}: {error}") from None
