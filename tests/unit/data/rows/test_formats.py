"""Files of the formats that people bring: what was taken for what, and that nothing of it is lost."""

import contextlib
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trainer.data.dataset import Reading, load_rows
from trainer.errors import UsageError
from trainer.evaluation.verify import require_known

CALL = {"id": "c1", "type": "function", "function": {"name": "sum", "arguments": '{"a": 1, "b": null}'}}
TOOL = {"type": "function", "function": {"name": "sum", "description": "Adds.", "parameters": {"type": "object"}}}
SYSTEM = {"role": "system", "content": "s"}
USER, ANSWER = {"role": "user", "content": "q?"}, {"role": "assistant", "content": "a."}


@pytest.fixture
def load(tmp_path):
    def load(*records, columns=None, turns="each", needs_golden=False, **more):
        path = tmp_path / "rows.json"
        path.write_text(json.dumps(list(records)))
        return load_rows(str(path), needs_golden=needs_golden, reading=Reading(columns, turns, **more))

    return load


def user(text: str) -> list[dict]:
    return [{"role": "user", "content": text}]


@pytest.mark.parametrize(
    ("record", "name", "prompt", "golden"),
    [
        ({"prompt": "q?", "completion": "a."}, "prompt and completion", user("q?"), "a."),
        ({"prompt": user("q?"), "completion": [ANSWER]}, "prompt and completion", user("q?"), "a."),
        ({"question": "q?", "answer": "a."}, "question and answer", user("q?"), "a."),
        ({"question": "q?", "context": "c.", "answer": "a."}, "question and answer", user("c.\n\nq?"), "a."),
        ({"query": "q?", "response": "a."}, "query and response", user("q?"), "a."),
        ({"problem": "q?", "solution": "a.", "answer": "4"}, "problem and solution", user("q?"), "a."),
        ({"instruction": "q?", "input": "", "output": "a."}, "Alpaca", user("q?"), "a."),
        ({"instruction": "q?", "input": "i", "output": "a."}, "Alpaca", user("q?\n\ni"), "a."),
        ({"instruction": "q?", "context": "c", "response": "a.", "category": "x"}, "Alpaca", user("q?\n\nc"), "a."),
        ({"instruction": "q?", "output": "a.", "system": "s"}, "Alpaca", [SYSTEM, USER], "a."),
        ({"messages": [USER, ANSWER]}, "chat messages", [USER], "a."),
        ({"prompt": "q?", "prompt_id": "7", "messages": [USER, ANSWER]}, "chat messages", [USER], "a."),
        (
            {"conversations": [{"from": "human", "value": "q?"}, {"from": "gpt", "value": "a."}], "system": "s"},
            "ShareGPT", [SYSTEM, USER], "a.",
        ),
        ({"prompt": "q?", "chosen": "a.", "rejected": "b."}, "preference pairs", user("q?"), "a."),
        ({"chosen": [USER, ANSWER], "rejected": [USER, ANSWER]}, "preference pairs", [USER], "a."),
        (
            {"chosen": "\n\nHuman: q?\n\nAssistant: a.", "rejected": "\n\nHuman: q?\n\nAssistant: b."},
            "preference pairs", [USER], "a.",
        ),
        (
            {"conversations": [{"from": "human", "value": "q?"}], "chosen": {"from": "gpt", "value": "a."},
             "rejected": {"from": "gpt", "value": "b."}},
            "preference pairs", [USER], "a.",
        ),
        ({"chosen_messages": [USER, ANSWER], "rejected_messages": [USER, ANSWER]}, "preference pairs", [USER], "a."),
        ({"question_id": 81, "category": "w", "turns": ["q?", "more"]}, "FastChat's questions", user("q?"), None),
        ({"turns": ["q?", "more"], "reference": ["", "b."]}, "FastChat's questions", user("q?"), None),
        ({"turns": ["q?", "more"], "reference": ["a.", "b."]}, "FastChat's questions", user("q?"), "a."),
        (
            {"question": "q?", "choices": ["x", "y"], "answer": 1, "subject": "s"},
            "multiple choice", user("q?\nA. x\nB. y\nAnswer with one letter."), "B",
        ),
        (
            {"question": "q?", "choices": {"text": ["x", "y"], "label": ["1", "2"]}, "answerKey": "2"},
            "multiple choice", user("q?\nA. x\nB. y\nAnswer with one letter."), "B",
        ),
        (
            {"question": {"stem": "q?", "choices": [{"text": "x", "label": "A"}]}, "answerKey": "A"},
            "multiple choice", user("q?\nA. x\nAnswer with one letter."), "A",
        ),
        (
            {"question": "q?", "options": ["x", "y"], "answer": "B", "answer_index": 1},
            "multiple choice", user("q?\nA. x\nB. y\nAnswer with one letter."), "B",
        ),
        (
            {"question": "q?", "options": {"A": "x", "B": "y"}, "answer": "y"},
            "multiple choice", user("q?\nA. x\nB. y\nAnswer with one letter."), "B",
        ),
        (
            {"ind": 3, "ctx": "He", "endings": ["x.", "y."], "label": "1"},
            "multiple choice", user("He\nA. x.\nB. y.\nAnswer with one letter."), "B",
        ),
        (
            {"sentence": "_ q.", "option1": "x", "option2": "y", "answer": "2"},
            "multiple choice", user("_ q.\nA. x\nB. y\nAnswer with one letter."), "B",
        ),
        ({"question": "q?", "passage": "p.", "answer": "a."}, "question and answer", user("p.\n\nq?"), "a."),
        ({"prompt": "q?", "canonical_solution": "a."}, "HumanEval", user("q?"), "q?a."),
        (
            {"text": "q.", "code": "a.", "test_list": ["assert f()"], "task_id": 2},
            "MBPP", user("q.\n\nYour code should pass these tests:\nassert f()"), "a.",
        ),
        ({"system": "s", "question": "q?", "chosen": "a.", "rejected": "b."}, "preference pairs", [SYSTEM, USER], "a."),
        ({"conversations": ["q?", "a."]}, "ShareGPT", user("q?"), "a."),
        (
            {"contents": [{"parts": [{"text": "q?"}]}, {"role": "model", "parts": [{"text": "a."}]}],
             "systemInstruction": {"parts": [{"text": "s"}]}},
            "Gemini", [SYSTEM, USER], "a.",
        ),
        (
            {"message_tree_id": "t", "prompt": {"text": "q?", "role": "prompter", "replies": [
                {"text": "b.", "role": "assistant", "rank": 1},
                {"text": "a.", "role": "assistant", "rank": 0, "replies": [{"text": "Why?", "role": "prompter"}]},
            ]}},
            "OpenAssistant's trees", user("q?"), "a.",
        ),
        ({"problem": "q?", "solution": "a.", "messages": [USER, ANSWER]}, "chat messages", user("q?"), "a."),
    ],
)  # fmt: skip
def test_a_format_is_told_by_its_columns(load, capsys, record, name, prompt, golden):
    (row,) = load(record)
    assert (row.prompt, row.golden_response) == (prompt, golden)
    said = capsys.readouterr().out
    assert f"rows.json: 1 row as {name}: " in said and said.count("\n") == 1


