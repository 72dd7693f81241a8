"""A context is learnt from prompts alone: afterwards the student answers without it as it did with it."""

import json
import os
import subprocess
import sys
from pathlib import Path

from running import ENVIRONMENT, WORLD

ROOT = Path(__file__).resolve().parents[2]
CONTEXT, HELD_OUT = WORLD / "context" / "context.txt", WORLD / "context" / "eval_data.json"
LENGTHS = ["--max_prompt_length", "256", "--max_completion_length", "64", "--per_device_eval_batch_size", "64"]


def run(subcommand: str, *arguments: object) -> None:
    command = [sys.executable, "-m", "trainer", subcommand, "--local_files_only", *map(str, [*LENGTHS, *arguments])]
    done = subprocess.run(command, cwd=ROOT, env=os.environ | ENVIRONMENT, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr


def test_a_context_that_the_student_follows_is_learnt_from_prompts_alone_and_old_skills_stay(tmp_path):
    """Measured for three seeds: data/tiny_world/README.md."""
    student = ["--model_name_or_path", WORLD / "student", "--context", CONTEXT]
    shown = tmp_path / "shown.json"
    run("eval", *student, "--with_demonstration", "--eval_data_path", HELD_OUT, "--output_file", shown)
    data = ["--train_data_path", WORLD / "context" / "prompts.json", "--eval_data_path", HELD_OUT]
    measures = ["--prior_data_path", WORLD / "prior_data.json", "--output_dir", tmp_path / "run"]
    steps = ["--num_prompts_per_batch", "16", "--max_steps", "60", "--learning_rate", "3e-4", "--seed", "1"]
    run("train", *student, *data, *measures, *steps)

    with_context = json.loads(shown.read_text())
    before, after = (json.loads((tmp_path / "run" / f"scores_{when}.json").read_text()) for when in ("before", "after"))
    assert with_context["scores"]["new_skill"]["accuracy"] >= 0.97
    assert before["scores"]["new_skill"]["accuracy"] == 0
    assert after["scores"]["new_skill"]["accuracy"] >= 0.95
    assert after["scores"]["prior_skills"]["accuracy"] >= 0.97 <= before["scores"]["prior_skills"]["accuracy"]
    told, learnt = ([answer["text"] for answer in found["answers"]["new_skill"]] for found in (with_context, after))
    assert sum(map(str.__eq__, told, learnt)) >= 0.95 * len(told) == 0.95 * 128
