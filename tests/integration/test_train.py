"""`train` as users run it: a process of its own, a real teacher, signals and kills."""

import hashlib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
WORLD = ROOT / "data" / "tiny_world"
ENVIRONMENT = os.environ | {"HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1", "PYTHONUNBUFFERED": "1"}
SMALL = [
    "--model_name_or_path", WORLD / "student", "--local_files_only",
    "--max_prompt_length", "256", "--max_completion_length", "48",
    "--num_prompts_per_batch", "8", "--per_device_train_batch_size", "4", "--learning_rate", "1e-3",
]  # fmt: skip


@pytest.fixture(scope="module")
def rows(tmp_path_factory) -> Path:
    """48 training rows: 6 steps an epoch."""
    path = tmp_path_factory.mktemp("data") / "rows.json"
    path.write_text(json.dumps(json.loads((WORLD / "train_data.json").read_text())[:48]))
    return path


def command(*arguments) -> list[str]:
    return [sys.executable, "-m", "trainer", *map(str, arguments)]


def trainer(*arguments) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command(*arguments), cwd=ROOT, env=ENVIRONMENT, capture_output=True, text=True, timeout=300, check=False
    )


def lines(path: Path) -> list[dict]:
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def digests(run: Path) -> dict[str, str]:
    newest = max(run.glob("checkpoint-*"), key=lambda folder: int(folder.name.rpartition("-")[2]))
    return {file.name: hashlib.sha256(file.read_bytes()).hexdigest() for file in sorted(newest.glob("*.safetensors"))}


def signal_after_step(run: Path, step: int, number: int, *arguments) -> int:
    """Start `train`, send a signal within the step after `step`, or after the first one of its own, and return the
    exit code."""
    before = steps_of(run)
    with subprocess.Popen(command("train", *arguments), cwd=ROOT, env=ENVIRONMENT, stdout=subprocess.PIPE) as process:
        deadline = time.monotonic() + 200
        while process.poll() is None and time.monotonic() < deadline:
            steps = steps_of(run)
            if steps[-1:] != before[-1:] and steps[-1] >= step:
                time.sleep(random.random() * 0.3)
                process.send_signal(number)
                break
            time.sleep(0.02)
        process.communicate(timeout=100)
    return process.returncode


def steps_of(run: Path) -> list[int]:
    return [json.loads(line)["step"] for line in whole_lines(run / "metrics.jsonl")]


def whole_lines(path: Path) -> list[str]:
    return [line for line in path.read_text().splitlines(keepends=True) if line.endswith("\n")] if path.exists() else []


def test_the_served_teacher_demonstrates_and_the_run_directory_tells_everything(teacher_url, rows, tmp_path):
    done = trainer("train", teacher_url, *SMALL, "--train_data_path", rows, "--output_dir", tmp_path / "run")
    assert done.returncode == 0, done.stdout + done.stderr
    run = tmp_path / "run"
    summary = json.loads((run / "summary.json").read_text())
    assert (summary["status"], summary["objective"], summary["steps"]) == ("finished", "sdft", 6)
    assert summary["teacher"]["model"] == "glm-4.7" and summary["teacher"]["base_url"] == teacher_url
    assert summary["teacher"]["engine_version"].startswith("0.")
    assert summary["scores"] == {moment: {"new_skill": None, "prior_skills": None} for moment in ("before", "after")}
    assert json.loads((run / "environment.json").read_text())["teacher"]["model"] == "glm-4.7"
    metrics, samples = lines(run / "metrics.jsonl"), lines(run / "samples.jsonl")
    assert [record["step"] for record in metrics] == [record["step"] for record in samples] == [1, 2, 3, 4, 5, 6]
    assert all(0 <= record["loss"] < 20 and record["tokens_per_second"] > 0 for record in metrics)
    assert "demonstrations: 4" in done.stdout
    again = trainer("train", teacher_url, *SMALL, "--train_data_path", rows, "--output_dir", run)
    assert again.returncode == 0 and "holds the finished run" in again.stdout