def test_columns_that_are_no_part_of_the_format_are_carried_through(load):
    (row,) = load({"question": "q?", "answer": "a.", "source": "s", "level": 3, "none": None})
    assert row.extra == {"source": "s", "level": 3}


def test_the_number_that_ends_a_solution_is_what_is_checked(load):
    rows = load(
        {"question": "q?", "answer": "1+1 = <<1+1=2>>2\n#### 2"}, {"question": "q?", "answer": "#### 1,200\nso"}
    )
    assert rows[0].extra["check"] == {"kind": "maths", "value": "2"} and "check" not in rows[1].extra
    (own,) = load({"prompt": "q?", "golden_response": ["two", "#### 2"], "check": {"kind": "number", "value": 2}})
    assert own.extra["check"]["kind"] == "number"


@pytest.mark.parametrize(
    ("record", "check"),
    [
        ({"problem": "q?", "solution": "So \\boxed{\\frac{1}{2}}."}, {"kind": "maths", "value": "\\frac{1}{2}"}),
        ({"problem": "q?", "solution": "So \\boxed{1", "answer": " 1 "}, {"kind": "maths", "value": "1"}),
        ({"problem": "q?", "solution": "", "answer": "4"}, {"kind": "maths", "value": "4"}),
        ({"query": "q?", "response": "So.\nThe answer is: 4"}, {"kind": "maths", "value": "4"}),
        ({"question": "q?", "answer": 2.5}, {"kind": "maths", "value": "2.5"}),
        ({"question": "q?", "answer": ["Oslo", "Christiania"]}, {"kind": "text", "accept": ["Oslo", "Christiania"]}),
        ({"question": "q?", "answers": {"text": ["a", "b", "a"]}}, {"kind": "text", "accept": ["a", "b"]}),
        ({"question": "q?", "answer": {"value": "a", "aliases": ["b"]}}, {"kind": "text", "accept": ["a", "b"]}),
        (
            {"question": "q?", "choices": ["x", "y"], "answer": 0},
            {"kind": "choice", "value": "A", "choices": ["x", "y"]},
        ),
        (
            {"prompt": user("q?"), "reward_model": {"ground_truth": "4"}, "ability": "math"},
            {"kind": "maths", "value": "4"},
        ),
    ],
)
def test_a_reference_says_how_an_answer_is_judged(load, record, check):
    (row,) = load(record)
    assert row.extra["check"] == check
    require_known(check)


