"""Answers that a served model compares with golden responses: who is asked what, how it is read and told."""

import json
import re

import pytest
from fake_teacher import FakeTeacher

from trainer.__main__ import main
from trainer.data.rows.row import Row
from trainer.evaluation import preference
from trainer.evaluation.preference import Pair, answer_is_first, control_pairs, verdict

COLOURS = ["red", "green", "blue", "grey", "pink", "black", "white", "brown"]


def rows(more=()):
    asked = [{"prompt": f"What colour is thing {c}?", "golden_response": f"It is {c}."} for c in COLOURS]
    return [*asked, *more]


def between(text, mark):
    return re.search(rf"\[Answer {mark}\]\n(.*?)\n\[End of answer {mark}\]", text, re.DOTALL)[1]


def fair(body):
    """Answers questions, the first half rightly; as a judge it prefers the answer that names the colour asked for."""
    text = body["messages"][-1]["content"]
    colour = re.search(r"thing (\w+)\?", text)[1]
    if "[Answer A]" not in text:
        return f"{colour} it is" if COLOURS.index(colour) < 4 else "no idea"
    first, second = (colour in between(text, mark) for mark in "AB")
    return "C" if first == second else f"The better answer is **{'A' if first else 'B'}**."


def evaluate(tmp_path, capsys, reply, data, *flags):
    (tmp_path / "rows.json").write_text(json.dumps(data))
    out = tmp_path / "scores.json"
    with FakeTeacher(reply) as server:
        words = ["--served", server.url, "--judge", server.url, "--eval_data_path", str(tmp_path / "rows.json")]
        code = main(["eval", *words, "--output_file", str(out), *flags])
    return code, capsys.readouterr(), json.loads(out.read_text()) if out.exists() else None, server


def test_answers_are_compared_with_golden_responses_and_the_judge_with_what_is_known(tmp_path, capsys):
    code, said, written, _ = evaluate(tmp_path, capsys, fair, rows())
    assert code == 0
    assert "new_skill judged by glm-4.7: 4 of 8, 50.0% (95 % interval 21.5 to 78.5)" in said.out
    assert "(0 better, 4 as good, 4 worse)" in said.out
    assert "of a golden response and another row's it preferred the right one in 8 of 8, 100.0%" in said.out
    assert "warning" not in said.out
    judged = written["judge"]["new_skill"]
    assert (judged["better"], judged["as_good"], judged["worse"], judged["unread"]) == (0, 4, 4, 0)
    assert judged["agreement"] == {"right": 8, "rows": 8}
    assert [*judged["verdicts"].values()] == ["as good"] * 4 + ["worse"] * 4
    assert written["scores"]["new_skill"]["accuracy"] is None  # a judge's opinion is no accuracy


def test_a_judge_that_always_names_the_first_answer_is_found_out(tmp_path, capsys):
    reply = lambda body: "A" if "[Answer A]" in body["messages"][-1]["content"] else "no idea"  # noqa: E731
    code, said, written, _ = evaluate(tmp_path, capsys, reply, rows())
    assert code == 0 and "warning: that may be chance, so its verdicts say nothing" in said.out
    assert 0 < written["judge"]["new_skill"]["agreement"]["right"] < 8


def test_rows_that_say_what_is_right_are_not_given_to_the_judge(tmp_path, capsys):
    sure = {
        "prompt": "What colour is thing red?",
        "golden_response": "gold",
        "check": {"kind": "text", "accept": ["x"]},
    }
    _, said, written, server = evaluate(tmp_path, capsys, fair, [sure])
    assert "judge: not asked, for no row has a golden response and nothing else" in said.out
    assert written["judge"] == {"model": "glm-4.7"}
    assert not any("[Answer A]" in str(request.body) for request in server.requests)


def test_a_judge_that_serves_another_model_is_told_of_before_any_answer(tmp_path, capsys):
    code, said, written, server = evaluate(tmp_path, capsys, fair, rows(), "--judge_model", "gpt-oss")
    assert code == 3 and written is None and "gpt-oss" in said.err
    assert not any(request.path.endswith("completions") for request in server.requests)


def test_the_key_of_the_judge_is_its_own(tmp_path, capsys):
    (tmp_path / "rows.json").write_text(json.dumps(rows()))
    with FakeTeacher(fair) as served, FakeTeacher(fair, api_key="j-key") as judge:
        words = ["--served", served.url, "--judge", judge.url, "--judge_api_key", "j-key"]
        assert main(["eval", *words, "--eval_data_path", str(tmp_path / "rows.json")]) == 0
    assert all("j-key" not in (request.authorization or "") for request in served.requests)
    assert "j-key" not in "".join(capsys.readouterr())


@pytest.mark.parametrize(("said", "first", "second"), [
    ("A", "better", "worse"), ("**B**", "worse", "better"), ("C", "as good", "as good"),
    ("Both answers are nice.", "unread", "unread"), ("I prefer answer A over answer B.", "unread", "unread"),
    ('{"verdict": "A"}', "better", "worse"), ("**Answer A** is better as it is short.", "better", "worse"),
    ("Verdict: B", "worse", "better"), ("Both are as good: C", "as good", "as good"), ("Tie", "unread", "unread"),
    ("The better answer is A, because it is true.", "better", "worse"),
])  # fmt: skip
def test_a_reply_is_read_by_where_the_answer_stood(said, first, second):
    pairs = [Pair(Row(str(n), [], "g", None), "answer", "g") for n in range(64)]
    places = {answer_is_first(pair): pair for pair in pairs}
    assert (verdict(places[True], said), verdict(places[False], said)) == (first, second)
    assert 16 < sum(map(answer_is_first, pairs)) < 48


def test_a_control_compares_different_texts_and_there_are_only_so_many():
    same = [Row(str(n), [], "yes", None) for n in range(5)]
    assert control_pairs(same) == []
    many = [Row(str(n), [], f"text {n}", None) for n in range(100)]
    assert len(control_pairs(many)) == preference.CONTROLS
    assert all(pair.answer != pair.reference for pair in control_pairs(many))
