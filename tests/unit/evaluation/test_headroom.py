"""What accuracies say of each objective, and what `--objective auto` makes of it."""

import dataclasses
import json

import pytest
import yaml
from fake_teacher import FakeTeacher
from hypothesis import given, settings
from hypothesis import strategies as st

from trainer.commands.check import run as check
from trainer.data.dataset import drawn, load_rows
from trainer.data.prompts import PromptEncoder
from trainer.data.rows.row import Row
from trainer.data.showing import Showing
from trainer.errors import UsageError
from trainer.evaluation.headroom import Headroom, decided, of_another_row, rights, told_of, with_something_to_show
from trainer.evaluation.objective import choose_objective, record_choice
from trainer.evaluation.scores import Answer
from trainer.evaluation.verdicts import SHOWN, SHOWN_ANOTHER, STUDENT, TEACHER, TEACHER_SHOWN, decide, lift, told
from trainer.evaluation.ways import best_way, told_ways
from trainer.run.directory import RunDirectory
from trainer.settings.resolve import resolve

SMALL = ["--local_files_only", "--max_prompt_length", "256", "--max_completion_length", "48"]


def first(right: int, rows: int = 64) -> dict[int, bool]:
    """So many of the first rows are right."""
    return {number: number < right for number in range(rows)}


def views(student: int, shown: int, teacher: int | None = None, *, plain: int | None = None, rows: int = 64):
    found = {STUDENT: first(student, rows), SHOWN: first(shown, rows)}
    if teacher is None:
        return found
    return found | {TEACHER: first(teacher if plain is None else plain, rows), TEACHER_SHOWN: first(teacher, rows)}


def works(decision) -> dict[str, str]:
    return {verdict.objective: verdict.works for verdict in decision.verdicts}


def reason(decision, objective: str) -> str:
    return next(verdict.reason for verdict in decision.verdicts if verdict.objective == objective)


def test_a_demonstration_that_lifts_the_student_as_far_as_the_served_teacher_is_recommends_sdft():
    decision = decide(views(0, 64, 64), "token")
    assert works(decision) == {"sdft": "yes", "served": "yes", "seqkd": "yes", "sft": "yes"}
    assert decision.objective == "sdft" and "not above that by more than noise" in decision.reason


def test_a_student_that_cannot_read_demonstrations_has_no_signal_for_sdft_and_is_to_follow_the_served_teacher():
    decision = decide(views(1, 1, 60), "token")
    assert (works(decision)["sdft"], decision.objective) == ("no", "served")
    assert "does not lift the student, +0.0 points" in reason(decision, "sdft")


def test_a_served_teacher_far_above_the_shown_student_is_recommended_before_sdft():
    decision = decide(views(0, 20, 60), "token")
    assert (works(decision)["sdft"], decision.objective) == ("yes", "served")
    assert "even above the shown student, +62.5 points" in decision.reason


def test_seqkd_stands_in_where_the_served_teacher_cannot_score():
    decision = decide(views(0, 0, 64), None)
    assert (works(decision)["served"], decision.objective) == ("no", "seqkd")
    assert "log-probabilities" in reason(decision, "served")


def test_over_bytes_a_student_that_is_never_right_has_nothing_to_weigh_unless_the_route_is_dense():
    assert decide(views(0, 0, 64), "sampled").objective == "seqkd"
    assert "--byte_route dense" in reason(decide(views(0, 0, 64), "sampled"), "served")
    assert decide(views(0, 0, 64), "dense").objective == decide(views(5, 5, 64), "sampled").objective == "served"


def test_where_training_cannot_show_the_teacher_a_golden_response_it_is_judged_by_what_it_says_plainly():
    right = views(0, 0, 64, plain=0)
    assert decide(right, "token").objective == "served"
    assert decide(right, "token", teacher_is_shown=False).objective is None


