"""Processes that die by SIGKILL within saving, at a call that one names."""

import itertools
import os
import signal
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Place:
    """A call that saving makes, and when to die: `before` it, `after` it, or `within`, with half a file written."""

    module: str
    function: str
    moment: str
    calls: int  # of these at most are let pass: enough for the second save after a start
    file: str = ""


PLACES = {
    "half of the weights": Place("safetensors.torch", "serialize_file", "within", 4),
    "between two files": Place("torch", "save", "before", 8),
    "the manifest": Place("os", "replace", "before", 2, "manifest.json"),
    "before the rename": Place("os", "rename", "before", 2, "checkpoint-"),
    "after the rename": Place("os", "rename", "after", 2, "checkpoint-"),
    "rotation": Place("os", "unlink", "before", 12),
}


def arm(name: str, nth: int) -> None:
    """Let this process die at the `nth` call of a place in saving."""
    place = PLACES[name]
    if name != "rotation":
        _make_deadly(place, nth)
        return
    from trainer.run import checkpoint

    rotate = checkpoint.rotate
    seen = itertools.count(1)  # over all rotations

    def deadly_rotation(*args, **kwargs):
        restore = _make_deadly(place, nth, seen)
        rotate(*args, **kwargs)
        restore()

    checkpoint.rotate = deadly_rotation


def _make_deadly(place: Place, nth: int, seen: Iterator[int] | None = None) -> Callable[[], None]:
    """Replace a place's function by one that dies at its `nth` call; returns what takes it back."""
    module = sys.modules[place.module]
    original = getattr(module, place.function)
    seen = seen or itertools.count(1)

    def deadly(*args, **kwargs):
        counts = not place.file or Path(str(args[1])).name.startswith(place.file)
        if not (counts and next(seen) == nth):
            return original(*args, **kwargs)
        if place.moment != "before":
            original(*args, **kwargs)
        if place.moment == "within":
            os.truncate(args[1], os.path.getsize(args[1]) // 2)
        os.kill(os.getpid(), signal.SIGKILL)

    setattr(module, place.function, deadly)
    return lambda: setattr(module, place.function, original)
