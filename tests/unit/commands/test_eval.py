"""Scores: right means the golden actions, and a likelihood does not depend on its neighbours."""

import dataclasses
import itertools
import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from fake_teacher import FakeTeacher, Fault, error

from trainer.__main__ import main
from trainer.data.dataset import load_rows
from trainer.data.prompts import PromptEncoder
from trainer.data.rows.row import Row
from trainer.data.showing import Showing
from trainer.errors import Stopped, UsageError
from trainer.evaluation import baseline
from trainer.evaluation.judge import Judge, decode_greedily, target_nll
from trainer.evaluation.scores import Group, as_json, judge, mark_seen, require_checks, summarize, table
from trainer.models.student import end_token_ids

TOOLUSE = Path(__file__).resolve().parents[3] / "data" / "tooluse_data"


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


def test_a_row_with_nothing_but_a_reference_text_is_neither_right_nor_wrong_and_its_similarity_is_told():
    near, far = (judge(row(response="It is cold in Oslo."), text, 1, True, nll) for text, nll in WORDINGS)
    assert near.right is None and far.right is None and near.right_sequence is None
    assert near.similarity is not None and far.similarity is not None and 1 > near.similarity > 0.5 > far.similarity
    scores = summarize([near, far])
    assert (scores.accuracy, scores.judged, scores.nll, scores.by) == (None, 0, 1, {})
    assert scores.similarity == pytest.approx((near.similarity + far.similarity) / 2)
    header, line, note = table({"new_skill": scores}).splitlines()
    assert "chrF" in note
    values = dict(zip(header.split(), line.split()[1:], strict=True))
    assert values["accuracy"] == "-" and values["similarity"] == f"{scores.similarity:.1%}"


WORDINGS = (("It is cold in Oslo now.", 0.5), ("Buy apples.", 1.5))


def test_accuracy_is_of_the_rows_that_are_right_or_wrong():
    answers = [judge(row(GOLDEN), "nothing", 1, True, None), judge(row(response="yes"), "yes", 1, True, None)]
    scores = summarize(answers)
    assert (scores.rows, scores.judged, scores.accuracy, scores.similarity) == (2, 1, 0.0, 1.0)


def test_the_table_has_no_similarity_where_all_rows_are_right_or_wrong():
    assert "similarity" not in table({"new_skill": summarize([judge(row(GOLDEN), "nothing", 1, True, None)])})


def test_a_call_that_only_special_tokens_mark_is_read_where_the_text_has_none():
    golden = [{"Action": "f", "Action_Input": {"x": "y"}}]
    marked = '<|tool_call>call:f{x:<|"|>y<|"|>}<tool_call|>'
    assert judge(row(golden), "call:f{x:y}", 3, True, None, marked=marked).right
    assert not judge(row(golden), "call:f{x:y}", 3, True, None).right


def test_a_demonstration_of_calls_is_what_a_right_answer_does():
    asked = dataclasses.replace(row(), golden_response=None, golden_calls=[{"name": "f", "arguments": {"x": 1}}])
    assert judge(asked, '{"name": "f", "parameters": {"x": 1}}', 3, True, None).right
    assert judge(asked, "Nothing to call.", 3, True, None).right is False


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
        tokenizer, max_prompt_length=64, context_room=64, max_completion_length=8, showing=Showing()
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


def calls(*tools, id="1", **extra):
    """A row whose golden answer calls these tools without arguments."""
    answer = [{"Action": tool, "Action_Input": {}} for tool in tools]
    return Row(id, [{"role": "user", "content": "q"}], "golden", answer, extra)


def said(row, *tools):
    """The judged answer of a model that calls these tools."""
    return judge(row, "\n".join(f"Action: {tool}\nAction_Input: {{}}" for tool in tools), 5, True, None)


def test_a_format_error_is_an_answer_without_any_action_where_actions_are_expected():
    none_expected = row([], response="nothing to call")
    answers = [
        said(calls("a"), "b"),
        judge(calls("a"), "Call a.", 3, True, 0.0),
        judge(none_expected, "no", 1, True, 0),
    ]
    assert [answer.format_error for answer in answers] == [False, True, None]
    assert summarize(answers).format_errors == 0.5
    assert summarize([judge(row(response="yes"), "yes", 1, True, 0.0)]).format_errors is None