def test_with_alpha_above_0_a_student_that_is_never_right_has_nothing_to_learn_from():
    assert (
        works(decide(views(0, 64), alpha=1.0))["sdft"] == "no"
        and works(decide(views(5, 64), alpha=1.0))["sdft"] == "yes"
    )
    assert "--alpha 0 can" in reason(decide(views(0, 64), alpha=0.5), "sdft")


def test_a_student_that_is_right_already_has_nothing_to_learn():
    decision = decide(views(64, 63, 64), "token")
    assert (decision.objective, decision.reason) == (
        None,
        "nothing to learn. The student has 64 of 64 rows right by itself.",
    )


def test_a_large_difference_on_too_few_rows_is_open_and_says_how_many_more_would_tell():
    decision = decide(views(2, 4, rows=12))
    assert (works(decision)["sdft"], decision.objective) == ("unclear", None)
    found = decision.verdicts[0].lift
    assert found is not None
    missing = found.rows_missing
    assert f"About {missing} more would, for sdft: check --headroom {12 + missing}" in decision.reason
    assert decide(views(2 * 4, 4 * 4, rows=12 * 4)).objective == "sdft" and missing <= 12 * 3


def test_five_rows_tell_nothing_even_when_all_of_them_change():
    assert works(decide(views(0, 5, rows=5)))["sdft"] == "unclear"
    assert works(decide(views(0, 6, rows=6)))["sdft"] == "yes"
    assert works(decide(views(0, 5, rows=64)))["sdft"] == "unclear"
    assert decide(views(3, 3, rows=3)).reason.startswith("too few rows to tell")


def test_without_a_served_teacher_its_objectives_are_unknown_and_the_way_to_measure_them_is_said():
    decision = decide(views(20, 20))
    assert (works(decision)["served"], works(decision)["seqkd"], decision.objective) == ("unknown", "unknown", None)
    assert "Pass its URL" in reason(decision, "served") and "Pass the URL of one" in decision.reason


def test_a_teacher_that_only_passes_on_what_it_is_shown_is_told_so():
    assert "passes on what it is shown" in reason(decide(views(0, 0, 64, plain=0), "token"), "seqkd")


@pytest.mark.parametrize(
    ("another", "words"),
    [(60, "understood, not only copied"), (0, "answers to be learnt, not a rule"), (3, "too is open")],
)
def test_another_rows_demonstration_tells_copying_from_understanding(another, words):
    assert words in reason(decide(views(0, 64) | {SHOWN_ANOTHER: first(another)}), "sdft")


def test_the_table_shows_every_view_with_its_interval_and_ends_with_the_recommendation():
    right = views(0, 64, 60) | {SHOWN_ANOTHER: first(10, 20)}
    text = told(right, decide(right, "token"), model="mine", data="mine.json")
    assert "headroom of mine on 64 rows of mine.json" in text
    rows = [line for line in text.splitlines() if " of " in line and "%" in line]
    assert [row.split("  ")[-1] for row in rows] == ["0 of 64", "64 of 64", "10 of 20", "60 of 64", "60 of 64"]
    assert "0.0% – 5.7%" in rows[0] and "94.3% – 100.0%" in rows[1]
    assert "\nrecommended: --objective sdft; " in text and max(map(len, text.splitlines())) <= 110


counts = st.integers(1, 80).flatmap(lambda n: st.lists(st.booleans(), min_size=n, max_size=n))
pairs = st.integers(1, 80).flatmap(lambda n: st.tuples(*[st.lists(st.booleans(), min_size=n, max_size=n)] * 4))


def numbered(*answers):
    return [dict(enumerate(some)) for some in answers]


@settings(max_examples=30, deadline=None)
@given(pairs)
def test_an_interval_holds_its_difference_and_turns_around_when_the_two_are_exchanged(answers):
    before, after, *_ = numbered(*answers)
    there, back = lift(before, after), lift(after, before)
    assert -1 <= there.low <= there.difference + 1e-9 and there.difference <= there.high + 1e-9 <= 1 + 2e-9
    assert there.difference == pytest.approx(-back.difference) and there.rows_missing >= 1
    assert not (there.works == "yes" and back.works == "yes")


