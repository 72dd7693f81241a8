"""YAML files as values, whatever is in them."""

import re
from pathlib import Path
from typing import Any

import yaml

# PyYAML lets Python's own errors through: of a month 13, of a tag that doesn't fit its text, of too deep a nesting.
BROKEN = (yaml.YAMLError, ArithmeticError, AttributeError, LookupError, RecursionError, TypeError, ValueError)


HALF = re.compile(r"\\[uU](0000)?[dD][89a-fA-F][0-9a-fA-F]{2}")  # which YAML, unlike JSON, joins to no character


MOST_VALUES = 1_000_000  # of a file: a few aliases in each other can stand for billions


class NotYaml(ValueError):
    """Why a file is no YAML, in a line."""


def bounded(content: Any) -> Any:
    """What a YAML file holds, as it is.

    Raises:
        NotYaml: its aliases stand for so many values that whoever follows them comes to no end.
    """
    if (values := _values_in(content, {})) > MOST_VALUES:
        raise NotYaml(f"its aliases (*name) stand for {values:,} values, expected at most {MOST_VALUES:,}")
    return content


def _values_in(value: Any, known: dict[int, int]) -> int:
    """The values of a value, each as often as aliases lead to it; of a circle any number."""
    if not isinstance(value, (dict, list, tuple, set)):
        return 1
    if id(value) not in known:
        known[id(value)] = 0
        inner = value.values() if isinstance(value, dict) else value
        known[id(value)] = 1 + sum(_values_in(each, known) for each in inner)
    return known[id(value)]


def read_yaml_file(path: Path) -> Any:
    """What a YAML file holds, None where it is empty.

    Raises:
        OSError: it can't be read.
        NotYaml: it is none, not in UTF-8, or too much.
    """
    try:
        text = path.read_text(encoding="utf-8")
        if half := HALF.search(text):
            raise NotYaml(f"found {half[0]}, which is half of a surrogate pair, expected the character itself")
        return bounded(yaml.safe_load(text))
    except NotYaml:
        raise
    except UnicodeDecodeError as error:
        raise NotYaml(f"found the byte {error.object[error.start]:#x}, expected UTF-8") from error
    except RecursionError as error:
        raise NotYaml("it is nested too deeply") from error
    except yaml.MarkedYAMLError as error:  # whose own text quotes the line, where a key may stand
        mark = error.problem_mark or error.context_mark
        place = f"line {mark.line + 1}, column {mark.column + 1}: " if mark else ""
        raise NotYaml(place + " ".join(filter(None, (error.context, error.problem)))) from error
    except BROKEN as error:
        raise NotYaml(" ".join(str(error).split()) or type(error).__name__) from error
