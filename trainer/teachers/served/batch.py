"""Many requests to the teacher at once: bounded, interruptible, the same whatever their order."""

import asyncio
import hashlib
import signal
import threading
from collections.abc import Callable, Coroutine, Iterable, Sequence
from typing import Any, TypeVar

from ...errors import Stopped
from .background import Background

T = TypeVar("T")


def row_seed(seed: int, number: int, stage: str = "answer") -> int:
    """A sampling seed (31 bits) for one request, the same in whatever order requests are made."""
    digest = hashlib.sha256(f"{seed}/{number}/{stage}".encode()).digest()
    return int.from_bytes(digest[:4], "big") >> 1


async def run_bounded(
    work: Callable[[int], Coroutine[Any, Any, None]], numbers: Iterable[int], room: Callable[[], int]
) -> None:
    """Run `work(n)` for each of `numbers`, begun in their order, while fewer than `room()` run.

    `room` is asked anew whenever one ends, so it can also end the whole early. The first failure cancels the
    rest and is raised.
    """
    waiting = iter(numbers)
    running: set[asyncio.Task[None]] = set()
    ended: asyncio.Queue[asyncio.Task[None]] = asyncio.Queue()
    try:
        while True:
            while len(running) < room() and (number := next(waiting, None)) is not None:
                running.add(task := asyncio.create_task(work(number)))
                task.add_done_callback(ended.put_nowait)
            if not running:
                return
            running.discard(task := await ended.get())
            task.result()
    finally:
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)


async def all_of(works: Sequence[Coroutine[Any, Any, T]]) -> list[T]:
    """The results of all, run side by side; the first failure cancels the rest and is raised."""
    tasks = [asyncio.create_task(work) for work in works]
    try:
        return await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def run_until_stopped(work: Coroutine[Any, Any, T], stopped: str) -> T:
    """Run `work` in an event loop of its own; SIGINT and SIGTERM cancel it.

    Where a loop runs already, as in a notebook, it gets a thread of its own, and SIGINT alone cancels it. Signals reach
    the main thread only: in another one, none does.

    Raises:
        Stopped: with the text `stopped`, after such a signal.
    """
    if _runs_in_a_loop():
        return _beside_a_loop(work, stopped)
    if threading.current_thread() is not threading.main_thread():
        return asyncio.run(work)
    signals = (signal.SIGINT, signal.SIGTERM)
    before = {number: signal.getsignal(number) for number in signals}

    async def interruptible() -> T:
        task = asyncio.current_task()
        assert task is not None
        for number in signals:
            asyncio.get_running_loop().add_signal_handler(number, task.cancel)
        return await work

    try:
        return asyncio.run(interruptible())
    except asyncio.CancelledError:
        raise Stopped(stopped) from None
    finally:
        for number, handler in before.items():
            signal.signal(number, handler or signal.SIG_DFL)


def _beside_a_loop(work: Coroutine[Any, Any, T], stopped: str) -> T:
    with Background() as background:
        try:
            return background.submit(work).result()
        except KeyboardInterrupt:  # leaving cancels what is at work
            raise Stopped(stopped) from None


def _runs_in_a_loop() -> bool:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True
