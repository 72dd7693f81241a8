"""The actions in a response, and when two lists of them are the same."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trainer.data.actions.answers import (
    Action,
    golden_actions,
    parse_actions,
    parse_seed_format,
    same_inputs,
    same_sequence,
)

JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(10**9), 10**9)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)
MARKS = ("Action", "Thought", "Observation")  # a line that begins with one of them may end what stands before it
LINES = (
    st.text().map(lambda text: text.replace("\n", " ")).filter(lambda line: not line.lstrip(" \t").startswith(MARKS))
)
NAMES = st.text().map(lambda text: text.replace("\n", " ").strip())
PLAIN_NAMES = st.from_regex(r"[A-Za-z_][\w-]*( [a-z]\w*)?", fullmatch=True).filter(
    lambda name: name.casefold() != "none"
)
PLAIN_CALLS = st.lists(st.tuples(PLAIN_NAMES, JSON), max_size=3)
CALLS = st.lists(st.tuples(NAMES, JSON), max_size=3)
INPUT_MARKS = st.sampled_from(["Action_Input:", "Action Input:", " Action_Input :\t", "Action_Input: \n"])
LAYOUTS = st.fixed_dictionaries({"ensure_ascii": st.booleans(), "indent": st.sampled_from([None, 2])})
MARKS_OF_MODELS = "<tool_call> </tool_call> <function= <parameter= <arg_key> call: to=functions.a [TOOL_CALLS] [ARGS]"
SNIPPETS = st.sampled_from(
    [
        *("Action", "_Input", " Input", ":", "Thought:", "\n", "\r", "<think>", "</think>", '{"a"', "{", "}", "[", "]"),
        *("```", "**", "`", "(", ")", "'", "=", ",", '"name": ', '"arguments": ', "<|python_tag|>", "<|tool_call>"),
        *MARKS_OF_MODELS.split(),
    ]
)


def spelt(name, value, mark="Action_Input:", **layout):
    return f"Action: {name}\n{mark} {json.dumps(value, **layout)}"


@given(CALLS, st.none() | LINES, INPUT_MARKS, LAYOUTS)
def test_the_format_to_the_letter_is_read_back_whatever_the_names(calls, thought, mark, layout):
    before = "" if thought is None else f"Thought: {thought}\n"
    text = "\n".join(before + spelt(name, value, mark, **layout) for name, value in calls)
    assert parse_seed_format(text) == [Action(name, value) for name, value in calls]


@given(PLAIN_CALLS, INPUT_MARKS, LAYOUTS)
def test_actions_written_in_the_answer_format_are_read_back(calls, mark, layout):
    text = "\n".join("Thought: next\n" + spelt(name, value, mark, **layout) for name, value in calls)
    assert parse_actions(text) == parse_seed_format(text) == [Action(name, value) for name, value in calls]


@given(st.lists(LINES), CALLS, st.sampled_from(["Thought:", "Observation:", "\tThought :"]), st.lists(LINES))
def test_lines_before_the_first_action_and_after_a_last_thought_change_nothing(before, calls, mark, after):
    text = "\n".join([*before, *(spelt(name, value) for name, value in calls), mark, *after])
    assert parse_seed_format(text) == [Action(name, value) for name, value in calls]


@given(NAMES, JSON, LINES.filter(str.strip))
def test_to_the_letter_a_line_right_after_an_input_belongs_to_it(name, value, line):
    written = f"{json.dumps(value)}\n{line}"
    assert parse_seed_format(f"Action: {name}\nAction_Input: {written}") == [Action(name, written.strip())]


@given(PLAIN_CALLS)
def test_golden_answers_are_what_their_own_text_is_read_as(calls):
    golden = golden_actions([{"Action": name, "Action_Input": json.dumps(value)} for name, value in calls])
    found = parse_actions("\n".join(spelt(name, value) for name, value in calls))
    assert same_sequence(found, golden)
    assert same_inputs(found, golden)


ANY_TEXT = st.text() | st.lists(SNIPPETS | st.text(max_size=3)).map("".join)


@given(ANY_TEXT)
def test_any_text_can_be_parsed_and_takes_the_same_actions_as_itself(text):
    found = parse_actions(text)
    assert all(action.name == action.name.strip() for action in found)
    assert same_inputs(found, parse_actions(text))


@pytest.mark.parametrize("value", ["NaN", "Infinity", "-Infinity", '{"x": NaN}'])
def test_what_json_does_not_know_is_a_text(value):
    found = parse_actions(f"Action: a\nAction_Input: {value}")
    assert found == [Action("a", value)]
    assert same_inputs(found, golden_actions([{"Action": "a", "Action_Input": value}]))


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
        ("", {}, True),
        (None, "", True),
        ("None", {}, True),
        ({}, {"x": 1}, False),
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