def test_accuracy_is_broken_down_by_tool_by_number_of_steps_and_by_what_the_rows_say_of_themselves():
    rows = [calls("a", skill="x"), calls("b", skill="x"), calls("a", "b", "a", skill="y")]
    scores = summarize([said(rows[0], "a"), said(rows[1], "a"), said(rows[2], "a", "b", "a")])
    assert scores.by == {
        "tool": {"a": Group(2, 1.0), "b": Group(2, 0.5)},
        "steps": {"1": Group(2, 0.5), "3": Group(1, 1.0)},
        "skill": {"x": Group(2, 0.5), "y": Group(1, 1.0)},
    }


def test_a_row_is_unseen_when_any_of_its_tools_is_in_no_golden_answer_of_training():
    answers = [said(calls("a"), "a"), said(calls("a", "b"), "a", "b"), said(calls("b"), "a")]
    answers += [judge(row(response="yes"), "yes", 1, True, 0.0)]  # needs no tool, so it is neither
    marked = mark_seen(answers, [calls("a"), calls("a", "c"), row(response="b")])
    assert summarize(marked).by["tools"] == {"seen": Group(1, 1.0), "unseen": Group(2, 0.5)}


def test_the_tool_use_data_agree_on_which_rows_are_unseen():
    training, rows = (load_rows(str(TOOLUSE / f"{name}_data.json")) for name in ("train", "eval"))
    marked = mark_seen([said(row) for row in rows], training)
    found = [answer.groups["tools"] for answer in marked]
    assert found == [["seen" if row.extra["seen_tools"] else "unseen"] for row in rows]


def test_the_table_shows_groups_where_there_is_more_than_one_and_the_lowest_of_very_many():
    text = table({"new_skill": summarize([said(calls("a"), "a"), said(calls("b"), "a")])})
    assert "new_skill by tool: a 100.0% of 1, b 0.0% of 1" in text and "by steps" not in text
    assert "x by tool: 100.0% in each of 2" in table({"x": summarize([said(calls("a"), "a"), said(calls("b"), "b")])})
    tools = [f"tool-{number:02}" for number in range(40)]
    many = table({"x": summarize([said(calls(tool), tool if tool < "tool-30" else "") for tool in tools])})
    assert "x by tool (the lowest 12 of 40)" in many and "tool-39" in many and "tool-29" not in many
    assert max(map(len, many.splitlines())) <= 120


def test_what_a_served_model_can_not_tell_is_a_dash_in_the_table_and_null_in_the_file():
    scores = {"new_skill": summarize([judge(row(GOLDEN), "nothing", None, True, None)])}
    written = json.loads(json.dumps(as_json(scores, {})))["scores"]["new_skill"]
    assert written["nll"] is None and written["mean_length"] is None
    header, line = table(scores).splitlines()[:2]
    values = dict(zip(header.split(), line.split()[1:], strict=True))
    assert values["nll"] == values["mean_length"] == "-" and values["format_errors"] == "100.0%"


@pytest.fixture
def earlier(tmp_path):
    """Writes what an evaluation of rows with these ids and verdicts left."""

    def write(**right):
        answers = {"new_skill": [{"id": id, "right": verdict} for id, verdict in right.items()]}
        path = tmp_path / "before.json"
        path.write_text(json.dumps({"scores": {}, "answers": answers}))
        return str(path)

    return write


def test_a_baseline_is_compared_on_the_rows_that_are_in_both(earlier):
    rows = [calls("a", id=id) for id in "bcdef"]
    before = baseline.read(earlier(a=True, b=False, c=False, d=False, e=True), {"new_skill": rows})
    after = [said(row, "a") for row in rows]
    changes = baseline.changes(before, {"new_skill": after, "prior_skills": after})
    assert changes.keys() == {"new_skill"}
    found = changes["new_skill"]
    assert (found["rows"], found["before"], found["after"], found["difference"]) == (4, 0.25, 1.0, 0.75)
    assert 0.0 < found["low"] < 0.75 < found["high"] <= 1.0
    line = baseline.told(changes)
    assert "25.0% → 100.0%  (+75.0 points, 95 % interval" in line and "4 rows are in both" in line


def test_a_baseline_of_other_rows_is_a_usage_error_that_counts_them(earlier):
    with pytest.raises(UsageError, match=r"2 of new_skill.*no id is in both.*--eval_data_path"):
        baseline.read(earlier(x=True, y=False), {"new_skill": [calls("a", id="a")]})


