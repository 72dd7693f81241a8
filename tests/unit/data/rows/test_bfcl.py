"""BFCL's possible answers: lists of accepted values, parameters that may be left out, parallel calls."""

import json

import pytest

from trainer.data.actions.answers import golden_actions, parse_actions, same_inputs, same_sequence
from trainer.data.dataset import parse_row
from trainer.data.rows.bfcl import bfcl_answer
from trainer.data.rows.row import BadRow

AREA = [{"triangle.area": {"base": [10], "height": [5, 5.0], "unit": ["square units", "units", ""]}}]


def is_right(possible, *calls, **options):
    golden = golden_actions(bfcl_answer(possible, **options))
    found = parse_actions(json.dumps([{"name": name, "arguments": passed} for name, passed in calls]))
    return same_sequence(found, golden) and same_inputs(found, golden)


@pytest.mark.parametrize(
    ("passed", "right"),
    [
        ({"base": 10, "height": 5, "unit": "units"}, True),
        ({"base": 10.0, "height": 5}, True),
        ({"base": 10, "height": 5, "unit": "Square Units"}, True),
        ({"base": 10, "height": 5, "unit": "cm"}, False),
        ({"base": 10}, False),
        ({"base": "10", "height": 5}, False),
        ({"base": True, "height": 5}, False),
        ({"base": 10, "height": 5, "colour": "red"}, False),
    ],
)
def test_a_call_is_right_with_any_accepted_value_and_without_an_optional_one(passed, right):
    assert is_right(AREA, ("triangle.area", passed)) is right


def test_a_name_with_a_point_may_be_called_with_an_underscore():
    assert is_right(AREA, ("triangle_area", {"base": 10, "height": 5}))
    assert not is_right(AREA, ("circle.area", {"base": 10, "height": 5}))


def test_lists_and_objects_are_accepted_as_they_are():
    possible = [{"book": {"seats": [["A1", "A2"]], "who": [{"name": ["Ann", "Anna"], "age": [3, ""]}]}}]
    assert is_right(possible, ("book", {"seats": ["a1", "A2"], "who": {"name": "Anna"}}))
    assert not is_right(possible, ("book", {"seats": ["A2", "A1"], "who": {"name": "Ann"}}))
    assert not is_right(possible, ("book", {"seats": ["A1", "A2"], "who": {"name": "Ann", "age": 4}}))


def test_a_parameter_without_an_accepted_value_may_be_left_out_or_empty():
    possible = [{"sort": {"known": [["a"]], "unknown": []}}]
    assert is_right(possible, ("sort", {"known": ["a"]}))
    assert is_right(possible, ("sort", {"known": ["a"], "unknown": []}))
    assert not is_right(possible, ("sort", {"known": ["a"], "unknown": ["b"]}))
    assert bfcl_answer(possible)[0]["Action_Input"] == {"known": ["a"]}


def test_parallel_calls_come_in_any_order_and_each_counts_once():
    possible = [{"f": {"x": [1, 2]}}, {"f": {"x": [1]}}, {"g": {"y": ["a"]}}]
    one, two, other = ("f", {"x": 1}), ("f", {"x": 2}), ("g", {"y": "a"})
    assert is_right(possible, other, one, two) and is_right(possible, one, one, other)
    assert not is_right(possible, two, two, other) and not is_right(possible, one, two)
    assert not is_right(possible, other, one, two, any_order=False)


def test_a_function_without_parameters_is_called_with_nothing():
    golden = golden_actions(bfcl_answer([{"now": {}}]))
    assert same_inputs(parse_actions("Action: now"), golden) and same_inputs(parse_actions("now()"), golden)


def test_the_golden_answer_is_one_of_our_data_format_with_a_right_input_as_example():
    answer = bfcl_answer(AREA)
    example = {"base": 10, "height": 5, "unit": "square units"}
    assert answer == [{"Action": "triangle.area", "Action_Input": example, "accepts": AREA[0]["triangle.area"]}]
    row = parse_row({"prompt": "q", "golden_answer": answer}, 1)
    assert row.golden_answer == answer


@pytest.mark.parametrize("possible", [None, "f()", [{}], [{"f": {"x": 1}}], [{"f": {}, "g": {}}]])
def test_another_form_is_a_bad_row_that_says_what_was_expected(possible):
    with pytest.raises(BadRow, match="possible answer"):
        bfcl_answer(possible)
