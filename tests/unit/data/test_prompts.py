"""Prompts: nothing that matters is ever cut, and texts are taken literally."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trainer.data.prompts import PromptEncoder
from trainer.data.rows.row import Row
from trainer.data.showing import Showing
from trainer.errors import UsageError

CLOSING = "Now answer with a response of your own, including the thinking process."


def encoder(tokenizer, **changes):
    limits = {"max_prompt_length": 64, "context_room": 400, "max_completion_length": 300}
    return PromptEncoder(tokenizer, showing=Showing(), **(limits | changes))


def row(text):
    return Row("7", [{"role": "user", "content": text}])


@given(st.text(), st.text())
def test_question_and_demonstration_stand_in_the_published_template_literally(question, demonstration):
    [message] = Showing().messages(row(question), demonstration)
    opening = "This is an example for a response to the question:"
    assert message["content"] == f"{question}\n\n{opening}\n{demonstration}\n\n{CLOSING}"


def test_earlier_messages_stay_as_they_are():
    system = {"role": "system", "content": "{demonstration}"}
    asked = Row("7", [system, {"role": "user", "content": "q"}])
    messages = Showing(template="{prompt}|{demonstration}").messages(asked, "d")
    assert messages == [system, {"role": "user", "content": "q|d"}]


@pytest.mark.parametrize("template", ["", "{prompt}", "{demonstration}{prompt}", "{prompt}{prompt}{demonstration}"])
def test_a_template_without_its_two_places_in_order_is_an_error(template):
    with pytest.raises(UsageError, match=r"expected one \{prompt\} and after it one \{demonstration\}"):
        Showing(template=template)


def test_a_short_prompt_is_whole_and_a_long_one_loses_its_beginning(tokenizer):
    short = encoder(tokenizer).student_prompt(row("hello"))
    assert not short.was_cut
    assert tokenizer.decode(short.ids).endswith("hello<|im_end|>\n<|im_start|>assistant\n")
    long = encoder(tokenizer).student_prompt(row("first " + "word " * 200 + "last"))
    assert long.was_cut and len(long.ids) == 64
    assert tokenizer.decode(long.ids).endswith("last<|im_end|>\n<|im_start|>assistant\n")


@given(st.integers(0, 600), st.integers(80, 500), st.integers(1, 500))
def test_a_demonstration_prompt_keeps_question_and_closing_whatever_its_length(tokenizer, words, room, limit):
    built = encoder(tokenizer, context_room=room, max_completion_length=limit)
    demonstration = " ".join(f"w{i}" for i in range(words)) or "w"
    try:
        prompt = built.demonstration_prompt(row("the question?"), demonstration)
    except UsageError as error:
        assert "leaves room for" in str(error)
        return
    text = tokenizer.decode(prompt.ids)
    assert len(prompt.ids) <= room
    assert "the question?" in text and CLOSING in text
    assert prompt.was_cut == (demonstration not in text)


def test_a_question_that_leaves_no_room_is_an_error_with_the_numbers(tokenizer):
    with pytest.raises(UsageError, match=r"row 7: .* tokens before any demonstration; .* room for 50"):
        encoder(tokenizer, context_room=50).demonstration_prompt(row("word " * 80), "demonstration")


def test_a_target_ends_with_the_end_of_turn_token_unless_it_was_cut(tokenizer):
    whole = encoder(tokenizer).target("Action: a")
    assert tokenizer.decode(whole.ids) == "Action: a<|im_end|>" and not whole.was_cut
    cut = encoder(tokenizer, max_completion_length=5).target("word " * 80)
    assert cut.was_cut and len(cut.ids) == 5


def test_a_conversation_for_a_tokenizer_without_chat_template_is_an_error(student_path):
    from transformers import AutoTokenizer

    bare = AutoTokenizer.from_pretrained(student_path)
    bare.chat_template = None
    assert encoder(bare).student_prompt(row("plain")).ids == bare("plain")["input_ids"]
    with pytest.raises(UsageError, match="no chat template"):
        encoder(bare).render([{"role": "system", "content": "s"}, {"role": "user", "content": "u"}])
