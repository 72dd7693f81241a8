"""The README's first command: it teaches, and however it ends nothing is left running."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

QUICKSTART = Path(__file__).resolve().parents[2] / "scripts" / "quickstart"


def start(folder: Path) -> subprocess.Popen[str]:
    """The quickstart; it and all that descends from it carry the folder's name in their environment."""
    return subprocess.Popen(
        [sys.executable, QUICKSTART, folder],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env=os.environ | {"QUICKSTART_OF_TEST": str(folder)},
        # A shell starts what runs in its background deaf to Ctrl-C, and what that starts stays so.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )


def read_until(process: subprocess.Popen[str], words: str) -> str:
    text = ""
    while words not in text and (line := process.stdout.readline()):
        text += line
    return text


def processes_of(folder: Path) -> list[str]:
    """The processes that a quickstart into `folder` has left or has running."""
    mark, found = f"QUICKSTART_OF_TEST={folder}".encode(), []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if mark in (process / "environ").read_bytes().split(b"\0"):
                found.append((process / "cmdline").read_text().replace("\0", " "))
        except OSError:
            continue  # ended meanwhile, or another user's
    return found


def test_the_new_skill_is_learnt_and_the_old_ones_are_kept(tmp_path):
    with start(tmp_path / "quick") as process:
        printed = process.communicate(timeout=600)[0]
    assert process.returncode == 0, printed
    scores = json.loads((tmp_path / "quick/run/summary.json").read_text())["scores"]
    assert scores["after"]["new_skill"] - scores["before"]["new_skill"] >= 0.5
    assert scores["before"]["prior_skills"] - scores["after"]["prior_skills"] <= 0.15
    table = printed[printed.rindex("new skill") :]
    assert f"→ {scores['after']['new_skill']:.1%}" in table
    for line in ("prior skills", "tokens/s", "seconds: train", "run directory"):
        assert line in table
    assert not processes_of(tmp_path / "quick")


@pytest.mark.parametrize(("number", "stage"), [(signal.SIGINT, "══ teacher"), (signal.SIGTERM, "step 2/")])
def test_a_signal_leaves_no_process_and_names_the_logs(tmp_path, number, stage):
    with start(tmp_path / "quick") as process:
        read_until(process, stage)
        time.sleep(1)
        assert len(processes_of(tmp_path / "quick")) > 1
        process.send_signal(number)
        rest = process.communicate(timeout=60)[0]
    assert process.returncode == 130
    assert f"the logs are in {tmp_path / 'quick/logs'}".lower() in rest.lower()
    assert not processes_of(tmp_path / "quick")


def test_a_stage_that_fails_ends_the_quickstart_and_names_its_log(tmp_path):
    (tmp_path / "quick/data").mkdir(parents=True)
    (tmp_path / "quick/data/train_data.json").write_text("[]")
    with start(tmp_path / "quick") as process:
        printed = process.communicate(timeout=300)[0]
    assert process.returncode == 1
    assert f"generate ended with code 2; its log is {tmp_path / 'quick/logs/generate.log'}" in printed
    assert not processes_of(tmp_path / "quick")
