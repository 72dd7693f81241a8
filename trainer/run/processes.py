"""The processes that were started together: which of them speaks for all, and what it means when one is gone."""

import os
from collections.abc import Iterator
from contextlib import contextmanager

from trainer.errors import TrainerError

LOST = ("gloo", "connection closed by peer", "connection reset by peer", "nccl")


def is_main_process() -> bool:
    """Whether this is the process that prints, and writes the run's files."""
    return os.environ.get("RANK", "0") == "0"


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
