"""The files of a run as they are read again, by whoever reads them: whole, or one message that says what is damaged."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ..errors import UsageError
from ..settings.yaml_files import NotYaml, read_yaml_file

Record = dict[str, Any]


def read_json(file: Path, kind: type = dict) -> Any | None:
    """The object in a JSON file, or the list where `kind` says so; None if it is not there.

    Raises:
        UsageError: it holds something else, e.g. after it was cut or edited.
    """
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except OSError as error:
        raise UsageError(f"can't read {file}: {error.strerror}.") from error
    except (ValueError, RecursionError) as error:
        raise UsageError(f"{file} is damaged ({error}). Move it away to go on without it.") from error
    if not isinstance(content, kind):
        expected = "a list" if kind is list else "an object"
        raise UsageError(f"{file} is damaged: expected {expected}. Move it away to go on without it.")
    return content


def read_yaml(file: Path) -> Record:
    """The settings in a run's YAML file, none where it holds something else.

    Raises:
        UsageError: it is no YAML.
    """
    try:
        content = read_yaml_file(file)
    except OSError as error:
        raise UsageError(f"can't read {file}: {error.strerror}.") from error
    except NotYaml as error:
        raise UsageError(f"{file} is damaged ({error}), expected the settings of a run.") from error
    return content if isinstance(content, dict) else {}


def whole_lines(file: Path) -> Iterator[str]:
    """The lines of a JSONL file, none if it is not there; a last one that is torn, or still being written, is left out.

    They keep the newline at their end, and come one at a time.
    """
    if not file.is_file():
        return
    with file.open(encoding="utf-8", errors="replace", newline="\n") as stream:
        yield from (line for line in stream if line.endswith("\n"))


def parse_line(line: str, file: Path, number: int) -> Record:
    """A line of a JSONL file of a run; UsageError if it is no object with a whole number as its `step`."""
    try:
        record = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise UsageError(f"{file}, line {number}: no JSON ({error}). Remove the line to go on without it.") from error
    if not isinstance(record, dict) or type(record.get("step")) is not int:
        raise UsageError(f"{file}, line {number}: expected an object with a step. Remove the line to go on without it.")
    return record


def read_lines(file: Path) -> Iterator[tuple[str, Record]]:
    """Each whole line with the record in it.

    Raises:
        UsageError: a line is no record of a step.
    """
    for number, line in enumerate(whole_lines(file), start=1):
        yield line, parse_line(line, file, number)
