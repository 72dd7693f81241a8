"""The processes that were started together: which of them speaks for all, and what it means when one is gone."""

import atexit
import datetime
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NoReturn, TypeVar

from ..errors import TrainerError, UsageError

T = TypeVar("T")

LONGEST_WAIT = datetime.timedelta(days=30)  # for the main process; longer than anything that it does alone
LOST = ("gloo", "connection closed by peer", "connection reset by peer", "nccl")


def require_numbers() -> None:
    """Raise UsageError where what tells processes of each other, as torchrun sets it, is no whole number."""
    rank, size = os.environ.get("RANK", "0"), os.environ.get("WORLD_SIZE", "1")
    for name in ("RANK", "LOCAL_RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE"):
        text = os.environ.get(name, "0")
        if not text.removeprefix("-").isdecimal() or int(text) < (1 if "SIZE" in name and name in os.environ else -1):
            raise UsageError(
                f"found {name}={text} in the environment, expected a whole number, as torchrun sets it. Start several "
                f"processes by `torchrun --nproc_per_node N -m trainer train …`, or one after `unset {name}`."
            )
    if os.environ.get("LOCAL_RANK", "-1") != "-1" and "RANK" not in os.environ:
        raise UsageError(
            f"found LOCAL_RANK={os.environ['LOCAL_RANK']} in the environment without RANK, expected both, as torchrun "
            "sets them. For one process type `unset LOCAL_RANK`."
        )
    if int(rank) >= int(size):
        raise UsageError(
            f"found RANK={rank} in the environment, expected less than WORLD_SIZE, the number of processes, which is "
            f"{size}{'' if 'WORLD_SIZE' in os.environ else ' where it is not set'}. For one process type `unset RANK`."
        )


def is_main_process() -> bool:
    """Whether this is the process that prints, and writes the run's files."""
    return os.environ.get("RANK", "0") == "0"


def has_launcher() -> bool:
    """Whether torchrun or accelerate started this process, which then pass on the signals that they are sent."""
    return "LOCAL_RANK" in os.environ


def from_main_process(compute: Callable[[], T]) -> T:
    """What the main process computes, on each of the processes; the others wait as long as it takes.

    Raises:
        TrainerError: the main process ended in the meantime.
    """
    import torch.distributed as dist  # here, because whoever reports progress imports this file

    if not (dist.is_available() and dist.is_initialized()):
        return compute()
    group: Any = dist.new_group(backend="gloo", timeout=LONGEST_WAIT)  # others give up after minutes
    found: list[Any] = [compute() if is_main_process() else None]
    with told_of_lost_process():
        dist.broadcast_object_list(found, src=0, group=group)
    return found[0]


def leave(code: int) -> NoReturn:
    """End this process with an exit code.

    One of several ends as a process of `multiprocessing` does: what was registered for its end is done, and its
    interpreter is not torn down. Beside that, gloo's threads would go on, for DTensor's caches keep them alive beyond
    `destroy_process_group`; now and then they abort the process (SIGABRT) in place of its exit code.
    """
    if "torch.distributed" in sys.modules:
        import torch.distributed as dist

        if dist.is_available() and dist.is_initialized():
            atexit._run_exitfuncs()
            for stream in (sys.stdout, sys.stderr):
                if stream is not None:  # closed by who started this
                    stream.flush()
            os._exit(code)
    sys.exit(code)


@contextmanager
def told_of_lost_process() -> Iterator[None]:
    """Say what it means when others don't answer any more.

    Raises:
        TrainerError: one of them ended, or can't be reached.
    """
    try:
        yield
    except RuntimeError as error:  # gloo has no class of its own for it
        kinds = {kind.__name__ for kind in type(error).__mro__}
        if "DistError" not in kinds and not any(word in str(error).lower() for word in LOST):
            raise
        raise TrainerError(
            "another process of this run ended, or can't be reached; if it said why, that is above. No checkpoint is "
            "half-written: the same command goes on from the newest one."
        ) from error