def test_seqkd_learns_the_text_that_the_teacher_writes(teacher_url, rows, tmp_path):
    arguments = [*SMALL, "--train_data_path", rows, "--output_dir", tmp_path / "run", "--num_train_epochs", "3"]
    done = trainer("train", teacher_url, "--objective", "seqkd", *arguments)
    assert done.returncode == 0, done.stdout + done.stderr
    losses = [record["loss"] for record in lines(tmp_path / "run" / "metrics.jsonl")]
    assert sum(losses[-3:]) < 0.7 * sum(losses[:3])
    written = [record for record in lines(tmp_path / "run" / "demonstrations.jsonl") if "key" in record]
    assert len(written) == 48


def test_a_run_killed_after_its_last_step_trains_no_further(rows, tmp_path):
    run = tmp_path / "run"
    arguments = [
        *SMALL,
        "--train_data_path",
        rows,
        "--eval_data_path",
        rows,
        "--max_eval_samples",
        "8",
        "--output_dir",
        run,
    ]
    assert trainer("train", *arguments, "--max_steps", "2").returncode == 0
    weights, summary = digests(run), (run / "summary.json").read_text()
    (run / "summary.json").unlink()
    (run / "scores_after.json").unlink()
    assert trainer("train", *arguments, "--max_steps", "2").returncode == 0
    assert digests(run) == weights
    found, before = json.loads((run / "summary.json").read_text()), json.loads(summary)
    assert {key: found[key] for key in ("steps", "scores", "status")} == {
        key: before[key] for key in ("steps", "scores", "status")
    }


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_saves_exits_with_4_and_the_same_command_goes_on(rows, tmp_path, number):
    arguments = [*SMALL, "--train_data_path", rows, "--num_train_epochs", "2", "--output_dir", tmp_path / "run"]
    assert signal_after_step(tmp_path / "run", 2, number, *arguments) == 4
    assert json.loads((tmp_path / "run" / "summary.json").read_text())["status"] == "stopped"
    assert list((tmp_path / "run").glob("checkpoint-*"))
    signal_after_step(tmp_path / "run", 4, signal.SIGKILL, *arguments)
    assert json.loads((tmp_path / "run" / "summary.json").read_text())["status"] == "unfinished"
    done = trainer("train", *arguments)
    assert done.returncode == 0 and "going on from" in done.stdout
    summary = json.loads((tmp_path / "run" / "summary.json").read_text())
    assert (summary["status"], summary["steps"]) == ("finished", 12)


def test_a_dry_run_shows_every_setting_with_its_origin_and_leaves_nothing(rows, tmp_path):
    done = trainer("train", *SMALL, "--train_data_path", rows, "--output_dir", tmp_path / "run", "--dry_run")
    assert done.returncode == 0, done.stderr
    assert "would train on 48 rows" in done.stdout
    assert any(line.split() == ["learning_rate", "0.001", "(command", "line)"] for line in done.stdout.splitlines())
    assert any(line.split() == ["alpha", "0.0", "(default)"] for line in done.stdout.splitlines())
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("model", "more", "new_skill", "prior_skills"),
    [
        ("student", [], (0, 0.1), (0.85, 1)),
        ("student", ["--with_demonstration"], (0.9, 1), None),
        ("teacher", [], (0.9, 1), None),
    ],
)
def test_the_tiny_models_can_what_their_readme_says(tmp_path, model, more, new_skill, prior_skills):
    arguments = ["--model_name_or_path", WORLD / model, "--eval_data_path", WORLD / "eval_data.json", *more]
    if prior_skills:
        arguments += ["--prior_data_path", WORLD / "prior_data.json"]
    limits = ["--max_prompt_length", "256", "--max_completion_length", "128", "--output_file", tmp_path / "scores.json"]
    done = trainer("eval", *arguments, *limits)
    assert done.returncode == 0, done.stdout + done.stderr
    scores = json.loads((tmp_path / "scores.json").read_text())["scores"]
    assert new_skill[0] <= scores["new_skill"]["accuracy"] <= new_skill[1]
    if prior_skills:
        assert prior_skills[0] <= scores["prior_skills"]["accuracy"] <= prior_skills[1]


