"""How a demonstration stands beside the prompt: by the published words, as an earlier exchange, as a system message."""

import copy
import dataclasses
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trainer.data.dataset import Reading, load_rows
from trainer.data.prompts import PromptEncoder
from trainer.data.rows.row import BadRow, Row
from trainer.data.showing import Showing, shown_by
from trainer.errors import UsageError

CALL = {"name": "switch", "arguments": {"device": "lamp", "on": True}}
TOOL = {"type": "function", "function": {"name": "switch", "description": "", "parameters": {"type": "object"}}}
TURNS = Showing("turns")


def user(text):
    return {"role": "user", "content": text}


def says(text):
    return {"role": "assistant", "content": text}


def row(text="q", golden="a", **more):
    return Row("7", [user(text)], golden, **more)


def encoder(tokenizer, showing=TURNS, **changes):
    limits = {"max_prompt_length": 512, "context_room": 600, "max_completion_length": 200}
    return PromptEncoder(tokenizer, showing=showing, **(limits | changes))


@given(st.text(), st.text(min_size=1))
def test_as_turns_the_demonstration_answers_the_question_and_it_is_asked_again(question, demonstration):
    messages = TURNS.messages(row(question), demonstration)
    assert messages == [user(question), says(demonstration), user(question)]


def test_a_request_takes_the_place_of_the_second_question_only_where_something_was_shown():
    showing = Showing("turns", request="And now you.")
    assert showing.messages(row(), "a") == [user("q"), says("a"), user("And now you.")]
    assert showing.messages(row(), "") == [user("q")]


def test_system_message_history_and_results_of_tools_keep_their_places():
    system, history = {"role": "system", "content": "s"}, [user("before"), says("then")]
    tail = [user("q"), {"role": "assistant", "content": None, "tool_calls": [CALL]}, {"role": "tool", "content": "4"}]
    other = Row("8", [{"role": "system", "content": "its own"}, user("o")], "b")
    asked = Row("7", [system, *history, *tail], "a", examples=(other,))
    assert TURNS.messages(asked, "a") == [system, user("o"), says("b"), *history, *tail, says("a"), *tail]


def test_calls_of_a_demonstration_are_shown_as_calls(real_tokenizer):
    asked = Row("7", [user("lamp on")], None, golden_calls=[CALL], tools=[TOOL])
    own = encoder(real_tokenizer("qwen3"))
    text = real_tokenizer("qwen3").decode(own.demonstration_prompt(asked, own.shown_text(asked) or "").ids)
    first, last = text.split("<|im_start|>user\nlamp on<|im_end|>")[1:]
    assert json.dumps(CALL) in first and "<tool_call>" in first and "<tool_call>" not in last
    served = shown_by(TURNS, asked)
    assert served[1]["tool_calls"] == [{"type": "function", "function": CALL}] and served[2] == user("lamp on")


def test_what_the_model_reads_as_turns_is_its_own_template_of_the_conversation(real_tokenizer):
    tokenizer = real_tokenizer("qwen3")
    shown = encoder(tokenizer).demonstration_prompt(row(), "a").ids
    expected = tokenizer.apply_chat_template(
        [user("q"), says("a"), user("q")], add_generation_prompt=True, enable_thinking=False, return_dict=False
    )
    assert shown == expected


def test_a_model_without_a_chat_template_reads_turns_as_a_text_of_examples(real_tokenizer):
    tokenizer = copy.copy(real_tokenizer("qwen3"))
    tokenizer.chat_template = None
    asked = row("Request: lamp. Answer: ", "ACT 1", examples=(row("Request: fan. Answer: ", "ACT 2"),))
    ids = encoder(tokenizer).demonstration_prompt(asked, "ACT 1").ids
    assert tokenizer.decode(ids) == (
        "Request: fan. Answer: ACT 2\n\nRequest: lamp. Answer: ACT 1\n\nRequest: lamp. Answer: "
    )


def test_a_context_is_shown_as_turns_only_where_it_is_an_exchange(tokenizer):
    exchange = [user("o"), says("b")]
    assert TURNS.messages(row(privileged_context=exchange), "") == [*exchange, user("q")]
    assert TURNS.messages(row(privileged_context=exchange[1:]), "") == [user("q"), says("b"), user("q")]
    for context in ("be brief", exchange[:1], [{"role": "system", "content": "s"}, *exchange]):
        with pytest.raises(BadRow, match=r"is no exchange .* Pass --show_context system, or template"):
            TURNS.messages(row(privileged_context=context), "x")
        with pytest.raises(UsageError, match="row 7: its privileged_context is no exchange"):
            shown_by(TURNS, row(privileged_context=context))


