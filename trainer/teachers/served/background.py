"""Requests that leave while the trainer computes: an event loop in a thread of its own."""

import asyncio
import threading
from collections.abc import Callable, Coroutine, Iterator
from concurrent.futures import Future
from contextlib import AbstractAsyncContextManager, AsyncExitStack, contextmanager
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self, TypeVar

from .client import TeacherClient

T = TypeVar("T")


class Background:
    """A context manager that runs coroutines beside the caller; on leaving, those still at work are cancelled."""

    def __init__(self) -> None:
        self._resources = AsyncExitStack()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="teacher requests", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.submit(_cancel_others()).result()
        self.submit(self._resources.aclose()).result()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def enter(self, resource: AbstractAsyncContextManager[T]) -> T:
        """Enter an asynchronous context manager, which is left when the requests have ended."""
        return self.submit(self.entered(resource)).result()

    async def entered(self, resource: AbstractAsyncContextManager[T]) -> T:
        """The same for a coroutine that runs here."""
        return await self._resources.enter_async_context(resource)

    def on_exit(self, close: Callable[[], None]) -> None:
        """Call `close` when the requests have ended."""
        self._resources.callback(close)

    def submit(self, work: Coroutine[Any, Any, T]) -> Future[T]:
        """Begin `work`; its result or exception is the future's."""
        return asyncio.run_coroutine_threadsafe(work, self._loop)


@dataclass(frozen=True)
class Line:
    """An open line to the served teacher. All requests of a run share its client, which bounds them together."""

    background: Background
    client: TeacherClient


@contextmanager
def open_line(client: TeacherClient) -> Iterator[Line]:
    """A line through `client`; whatever is still asked on leaving is given up."""
    with Background() as background:
        background.enter(client)
        yield Line(background, client)


async def _cancel_others() -> None:
    others = asyncio.all_tasks() - {asyncio.current_task()}
    for task in others:
        task.cancel()
    await asyncio.gather(*others, return_exceptions=True)