@pytest.mark.parametrize("answer", [True, "  ", 5])
def test_an_answer_that_is_none_is_named_by_its_column(load, answer):
    with pytest.raises(UsageError, match=r"row 1: (field 'reply' is (true|empty)|the answer is 5), expected"):
        load({"question": "q?", "reply": answer} if answer != 5 else {"question": "q?", "choices": ["x"], "answer": 5})


def test_the_text_of_a_system_column_is_the_first_message_in_any_format(load, capsys):
    blocks = [{"type": "text", "text": "s", "cache_control": {"type": "ephemeral"}}]
    for record in (
        {"prompt": "q?", "golden_response": "a.", "system": "s"},
        {"prompt": user("q?"), "system_prompt": "s"},
        {"messages": [USER, ANSWER], "system": blocks},
        {"conversations": [{"from": "human", "value": "q?"}, {"from": "gpt", "value": "a."}], "system_prompt": "s"},
        {"messages": [SYSTEM, USER, ANSWER], "system": "s"},
    ):
        (row,) = load(record)
        assert row.prompt == [SYSTEM, USER] and row.extra == {}
        assert ", system = system" in capsys.readouterr().out


@pytest.mark.parametrize("name", ["images", "image", "audio", "videos"])
def test_pictures_and_sound_are_refused_by_the_name_of_their_column(load, name):
    for value in (["a.png"], {"bytes": None, "path": "x"}, "photos/a.JPG"):
        with pytest.raises(UsageError, match=f"row 1: field '{name}' is .*, and this trainer reads text alone"):
            load({"messages": [USER, ANSWER], name: value})
    (row,) = load({"messages": [USER, ANSWER], "image": "ubuntu:24.04", "images": [], "video": None})
    assert row.extra == {"image": "ubuntu:24.04", "images": []}


def test_a_column_that_says_much_and_that_no_model_reads_is_told(load, capsys):
    load({"prompt": "q?", "golden_response": "a.", "context": "c"})
    said = capsys.readouterr().out
    assert "no model reads the column context; where it belongs to the prompt, " in said
    assert '--columns prompt="{context}\\n\\n{prompt}" puts it there' in said
    load({"question": "q?", "answer": "a.", "context": "c"})
    assert "no model reads" not in capsys.readouterr().out


def test_a_template_of_columns_takes_texts_alone(load):
    with pytest.raises(UsageError, match=r"field 'talk' is .*, and --columns has it within a text"):
        load({"talk": [USER], "say": "a"}, columns='prompt="{talk}",golden_response=say')


USED = {"role": "assistant", "content": "I look.", "tool_calls": [{"type": "function", "function": {
    "name": "sum", "arguments": {"a": 1}}, "id": "t1"}]}  # fmt: skip