def test_the_end_of_a_demonstration_that_is_too_long_is_cut_and_the_question_stays(tokenizer):
    long = " ".join(f"w{n}" for n in range(300))
    prompt = encoder(tokenizer, context_room=200).demonstration_prompt(row("the question", long), long)
    text = tokenizer.decode(prompt.ids)
    assert prompt.was_cut and len(prompt.ids) <= 200 and text.count("the question") == 2
    with pytest.raises(UsageError, match=r"row 7: its prompt .* --demonstrations_shown"):
        encoder(tokenizer, context_room=20).demonstration_prompt(row("the question " * 9), "a")


@pytest.mark.parametrize("how", ["template", "turns", "system"])
def test_demonstrations_of_other_rows_are_shown_alone_or_before_the_own_one(how, tokenizer):
    others = (row("first", "one"), row("second", "two"))
    for shows_own, expected in ((True, ["first", "one", "second", "two", "mine"]), (False, ["first", "one", "second"])):
        asked = row("question", "mine", examples=others, shows_own=shows_own)
        shown = encoder(tokenizer, Showing(how))
        text = tokenizer.decode(shown.demonstration_prompt(asked, shown.shown_text(asked) or "").ids)
        places = [text.index(word) for word in expected]
        assert places == sorted(places) and ("mine" in text) == shows_own and "question" in text


ROWS = [
    {"prompt": f"{skill} {n}", "golden_response": f"{skill} answer {n}", "skill": skill}
    for skill in ("a", "b")
    for n in range(5)
]


def read(tmp_path, rows, **reading):
    (tmp_path / "rows.json").write_text(json.dumps(rows))
    return load_rows(str(tmp_path / "rows.json"), needs_golden=False, reading=Reading(**reading))


def test_examples_are_other_rows_of_the_same_kind_and_always_the_same(tmp_path):
    found = read(tmp_path, ROWS, examples=3)
    for row in found:
        assert len({example.id for example in row.examples}) == 3 and row.id not in {e.id for e in row.examples}
        assert {example.extra["skill"] for example in row.examples} == {row.extra["skill"]}
        assert all(not example.examples for example in row.examples)
    again = read(tmp_path, ROWS, examples=3)
    assert [*found] == [*again] and len({tuple(e.id for e in row.examples) for row in found}) > 2
    assert [row.id for row in found.only([7, 2])] == ["8", "3"] and found.only([7])[0] == found[7]


def test_a_row_alone_of_its_kind_has_fewer_examples_and_is_refused_where_it_needs_one(tmp_path, capsys):
    from trainer.data.privileged import require_shown

    found = read(tmp_path, [*ROWS, {"prompt": "c", "golden_response": "d", "skill": "c"}], examples=9)
    assert [len(row.examples) for row in found] == [4] * 10 + [0]
    require_shown(found[10])
    with pytest.raises(BadRow, match="no other row of its kind has a demonstration, and --demonstrations_of is others"):
        require_shown(dataclasses.replace(found[10], shows_own=False))


@pytest.mark.parametrize("how", ["template", "turns", "system"])
def test_the_calls_of_another_rows_demonstration_are_shown_too(how, real_tokenizer):
    tokenizer = real_tokenizer("qwen3")
    other = Row("8", [user("fan off")], None, golden_calls=[{"name": "switch", "arguments": {"device": "fan"}}])
    asked = Row("7", [user("lamp on")], "a", examples=(other,), tools=[TOOL])
    for chat in (True, False):
        if not chat and how != "turns":
            continue
        reader = copy.copy(tokenizer)
        reader.chat_template = tokenizer.chat_template if chat else None
        row = dataclasses.replace(asked, tools=asked.tools if chat else None)
        text = tokenizer.decode(encoder(reader, Showing(how)).demonstration_prompt(row, "a").ids)
        assert '"fan"' in text.split("fan off")[1]


def test_a_served_teacher_is_asked_plainly_where_nothing_is_to_be_shown():
    alone = row(shows_own=False)
    assert shown_by(Showing(), alone) == alone.prompt == shown_by(TURNS, alone)
