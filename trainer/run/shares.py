"""Work on many numbered things, shared among processes, with a line that says how far it is."""

import multiprocessing
import os
import signal
from collections.abc import Callable
from multiprocessing.connection import Connection, wait
from typing import Any, TypeVar

from ..errors import Stopped, TrainerError
from .progress import Progress

T = TypeVar("T")

SHARE = 5_000  # things; fewer are not worth a process
SIGNALS = (signal.SIGINT, signal.SIGTERM)


def in_shares(count: int, work: Callable[[int, int], T], what: str) -> list[T]:
    """`work(start, end)` for consecutive shares of `count` things; the results in their order.

    Each process is a fork of this one, so that nothing has to be handed over; results come back pickled.

    Args:
        what: What the things are, for the line.

    Raises:
        TrainerError: what `work` raised first.
        Stopped: SIGINT or SIGTERM; the processes are ended.
    """
    shares = [(start, min(start + SHARE, count)) for start in range(0, count, SHARE)]
    processes = min(_cores(), len(shares))
    if processes < 2:
        return [work(*share) for share in shares]
    with Progress(count, what) as progress:
        return _spread(shares, work, processes, progress)


def _cores() -> int:
    """Those that this process may use; of data-parallel processes each has its part."""
    return max(1, len(os.sched_getaffinity(0)) // int(os.environ.get("LOCAL_WORLD_SIZE", "1")))


def _spread(
    shares: list[tuple[int, int]], work: Callable[[int, int], T], processes: int, progress: Progress
) -> list[T]:
    context = multiprocessing.get_context("fork")
    pipes = [context.Pipe(duplex=False) for _ in range(processes)]
    workers = [
        context.Process(target=_work, args=(shares[number::processes], work, pipe[1]), daemon=True)
        for number, pipe in enumerate(pipes)
    ]
    before = {number: signal.signal(number, _stop) for number in SIGNALS}
    try:
        for worker, (_, sending) in zip(workers, pipes, strict=True):
            worker.start()
            sending.close()
        return _gathered(shares, [receiving for receiving, _ in pipes], progress)
    finally:
        for worker in workers:
            worker.kill()
            worker.join()
        for number, handler in before.items():
            signal.signal(number, handler)


def _work(shares: list[tuple[int, int]], work: Callable[[int, int], T], results: Connection) -> None:
    for number in SIGNALS:
        signal.signal(number, signal.SIG_IGN)  # the first process ends the others
    os.environ["TOKENIZERS_PARALLELISM"] = "false"  # the processes are the threads
    for share in shares:
        try:
            results.send((share, work(*share)))
        except TrainerError as error:
            results.send((share, error))
            return


def _gathered(shares: list[tuple[int, int]], pipes: list[Connection], progress: Progress) -> list[Any]:
    found: dict[tuple[int, int], Any] = {}
    while len(found) < len(shares):
        for pipe in wait(pipes):
            assert isinstance(pipe, Connection)
            try:
                share, result = pipe.recv()
            except EOFError:
                pipes.remove(pipe)
                if not pipes and len(found) < len(shares):
                    raise TrainerError(
                        "a process that prepared the data was killed, as it is where memory runs out. Free some, or "
                        "pass a smaller file."
                    ) from None
                continue
            if isinstance(result, TrainerError):
                raise result
            found[share] = result
            progress.advance(share[1] - share[0])
    return [found[share] for share in shares]


def _stop(number: int, frame: object) -> None:
    raise Stopped("stopped before the data were prepared; nothing was begun.")