def test_a_baseline_of_reference_texts_has_no_accuracy_to_compare(tmp_path):
    asked = dataclasses.replace(row(response="yes"), id="x")
    answers = {"new_skill": [judge(asked, "yes", 1, True, 0.5)]}
    path = tmp_path / "before.json"
    path.write_text(json.dumps(as_json({}, answers)))
    changes = baseline.changes(baseline.read(str(path), {"new_skill": [asked]}), answers)
    assert changes == {} and "NLL and similarity" in baseline.told(changes)


@pytest.mark.parametrize("text", ["no json", "[]", '{"scores": {}}', '{"answers": {"new_skill": [{"id": "1"}]}}'])
def test_a_baseline_without_answers_is_a_usage_error_that_says_what_is_one(tmp_path, text):
    path = tmp_path / "x.json"
    path.write_text(text)
    with pytest.raises(UsageError, match=r"holds no answers.*scores_before\.json"):
        baseline.read(str(path), {})
    with pytest.raises(UsageError, match="No such file"):
        baseline.read(str(tmp_path / "none.json"), {})


@pytest.fixture
def evaluate(tmp_path, capsys):
    """Runs `eval` on one row; returns the exit code and what it printed."""
    data = tmp_path / "rows.json"
    data.write_text(json.dumps([calls("a").to_json()]))

    def run(*arguments):
        code = main(["eval", "--eval_data_path", str(data), *map(str, arguments)])
        said = capsys.readouterr()
        return code, said.out + said.err

    return run


def test_the_suite_is_refused_at_once_where_its_package_is_missing(evaluate, monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    code, said = evaluate("--suite", "lm-eval")
    assert code == 2 and 'pip install "lm-eval[hf,ifeval]"' in said


def test_the_suite_runs_code_of_the_model_only_where_that_is_allowed(evaluate, monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: object())
    monkeypatch.delenv("HF_ALLOW_CODE_EVAL", raising=False)
    code, said = evaluate("--suite", "lm-eval")
    assert code == 2 and "--allow_code" in said
    assert "--suite_tasks hellaswag,mmlu,truthfulqa_mc2,winogrande,ifeval\n" in said


def test_the_suite_is_refused_for_a_served_model(evaluate):
    code, said = evaluate("--suite", "lm-eval", "--served", "localhost:8000")
    assert code == 2 and "needs the model's weights" in said


def test_a_served_model_that_does_not_answer_ends_with_exit_code_3_and_says_where_it_was_asked(evaluate):
    code, said = evaluate("--served", "127.0.0.1:9", "--teacher_patience", "0", "--model_name_or_path", "/none")
    assert code == 3 and "no usable answer from the teacher at http://127.0.0.1:9" in said


def test_a_served_model_is_asked_greedily_and_judged_without_its_thinking(evaluate, tmp_path):
    output = tmp_path / "scores.json"
    with FakeTeacher(lambda body: "<think>Action: b</think>\nAction: a\nAction_Input: {}") as server:
        code, said = evaluate("--served", server.url, "--max_completion_length", "7", "--output_file", output)
        body = server.chats[0].body
    assert (code, body["temperature"], body["max_tokens"]) == (0, 0.0, 7), said
    assert body["messages"] == [{"role": "user", "content": "q"}]
    found = json.loads(output.read_text())
    assert (found["model"], found["served"]) == ("glm-4.7", server.url)
    assert (found["scores"]["new_skill"]["accuracy"], found["scores"]["new_skill"]["nll"]) == (1.0, None)
    assert found["answers"]["new_skill"][0]["similarity"] is None
    assert found["answers"]["new_skill"][0]["text"] == "Action: a\nAction_Input: {}"


@pytest.mark.parametrize(("reply", "is_told"), [("<think>Hm.</think>", True), ("<think>Hm.</think>7", False)])
def test_a_served_model_that_sends_nothing_beside_its_thinking_is_told(evaluate, reply, is_told):
    with FakeTeacher(lambda body: reply) as server:
        code, said = evaluate("--served", server.url)
    assert code == 0 and ("hold no text. If the model thinks, let it answer without" in said) == is_told


def test_a_served_model_is_shown_the_golden_response_where_asked_for(evaluate):
    with FakeTeacher() as server:
        evaluate(
            "--served", server.url, "--with_demonstration", "--teacher_prompt_template", "{prompt} as {demonstration}"
        )
        assert server.chats[0].body["messages"] == [{"role": "user", "content": "q as golden"}]


def test_a_prompt_that_the_server_refuses_ends_with_exit_code_3_and_names_the_row(evaluate):
    with FakeTeacher(lambda body: Fault(400, error("the prompt is too long", 400))) as server:
        code, said = evaluate("--served", server.url)
    assert code == 3 and "row 1-" in said and "the prompt is too long" in said


def test_the_evaluation_of_a_served_model_starts_without_torch():
    command = "import sys, trainer.commands.eval; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", command]).returncode == 0


