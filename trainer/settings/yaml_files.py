"""YAML files as values, whatever is in them."""

import re
from pathlib import Path
from typing import Any

import yaml

# PyYAML lets Python's own errors through: of a month 13, of a tag that doesn't fit its text, of too deep a nesting.
BROKEN = (yaml.YAMLError, ArithmeticError, AttributeError, LookupError, RecursionError, TypeError, ValueError)


HALF = re.compile(r"\\[uU](0000)?[dD][89a-fA-F][0-9a-fA-F]{2}")  # which YAML, unlike JSON, joins to no character


class NotYaml(ValueError):
    """Why a file is no YAML, in a line."""


def read_yaml_file(path: Path) -> Any:
    """What a YAML file holds, None where it is empty.

    Raises:
        OSError: it can't be read.
        NotYaml: it is none, or not in UTF-8.
    """
    try:
        text = path.read_text(encoding="utf-8")
        if half := HALF.search(text):
            raise NotYaml(f"found {half[0]}, which is half of a surrogate pair, expected the character itself")
        return yaml.safe_load(text)
    except NotYaml:
        raise
    except UnicodeDecodeError as error:
        raise NotYaml(f"found the byte {error.object[error.start]:#x}, expected UTF-8") from error
    except RecursionError as error:
        raise NotYaml("it is nested too deeply") from error
    except BROKEN as error:
        raise NotYaml(" ".join(str(error).split()) or type(error).__name__) from error
