"""A run whose first step measured the engines: it is the run that names the engine, and so it is after a kill."""

import json
import os
import subprocess
import sys
from pathlib import Path

from safetensors.torch import load_file

ROOT = Path(__file__).resolve().parents[2]
WORLD = ROOT / "data" / "tiny_world"
# The tiny student is too small to be worth measuring; here it is measured all the same.
TRAIN = """
import os, signal, sys
from trainer.training import engine_choice
from trainer.training.callbacks import StepRecorder
from trainer.__main__ import main
engine_choice.WORTH_MEASURING = 1
last = int(os.environ.get("KILLED_AT", "0"))
logged = StepRecorder.on_log
def on_log(self, args, state, control, **kwargs):
    logged(self, args, state, control, **kwargs)
    if state.global_step == last:
        os.kill(os.getpid(), signal.SIGKILL)
StepRecorder.on_log = on_log
sys.exit(main())
"""
STEPS = 5


def train(rows: Path, run: Path, *more: str, **variables: str) -> subprocess.CompletedProcess[str]:
    arguments = [
        "train", "--use_cpu", "true", "--local_files_only", "--model_name_or_path", str(WORLD / "student"),
        "--train_data_path", str(rows), "--output_dir", str(run), "--num_prompts_per_batch", "2", "--save_steps", "2",
        "--max_prompt_length", "96", "--max_completion_length", "24", "--learning_rate", "5e-4",
        "--num_train_epochs", "1", "--report_to", "none", *more,
    ]  # fmt: skip
    environment = os.environ | {"HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"} | variables
    return subprocess.run(
        [sys.executable, "-c", TRAIN, *arguments], cwd=ROOT, env=environment, text=True, capture_output=True
    )


def losses(run: Path) -> list[float]:
    return [json.loads(line)["loss"] for line in (run / "metrics.jsonl").read_text().splitlines()]


def test_a_killed_run_keeps_what_was_measured_and_ends_with_the_bits_of_one_that_names_the_engine(tmp_path: Path):
    rows = tmp_path / "rows.json"
    rows.write_text(json.dumps(json.loads((WORLD / "train_data.json").read_text())[: 2 * STEPS]))
    measured, named = tmp_path / "measured", tmp_path / "named"
    killed = train(rows, measured, KILLED_AT="3")
    assert killed.returncode == -9, killed.stderr
    assert killed.stdout.count("(auto: measured, generate ") == 1, killed.stdout
    choice = json.loads((measured / "rollout_engine.json").read_text())

    again = train(rows, measured)
    assert again.returncode == 0, again.stderr
    assert f"rollout_engine: {choice['rollout_engine']} (auto: measured before, generate " in again.stdout
    assert "going on from" in again.stdout and "(auto: measured, " not in again.stdout
    assert json.loads((measured / "rollout_engine.json").read_text()) == choice

    alone = train(rows, named, "--rollout_engine", choice["rollout_engine"])
    assert alone.returncode == 0, alone.stderr
    assert not (named / "rollout_engine.json").exists()
    assert len(losses(measured)) == STEPS and losses(measured) == losses(named)
    weights = [load_file(run / f"checkpoint-{STEPS}" / "model.safetensors") for run in (measured, named)]
    assert all(weights[0][name].equal(weights[1][name]) for name in weights[1])
