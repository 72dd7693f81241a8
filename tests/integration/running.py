"""`train` in a process of its own that starts within a second: a fork of one that has imported everything.

And the start of a server.
"""

import hashlib
import json
import os
import subprocess
import sys
from dataclasses import dataclass
from multiprocessing.context import ForkServerProcess
from pathlib import Path

import pytest

WORLD = Path(__file__).resolve().parents[2] / "data" / "tiny_world"
SERVED = [
    "--objective", "served", "--model_name_or_path", WORLD / "student", "--local_files_only",
    "--max_prompt_length", "256", "--max_completion_length", "48",
    "--num_prompts_per_batch", "8", "--per_device_train_batch_size", "4", "--learning_rate", "1e-3",
]  # fmt: skip
# So that a repeated run has the same bits: one request at a time, each stage waits for the one before, nothing is kept.
EXACT = ["--no_overlap", "--vllm_server_max_concurrency", "1", "--teacher_cache", "off"]
ENVIRONMENT = {"HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1", "TRL_EXPERIMENTAL_SILENCE": "1"}
PRELOADED = ["trainer.commands.train", "pytest"]


@dataclass
class Training:
    """A `train` that was started.

    Attributes:
        run: Its run directory.
        log: What it prints goes there.
    """

    process: ForkServerProcess
    run: Path
    log: Path

    def code(self, seconds: float = 120) -> int:
        """The exit code; waits for the end."""
        self.process.join(seconds)
        if self.process.exitcode is None:
            self.process.kill()
            raise TimeoutError(f"not at its end after {seconds} s:\n{self.said}")
        return self.process.exitcode

    @property
    def said(self) -> str:
        """All that it printed so far, on stdout and stderr."""
        return self.log.read_text(encoding="utf-8") if self.log.exists() else ""

    def json(self, name: str) -> dict:
        """A JSON file of the run directory."""
        return json.loads((self.run / name).read_text(encoding="utf-8"))

    @property
    def metrics(self) -> list[dict]:
        """The whole lines of metrics.jsonl so far."""
        path = self.run / "metrics.jsonl"
        lines = path.read_text(encoding="utf-8").split("\n")[:-1] if path.exists() else []
        return [json.loads(line) for line in lines]

    @property
    def losses(self) -> list[float]:
        """Of all steps so far."""
        return [record["loss"] for record in self.metrics]

    @property
    def newest(self) -> Path:
        """The checkpoint of the latest step."""
        return max(self.run.glob("checkpoint-*"), key=lambda folder: int(folder.name.rpartition("-")[2]))

    @property
    def digest(self) -> str:
        """SHA-256 of the weights in the newest checkpoint."""
        return self.digest_of(self.newest)

    @staticmethod
    def digest_of(checkpoint: Path) -> str:
        """SHA-256 of its weights."""
        return hashlib.sha256((checkpoint / "model.safetensors").read_bytes()).hexdigest()


def train(arguments: list[str], log: Path) -> None:
    """What the process does."""
    import torch

    from trainer.__main__ import main

    with log.open("ab") as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    torch.set_num_threads(1)
    sys.stdout.reconfigure(line_buffering=True)  # pyright: ignore
    sys.exit(main(["train", *arguments]))


def healthy(server: subprocess.Popen[str], log: Path) -> str:
    """The base URL of a server, once it is healthy."""
    assert server.stdout is not None
    word, _, url = server.stdout.readline().strip().partition(" ")
    if word != "ready":
        pytest.fail(f"the teacher did not become healthy; its log is {log}", pytrace=False)
    return url
