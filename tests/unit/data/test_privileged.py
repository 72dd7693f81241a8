"""What a teacher is shown besides the prompt: a context before a demonstration, in a template or as system message."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trainer.data.dataset import Reading, load_rows
from trainer.data.privileged import plain_golden, read_context, require_shown, shown_text
from trainer.data.prompts import PromptEncoder
from trainer.data.rows.row import BadRow, Row
from trainer.data.showing import Showing
from trainer.errors import UsageError

ASKED = [{"role": "user", "content": "q"}]
CALLS = [{"name": "f", "arguments": {"x": "é"}}, {"name": "g", "arguments": {}}]


def test_a_context_is_shown_before_a_demonstration_and_messages_as_their_texts():
    messages = [{"role": "user", "content": "hint"}, {"role": "assistant", "content": None, "tool_calls": CALLS[:1]}]
    assert shown_text(Row("1", ASKED, "golden"), plain_golden) == "golden"
    assert shown_text(Row("1", ASKED, "golden", privileged_context="hint"), plain_golden) == "hint"
    shown = shown_text(Row("1", ASKED, privileged_context=messages), plain_golden)
    assert shown == 'hint\n\n{"name": "f", "arguments": {"x": "é"}}'
    assert shown_text(Row("1", ASKED), plain_golden) is None


def test_a_demonstration_with_calls_is_text_and_a_line_of_json_for_each_call():
    row = Row("1", ASKED, "I look.", golden_calls=CALLS)
    assert plain_golden(row) == 'I look.\n{"name": "f", "arguments": {"x": "é"}}\n{"name": "g", "arguments": {}}'


@given(st.text(min_size=1))
def test_as_system_message_the_context_stands_before_the_one_of_the_prompt(context):
    system = {"role": "system", "content": "{demonstration}"}
    assert Showing("system").messages(Row("1", ASKED), context) == [{"role": "system", "content": context}, *ASKED]
    assert Showing("system").messages(Row("1", [system, *ASKED]), context) == [
        {"role": "system", "content": f"{context}\n\n{{demonstration}}"}, *ASKED
    ]  # fmt: skip


def test_behind_the_question_calls_and_results_stay():
    later = [{"role": "assistant", "content": "", "tool_calls": CALLS}, {"role": "tool", "content": "4"}]
    shown = Showing(template="{prompt}|{demonstration}").messages(Row("1", [*ASKED, *later]), "d")
    assert shown == [{"role": "user", "content": "q|d"}, *later]
    alone = [{"role": "system", "content": "s"}]
    shown = Showing(template="{prompt}\n{demonstration}").messages(Row("1", alone), "d")
    assert shown == [*alone, {"role": "user", "content": "d"}]


def test_one_context_is_for_all_rows_that_have_none(tmp_path):
    file, rows = tmp_path / "guide.txt", tmp_path / "rows.json"
    file.write_text("\ufeffBe brief.\n", encoding="utf-8")
    rows.write_text(json.dumps([{"prompt": "q", "privileged_context": "mine"}, {"prompt": "r"}]))
    found = load_rows(str(rows), needs_golden=False, reading=Reading(context=read_context(str(file))))
    assert [row.privileged_context for row in found] == ["mine", "Be brief."]
    with pytest.raises(UsageError, match=r"can't read --context .*missing.* Pass a text file"):
        read_context(str(tmp_path / "missing"))
    file.write_text(" \n")
    with pytest.raises(UsageError, match="is empty, expected a text"):
        read_context(str(file))


def test_a_row_with_nothing_to_show_is_told():
    with pytest.raises(BadRow, match="'golden_response' is missing, and so is 'privileged_context'"):
        require_shown(Row("1", ASKED))


def test_a_long_context_has_the_room_of_the_model_and_a_demonstration_that_of_a_response(tokenizer):
    limits = {"max_prompt_length": 64, "context_room": 300, "max_completion_length": 8}
    encoder = PromptEncoder(tokenizer, showing=Showing("system"), **limits)
    text = "word " * 40
    for row, was_cut in ((Row("1", ASKED, privileged_context=text), False), (Row("1", ASKED, text), True)):
        prompt = encoder.demonstration_prompt(row, text)
        assert prompt.was_cut == was_cut and "<|im_start|>system\nword" in tokenizer.decode(prompt.ids)
