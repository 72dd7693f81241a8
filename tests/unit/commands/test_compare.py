"""Compare: two models, in whatever form they come, answer the same rows; the output says where and how well."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from fake_teacher import FakeTeacher

from trainer.__main__ import main
from trainer.run.checkpoint import write_manifest

LENGTHS = ["--local_files_only", "--max_completion_length", "40"]


@pytest.fixture
def rows(tmp_path, tiny_world) -> Path:
    """Four rows of the new skill."""
    file = tmp_path / "rows.json"
    file.write_text(json.dumps(json.loads((tiny_world / "eval_data.json").read_text())[:4]))
    return file


@pytest.fixture
def run_directory(tmp_path, tiny_world, rows) -> Path:
    """A run whose only checkpoint is the tiny teacher, which has the new skill."""
    run = tmp_path / "run"
    shutil.copytree(tiny_world / "teacher", run / "checkpoint-3")
    write_manifest(run / "checkpoint-3")
    (run / "config.yaml").write_text(f"eval_data_path: {rows}\n")
    (run / "summary.json").write_text(json.dumps({"status": "finished", "best": None}))
    return run


def compare(capsys, *words: object) -> tuple[int, str]:
    code = main(["compare", *map(str, words), *LENGTHS])
    said = capsys.readouterr()
    return code, said.out + said.err


def test_a_folder_and_a_run_directory_answer_the_rows_that_the_run_was_scored_on(student_path, run_directory, capsys):
    code, said = compare(capsys, student_path, run_directory)
    assert code == 0, said
    assert f"B: {run_directory}/checkpoint-3 (the last)" in said
    assert "right: A 0 of 4, 0.0%; B 4 of 4, 100.0%" in said
    assert "B less A: +100.0 points, 95 % interval +" in said
    assert "A, wrong:" in said and "B, right:" in said
    assert "{+tosane+}" in said and "[-" in said  # through a pipe there are no colours


def test_only_so_many_answers_are_shown(student_path, run_directory, capsys):
    said = compare(capsys, student_path, run_directory, "--max_shown", "1")[1]
    assert said.count("── ") == 1 and "3 more rows are answered differently (--max_shown)" in said


def test_the_same_model_answers_alike_and_no_answer_is_shown(student_path, rows, capsys):
    code, said = compare(capsys, student_path, student_path, "--eval_data_path", rows)
    assert code == 0 and "4 rows, 4 answered alike" in said and "── " not in said


def test_a_prompt_is_answered_by_a_model_and_a_server_whose_only_model_is_found(student_path, capsys):
    with FakeTeacher(lambda body: "It is\x1b[2J 101.", served=["student"]) as server:
        code, said = compare(capsys, student_path, server.url, "--prompt", "What is 37 plus 64?")
        assert server.chats[-1].body["model"] == "student"
        assert server.chats[-1].body["messages"] == [{"role": "user", "content": "What is 37 plus 64?"}]
    assert code == 0, said
    assert f"B: student at {server.url}" in said and "nothing says which answer is right" in said
    assert "\x1b" not in said and "101" in said  # an answer can't steer the terminal


def test_a_prompt_goes_before_a_file_that_the_environment_sets_for_all_subcommands(rows, capsys, monkeypatch):
    monkeypatch.setenv("SDFT_EVAL_DATA_PATH", str(rows))
    with FakeTeacher(lambda body: "x", served=["a"]) as server:
        code, said = compare(capsys, server.url, server.url, "--prompt", "What?")
        assert code == 0 and len(server.chats) == 2 and "1 row, 1 answered alike" in said


def test_an_address_without_http_is_a_server_and_one_with_several_models_wants_a_name(student_path, rows, capsys):
    with FakeTeacher(lambda body: "x", served=["a", "b"]) as server:
        address = server.url.removeprefix("http://")
        code, said = compare(capsys, student_path, address, "--eval_data_path", rows)
        assert code == 2 and "serves a, b; expected one model. Pass --served_model NAME." in said
        assert compare(capsys, student_path, address, "--eval_data_path", rows, "--served_model", "b")[0] == 0


def test_two_servers_are_compared_without_torch(rows):
    with FakeTeacher(lambda body: "x", served=["a"]) as one, FakeTeacher(lambda body: "y", served=["b"]) as other:
        words = ["compare", one.url, other.url, "--eval_data_path", str(rows)]
        program = f"import sys; from trainer.__main__ import main; assert main({words!r}) == 0; "
        program += "sys.exit('torch' in sys.modules)"
        assert subprocess.run([sys.executable, "-c", program], capture_output=True).returncode == 0


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["{student}"], 2, "found 1 models, expected two"),
        (["{student}", "{student}"], 2, "nothing to ask. Pass --eval_data_path FILE, or --prompt TEXT"),
        (["{student}", "{student}", "--prompt", "x", "--eval_data_path", "{rows}"], 2, "give one of them"),
        (
            ["{student}", "/none/there", "--prompt", "x"],
            2,
            "no model at '/none/there': the folder does not exist. Pass FOLDER|HUB_NAME",
        ),
        (["{student}", "{run}", "--checkpoint", "9"], 2, "no checkpoint of step 9"),
        (["{student}", "127.0.0.1:9", "--prompt", "x", "--teacher_patience", "0"], 3, "127.0.0.1:9"),
    ],
)
def test_a_wrong_call_says_what_to_type(student_path, run_directory, rows, capsys, words, code, said):
    places = {"student": student_path, "run": run_directory, "rows": rows}
    found = compare(capsys, *(word.format(**places) for word in words))
    assert found[0] == code and said in found[1], found[1]
