"""Scores: right means the golden actions, and a likelihood does not depend on its neighbours."""

import dataclasses

import pytest
import torch

from trainer.config import TEACHER_PROMPT_TEMPLATE
from trainer.dataset import Row
from trainer.errors import Stopped, UsageError
from trainer.evaluate import Judge, decode_greedily, judge, require_checks, summarize, table, target_nll
from trainer.prompts import PromptEncoder
from trainer.student import end_token_ids


def row(answer=None, response="Action: a\nAction_Input: {}"):
    return Row("1", [{"role": "user", "content": "q"}], response, answer)


GOLDEN = [{"Action": "a", "Action_Input": {"x": {"y": [1, 2]}}}]


@pytest.mark.parametrize(
    ("text", "sequence", "inputs"),
    [
        ('Thought: hm\nAction: a\nAction_Input: {"x": {"y": [1, 2]}}', True, True),
        ('Action: a\nAction_Input: {"x": {"y": [2, 1]}}', True, False),
        ('Action: b\nAction_Input: {"x": {"y": [1, 2]}}', False, True),
        ("nothing", False, False),
    ],
)
def test_a_row_with_a_golden_answer_is_right_when_actions_and_nested_inputs_are(text, sequence, inputs):
    answer = judge(row(GOLDEN), text, 5, True, 0.0)
    assert (answer.right_sequence, answer.right_inputs, answer.right) == (sequence, inputs, sequence and inputs)


def test_a_row_without_a_golden_answer_is_right_when_the_text_is():
    right = judge(row(response="yes\n"), "yes", 1, True, 0.5)
    wrong = judge(row(response="yes"), "no", 3, False, 1.5)
    assert right.right and not wrong.right and right.right_sequence is None
    scores = summarize([right, wrong])
    assert (scores.accuracy, scores.action_sequence, scores.nll, scores.mean_length, scores.cut_off) == (
        0.5,
        None,
        1,
        2,
        0.5,
    )
    assert "50.0%" in table({"new_skill": scores}) and "-" in table({"new_skill": scores})


def test_the_likelihood_of_a_target_is_the_dense_formula_whatever_is_in_the_batch(student, tokenizer):
    prompts = [tokenizer(text)["input_ids"] for text in ("one", "a much longer prompt than that", "x y")]
    targets = [tokenizer(text)["input_ids"] for text in ("Action: a", "b", "Thought: a b c d e f g")]
    with torch.no_grad():
        together = target_nll(student, prompts, targets, pad_id=tokenizer.pad_token_id)
        for prompt, target, found in zip(prompts, targets, together, strict=True):
            logits = student(torch.tensor([prompt + target])).logits[0].double().log_softmax(-1)
            steps = [logits[len(prompt) + t - 1, token].item() for t, token in enumerate(target)]
            assert found == pytest.approx(-sum(steps) / len(steps), rel=1e-4)


def test_a_greedy_answer_does_not_depend_on_its_neighbours(student, tokenizer):
    ends = end_token_ids(student, tokenizer)
    prompts = [tokenizer(text)["input_ids"] for text in ("one", "a much longer prompt than that one is", "x y")]
    together = decode_greedily(student, tokenizer, prompts, ends, 20)
    alone = [decode_greedily(student, tokenizer, [prompt], ends, 20)[0] for prompt in prompts]
    assert together == alone
    assert all(len(ids) <= 20 for ids in together)


def test_greedy_means_greedy_whatever_the_models_own_configuration_says(student, tokenizer):
    ends, prompts = end_token_ids(student, tokenizer), [tokenizer("What is 37 plus 64?")["input_ids"]]
    plain = decode_greedily(student, tokenizer, prompts, ends, 20)
    student.generation_config.repetition_penalty = 3.0
    student.generation_config.no_repeat_ngram_size = 1
    student.generation_config.num_beams = 3
    assert decode_greedily(student, tokenizer, prompts, ends, 20) == plain


def test_a_requested_stop_ends_the_scoring_and_leaves_the_model_in_its_mode(student, tokenizer):
    encoder = PromptEncoder(
        tokenizer, max_prompt_length=64, context_room=64, max_completion_length=8, template=TEACHER_PROMPT_TEMPLATE
    )
    student.train()
    with pytest.raises(Stopped):
        Judge(encoder, 2, should_stop=lambda: True).answers(student, [row(GOLDEN)], "x")
    assert student.training


def test_a_row_with_a_check_is_right_when_it_passes_whatever_the_golden_text():
    asked = dataclasses.replace(row(response="The sum is 9."), extra={"check": {"kind": "number", "value": 9}})
    assert judge(asked, "It is 9.", 3, True, 0.0).right and not judge(asked, "It is 8.", 3, True, 0.0).right


def test_a_check_that_means_nothing_is_a_usage_error_that_names_the_row():
    with pytest.raises(UsageError, match=r"row 1: .*nmuber"):
        require_checks([dataclasses.replace(row(response="9"), extra={"check": {"kind": "nmuber", "value": 9}})])