@pytest.mark.parametrize(
    ("spoken", "returned"),
    [
        (
            [
                {"role": "assistant", "content": [
                    {"type": "thinking", "thinking": "hm"}, {"type": "text", "text": "I look."},
                    {"type": "tool_use", "id": "t1", "name": "sum", "input": {"a": 1}},
                ]},
                {"role": "user", "content": [
                    {"type": "tool_result", "tool_use_id": "t1", "content": [{"type": "text", "text": "3"}]},
                    {"type": "text", "text": "So?"},
                ]},
            ],
            [{"role": "tool", "content": "3", "tool_call_id": "t1"}, {"role": "user", "content": "So?"}],
        ),
        (
            [
                {"role": "assistant", "content": [
                    {"text": "I look."}, {"toolUse": {"toolUseId": "t1", "name": "sum", "input": {"a": 1}}},
                ]},
                {"role": "user", "content": [{"toolResult": {"toolUseId": "t1", "content": [{"json": {"n": 3}}]}}]},
            ],
            [{"role": "tool", "content": '{"n": 3}', "tool_call_id": "t1"}],
        ),
        (
            [
                {"type": "reasoning", "summary": []},
                {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "I look."}]},
                {"type": "function_call", "call_id": "t1", "name": "sum", "arguments": '{"a": 1}'},
                {"type": "function_call_output", "call_id": "t1", "output": "3"},
            ],
            [{"role": "tool", "content": "3", "tool_call_id": "t1"}],
        ),
        (
            [
                {"role": "model", "parts": [{"text": "I look."}, {"functionCall": {
                    "id": "t1", "name": "sum", "args": {"a": 1}}}]},
                {"role": "user", "parts": [{"functionResponse": {"name": "sum", "response": {"n": 3}}}]},
            ],
            [{"role": "tool", "content": '{"n": 3}', "name": "sum"}],
        ),
    ],
)  # fmt: skip
def test_calls_and_results_in_blocks_and_items_are_calls_and_messages_of_tools(load, spoken, returned):
    rows = load({"messages": [USER, *spoken, ANSWER]})
    assert rows[0].prompt == [USER] and rows[0].golden_response == "I look."
    assert rows[0].golden_calls == [{"name": "sum", "arguments": {"a": 1}}]
    assert rows[1].prompt == [USER, USED, *returned] and rows[1].golden_response == "a."


def test_what_the_responses_api_was_given_and_gave_is_a_row(load):
    call = {"type": "function_call", "call_id": "c", "name": "sum", "arguments": "{}"}
    (row,) = load({"instructions": "s", "input": [USER], "output": [{"type": "reasoning", "summary": []}, call, call]})
    assert row.prompt == [SYSTEM, USER] and row.golden_calls == [{"name": "sum", "arguments": {}}] * 2


def test_pictures_in_blocks_are_refused_by_number_and_type(load):
    with pytest.raises(UsageError, match="part 2 of message 1 of 'contents' is of the type 'inlineData'"):
        load({"contents": [{"role": "user", "parts": [{"text": "q?"}, {"inlineData": {"data": ""}}]}]})


def test_calls_in_the_texts_of_glaive_are_calls_and_its_functions_tools(load):
    system = 'SYSTEM: Use the functions -\n{"name": "sum", "description": "Adds.", "parameters": {"type": "object"}}\n'
    chat = (
        'USER: q?\n\n\nASSISTANT: <functioncall> {"name": "sum", "arguments": \'{"a": "it\\\'s"}\'} <|endoftext|>\n\n\n'
        'FUNCTION RESPONSE: {"n": 3}\n\n\nASSISTANT: a. <|endoftext|>\n\n\n'
    ).replace("it\\'s", "its")
    one, two = load({"system": system, "chat": chat})
    assert one.tools == [TOOL] and one.golden_calls == [{"name": "sum", "arguments": {"a": "its"}}]
    assert [message["role"] for message in two.prompt] == ["system", "user", "assistant", "tool"]
    assert two.golden_response == "a."


@given(text=st.text(alphabet="USER: ASSISTANTfunctioncall<>{}\"':\n", max_size=60))
def test_any_text_of_glaive_is_rows_or_a_message(tmp_path_factory, text):
    path = tmp_path_factory.mktemp("glaive") / "rows.json"
    path.write_text(json.dumps([{"system": "", "chat": f"USER: {text}\n\n\nASSISTANT: {text}"}]))
    with contextlib.suppress(UsageError):
        assert [*load_rows(str(path), needs_golden=False)]


def test_an_empty_answer_in_a_conversation_is_named_by_its_number(load):
    with pytest.raises(UsageError, match="row 1: message 2 of 'messages' is the assistant's and empty"):
        load({"messages": [USER, {"role": "assistant", "content": " "}]})


