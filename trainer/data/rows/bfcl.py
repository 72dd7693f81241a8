"""Possible answers as BFCL writes them, as a `golden_answer` of ours.

BFCL (Berkeley Function-Calling Leaderboard) lists the values that each parameter may have:
`[{"get_weather": {"city": ["Oslo", "Oslo, Norway"], "unit": ["celsius", ""]}}]`, where `""` says that the parameter
may be left out; an empty list says so too. We keep that under `accepts` and give one right input beside it:
`{"Action": "get_weather", "Action_Input": {"city": "Oslo", "unit": "celsius"}, "accepts": {…}}`. Calls of a kind
that is parallel come in any order; they have `"any_order": true`.
"""

import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from .json_values import Value, loads
from .row import BadRow
from .texts import text_records

LEFT_OUT = ""  # in a list of accepted values: the parameter may be missing
EXPECTED = 'expected [{"function": {"parameter": [accepted value, …]}}], with "" for a parameter that may be left out'


def bfcl_answer(possible: Any, *, any_order: bool | None = None) -> list[dict[str, Any]]:
    """The `golden_answer` of BFCL's possible answer (`ground_truth`).

    Args:
        possible: A call an item, each an object with the function's name alone.
        any_order: Whether the calls may come in any order; None: where there are several, for those kinds of BFCL that
            have possible answers of several calls are all parallel.

    Raises:
        BadRow: it has another form.
    """
    if not isinstance(possible, list):
        raise BadRow(f"a possible answer is {possible!r:.60}, {EXPECTED}.")
    parallel = len(possible) > 1 if any_order is None else any_order
    return [_call(item, parallel) for item in possible]


def with_possible_answers(questions: Iterable[Value], answers: Path) -> Iterator[Value]:
    """The records of a file of questions, each with the `ground_truth` that the file `answers` has for its `id`.

    BFCL keeps both apart: `NAME.json`, and `possible_answer/NAME.json` beside it.
    """
    rows = [loads(value.text) for value in text_records(answers)]
    known = {
        row["id"]: row["ground_truth"] for row in rows if isinstance(row, dict) and {"id", "ground_truth"} <= {*row}
    }
    for value in questions:
        record = loads(value.text)
        if isinstance(record, dict) and record.get("id") in known:
            record.setdefault("ground_truth", known[record["id"]])
        yield Value(json.dumps(record), value.line, value.is_item)


def _is_call(item: Any) -> bool:
    if not isinstance(item, dict) or len(item) != 1:
        return False
    (values,) = item.values()
    return isinstance(values, dict) and all(isinstance(each, list) for each in values.values())


def _call(item: Any, parallel: bool) -> dict[str, Any]:
    if not _is_call(item):
        raise BadRow(f"a possible answer has {item!r:.60}, {EXPECTED}.")
    ((name, values),) = item.items()
    accepts = {key: each or [LEFT_OUT, []] for key, each in values.items()}
    example = {key: _example(values[0]) for key, values in accepts.items() if values[0] != LEFT_OUT}
    action: dict[str, Any] = {"Action": name, "Action_Input": example, "accepts": accepts}
    return action | {"any_order": True} if parallel else action


def _example(value: Any) -> Any:
    """An accepted object has lists of accepted values itself."""
    if isinstance(value, dict):
        inner = {key: each[0] if isinstance(each, list) and each else each for key, each in value.items()}
        return {key: _example(each) for key, each in inner.items() if each != LEFT_OUT}
    return [_example(each) for each in value] if isinstance(value, list) else value
