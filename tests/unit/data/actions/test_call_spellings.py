"""One call in the spellings that models and people use is one action; what only looks like a call is none."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trainer.data.actions.answers import Action, golden_actions, parse_actions, same_inputs, same_sequence

PROPERTIES = {"place": {"type": "string"}, "nights": {"type": "integer"}}
TOOLS = [
    {
        "type": "function",
        "function": {"name": "find_hotel", "parameters": {"type": "object", "properties": PROPERTIES}},
    }
]
GOLDEN = golden_actions([{"Action": "find_hotel", "Action_Input": {"place": "Bergen", "nights": 3}}])
INPUT = '{"place": "Bergen", "nights": 3}'
ESCAPED = json.dumps(INPUT)
XML = "<function=find_hotel>\n<parameter=place>\nBergen\n</parameter>\n<parameter=nights>\n3\n</parameter>\n</function>"

LABELLED = {
    "plain": f"Thought: look\nAction: find_hotel\nAction_Input: {INPUT}",
    "a space in the label": f"Action: find_hotel\nAction Input: {INPUT}",
    "no space in the label": f"Action: find_hotel\nActionInput: {INPUT}",
    "lower case": f"action: find_hotel\naction_input: {INPUT}",
    "capitals": f"ACTION: find_hotel\nACTION INPUT: {INPUT}",
    "a fence around the input": f"Action: find_hotel\nAction Input: ```json\n{INPUT}\n```",
    "a fence in the next line and a sentence": f"Action: find_hotel\nAction Input:\n```\n{INPUT}\n```\nI hope so.",
    "a fence around the whole": f"```\nThought: look\nAction: find_hotel\nAction_Input: {INPUT}\n```",
    "bold labels": f"**Thought:** look\n**Action:** find_hotel\n**Action Input:** {INPUT}",
    "bold labels, the colon outside": f"**Action**: **find_hotel**\n**Action Input**: {INPUT}",
    "headings": f"### Action\nfind_hotel\n### Action Input\n{INPUT}",
    "backticks": f"Action: `find_hotel`\nAction Input: `{INPUT}`",
    "numbered labels": f"Action 1: find_hotel\nAction Input 1: {INPUT}",
    "numbered lines": f"1. Action: find_hotel\n2. Action Input: {INPUT}",
    "bullets": f"- Thought: look\n- Action: find_hotel\n- Action Input: {INPUT}",
    "a speaker": f"Assistant: Thought: look\nAction: find_hotel\nAction Input: {INPUT}",
    "a speaker in capitals": f"ASSISTANT Action: find_hotel\nASSISTANT Action Input: {INPUT}",
    "a final answer behind": f"Action: find_hotel\nAction Input: {INPUT}\nFinal Answer: Three hotels.",
    "an observation behind": f"Action: find_hotel\nAction Input: {INPUT}\nObservation: full\nThought: so be it",
    "a sentence behind": f"Action: find_hotel\nAction Input: {INPUT}\n\nThat asks for three nights.",
    "a sentence right behind": f"Action: find_hotel\nAction Input: {INPUT} and that is all.",
    "one line": f"Thought: look Action: find_hotel Action Input: {INPUT}",
    "a comma between": f"Action: find_hotel, Action_Input: {INPUT}",
    "a full stop behind the name": f"Action: find_hotel.\nAction Input: {INPUT}",
    "values in their own lines": f"Action:\nfind_hotel\nAction Input:\n{INPUT}",
    "the second label left out": f"Action: find_hotel\n{INPUT}",
    "a Python dictionary": "Action: find_hotel\nAction Input: {'place': 'Bergen', 'nights': 3}",
    "a comma before the brace": 'Action: find_hotel\nAction Input: {"place": "Bergen", "nights": 3,}',
    "other numbers of the same value": 'Action: find_hotel\nAction Input: {"place": "\\u0042ergen", "nights": 3.0}',
    "call syntax": 'Action: find_hotel(place="Bergen", nights=3)',
    "call syntax with an object": f"Action: find_hotel({INPUT})",
    "call syntax in backticks": "Action: `find_hotel(place='Bergen', nights=3)`",
    "LangChain's block": f'Thought: look\nAction:\n```json\n{{"action": "find_hotel", "action_input": {INPUT}}}\n```',
}
NATIVE = {
    "Hermes": f'<tool_call>\n{{"name": "find_hotel", "arguments": {INPUT}}}\n</tool_call>',
    "Hermes with text around": f'Hm.\n<tool_call>{{"name": "find_hotel", "arguments": {INPUT}}}</tool_call>\nOk.',
    "Hermes, cut at the end of the turn": f'<tool_call>\n{{"name": "find_hotel", "arguments": {INPUT}}}<|im_end|>',
    "Hermes, arguments as text": f'<tool_call>{{"name": "find_hotel", "arguments": {ESCAPED}}}</tool_call>',
    "Qwen3-Coder": f"<tool_call>\n{XML}\n</tool_call>",
    "Qwen3-Coder without its first tag": f"{XML}\n</tool_call>",
    "Llama 3": f'{{"name": "find_hotel", "parameters": {INPUT}}}',
    "Llama 3 with its tag": f'<|python_tag|>{{"name": "find_hotel", "parameters": {INPUT}}}<|eom_id|>',
    "Llama 3 with a type": f'{{"type": "function", "name": "find_hotel", "parameters": {INPUT}}}<|eot_id|>',
    "Llama 3, pretty-printed": json.dumps({"name": "find_hotel", "arguments": json.loads(INPUT)}, indent=2),
    "Llama 3's function tag": f"<function=find_hotel>{INPUT}</function>",
    "calls as Python": "[find_hotel(place='Bergen', nights=3)]",
    "a call as Python": 'find_hotel(place="Bergen", nights=3)',
    "Mistral": f'[TOOL_CALLS] [{{"name": "find_hotel", "arguments": {INPUT}, "id": "abc123def"}}]</s>',
    "newer Mistral": f"[TOOL_CALLS]find_hotel[ARGS]{INPUT}</s>",
    "newer Mistral with an id": f"[TOOL_CALLS]find_hotel[CALL_ID]abc123def[ARGS]{INPUT}",
    "GLM-4.5": "<tool_call>find_hotel\n<arg_key>place</arg_key>\n<arg_value>Bergen</arg_value>\n"
    "<arg_key>nights</arg_key>\n<arg_value>3</arg_value>\n</tool_call>",
    "GLM-4.7": "<tool_call>find_hotel<arg_key>place</arg_key><arg_value>Bergen</arg_value>"
    "<arg_key>nights</arg_key><arg_value>3</arg_value></tool_call><|observation|>",
    "gpt-oss": "<|channel|>analysis<|message|>hotel<|end|><|start|>assistant<|channel|>commentary "
    f"to=functions.find_hotel <|constrain|>json<|message|>{INPUT}<|call|>",
    "gpt-oss as its template has it": "<|start|>assistant to=functions.find_hotel<|channel|>commentary json<|message|>"
    f"{INPUT}<|call|>",
    "gpt-oss without special tokens": f"analysishotelassistantcommentary to=functions.find_hotel json{INPUT}",
    "Gemma 4": '<|tool_call>call:find_hotel{place:<|"|>Bergen<|"|>,nights:3}<tool_call|>',
    "FunctionGemma": "<start_function_call>call:find_hotel{place:<escape>Bergen<escape>,nights:3}<end_function_call>",
    "Gemma 3": 'Let me look.\n```tool_code\nprint(find_hotel(place="Bergen", nights=3))\n```',
    "LFM2": '<|tool_call_start|>[find_hotel(place="Bergen", nights=3)]<|tool_call_end|>Looking.',
    "Kimi K2": f"<|tool_call_begin|>functions.find_hotel:0<|tool_call_argument_begin|>{INPUT}<|tool_call_end|>",
    "DeepSeek": f"<｜tool▁call▁begin｜>find_hotel<｜tool▁sep｜>{INPUT}<｜tool▁call▁end｜>",
    "OpenAI's message": f'{{"role": "assistant", "content": null, "tool_calls": [{{"id": "c", "type": "function", '
    f'"function": {{"name": "find_hotel", "arguments": {ESCAPED}}}}}]}}',
    "OpenAI's list": f'[{{"type": "function", "function": {{"name": "find_hotel", "arguments": {ESCAPED}}}}}]',
    "Claude's block": f'{{"type": "tool_use", "id": "t", "name": "find_hotel", "input": {INPUT}}}',
    "Claude's XML": '<invoke name="find_hotel"><parameter name="place">Bergen</parameter>'
    '<parameter name="nights">3</parameter></invoke>',
    "a list of calls": f'[{{"name": "find_hotel", "arguments": {INPUT}}}]',
    "our own keys": f'{{"Action": "find_hotel", "Action_Input": {INPUT}}}',
    "a JSON block in prose": f'I will look:\n```json\n{{"name": "find_hotel", "arguments": {INPUT}}}\n```\nDone.',
}


@pytest.mark.parametrize("tools", [None, TOOLS], ids=["no tools", "tools"])
@pytest.mark.parametrize("text", [*LABELLED.values(), *NATIVE.values()], ids=[*LABELLED, *NATIVE])
def test_a_call_is_read_in_every_spelling(text, tools):
    found = parse_actions(text, tools)
    assert same_sequence(found, GOLDEN) and same_inputs(found, GOLDEN), found


@pytest.mark.parametrize("text", [*LABELLED.values(), *NATIVE.values()], ids=[*LABELLED, *NATIVE])
def test_a_call_with_another_value_is_another_call_in_every_spelling(text):
    found = parse_actions(text.replace("Bergen", "Oslo").replace("\\u0042ergen", "Oslo"), TOOLS)
    assert same_sequence(found, GOLDEN) and not same_inputs(found, GOLDEN)


@pytest.mark.parametrize("text", NATIVE.values(), ids=NATIVE)
def test_a_call_that_is_cut_off_is_never_read_as_the_whole_one(text):
    at = text.index("Bergen") + 3
    assert not same_inputs(parse_actions(text[:at], TOOLS), GOLDEN)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "Hello, the hotel has 3 nights free.",
        'A call is written as `{"name": "f", "arguments": {}}` in JSON.',
        INPUT,
        "[1, 2, 3]",
        '{"name": "Ann", "age": 3}',
        '{"name": "find_hotel", "description": "d", "parameters": {"type": "object", "properties": {}}}',
        "print(x)",
        "f(x) = 2",
        'You could use find_hotel(place="Bergen").',
        "For example:\n```python\nfoo(a=1)\n```\nprints 1.",
        "One opens with <tool_call> and ends with </tool_call>.",
        '<tool_call>{"name": "find_hotel", "arguments": {"place": "Ber',
        "<tool_call>\n<function=find_hotel>\n<parameter=place>\nBergen",
        "Action: None\nFinal Answer: three",
        '{"action": "Final Answer", "action_input": "three"}',
        "Final Answer: three",
        "[TOOL_CALLS]",
    ],
)
def test_what_only_looks_like_a_call_is_none(text):
    assert parse_actions(text) == []


def test_several_calls_keep_their_order():
    two = [Action("a", {"x": 1}), Action("b", {})]
    for text in (
        '<tool_call>\n{"name": "a", "arguments": {"x": 1}}\n</tool_call>\n<tool_call>\n{"name": "b"}\n</tool_call>',
        '{"name": "a", "parameters": {"x": 1}}; {"name": "b", "parameters": {}}',
        '[TOOL_CALLS]a[ARGS]{"x": 1}[TOOL_CALLS]b[ARGS]{}',
        "[a(x=1), b()]",
        'Action 1: a\nAction Input 1: {"x": 1}\nAction 2: b\nAction Input 2: {}',
    ):
        assert parse_actions(text) == two


def test_a_mark_of_a_model_within_an_input_is_text():
    text = 'Action: note\nAction_Input: {"text": "<tool_call>{\\"name\\": \\"x\\", \\"arguments\\": {}}</tool_call>"}'
    assert [action.name for action in parse_actions(text)] == ["note"]


def test_texts_of_a_spelling_without_types_stand_for_the_values_they_are_unless_the_tool_says_text():
    text = "<tool_call><function=f><parameter=code>3</parameter></function></tool_call>"
    as_number, as_text = (golden_actions([{"Action": "f", "Action_Input": {"code": code}}]) for code in (3, "3"))
    assert same_inputs(parse_actions(text), as_number) and same_inputs(parse_actions(text), as_text)
    tools = [
        {"type": "function", "function": {"name": "f", "parameters": {"properties": {"code": {"type": "integer"}}}}}
    ]
    assert parse_actions(text, tools)[0].input == {"code": 3}


def test_a_tool_may_be_called_what_else_means_that_nothing_is():
    tools = [{"type": "function", "function": {"name": "none"}}]
    assert parse_actions("Action: none", tools) == [Action("none", "")] and parse_actions("Action: none") == []


def test_a_text_of_many_brackets_takes_no_time():
    assert parse_actions("[\n" * 20_000) == parse_actions("*" * 20_000) == []


WORDS = st.from_regex(r"[a-z][a-z0-9_]{0,5}", fullmatch=True)
VALUES = st.dictionaries(WORDS, st.integers() | st.text() | st.booleans(), max_size=3)


@settings(deadline=None)
@given(st.lists(st.tuples(WORDS, VALUES), min_size=1, max_size=3))
def test_any_calls_as_json_are_read_back(calls):
    objects = [{"name": name, "arguments": passed} for name, passed in calls]
    wanted = [Action(name, passed) for name, passed in calls]
    assert parse_actions(json.dumps(objects)) == parse_actions("[TOOL_CALLS]" + json.dumps(objects)) == wanted
    assert parse_actions("\n".join(f"<tool_call>\n{json.dumps(each)}\n</tool_call>" for each in objects)) == wanted
