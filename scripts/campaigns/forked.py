"""Processes that start within a second: forks of one that has imported the trainer."""

import multiprocessing
import os
from functools import cache
from multiprocessing.context import ForkServerContext
from pathlib import Path

ENVIRONMENT = {"HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1", "TRL_EXPERIMENTAL_SILENCE": "1"}
PRELOADED = ["trainer.commands.train", "trainer.commands.generate"]
ROOT = Path(__file__).resolve().parents[2]


@cache
def server() -> ForkServerContext:
    """What starts the processes; the first one takes as long as the imports."""
    os.environ |= ENVIRONMENT
    os.environ["PYTHONPATH"] = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")]).rstrip(os.pathsep)
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(PRELOADED)
    return context


def into(log: Path) -> None:
    """Let what this process prints go to the end of a file."""
    import torch

    with log.open("ab") as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    torch.set_num_threads(1)
