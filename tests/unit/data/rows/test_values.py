"""Values that JSON lacks become texts where a row only carries them, and are named where a model would read them."""

import json
import math
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trainer.data.rows.row import BadRow
from trainer.data.rows.values import jsonable, unfit_value


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (datetime(2026, 1, 2, 3, 4, tzinfo=UTC), "2026-01-02T03:04:00+00:00"),
        (date(2026, 1, 2), "2026-01-02"),
        (time(3, 4), "03:04:00"),
        (timedelta(days=1, seconds=2), "1 day, 0:00:02"),
        (Decimal("1.50"), "1.50"),
        (b"\x00\xff", "AP8="),
        (math.nan, "NaN"),
        (math.inf, "Infinity"),
        (-math.inf, "-Infinity"),
        ("cut \ud83d", "cut \\ud83d"),
        ((1, (2,)), [1, [2]]),
        (np.int64(3), 3),
        (np.array([[1.5, math.nan]]), [[1.5, "NaN"]]),
        (np.datetime64("2026-01-02T03:04:05.000000006"), "2026-01-02T03:04:05.000000006"),
        ({1: {"x": Decimal(1)}}, {"1": {"x": "1"}}),
    ],
)
def test_what_json_lacks_becomes_a_text(value, text):
    assert jsonable(value) == text
    assert jsonable({"a": [value]}) == {"a": [text]}


def test_what_has_no_text_is_refused_by_its_place():
    with pytest.raises(BadRow, match=r"field 'pictures\[1\].raw' is of the type object, expected text, number"):
        jsonable({"pictures": [1, {"raw": object()}]})
    deep: list = []
    for _ in range(5000):
        deep = [deep]
    with pytest.raises(BadRow, match="nested too deeply"):
        jsonable({"a": deep})
    assert "nested too deeply" in (unfit_value({"a": deep}) or "")


@pytest.mark.parametrize(
    ("record", "found"),
    [
        ({"prompt": "a\ud83d"}, r"field 'prompt' has half of a surrogate pair (\ud83d)"),
        ({"prompt": [{"role": "user", "content": "\udc00"}]}, "field 'prompt[0].content' has half of a surrogate pair"),
        ({"tools": [{"\ud83d": 1}]}, "field 'tools[0]' has half of a surrogate pair"),
        ({"golden_answer": [{"Action_Input": {"x": math.nan}}]}, "field 'golden_answer[0].Action_Input.x' is nan"),
        ({"golden_answer": [{"Action_Input": date(2026, 1, 1)}]}, "Action_Input' is of the type date, expected text"),
        ({"prompt": b"x"}, "field 'prompt' is of the type bytes"),
        ({"prompt": "😀", "n": [1, 2.5, None, True, {"x": ""}]}, None),
    ],
)
def test_what_a_model_must_not_read_is_named_by_its_place(record, found):
    said = unfit_value(record)
    assert said is None if found is None else found in (said or "")


plain = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
)
odd = st.recursive(
    st.floats() | st.text(st.characters()) | st.binary() | st.datetimes() | st.decimals() | st.integers(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(st.characters()), inner, max_size=3),
)


@given(plain)
def test_json_values_stay_as_they_are(value):
    assert jsonable(value) == value
    assert unfit_value(value) is None


@given(odd)
def test_whatever_is_carried_is_json_that_reads_back_the_same(value):
    carried = jsonable(value)
    assert unfit_value(carried) is None
    assert json.loads(json.dumps(carried, ensure_ascii=False, allow_nan=False).encode()) == carried
    assert jsonable(carried) == carried