def test_columns_without_a_value_are_shown(load):
    with pytest.raises(UsageError, match="has the columns golden_response, prompt, and no value in them"):
        load({"prompt": None, "golden_response": None})


def test_what_to_type_is_told_from_columns_that_hold_text(load):
    with pytest.raises(UsageError, match="--columns prompt=article,golden_response=highlights"):
        load({"id": "1", "article": "long", "highlights": "short", "n": 3})
    with pytest.raises(UsageError, match=r"Say which is which: --columns prompt=lines$"):
        load({"lines": "only"})
    with pytest.raises(UsageError, match=r"\(11\) and 8 more, which fit no format"):
        load({f"c{number}": number for number in range(20)})
    with pytest.raises(UsageError, match=r"one message of a tree\. Pass the file that has the trees whole"):
        load({"message_id": "1", "parent_id": "0", "text": "q?", "role": "prompter"})


def test_calls_and_tools_of_a_conversation_are_the_rows_golden_calls_tools_and_answer(load):
    spoken = [USER, {"role": "assistant", "content": None, "tool_calls": [CALL]}]
    for given_as in ({"tools": [TOOL]}, {"tools": json.dumps([TOOL])}, {"functions": [TOOL["function"]]}):
        (row,) = load({"messages": spoken, "parallel_tool_calls": False} | given_as)
        assert row.tools == [TOOL] and row.golden_response is None and row.has_demonstration
        assert row.golden_calls == [{"name": "sum", "arguments": {"a": 1, "b": None}}]
        assert row.golden_answer == [{"Action": "sum", "Action_Input": {"a": 1, "b": None}}]


def test_calls_in_former_spellings_are_calls(load):
    former = {"role": "assistant", "function_call": {"name": "sum", "arguments": "{}"}}
    sharegpt = {"from": "function_call", "value": '{"name": "sum", "arguments": {}}'}
    twice = {"role": "assistant", "tool_calls": [{"function": {"name": "sum", "arguments": '"{\\"a\\": 1}"'}}]}
    told = {"type": "tool_call", "value": '{"name": "sum", "arguments": {"a": 1}}'}
    parts = {"role": "assistant", "content": [{"type": "reasoning", "value": "Adding."}, told]}
    texts = {"role": "assistant", "tool_calls": [told["value"]]}
    for message, arguments in ((former, {}), (sharegpt, {}), (twice, {"a": 1}), (parts, {"a": 1}), (texts, {"a": 1})):
        (row,) = load({"messages": [USER, message]})
        assert row.golden_calls == [{"name": "sum", "arguments": arguments}]


def test_names_of_tools_alone_define_none_and_stay_with_the_row(load):
    (row,) = load({"prompt": "q?", "golden_response": "a.", "tools": ["sum", "divide"]})
    assert row.tools is None and row.extra == {"tools": ["sum", "divide"]}
    (row,) = load({"prompt": "q?", "golden_response": "a.", "tools": []})
    assert row.tools is None and row.extra == {}


def test_each_answer_in_a_conversation_is_a_row_or_the_last_alone(load):
    spoken = {
        "id": "x",
        "messages": [
            {"role": "system", "content": "s"}, USER, ANSWER, {"role": "user", "content": "r?"},
            {"role": "assistant", "content": None, "tool_calls": [CALL]}, {"role": "tool", "content": "3"},
            {"role": "assistant", "content": "three"},
        ],
    }  # fmt: skip
    rows = load(spoken, {"messages": [USER, ANSWER]})
    assert [(row.id, len(row.prompt), row.golden_response) for row in rows] == [
        ("x.1", 2, "a."), ("x.2", 4, None), ("x.3", 6, "three"), ("2", 1, "a."),
    ]  # fmt: skip
    assert rows[2].prompt[-1] == {"role": "tool", "content": "3"}
    last = load(spoken, turns="last")
    assert [(row.id, row.golden_response) for row in last] == [("x", "three")]


@pytest.mark.parametrize("unlearnt", [{"weight": 0}, {"loss_weight": 0.0}])
def test_answers_of_weight_0_and_greetings_are_not_learnt(load, unlearnt):
    hello = {"role": "assistant", "content": "Hello."}
    (row,) = load({"messages": [hello, USER | unlearnt, ANSWER | unlearnt, USER, ANSWER | {"loss_weight": 1.0}]})
    assert (row.prompt, row.golden_response) == ([hello, USER, ANSWER, USER], "a.")


