"""The command that measures everything on a GPU: what it lists, skips, leaves, and does not do twice."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch

GPU = Path(__file__).parents[2] / "scripts" / "bench" / "gpu"


def gpu(*words):
    return subprocess.run([sys.executable, GPU, *map(str, words)], capture_output=True, text=True)


def test_the_list_tells_each_part_and_what_it_needs():
    told = gpu("--list").stdout.splitlines()
    assert [line.split()[0] for line in told] == [str(n) for n in range(1, len(told) + 1)]
    assert any(line.split()[1] == "step_ragged" for line in told)
    assert next(line for line in told if " real_model " in line).endswith("(needs --model)")


def test_an_unknown_part_is_answered_with_the_known_ones():
    done = gpu("--pretend", "--part", "stepp")
    assert done.returncode == 1 and "found --part stepp, expected one of environment, tests," in done.stderr


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_without_a_gpu_it_says_how_to_rehearse():
    done = gpu("--part", "environment")
    assert done.returncode == 1 and "torch finds no GPU here. Rehearse with --pretend" in done.stderr


def test_a_part_leaves_its_log_and_its_place_in_the_summary_and_is_not_run_twice(tmp_path):
    words = ["--pretend", "--part", "1", "real_model", "--output_dir", tmp_path]
    first, second = gpu(*words), gpu(*words)
    assert first.returncode == second.returncode == 0
    assert "== environment: done" in first.stdout and "== environment" not in second.stdout
    assert "python" in (tmp_path / "environment.log").read_text()
    summary = json.loads((tmp_path / "gpu.json").read_text())
    states = {part["part"]: part["state"] for part in summary["parts"]}
    assert states == {"environment": "done", "real_model": "skipped: needs --model"}
    assert "## environment: done" in (tmp_path / "gpu.md").read_text()
