"""Processes that start within a second: forks of one that has imported the trainer."""

import multiprocessing
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from multiprocessing.context import ForkServerContext, ForkServerProcess
from pathlib import Path

ENVIRONMENT = {"HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1", "TRL_EXPERIMENTAL_SILENCE": "1"}
PRELOADED = ["trainer.commands.train", "trainer.commands.generate"]
ROOT = Path(__file__).resolve().parents[2]


@cache
def server() -> ForkServerContext:
    """What starts the processes; the first one takes as long as the imports."""
    os.environ |= ENVIRONMENT
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


def start(
    words: Sequence[object],
    log: Path,
    *,
    environ: Mapping[str, str] | None = None,
    before: tuple[Callable[..., object], ...] = (),
) -> ForkServerProcess:
    """Start a command as `python -m trainer` would.

    Args:
        words: Subcommand and flags.
        log: What it prints is added there.
        environ: Names that it has beside the usual ones.
        before: A function of a module, and its arguments: what the process does first.
    """
    process = server().Process(target=_command, args=([str(word) for word in words], log, dict(environ or {}), before))
    process.start()
    return process


def _command(words: list[str], log: Path, environ: dict[str, str], before: tuple) -> None:
    from trainer.__main__ import main

    into(log)
    os.environ |= environ
    if before:
        before[0](*before[1:])
    sys.exit(main(words))


def code_of(process: ForkServerProcess, seconds: float = 300) -> int | None:
    """The exit code at the end of a process; None where there was no end, and it was killed."""
    process.join(seconds)
    if process.exitcode is not None:
        return process.exitcode
    process.kill()
    process.join()
    return None