@pytest.mark.parametrize("record", [{"messages": [USER, ANSWER]}, {"prompt": "q?", "completion": "a."}])
def test_an_answer_that_is_labelled_as_a_bad_one_is_not_learnt(load, record):
    assert load(record | {"label": True})[0].golden_response == "a."
    with pytest.raises(UsageError, match="'label' is false: this answer is not wanted"):
        load(record | {"label": False})


def test_a_conversation_without_an_answer_is_a_prompt(load):
    (row,) = load({"messages": [{"role": "developer", "content": "d"}, USER]})
    assert len(row.prompt) == 2 and not row.has_demonstration


def test_content_in_parts_is_one_text_and_what_is_no_text_is_named(load):
    parts = [{"type": "text", "text": "q"}, {"type": "input_text", "text": "?"}]
    assert load({"messages": [{"role": "user", "content": parts}, ANSWER]})[0].prompt == [USER]
    parts = [{"type": "text", "value": "q"}, {"type": "text", "content": "?"}]
    assert load({"messages": [{"role": "user", "content": parts}, ANSWER]})[0].prompt == [USER]
    with pytest.raises(UsageError, match="part 2 of message 1 of 'messages' is of the type 'image_url'"):
        load({"messages": [{"role": "user", "content": [parts[0], {"type": "image_url"}]}, ANSWER]})


@pytest.mark.parametrize(
    ("messages", "words"),
    [
        ([{"role": "robot", "content": "x"}], "message 1 of 'prompt' has the role \"robot\", expected one of system"),
        ([USER, {"role": "user"}], "message 2 of 'prompt' has no 'content'"),
        ([{"role": "user", "content": 5}], "message 1 of 'prompt' has the content 5, expected a text"),
        (["q"], "message 1 of 'prompt' is \"q\", expected an object"),
        ([USER, ANSWER], "is of role 'assistant', expected 'user', or 'tool'"),
        ([USER, {"role": "assistant", "tool_calls": [{"function": {}}]}, USER], "has the tool call"),
        ([USER, {"role": "assistant", "tool_calls": [{"name": "f", "arguments": "{"}]}, USER], "the call of f"),
    ],
)
def test_a_wrong_message_is_named_by_number_key_and_value(load, messages, words):
    with pytest.raises(UsageError) as error:
        load({"prompt": messages, "golden_response": "x"})
    assert words in str(error.value) and "row 1" in str(error.value)


def test_a_null_is_an_absent_key_but_for_one_within_an_actions_input(load):
    record = {"prompt": "q?", "golden_response": ["a."], "id": None, "check": None, "tools": None}
    action = {"Action": "go", "Action_Input": {"to": None}}
    (row,) = load(record | {"golden_answer": [action]})
    assert row.id == "1" and row.extra == {} and row.tools is None and row.golden_answer == [action]


def test_columns_say_which_is_which_also_as_texts_that_join_several(load, capsys):
    record = {"ask": "q", "more": "m", "say": "a, b", "n": 1}
    (row,) = load(record, columns='prompt="{ask}: {more}\\n",golden_response=say')
    assert (row.prompt, row.golden_response, row.extra) == (user("q: m\n"), "a, b", {"n": 1})
    assert "--columns: prompt = {ask}: {more}\\n, golden_response = say\n" in capsys.readouterr().out
    (row,) = load({"talk": [USER, ANSWER], "n": 1}, columns="messages=talk")
    assert (row.prompt, row.golden_response) == ([USER], "a.")


@pytest.mark.parametrize(
    ("columns", "words"),
    [
        ("prompt", "expected FIELD=COLUMN"),
        ("pompt=ask", "found 'pompt', expected one of id, prompt"),
        ("prompt=ask,golden_response=none", "has no column 'none', which --columns names; it has ask, say"),
    ],
)
def test_columns_that_mean_nothing_are_an_error(load, columns, words):
    with pytest.raises(UsageError, match=words):
        load({"ask": "q", "say": "a"}, columns=columns)