@settings(max_examples=30, deadline=None)
@given(counts)
def test_answers_that_are_the_same_are_never_a_signal(answers):
    (same,) = numbered(answers)
    works = lift(same, same).works
    assert works == "no" if len(answers) >= 35 else works in ("no", "unclear")


@settings(max_examples=30, deadline=None)
@given(pairs, st.sampled_from(["token", "sampled", "dense", None]))
def test_only_an_objective_that_works_is_ever_recommended_and_never_sft(answers, route):
    student, shown, teacher, teacher_shown = numbered(*answers)
    right = {STUDENT: student, SHOWN: shown, TEACHER: teacher, TEACHER_SHOWN: teacher_shown}
    decision = decide(right, route)
    able = [name for name, work in works(decision).items() if work == "yes" and name != "sft"]
    assert decision.objective in able if able else decision.objective is None
    assert decision.reason and all(verdict.reason for verdict in decision.verdicts)


ANSWER = Answer("1", "t", 1, True, True, None, None, False, 1.0)


def row(number, tool, answer):
    golden = [{"Action": tool, "Action_Input": {"x": answer}}]
    return Row(str(number), [{"role": "user", "content": f"q{number}"}], f"Action: {tool} {answer}", golden)


def test_another_row_is_the_next_of_the_same_tools_with_another_demonstration(tokenizer):
    rows = [row(0, "a", 1), row(1, "b", 1), row(2, "a", 1), row(3, "a", 2), row(4, "b", 5), row(5, "c", 1)]
    limits = {"max_prompt_length": 64, "context_room": 64, "max_completion_length": 32}
    encoder = PromptEncoder(tokenizer, showing=Showing(template="{prompt} {demonstration}"), **limits)
    shown = of_another_row(rows, range(4), encoder)
    texts = {number: shown[number].prompt[-1]["content"] for number in shown}
    assert texts == {0: "q0 Action: a 2", 1: "q1 Action: b 5", 2: "q2 Action: a 2", 3: "q3 Action: a 1"}
    assert [shown[n].golden_answer for n in shown] == [rows[n].golden_answer for n in shown]
    assert 5 not in of_another_row(rows, range(6), encoder)


def answers(nll, similarity=0.5, rows=20):
    """Answers to rows with nothing but a reference text."""
    return {
        n: Answer(str(n), "t", 1, True, None, None, None, False, nll + n / 100, None, {}, similarity)
        for n in range(rows)
    }


def texts(student, shown, teacher=None):
    found = {STUDENT: answers(*student), SHOWN: answers(*shown)}
    return (
        found
        if teacher is None
        else found | {TEACHER: answers(None or 0.0, teacher), TEACHER_SHOWN: answers(0.0, teacher)}
    )


def test_reference_texts_that_the_shown_student_finds_likelier_recommend_sdft_and_the_measure_is_said():
    found = texts((2.0, 0.3), (0.5, 0.6))
    assert rights(found) == {}
    decision = decided(found, None)
    assert (works(decision)["sdft"], decision.objective) == ("yes", "sdft")
    assert "+1.50 nats a token" in reason(decision, "sdft") and "not by right answers" in decision.reason
    text = told_of(Headroom(found, {}, "template"), decision, model="mine", data="mine.json")
    assert "No row says what is right" in text and "chrF" in text and "NLL" in text and "accuracy  95" not in text
    assert max(map(len, text.splitlines())) <= 110


def test_a_served_teacher_that_writes_nearer_to_the_references_than_the_shown_student_comes_before_sdft():
    assert decided(texts((2.0, 0.3), (0.5, 0.4), 0.9), "token").objective == "served"
    assert decided(texts((2.0, 0.3), (2.0, 0.3), 0.9), None).objective == "seqkd"
    assert decided(texts((2.0, 0.3), (0.5, 0.9), 0.9), "token").objective == "sdft"


