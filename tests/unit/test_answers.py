"""The actions in a response, and when two lists of them are the same."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trainer.answers import Action, golden_actions, parse_actions, same_inputs, same_sequence, strip_thinking

JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(10**9), 10**9)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)
NAMES = st.text(st.characters(categories=["L", "N"]), min_size=1)


@given(st.lists(st.tuples(NAMES, st.dictionaries(st.text(), JSON, max_size=3)), max_size=3), st.booleans())
def test_actions_written_in_the_answer_format_are_read_back(calls, with_thoughts):
    thought = "Thought: because.\n" if with_thoughts else ""
    text = "\n".join(f"{thought}Action: {name}\nAction_Input: {json.dumps(value)}" for name, value in calls)
    assert parse_actions(text) == [Action(name, value) for name, value in calls]


@given(st.text())
def test_any_text_can_be_parsed(text):
    assert isinstance(parse_actions(text), list)
    assert isinstance(strip_thinking(text), str)


def test_thousands_of_brackets_are_a_text():
    assert parse_actions("Action: a\nAction_Input: " + "[" * 100_000)[0].input == "[" * 100_000


def test_inputs_may_be_plain_text_several_lines_or_spelt_with_a_space():
    text = 'Action: a\nAction Input: {\n "x": 1\n}\nObservation: 3\nAction: b\nAction_Input:  12 \nThought: done'
    assert parse_actions(text) == [Action("a", {"x": 1}), Action("b", 12)]
    assert parse_actions("Action: a") == [Action("a", "")]
    assert parse_actions("Action_Input: 3") == []


def test_golden_inputs_may_be_objects_or_json_texts():
    golden = [{"Action": "a", "Action_Input": '{"x": [1, {"y": "z"}]}'}, {"Action": "b", "Action_Input": {"k": True}}]
    assert golden_actions(golden) == [Action("a", {"x": [1, {"y": "z"}]}), Action("b", {"k": True})]


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ({"x": 1, "y": [1, 2]}, {"y": [1, 2], "x": 1}, True),
        ({"x": [1, 2]}, {"x": [2, 1]}, False),
        ({"x": 1}, {"x": 1.0}, True),
        ({"x": 1}, {"x": True}, False),
        ({"x": "1"}, {"x": 1}, False),
        ({"x": None}, {}, False),
    ],
)
def test_inputs_are_compared_as_json_values(one, other, same):
    assert same_inputs([Action("a", one)], [Action("a", other)]) is same


def test_the_sequence_counts_names_and_order_and_nothing_else():
    a, b = Action("a", 1), Action("b", 2)
    assert same_sequence([a, b], [Action("a", 9), Action("b", 9)])
    assert not same_sequence([a, b], [b, a])
    assert not same_sequence([a], [a, a])
    assert not same_inputs([a], [a, a])


@pytest.mark.parametrize(
    ("text", "rest"),
    [
        ("<think>x\ny</think>\n\nanswer", "answer"),
        ("<think></think>answer<think>b</think>", "answer"),
        ("half a thought</think>\nanswer", "answer"),
        ("answer <think>never closed", "answer "),
        ("answer", "answer"),
    ],
)
def test_thinking_is_taken_out(text, rest):
    assert strip_thinking(text) == rest