def test_a_file_that_fits_no_format_or_two_shows_its_columns_and_what_to_type(load):
    with pytest.raises(UsageError) as error:
        load({"text": "some words", "label": 3})
    assert 'the columns text ("some words"), label (3), which fit no format' in str(error.value)
    assert "--columns prompt=text,golden_response=label" in str(error.value)
    with pytest.raises(UsageError) as error:
        load({"question": "q?", "answer": "a", "response": "b"})
    assert "golden response = response or prompt = question, golden response = answer" in str(error.value)
    with pytest.raises(UsageError, match="fields 'prompt' and 'messages' differ"):
        load({"prompt": "another", "messages": [USER, ANSWER]})


def test_a_golden_response_that_is_missing_hints_at_the_column_that_may_hold_it(load):
    with pytest.raises(UsageError, match="--columns prompt=prompt,golden_response=reference_text"):
        load({"prompt": "q?", "reference_text": "a."}, needs_golden=True)


def test_bad_rows_are_dropped_with_counts_by_reason(load, capsys):
    bad = [
        {"prompt": 3, "completion": "a"},
        {"prompt": 4, "completion": "a"},
        {"prompt": "q \ud83d", "completion": "a"},
    ]
    rows = load({"prompt": "q", "completion": "a"}, *bad, skip_bad_rows=True)
    said = capsys.readouterr().out
    assert len(rows) == 1 and rows[0].id == "1"
    assert "dropped 3 bad of 4 rows (rows 2, 3, 4)" in said
    assert "2  field 'prompt' is wrong, expected a text or a list of messages." in said and "surrogate pair" in said


def test_tools_for_rows_that_name_none_come_from_a_file(load):
    rows = load({"prompt": "q"}, {"prompt": "r", "tools": [TOOL | {"x": 1}]}, tools=(TOOL,))
    assert rows[0].tools == [TOOL] and rows[1].tools == [TOOL]


def test_what_was_written_is_read_as_the_same_row(load):
    record = {
        "messages": [USER, {"role": "assistant", "content": "I add.", "tool_calls": [CALL]}],
        "tools": [TOOL], "privileged_context": "hint", "skill": "s",
    }  # fmt: skip
    (row,) = load(record)
    assert [*load(row.to_json())] == [row]


KEYS = st.sampled_from(
    ["role", "content", "tool_calls", "function", "name", "from", "value", "parts", "type", "text", "input", "replies"]
)
SHAPES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(0, 9)
    | st.text(max_size=3)
    | st.sampled_from(["user", "assistant", "tool", "tool_use", "tool_result", "function_call"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            KEYS,
            inner,
        )
    ),
    max_leaves=10,
)
COLUMN_NAMES = st.sampled_from(
    [
        "prompt", "completion", "messages", "conversations", "chosen", "rejected", "question", "answer", "instruction",
        "input", "output", "system", "history", "tools", "functions", "golden_response", "golden_answer", "check", "id",
        "choices", "answerKey", "turns", "function", "query", "answers", "Instructions", "Golden_Answers", "label",
        "privileged_context", "Instances", "NLDocumentation", "reference", "contents", "systemInstruction", "chat",
        "options", "endings", "ctx", "sentence", "option1", "option2", "reward_model", "code", "test_list", "text",
        "canonical_solution", "message_tree_id", "image", "context", "solution", "problem", "instructions", "ability",
    ]
)  # fmt: skip


@given(records=st.lists(st.dictionaries(COLUMN_NAMES, SHAPES, max_size=4), min_size=1, max_size=3), skip=st.booleans())
def test_whatever_comes_in_either_rows_come_out_or_one_message(tmp_path_factory, records, skip):
    path = tmp_path_factory.mktemp("shapes") / "rows.json"
    path.write_text(json.dumps(records))
    try:
        rows = [*load_rows(str(path), needs_golden=False, skip_bad_rows=skip)]
    except UsageError as error:
        assert "\n" not in str(error) and str(path) in str(error)
    else:
        assert rows and all(row.prompt and json.dumps(row.to_json()) for row in rows)


@pytest.mark.parametrize(
    "record",
    [
        {"question": "q?", "answers": {"text": [["a"], {"b": 1}, "c"]}},
        {"question": "q?", "answer": {"value": "c", "aliases": 5}},
        {"message_tree_id": "t", "prompt": {"text": "q?", "role": "prompter", "replies": 0.5}},
    ],
)
def test_lists_that_hold_something_else_or_are_none_end_no_reading(load, record):
    (row,) = load(record)
    assert row.prompt == user("q?")
