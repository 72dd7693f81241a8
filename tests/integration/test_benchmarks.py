"""Benchmarks that follow the trainer's own parts still run; what they measure is measured elsewhere."""

import json
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def test_the_benchmark_of_sharding_runs_and_finds_the_same_losses(tmp_path):
    figures = tmp_path / "figures.json"
    command = [sys.executable, ROOT / "scripts/bench/sharding.py", "--pretend", "--json", figures]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    assert json.loads(figures.read_text())["ratios"]["loss_difference"]["median"] <= 1e-4