def test_half_a_character_is_refused_before_a_server_is_asked(evaluate, tmp_path):
    data = tmp_path / "odd.json"
    data.write_text(
        json.dumps([{"prompt": "q", "golden_response": ["a"]}, {"prompt": "\ud83d", "golden_response": ["a"]}])
    )
    with FakeTeacher() as server:
        code, said = evaluate("--served", server.url, "--eval_data_path", data)
        assert code == 2 and "field 'prompt[0].content' has half of" in said and not server.requests
        assert evaluate("--served", server.url, "--eval_data_path", data, "--skip_bad_rows", "true")[0] == 0
    assert len(server.chats) == 1


NUMBERS = itertools.count()  # a module is imported once in a process


@pytest.fixture
def verifier(tmp_path, monkeypatch):
    """Writes a module `verdict_N` with a function `score`; returns what `--scorer` takes."""
    monkeypatch.syspath_prepend(tmp_path)

    def write(body, name="score"):
        module = f"verdict_{next(NUMBERS)}_of_the_user"
        (tmp_path / f"{module}.py").write_text(f"def {name}(row, answer):\n    {body}\n")
        return f"{module}:score"

    return write


def scored(evaluate, tmp_path, *arguments):
    with FakeTeacher(lambda body: "Well done.") as server:
        code, said = evaluate("--served", server.url, "--output_file", tmp_path / "found.json", *arguments)
    assert code == 0, said
    return json.loads((tmp_path / "found.json").read_text())["scores"]


@pytest.mark.parametrize(
    ("body", "accuracy"), [("return 'done' in answer", 1.0), ("return 0.4", 0.0), ("return 0.5", 1.0)]
)
def test_a_scorer_of_the_user_says_what_is_right(evaluate, verifier, tmp_path, body, accuracy):
    assert scored(evaluate, tmp_path, "--scorer", verifier(body))["new_skill"]["accuracy"] == accuracy


def test_a_scorer_gets_the_row_in_the_data_format(evaluate, verifier, tmp_path):
    body = "return row['prompt'] == 'q' and row['golden_answer'] == [{'Action': 'a', 'Action_Input': {}}]"
    assert scored(evaluate, tmp_path, "--scorer", verifier(body))["new_skill"]["accuracy"] == 1.0


def test_prior_rows_that_say_what_is_right_keep_their_own_verdict(evaluate, verifier, tmp_path):
    check = {"kind": "number", "value": 9}
    rows = [
        {"id": "x", "prompt": "p", "golden_response": ["9"], "check": check},
        {"prompt": "p", "golden_response": ["9"]},
    ]
    (tmp_path / "prior.json").write_text(json.dumps(rows))
    found = scored(evaluate, tmp_path, "--scorer", verifier("return 1"), "--prior_data_path", tmp_path / "prior.json")
    assert (found["prior_skills"]["accuracy"], found["prior_skills"]["judged"]) == (0.5, 2)


@pytest.mark.parametrize(
    ("scorer", "words"),
    [
        ("checks", "expected module:function"),
        ("no such:score", "expected module:function"),
        ("no_such_module:score", "can't import no_such_module: ModuleNotFoundError"),
        ("json:score", "json has no function score(row, answer)"),
    ],
)
def test_a_scorer_that_is_not_there_is_told_in_a_line_before_anything_else(evaluate, scorer, words):
    for command in (["eval", "--eval_data_path", "/none"], ["train", "--train_data_path", "/none"], ["check"]):
        assert main([*command, "--scorer", scorer]) == 2, command
    code, said = evaluate("--scorer", scorer)
    assert code == 2 and words in said and len(said.strip().splitlines()) <= 4 * 2


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ("return row['nothing']", "fails on row 1-"),
        ("return 'yes'", "returns 'yes' for row 1-"),
        ("return None", "returns None for row 1-"),
        ("return 2", "expected True, False, or a number from 0 to 1"),
        ("return float('nan')", "returns nan"),
    ],
)
def test_a_scorer_that_fails_is_a_usage_error_that_names_the_row(evaluate, verifier, body, words):
    with FakeTeacher(lambda body: "Well done.") as server:
        code, said = evaluate("--served", server.url, "--scorer", verifier(body))
    assert code == 2 and words in said and "Traceback" not in said
