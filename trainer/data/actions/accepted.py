"""Whether what a call passes is one of the values that are accepted, and when two values are the same."""

import re
from typing import Any

from ..rows.bfcl import LEFT_OUT
from .spoken_values import strict_json

IGNORED = re.compile(r"[\s,./\-_*^'\"]")


def comparable(value: Any) -> Any:
    """`value` such that true and 1 differ, as they do in JSON and not in Python."""
    if isinstance(value, bool):
        return ("bool", value)
    if isinstance(value, dict):
        return {key: comparable(item) for key, item in value.items()}
    return [comparable(item) for item in value] if isinstance(value, list) else value


def accepts(accepted: dict[str, list[Any]], passed: Any, *, untyped: bool = False) -> bool:
    """Whether each parameter that is passed has an accepted value, and no other one is missing than those that may.

    Args:
        accepted: Values by parameter. `""` among them says that the parameter may be left out. An accepted object has
            lists of accepted values itself, as in BFCL. Of texts case, spaces and punctuation don't count.
        untyped: Whether a text that is passed may stand for the JSON value that it is.
    """
    if not isinstance(passed, dict) or not passed.keys() <= accepted.keys():
        return False
    return all(
        any(_is(value, passed[name], untyped) for value in values) if name in passed else LEFT_OUT in values
        for name, values in accepted.items()
    )


def _is(accepted: Any, passed: Any, untyped: bool) -> bool:
    if untyped and isinstance(passed, str) and not isinstance(accepted, str):
        return _is(accepted, strict_json(passed), False)
    if isinstance(accepted, str) and isinstance(passed, str):
        return _plain(accepted) == _plain(passed)
    if isinstance(accepted, list) and isinstance(passed, list):
        return len(accepted) == len(passed) and all(_is(*pair, False) for pair in zip(accepted, passed, strict=True))
    if isinstance(accepted, dict) and isinstance(passed, dict):
        return accepts({key: v if isinstance(v, list) else [v] for key, v in accepted.items()}, passed)
    return comparable(accepted) == comparable(passed)


def _plain(text: str) -> str:
    return IGNORED.sub("", text).casefold()