@pytest.mark.parametrize("teacher", [None, 0.3])
def test_reference_texts_never_say_that_there_is_nothing_to_learn(teacher):
    decision = decided(texts((2.0, 1.0), (2.5, 0.1), teacher), "token")
    assert decision.objective is None and decision.is_open and "no" not in works(decision).values()
    assert "can't tell whether there is anything to learn" in decision.reason and "--scorer" in decision.reason


def test_a_single_row_that_says_what_is_right_is_judged_by_that():
    found = texts((2.0, 0.3), (0.5, 0.6))
    found = {title: some | {99: dataclasses.replace(some[0], right=False)} for title, some in found.items()}
    assert {*rights(found)} == {STUDENT, SHOWN} and decided(found, None).reason.startswith("too few rows")


def test_rows_without_a_golden_response_are_left_out_and_a_file_of_them_is_a_usage_error(capsys):
    rows = [row(0, "a", 1), dataclasses.replace(row(1, "a", 1), golden_response=None)]
    assert with_something_to_show(rows, "mine.json") == [0] and "1 of 2 rows" in capsys.readouterr().out
    with pytest.raises(UsageError, match=r"no row of mine\.json has a golden_response.*trainer eval"):
        with_something_to_show(rows[1:], "mine.json")


def auto(*argv):
    return choose_objective(resolve("train", ["--objective", "auto", *map(str, argv)], {}))


def test_a_run_that_was_begun_keeps_its_objective_and_nothing_is_measured_again(tmp_path):
    record_choice(RunDirectory.open(str(tmp_path), resolve("train", ["--objective", "seqkd"], {})), {"any": "record"})
    resolved, record = auto("--output_dir", tmp_path, "--model_name_or_path", "/no/such/model")
    assert (resolved.settings.objective, record) == ("seqkd", None)
    assert "config.yaml" in resolved.origins["objective"]


def test_config_yaml_holds_the_chosen_objective_and_says_that_it_was_chosen_also_after_a_resume(tmp_path):
    for record in ({"recommended": "served"}, None):
        record_choice(RunDirectory.open(str(tmp_path), resolve("train", ["--objective", "served"], {})), record)
        text = (tmp_path / "config.yaml").read_text()
        assert text.count("chosen by --objective auto") == 1 and yaml.safe_load(text)["objective"] == "served"
    assert json.loads((tmp_path / "headroom.json").read_text()) == {"recommended": "served"}


def test_each_setting_that_auto_chose_is_told_in_a_line_of_its_own(tmp_path):
    for record in ({"chosen": ["objective", "show_context"]}, None):
        record_choice(RunDirectory.open(str(tmp_path), resolve("train", ["--show_context", "turns"], {})), record)
        lines = (tmp_path / "config.yaml").read_text().splitlines()
        assert [line.split(":")[0] for line in lines[:3]] == ["# objective", "# show_context", lines[2].split(":")[0]]
        assert "chosen by --show_context auto" in lines[1] and not lines[2].startswith("#")


def test_a_run_that_was_begun_keeps_how_it_shows(tmp_path):
    RunDirectory.open(str(tmp_path), resolve("train", ["--show_context", "turns"], {}))
    words = ["--show_context", "auto", "--output_dir", str(tmp_path), "--model_name_or_path", "/no/such/model"]
    resolved, record = choose_objective(resolve("train", words, {}))
    assert (resolved.settings.show_context, resolved.settings.objective, record) == ("turns", "sdft", None)


@pytest.mark.parametrize(
    "right, nll, best",
    [
        ({"template": [0, 0], "turns": [1, 0]}, {}, "turns"),
        ({"template": [1, 0], "turns": [0, 1]}, {}, "template"),
        ({"template": [None, None], "turns": [None, None]}, {"template": 1.0, "turns": 0.5}, "turns"),
    ],
)
def test_the_best_way_to_show_has_most_right_or_the_likeliest_texts_and_of_equals_is_the_published(right, nll, best):
    shown = {
        way: {
            n: dataclasses.replace(ANSWER, right=None if r is None else bool(r), nll=nll.get(way))
            for n, r in enumerate(some)
        }
        for way, some in right.items()
    }
    assert best_way(shown) == best and f"recommended: --show_context {best}" in "\n".join(told_ways(shown, best))


