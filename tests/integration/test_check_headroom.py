"""`check --headroom` and `train --objective auto` with a real vLLM: what they recommend is what the tiny world is."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
import yaml
from running import WORLD, Training

ROOT = Path(__file__).resolve().parents[2]
ENVIRONMENT = os.environ | {"HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}
SMALL = ["--local_files_only", "--max_prompt_length", "256", "--max_completion_length", "64"]


def headroom(url: str, data: str, student: Path, file: Path) -> tuple[dict, str]:
    """What `check --headroom 48` writes, and what it prints."""
    command = [sys.executable, "-m", "trainer", "check", url, "--headroom", "48", "--eval_data_path", WORLD / data]
    command += ["--model_name_or_path", student, "--output_file", file, *SMALL]
    done = subprocess.run([*map(str, command)], cwd=ROOT, env=ENVIRONMENT, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    return json.loads(file.read_text()), done.stdout


def accuracies(found: dict) -> list[float]:
    """Of the student plainly and shown the demonstration, and of the teacher plainly and shown it."""
    views = ("student", "student shown the demonstration", "teacher", "teacher shown the demonstration")
    return [found["scores"][view]["accuracy"] for view in views]


def works(found: dict) -> dict[str, str]:
    return {verdict["objective"]: verdict["works"] for verdict in found["verdicts"]}


def test_the_new_skill_can_be_learnt_in_every_way_and_sdft_is_recommended(teacher_url: str, tmp_path: Path):
    found, said = headroom(teacher_url, "eval_data.json", WORLD / "student", tmp_path / "found.json")
    assert accuracies(found) == [0.0, 1.0, 1.0, 1.0]
    assert works(found) == {"sdft": "yes", "served": "yes", "seqkd": "yes", "sft": "yes"}
    assert found["recommended"] == "sdft" and "recommended: --objective sdft" in said
    assert "understood, not only copied" in said


def test_of_the_prior_skills_there_is_nothing_to_learn(teacher_url: str, tmp_path: Path):
    found, said = headroom(teacher_url, "prior_data.json", WORLD / "student", tmp_path / "found.json")
    assert found["recommended"] is None and "recommended: none; nothing to learn" in said


def test_a_student_that_cannot_read_demonstrations_gets_no_sdft_but_the_served_teacher(
    teacher_url: str, tmp_path: Path
):
    from transformers import AutoModelForCausalLM, AutoTokenizer

    student = AutoModelForCausalLM.from_pretrained(WORLD / "student", dtype=torch.float32)
    with torch.no_grad():  # nothing is looked up in the prompt any more
        for layer in student.model.layers:
            layer.self_attn.o_proj.weight.zero_()
    student.save_pretrained(tmp_path / "forgetful")
    AutoTokenizer.from_pretrained(WORLD / "student").save_pretrained(tmp_path / "forgetful")
    found, said = headroom(teacher_url, "eval_data.json", tmp_path / "forgetful", tmp_path / "found.json")
    assert accuracies(found) == [0.0, 0.0, 1.0, 1.0]
    assert (works(found)["sdft"], found["recommended"]) == ("no", "served")
    assert "the demonstration does not lift the student" in said


def test_auto_trains_with_what_it_recommends_and_a_resumed_run_neither_measures_again_nor_changes_its_mind(
    start, teacher_url: str, rows: Path, tmp_path: Path
):
    run, data = tmp_path / "run", ["--train_data_path", rows, "--eval_data_path", WORLD / "eval_data.json"]
    auto = [teacher_url, run, "--objective", "auto", "--max_eval_samples", "48", *data]
    first: Training = start(*auto)
    deadline = time.monotonic() + 120
    while not first.metrics and first.process.is_alive() and time.monotonic() < deadline:
        time.sleep(0.05)
    first.process.terminate()
    assert first.code() == 4, first.said
    assert "── headroom" in first.said and "recommended: --objective sdft" in first.said
    config = (run / "config.yaml").read_text()
    assert yaml.safe_load(config)["objective"] == "sdft" and "chosen by --objective auto" in config

    again: Training = start(*auto)
    assert again.code() == 0, again.said
    assert "── headroom" not in again.said
    assert again.json("summary.json")["objective"] == again.json("headroom.json")["recommended"] == "sdft"
    assert (run / "config.yaml").read_text() == config


@pytest.mark.parametrize("dry", [[], ["--dry_run"]])
def test_auto_ends_with_2_and_the_reason_where_there_is_nothing_to_learn(
    start, teacher_url: str, rows: Path, tmp_path: Path, dry: list[str]
):
    data = ["--train_data_path", rows, "--eval_data_path", WORLD / "prior_data.json"]
    ended: Training = start(teacher_url, tmp_path / "run", "--objective", "auto", *data, *dry)
    assert ended.code() == 2, ended.said
    assert "found none that can work: nothing to learn" in ended.said
    assert not (tmp_path / "run" / "config.yaml").exists()
