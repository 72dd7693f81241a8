"""Values that JSON lacks: which a row may carry, and as what text.

Columnar files hold timestamps, decimals and bytes, Python's JSON holds NaN, and a text may be cut within a character.
What a model reads, or an answer is compared with, must be JSON as it stands (`unfit_value`). Whatever else a row
carries becomes a text (`jsonable`).
"""

import base64
import datetime
import decimal
import math
import uuid
from typing import Any

import numpy as np

from .row import BadRow

AS_ISO = (datetime.date, datetime.time)  # a datetime is a date
AS_STR = (decimal.Decimal, uuid.UUID, datetime.timedelta)
AS_BASE64 = (bytes, bytearray, memoryview)
NOT_FINITE = {math.inf: "Infinity", -math.inf: "-Infinity"}


def jsonable(value: Any) -> Any:
    """`value` as JSON holds it, and Parquet and UTF-8 too.

    Dates and times become ISO 8601 texts, decimals, UUIDs and durations what `str` says, bytes base64, floats that
    aren't finite "NaN", "Infinity" or "-Infinity", half of a surrogate pair its escape (`\\ud83d`), tuples, sets and
    arrays lists, and NumPy's numbers plain ones. Everything else stays equal to what it was.

    Raises:
        BadRow: it holds something else (an image, say), or is nested too deeply; says which field.
    """
    try:
        return _carried(value, "")
    except RecursionError:
        raise BadRow("it is nested too deeply, expected at most some hundred levels.") from None


def _carried(value: Any, place: str) -> Any:
    if isinstance(value, str):
        return str(value).encode("utf-8", "backslashreplace").decode()
    if isinstance(value, dict):
        return {_carried(_key(key), place): _carried(item, _inside(place, key)) for key, item in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [_carried(item, f"{place}[{number}]") for number, item in enumerate(value)]
    if isinstance(value, np.ndarray | np.generic) and not isinstance(value, float):
        return _carried(_plain(value, place), place)
    return _one(value, place)


def _one(value: Any, place: str) -> Any:
    if value is None or isinstance(value, bool | int):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else NOT_FINITE.get(value, "NaN")
    if isinstance(value, AS_ISO):
        return value.isoformat()
    if isinstance(value, AS_STR):
        return str(value)
    if isinstance(value, AS_BASE64):
        return base64.b64encode(value).decode()
    raise _no_json(value, place)


def _plain(value: np.ndarray | np.generic, place: str) -> Any:
    """NumPy's value as Python's; a timestamp of nanoseconds, which Python would give as a number, as its ISO text."""
    if value.dtype.kind in "mM":
        return value.astype(str).tolist()
    plain = value.tolist()
    if isinstance(plain, np.generic):  # one that Python has no type for, such as a long double
        raise _no_json(value, place)
    return plain


def _no_json(value: Any, place: str) -> BadRow:
    where = f"field {place!r}" if place else "it"
    return BadRow(
        f"{where} is of the type {type(value).__name__}, expected text, number, true, false, null, list, object, date, "
        "time, decimal or bytes. Leave the column out, or write it as a text."
    )


def _key(key: Any) -> str:
    return key if isinstance(key, str) else str(_one(key, "key of an object"))


def _inside(place: str, key: Any) -> str:
    return f"{place}.{key}" if place else str(key)


def unfit_value(value: Any) -> str | None:
    """What in `value` no JSON text can hold as it is, in words with its place; None where there is nothing.

    For the fields of a row that models read and answers are compared with: `unfit_value({"prompt": …})` says, for
    example, "field 'prompt[1].content' has half of a surrogate pair …".
    """
    try:
        return _unfit(value, "")
    except RecursionError:
        return "it is nested too deeply, expected at most some hundred levels."


def _unfit(value: Any, place: str) -> str | None:
    if isinstance(value, str):
        return _half_pair(value, place)
    if isinstance(value, dict):
        keys = (_half_pair(key, place) if isinstance(key, str) else _unlike_json(key, place) for key in value)
        inner = (_unfit(item, _inside(place, key)) for key, item in value.items())
        return next(filter(None, keys), None) or next(filter(None, inner), None)
    if isinstance(value, list):
        return next(filter(None, (_unfit(item, f"{place}[{number}]") for number, item in enumerate(value))), None)
    fits = value is None or type(value) in (bool, int) or (type(value) is float and math.isfinite(value))
    return None if fits else _unlike_json(value, place)


def _half_pair(text: str, place: str) -> str | None:
    try:
        text.encode()
    except UnicodeEncodeError as error:
        half = text[error.start].encode("ascii", "backslashreplace").decode()
        return f"field {place!r} has half of a surrogate pair ({half}), which no model reads, expected whole text."
    return None


def _unlike_json(value: Any, place: str) -> str:
    found = value if isinstance(value, float) else f"of the type {type(value).__name__}"
    return f"field {place!r} is {found}, expected text, finite number, true, false, null, list or object, as JSON has."
