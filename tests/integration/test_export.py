"""Exported models of a full and of a LoRA run, in a real vLLM: it gives the checkpoint's own greedy answers."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from running import ENVIRONMENT, WORLD, healthy

ROOT = Path(__file__).resolve().parents[2]
LENGTHS = ["--max_prompt_length", "256", "--max_completion_length", "48"]


def sdft(*words: object) -> str:
    """What a subcommand prints; it has to end well."""
    command = [sys.executable, "-m", "trainer", *map(str, words)]
    done = subprocess.run(command, cwd=ROOT, env=os.environ | ENVIRONMENT, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.parametrize("kind", ["full", "lora"])
def test_vllm_answers_with_the_exported_model_as_the_checkpoint_does(serve, tmp_path, kind):
    for name, count in (("train", 64), ("eval", 12), ("prior", 12)):
        rows = json.loads((WORLD / f"{name}_data.json").read_text())[:count]
        (tmp_path / f"{name}.json").write_text(json.dumps(rows))
    run, model, log = tmp_path / "run", tmp_path / "model", tmp_path / "vllm.log"
    data = [word for name in ("train", "eval", "prior") for word in (f"--{name}_data_path", tmp_path / f"{name}.json")]
    student = ["--model_name_or_path", WORLD / "student", "--local_files_only"]
    how = ["--objective", "sft", "--num_prompts_per_batch", "8", "--learning_rate", "1e-3", "--num_train_epochs", "3"]
    sdft("train", *student, *data, *LENGTHS, *how, "--output_dir", run, *(["--use_peft"] if kind == "lora" else []))
    assert (run / "checkpoint-24" / "adapter_config.json").exists() is (kind == "lora")
    said = sdft("export", run, "--output_dir", model, "--dtype", "float32")
    assert "answers 8 rows of new skill as checkpoint-24 does, token by token" in said
    with serve(0, log, model=model) as server:
        url = healthy(server, log)
        for rows in ("eval", "prior"):
            told = sdft(
                "compare", run, url, "--eval_data_path", tmp_path / f"{rows}.json", "--local_files_only", *LENGTHS
            )
            assert "12 rows, 12 answered alike" in told, told
