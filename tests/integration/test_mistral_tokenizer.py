"""A stock vLLM that cuts texts with Mistral's own tokenizer, and so refuses `chat_template_kwargs` in every request."""

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import tekken_model
from running import SERVED, healthy

from trainer.__main__ import main

ROOT = Path(__file__).resolve().parents[2]
ONCE = "refuses the field chat_template_kwargs and does without"


@pytest.fixture(scope="module")
def url(serve, tmp_path_factory) -> Iterator[str]:
    folder = tmp_path_factory.mktemp("tekken")
    tekken_model.make(folder)
    log = tmp_path_factory.mktemp("vllm") / "vllm.log"
    with serve(0, log, "--tokenizer-mode", "mistral", model=folder) as server:
        yield healthy(server, log)


@pytest.fixture
def rows(tmp_path: Path) -> Path:
    path = tmp_path / "rows.json"
    path.write_text(json.dumps([{"prompt": f"Room {n}, please."} for n in range(16)]))
    return path


def trainer(*words: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "trainer", *map(str, words)]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=200, check=False)


def test_check_tells_the_field_that_it_refuses_and_what_follows(url, capsys):
    assert main(["check", url, "--max_prompt_length", "128", "--max_completion_length", "64"]) == 0
    told = capsys.readouterr().out
    assert "  chat                wrote " in told  # a random model's: perhaps no text
    assert "note  field chat_template_kwargs  refused: the server decides whether the model thinks" in told


def test_demonstrations_are_written_and_learnt_and_the_refusal_is_told_once(url, rows, tmp_path):
    words = [word for word in SERVED if word not in ("--objective", "served")]
    words[words.index("--num_prompts_per_batch") + 1] = "4"
    done = trainer("train", url, *words, "--objective", "seqkd", "--train_data_path", rows,
                   "--output_dir", tmp_path / "run", "--max_steps", "1")  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stderr.count(ONCE) == 1
    written = [json.loads(line) for line in (tmp_path / "run" / "demonstrations.jsonl").read_text().splitlines()]
    assert len([entry for entry in written if "key" in entry]) == 16


def test_the_byte_route_says_which_tokenizer_it_needs(url, rows, tmp_path):
    done = trainer("train", url, *SERVED, "--train_data_path", rows, "--output_dir", tmp_path / "run",
                   "--num_prompts_per_batch", "4")  # fmt: skip
    assert done.returncode == 3, done.stdout + done.stderr
    assert "vLLM: without `--tokenizer-mode mistral`" in done.stderr and "Traceback" not in done.stderr
