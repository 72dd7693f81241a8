"""What a model thinks before it answers is neither learnt nor judged, however it marks it."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trainer.data.actions.thinking import MARKS, has_thinking_mark, strip_thinking
from trainer.evaluation.judge import read_answer

PIECES = ["answer", "\n", " x ", "<|start|>assistant", "<|channel|>final<|message|>", "analysis", "assistantfinal"]
PIECES += [mark for pair in MARKS for mark in pair]


@given(st.lists(st.sampled_from(PIECES) | st.text(max_size=4), max_size=8).map("".join))
def test_no_mark_that_opens_a_thought_is_left_in_any_text(text):
    rest = strip_thinking(text)
    assert not any(begin in rest for begin, _ in MARKS)
    assert strip_thinking(rest) == rest


@pytest.mark.parametrize(("begin", "end"), MARKS)
def test_each_models_thoughts_are_taken_out(begin, end):
    assert strip_thinking(f"{begin}x\ny{end}\n\nanswer") == "answer"
    assert strip_thinking(f"{begin}{end}answer{begin}b{end}") == "answer"
    assert strip_thinking(f"answer {begin}never closed") == "answer "
    assert has_thinking_mark(f"{begin}x")


@pytest.mark.parametrize(
    ("text", "rest"),
    [
        ("half a thought</think>\nanswer", "answer"),
        ("half a thought[/THINK]answer", "answer"),
        ("half a thought<|END_THINKING|><|START_RESPONSE|>answer<|END_RESPONSE|>", "answer"),
        ("<|channel|>analysis<|message|>We add.<|end|><|start|>assistant<|channel|>final<|message|>4", "4"),
        ("<|channel|>final<|message|>4", "4"),
        ("<|channel|>analysis<|message|>cut off", ""),
        ("analysisWe add.assistantfinal4", "4"),
        ("Here is my thought process: easy.\n\nHere is my response: 4", "4"),
        ("<|channel>thought\nWe add.<channel|>4", "4"),
        ("analysis of variance is a final test", "analysis of variance is a final test"),
        ("The list ends with <|end|> here", "The list ends with <|end|> here"),
        ("answer", "answer"),
    ],
)
def test_thinking_is_taken_out(text, rest):
    assert strip_thinking(text) == rest


def test_a_call_behind_a_thought_keeps_its_marks():
    call = '<|channel|>commentary to=functions.f <|constrain|>json<|message|>{"x": 1}<|call|>'
    text = f"<|channel|>analysis<|message|>I call.<|end|><|start|>assistant{call}"
    assert strip_thinking(text) == f"<|start|>assistant{call}"


class Tokens:
    """A tokenizer of words, of which some are special."""

    all_special_tokens = ("[THINK]", "[/THINK]", "</s>")

    def decode(self, ids, skip_special_tokens=False):
        return " ".join(word for word in ids if not (skip_special_tokens and word in self.all_special_tokens))


def test_marks_that_are_special_tokens_hide_no_thought_from_the_judge():
    assert read_answer(Tokens(), ["[THINK]", "five", "[/THINK]", "four", "</s>"]) == ("four", "four </s>")
    assert read_answer(Tokens(), ["four", "</s>"])[0] == "four"