def test_with_eval_steps_the_best_checkpoint_is_kept_and_a_killed_run_ends_with_the_same_scores(rows, tmp_path):
    files = ["--train_data_path", rows, "--eval_data_path", rows, "--prior_data_path", WORLD / "prior_data.json"]
    arguments = [
        *SMALL, *files, "--max_eval_samples", "8", "--num_train_epochs", "2",
        "--eval_steps", "3", "--save_steps", "2", "--save_total_limit", "1", "--max_forgetting", "1",
    ]  # fmt: skip
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    done = trainer("train", *arguments, "--output_dir", whole)
    assert done.returncode == 0, done.stdout + done.stderr
    assert [record["step"] for record in midway_scores(whole)] == [3, 6, 9]
    summary = json.loads((whole / "summary.json").read_text())
    best = summary["best"]
    assert best["step"] < 12 and best["model"] in done.stdout  # a tenth of the training rows is not learnt in 12 steps
    kept = {folder.name for folder in whole.glob("checkpoint-*")}
    assert kept == {Path(best["model"]).name, "checkpoint-12"}

    assert signal_after_step(killed, 4, signal.SIGKILL, *arguments, "--output_dir", killed) == -signal.SIGKILL
    forget_score(killed, step=3)  # as if the kill had come while step 3 was scored
    assert trainer("train", *arguments, "--output_dir", killed).returncode == 0
    assert midway_scores(killed) == midway_scores(whole)
    assert digests(killed) == digests(whole)
    resumed = json.loads((killed / "summary.json").read_text())
    assert resumed["best"]["step"] == best["step"]
    assert resumed["changes"] == summary["changes"]


def midway_scores(run: Path) -> list[dict]:
    """What was scored while training, without how long it took."""
    found = [record for record in lines(run / "metrics.jsonl") if "eval/new_skill" in record]
    return [{key: value for key, value in record.items() if key != "seconds/eval"} for record in found]


def forget_score(run: Path, step: int) -> None:
    """Drop the line of a step's score, and the checkpoints after it."""
    kept = [line for line in whole_lines(run / "metrics.jsonl") if not is_score(line, step)]
    (run / "metrics.jsonl").write_text("".join(kept))
    for folder in run.glob("checkpoint-*"):
        if int(folder.name.rpartition("-")[2]) > step:
            shutil.rmtree(folder)


def is_score(line: str, step: int) -> bool:
    record = json.loads(line)
    return record["step"] == step and "eval/new_skill" in record


def test_a_run_whose_data_or_model_changed_is_not_gone_on_with_unless_asked(rows, tmp_path):
    data, model = tmp_path / "rows.jsonl", tmp_path / "model"
    records = [json.dumps(record) for record in json.loads(rows.read_text())]
    data.write_text("\n".join(records))
    shutil.copytree(WORLD / "student", model)
    arguments = ["train", *SMALL, "--model_name_or_path", model, "--train_data_path", data, "--max_steps", 2]
    arguments += ["--output_dir", tmp_path / "run"]
    assert trainer(*arguments).returncode == 0
    files = json.loads((tmp_path / "run" / "environment.json").read_text())["files"]
    assert files[str(data)] == hashlib.sha256(data.read_bytes()).hexdigest() and f"{model}/model.safetensors" in files
    with (model / "config.json").open("a") as file:
        file.write(" ")
    done = trainer(*arguments)
    assert done.returncode == 2 and f"{model}/config.json has changed since the run in" in done.stderr
    data.write_text("\n".join(records[1:]))
    done = trainer(*arguments)
    assert done.returncode == 2 and f"{data} has changed" in done.stderr
    done = trainer(*arguments, "--accept_changed_data")
    assert done.returncode == 0 and "holds the finished run" in done.stdout and "warning: " in done.stdout
