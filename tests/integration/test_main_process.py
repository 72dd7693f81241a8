"""What one of several processes computes for all reaches the others; none waits for one that is gone or silent."""

import os
import socket
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
WORK = """
import sys
import torch.distributed as dist
from trainer.errors import TrainerError
from trainer.run.processes import from_main_process, leave

def compute():
    print("computed")
    if sys.argv[1] == "fails":
        leave(3)
    return {"chosen": "sdft"}

dist.init_process_group("gloo")
try:
    print(from_main_process(compute))
except TrainerError as error:
    print(f"told: {error}", file=sys.stderr)
    leave(1)
leave(0)
"""
UNANSWERED = """
import atexit
import sys
import torch
import torch.distributed as dist
from trainer.run.processes import leave

dist.init_process_group("gloo")
if dist.get_rank() == 0:
    sys.stdin.read()
else:
    atexit.register(print, "what was registered is done")
    dist.all_reduce(torch.ones(2), async_op=True)
    print("asked", end=" ")
    leave(4)
"""


def start(work, *arguments):
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = str(probe.getsockname()[1])
    place = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "WORLD_SIZE": "2", "OMP_NUM_THREADS": "1"}
    return [
        subprocess.Popen(
            [sys.executable, "-c", work, *arguments], cwd=ROOT, env=os.environ | place | {"RANK": str(rank)}, text=True,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )
        for rank in range(2)
    ]  # fmt: skip


def two(how):
    started = start(WORK, how)
    return [(*process.communicate(timeout=100), process.returncode) for process in started]


def test_all_get_what_the_main_process_computed_once():
    (main_said, _, _), (other_said, _, code) = two("works")
    assert main_said == "computed\n{'chosen': 'sdft'}\n"
    assert (other_said, code) == ("{'chosen': 'sdft'}\n", 0)


def test_the_others_are_told_when_the_main_process_ends_instead():
    (_, _, first), (said, errors, second) = two("fails")
    assert (first, second, said) == (3, 1, "")
    assert "told: another process of this run ended, or can't be reached" in errors and "Traceback" not in errors


def test_one_that_leaves_does_not_wait_for_what_the_others_have_not_answered():
    silent, leaving = start(UNANSWERED)
    try:
        said, errors = leaving.communicate(timeout=100)
    finally:
        silent.communicate(timeout=100)
    assert (said, errors, leaving.returncode) == ("asked what was registered is done\n", "", 4)
