"""Runs that die, by SIGKILL at any moment, also within saving, or on a full disk, go on to the same bits.

Each run is a fork of one server process that has imported everything, so that a start takes half a second.
"""

import hashlib
import json
import multiprocessing
import os
import random
import signal
import sys
import time
from collections.abc import Iterator
from multiprocessing.connection import Connection
from pathlib import Path

import pytest
from campaigns.deaths import PLACES, arm

WORLD = Path(__file__).resolve().parents[2] / "data" / "tiny_world"
STEPS = 24
SMALL = [
    "--model_name_or_path", WORLD / "student", "--local_files_only",
    "--max_prompt_length", "256", "--max_completion_length", "16",
    "--num_prompts_per_batch", "2", "--per_device_train_batch_size", "2", "--learning_rate", "1e-3",
    "--max_steps", STEPS, "--save_steps", "1",
]  # fmt: skip
VARIANTS = pytest.mark.parametrize("more", [[], ["--use_peft", "--lora_r", "4"]], ids=["full", "lora"])


# The sum of the steps that a run gets ahead before these kills and the five at random moments is below STEPS.
RANDOM_MOMENTS = 5
SAVES_AT_MOST = 2  # before a kill at a random moment, however fast the machine is


@pytest.fixture(scope="module")
def fork_server() -> Iterator[multiprocessing.context.ForkServerContext]:
    with pytest.MonkeyPatch.context() as patch:
        for name, value in {"HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1", "TRL_EXPERIMENTAL_SILENCE": "1"}.items():
            patch.setenv(name, value)
        context = multiprocessing.get_context("forkserver")
        context.set_forkserver_preload(["trainer.commands.train", "pytest"])
        yield context


@pytest.fixture(scope="module")
def rows(tmp_path_factory) -> Path:
    """40 training rows: 20 steps an epoch."""
    path = tmp_path_factory.mktemp("data") / "rows.json"
    path.write_text(json.dumps(json.loads((WORLD / "train_data.json").read_text())[:40]))
    return path


def train(arguments: list[str], log: Path, deadly: tuple[str, int] | None, begun: Connection) -> None:
    """What a child process does: `train`, with its output in `log`."""
    import torch
    import transformers

    from trainer.__main__ import main

    with log.open("ab") as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    torch.set_num_threads(1)
    original = transformers.Trainer.train

    def announced(*args, **kwargs):
        begun.send("begun")
        return original(*args, **kwargs)

    transformers.Trainer.train = announced
    if deadly:
        arm(*deadly)
    sys.exit(main(["train", *arguments]))


def start(server, arguments, log: Path, *, deadly: tuple[str, int] | None = None, after: float | None = None) -> int:
    """The exit code of one `train`, that dies at a `deadly` place or `after` so many seconds of training."""
    hears, tells = server.Pipe(duplex=False)
    process = server.Process(target=train, args=([str(word) for word in arguments], log, deadly, tells))
    process.start()
    tells.close()
    if after is not None:
        assert hears.poll(60) and hears.recv() == "begun"
        time.sleep(after)
        process.kill()
    process.join(120)
    return process.exitcode


def newest(run: Path) -> Path:
    return max(run.glob("checkpoint-*"), key=lambda folder: int(folder.name.rpartition("-")[2]))


def digests(run: Path) -> dict[str, str]:
    """SHA-256 of all weights of the newest checkpoint."""
    files = sorted(newest(run).rglob("*.safetensors"))
    return {file.name: hashlib.sha256(file.read_bytes()).hexdigest() for file in files}


def untimed(run: Path) -> list[dict]:
    """The metrics without what depends on the machine's mood."""
    records = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    timing = ("second", "memory")
    return [{key: value for key, value in record.items() if not any(t in key for t in timing)} for record in records]


def seconds_per_step(run: Path) -> float:
    return json.loads((run / "summary.json").read_text())["wall_seconds"]["train"] / STEPS


@VARIANTS
def test_a_run_killed_five_times_at_random_and_six_times_in_saving_ends_with_the_same_bits(
    fork_server, rows, tmp_path, more
):
    arguments = [*SMALL, *more, "--train_data_path", rows]
    whole, killed, log = tmp_path / "whole", tmp_path / "killed", tmp_path / "log"
    assert start(fork_server, [*arguments, "--output_dir", whole], log) == 0, log.read_text()
    draw = random.Random(str(more))
    kills = [*PLACES] + ["random moment"] * RANDOM_MOMENTS
    draw.shuffle(kills)
    for kill in kills:
        if kill == "random moment":
            within = {
                "after": draw.uniform(0, 3) * seconds_per_step(whole),
                "deadly": ("before the rename", SAVES_AT_MOST + 1),
            }
        else:
            within = {"deadly": (kill, draw.randint(1, PLACES[kill].calls))}
        code = start(fork_server, [*arguments, "--output_dir", killed], log, **within)
        assert code == -signal.SIGKILL, f"{kill} {within}: exit code {code}\n{log.read_text()}"
    assert start(fork_server, [*arguments, "--output_dir", killed], log) == 0, log.read_text()
    assert digests(killed) == digests(whole)
    assert untimed(killed) == untimed(whole) and len(untimed(whole)) == STEPS
    left = sorted(path.name for path in killed.iterdir() if path.is_dir())
    assert left == [f"checkpoint-{STEPS - 1}", f"checkpoint-{STEPS}"]


def test_a_run_on_a_full_disk_says_what_to_do_and_goes_on_when_there_is_room(fork_server, rows, tmp_path, small_disk):
    disk, resize = small_disk
    arguments = [*SMALL, "--train_data_path", rows]
    whole, run, log = tmp_path / "whole", disk / "run", tmp_path / "log"
    assert start(fork_server, [*arguments, "--output_dir", whole], log) == 0, log.read_text()
    log.unlink()
    assert start(fork_server, [*arguments, "--output_dir", run], log) == 1
    said = log.read_text()
    assert "Traceback" not in said
    assert f"error: no space left for checkpoint-2 in {run}: " in said and "goes on from checkpoint-1." in said
    assert [path.name for path in run.iterdir() if path.is_dir()] == ["checkpoint-1"]
    resize("64m")
    assert start(fork_server, [*arguments, "--output_dir", run], log) == 0, log.read_text()
    assert digests(run) == digests(whole) and untimed(run) == untimed(whole)
