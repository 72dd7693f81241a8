"""`eval --served` against a real vLLM: the figures of data/tiny_world/README.md."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from running import ENVIRONMENT, WORLD

ROOT = Path(__file__).resolve().parents[2]
DATA = ["--eval_data_path", WORLD / "eval_data.json", "--prior_data_path", WORLD / "prior_data.json"]
LENGTHS = ["--max_prompt_length", "256", "--max_completion_length", "128"]


def evaluate(*arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "trainer", "eval", *map(str, [*DATA, *LENGTHS, *arguments])]
    environment = os.environ | ENVIRONMENT
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=300)


@pytest.fixture(scope="module")
def served(teacher_url, tmp_path_factory) -> tuple[str, dict, Path]:
    """What the served tiny teacher's evaluation printed and wrote."""
    output = tmp_path_factory.mktemp("eval") / "served.json"
    training = ["--train_data_path", WORLD / "train_data.json"]
    done = evaluate("--served", teacher_url, "--model_name_or_path", "/none", *training, "--output_file", output)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout, json.loads(output.read_text()), output


def test_a_served_teacher_scores_what_the_readme_of_the_tiny_world_says(served):
    said, found, _ = served
    scores = found["scores"]
    assert scores["new_skill"]["accuracy"] == 1.0
    assert round(scores["prior_skills"]["accuracy"], 3) == 0.979
    assert scores["new_skill"]["nll"] is None and scores["new_skill"]["format_errors"] == 0
    assert "100.0%" in said and "97.9%" in said


def test_in_bfloat16_the_local_teacher_has_nearly_as_many_rows_right(served, tmp_path):
    output = tmp_path / "half.json"
    teacher = ["--model_name_or_path", WORLD / "teacher", "--local_files_only", "--dtype", "bfloat16"]
    done = evaluate(*teacher, "--output_file", output)
    assert done.returncode == 0, done.stdout + done.stderr
    scores = json.loads(output.read_text())["scores"]
    for kind, rows in served[1]["scores"].items():
        assert scores[kind]["accuracy"] == pytest.approx(rows["accuracy"], abs=0.03)


def test_groups_of_rows_are_scored_each(served):
    by = served[1]["scores"]["prior_skills"]["by"]
    rows = [row["golden_answer"] for row in json.loads((WORLD / "prior_data.json").read_text())]
    assert {name: group["rows"] for name, group in by["skill"].items()} == dict.fromkeys(
        ["addition", "position", "reversal", "running_total", "tool_call", "two_calls"], 40
    )
    assert by["steps"]["2"]["rows"] == sum(len(answer) == 2 for answer in rows)
    assert served[1]["scores"]["new_skill"]["by"]["tools"] == {"seen": {"rows": 128, "accuracy": 1.0}}
    assert by["tools"].keys() == {"unseen"}
    assert "tool_call 100.0% of 40, two_calls 100.0% of 40" in served[0]


def test_the_local_teacher_gives_the_served_ones_answers_and_the_difference_is_told_as_none(served):
    teacher = ["--model_name_or_path", WORLD / "teacher", "--local_files_only"]
    done = evaluate(*teacher, "--baseline", served[2])
    assert done.returncode == 0, done.stdout + done.stderr
    lines = done.stdout.splitlines()
    assert "new_skill     100.0% → 100.0%  128 rows are in both" in lines
    assert any(line.startswith("prior_skills  97.9% → 97.9%") and "240 rows are in both" in line for line in lines)


def test_a_model_name_that_is_not_served_exits_with_3_and_lists_what_is(teacher_url):
    done = evaluate("--served", teacher_url, "--vllm_server_model", "gpt-4")
    assert done.returncode == 3
    assert "does not serve 'gpt-4'; it serves glm-4.7" in done.stderr


def test_a_real_judge_that_can_not_judge_is_told_so(teacher_url, tmp_path):
    rows = [{"prompt": f"Tell of {name}.", "golden_response": f"{name} is a word."} for name in "ABCDEFGHIJKL"]
    (tmp_path / "rows.json").write_text(json.dumps(rows))
    output = tmp_path / "scores.json"
    words = ["--served", teacher_url, "--judge", teacher_url, "--eval_data_path", tmp_path / "rows.json"]
    command = [sys.executable, "-m", "trainer", "eval", *words, *LENGTHS, "--output_file", output]
    done = subprocess.run([*map(str, command)], cwd=ROOT, env=os.environ | ENVIRONMENT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    judged = json.loads(output.read_text())["judge"]["new_skill"]
    assert sum(judged[name] for name in ("better", "as_good", "worse", "unread")) == 12
    assert judged["agreement"]["rows"] == 12
    assert "warning: that may be chance" in done.stdout  # it was taught to call tools, and nothing else
