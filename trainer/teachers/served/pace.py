"""How many requests are in flight at once: as many as make the server answer more, and fewer when it objects."""

import asyncio
import time
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

START = 32  # slots that an adapting pace begins with
WORTH = 1.15  # of the best rate so far, at which twice as many requests are worth it
BETTER = 1.05  # of the best rate so far, at which a rate is better and not noise
SLOW = 1.5  # times the seconds that a token took at the best rate: requests only wait


@dataclass(frozen=True)
class Round:
    """What was seen while as many answers came as there are slots.

    Attributes:
        rate: Tokens a second, all requests together.
        seconds: Of waiting for a token of one answer.
    """

    limit: int
    rate: float
    seconds: float


class Pace:
    """Slots for requests, of which there are `ceiling`, or where it adapts as many up to it as pay.

    An adapting pace doubles its slots while that makes the server write faster. Then it adds an eighth a round. Where a
    token takes half as long again as at the best rate, requests only queue: it takes a fifth away, down to the slots
    of that rate. A server that answers 429 or 503 halves it. A round lasts until as many answers came as there are
    slots, and tells something only if all slots were in use. To be used in one event loop.

    Attributes:
        limit: Slots at present.
        highest: Most slots so far.
    """

    def __init__(self, ceiling: int, *, adapts: bool = False):
        self.ceiling = ceiling
        self.adapts = adapts
        self.limit = self.highest = min(ceiling, START) if adapts else ceiling
        self._in_flight = 0
        self._waiting: deque[asyncio.Future[None]] = deque()
        self._probing = True
        self._best: Round | None = None
        self._lowered_at = float("-inf")
        self._begin_round()

    @asynccontextmanager
    async def slot(self) -> AsyncIterator[None]:
        """Waits its turn for a slot and holds it."""
        await self._acquire()
        try:
            yield
        finally:
            self._in_flight -= 1
            self._wake()

    def answered(self, seconds: float, tokens: int) -> None:
        """Count an answer of so many tokens that took so long."""
        if not self.adapts:
            return
        self._answers += 1
        self._tokens += max(1, tokens)
        self._seconds += seconds
        if self._answers >= self.limit:
            self._end_round()

    def pushed_back(self, began: float) -> None:
        """The server was too busy for a request sent at `began` (monotonic); once for all that were sent together."""
        if not self.adapts or began < self._lowered_at:
            return
        self._probing = False
        self._lowered_at = time.monotonic()
        self._set(self.limit // 2)

    async def _acquire(self) -> None:
        if self._in_flight < self.limit and not self._waiting:
            self._in_flight += 1
            self._full |= self._in_flight == self.limit
            return
        self._full = True
        turn = asyncio.get_running_loop().create_future()
        self._waiting.append(turn)
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():
                self._in_flight -= 1
                self._wake()
            raise

    def _wake(self) -> None:
        while self._waiting and self._in_flight < self.limit:
            turn = self._waiting.popleft()
            if not turn.done():
                self._in_flight += 1
                turn.set_result(None)

    def _begin_round(self) -> None:
        self._began = time.monotonic()
        self._answers = self._tokens = 0
        self._seconds = 0.0
        self._full = self._in_flight >= self.limit

    def _end_round(self) -> None:
        elapsed = max(time.monotonic() - self._began, 1e-9)
        if self._full:
            self._learn(Round(self.limit, self._tokens / elapsed, self._seconds / self._tokens))
        else:
            self._begin_round()

    def _learn(self, seen: Round) -> None:
        best = self._best
        self._probing &= best is None or seen.rate >= WORTH * best.rate
        if best is None or seen.rate > BETTER * best.rate:
            best = self._best = seen
        if self._probing:
            self._set(2 * self.limit)
        elif seen.seconds > SLOW * best.seconds:
            self._set(min(self.limit, max(best.limit, self.limit * 4 // 5)))
        else:
            self._set(self.limit + max(1, self.limit // 8))

    def _set(self, limit: int) -> None:
        self.limit = max(1, min(limit, self.ceiling))
        self.highest = max(self.highest, self.limit)
        self._wake()
        self._begin_round()