def test_one_way_needs_no_comparison():
    assert told_ways({"template": {0: ANSWER}}, "template") == []


def test_another_rows_demonstration_is_shown_as_turns_behind_its_own_question(tokenizer):
    limits = {"max_prompt_length": 99, "context_room": 300, "max_completion_length": 50}
    encoder = PromptEncoder(tokenizer, showing=Showing("turns"), **limits)
    rows = [row(0, "a", 1), row(1, "a", 2)]
    shown = of_another_row(rows, [0], encoder)[0]
    assert [message["content"] for message in shown.prompt] == [
        rows[1].prompt[0]["content"], rows[1].golden_response, rows[0].prompt[0]["content"]
    ]  # fmt: skip


def test_an_objective_that_the_user_named_is_not_said_to_be_chosen(tmp_path):
    record_choice(RunDirectory.open(str(tmp_path), resolve("train", [], {})), None)
    assert "auto" not in (tmp_path / "config.yaml").read_text().splitlines()[0]
    assert choose_objective(named := resolve("train", ["--objective", "sft"], {})) == (named, None)


def test_auto_without_evaluation_rows_is_a_usage_error_that_names_the_flag(tmp_path, tiny_world):
    with pytest.raises(UsageError, match="--eval_data_path"):
        auto("--train_data_path", tiny_world / "train_data.json", "--output_dir", tmp_path)


def headroom(tiny_world, student_path, *argv) -> int:
    data = tiny_world / "eval_data.json"
    words = ["--headroom", "6", "--eval_data_path", data, "--model_name_or_path", student_path, *SMALL, *argv]
    return check(resolve("check", [str(word) for word in words], {}))


def test_headroom_is_measured_without_a_teacher_and_written_with_every_answer(
    tiny_world, student_path, tmp_path, capsys
):
    file = tmp_path / "found.json"
    assert headroom(tiny_world, student_path, "--output_file", file) == 0
    said = capsys.readouterr().out
    assert "recommended: --objective sdft; the student can teach itself" in said
    assert "how it was shown" in said and "recommended: --show_context template; against turns +" in said
    found = json.loads(file.read_text())
    assert found["measure"] == "accuracy"
    assert (found["recommended"], found["scores"][STUDENT]["accuracy"], found["scores"][SHOWN]["accuracy"]) == (
        "sdft",
        0.0,
        1.0,
    )
    asked = [row.id for row in drawn(load_rows(str(tiny_world / "eval_data.json")), 6)]
    assert [answer["id"] for answer in found["answers"][SHOWN]] == asked
    assert "served" not in found


def test_a_teacher_that_fails_the_checks_is_not_measured(tiny_world, student_path, capsys):
    with FakeTeacher(max_model_len=100) as teacher:
        assert headroom(tiny_world, student_path, "--vllm_server_base_url", teacher.url) == 3
    assert "headroom" not in capsys.readouterr().out


@pytest.mark.parametrize(("file", "words"), [("none/found.json", "isn't there"), ("", "is a folder")])
def test_an_output_file_that_cannot_be_written_is_found_before_anything_is_measured(tmp_path, file, words):
    with pytest.raises(UsageError, match=words):
        headroom(tmp_path, "/no/such/model", "--output_file", tmp_path / file)


def test_rows_without_anything_to_show_are_told_before_what_is_too_long(tiny_world, student_path, tmp_path):
    rows = [{"prompt": "long " * 9000, "golden_answer": [{"Action": "go", "Action_Input": {}}]}]
    (tmp_path / "rows.json").write_text(json.dumps(rows))
    with pytest.raises(UsageError, match=r"no row of .*rows\.json has a golden_response or a privileged_context"):
        headroom(tiny_world, student_path, "--eval_data_path", tmp_path / "rows.json")
