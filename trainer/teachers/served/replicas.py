"""Several servers of one teacher: which of them gets the next request, and how long one that failed is left alone."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TypeVar

from tenacity import RetryCallState

from .failures import Failure, Healing

T = TypeVar("T")

RESTART_SECONDS = 20.0  # no vLLM loads another model in less
FIRST_REST_SECONDS, LONGEST_REST_SECONDS = 1.0, 30.0


@dataclass(eq=False)
class Replica:
    """One server.

    Attributes:
        in_flight: Requests sent and not answered.
        failures: In a row; those of requests that were under way together count once.
        returns: How often it answered again after failures.
        absences: How often it answered after so long without an answer that it may have been restarted unseen.
        has_answered: Whether it ever did.
        answered_at, failed_at, rests_until: Monotonic seconds.
    """

    base_url: str
    in_flight: int = 0
    failures: int = 0
    returns: int = 0
    absences: int = 0
    has_answered: bool = False
    answered_at: float = float("inf")
    failed_at: float = float("-inf")
    rests_until: float = float("-inf")

    @property
    def rest(self) -> float:
        """Seconds, twice as many with each failure in a row."""
        return min(LONGEST_REST_SECONDS, FIRST_REST_SECONDS * 2.0 ** min(self.failures - 1, 30))


class Replicas(list[Replica]):
    """All of them, in the order in which they were named."""

    def ready(self, besides: Collection[Replica] = ()) -> list[Replica]:
        """Those that may get a request now, without `besides`."""
        now = time.monotonic()
        return [replica for replica in self if replica.rests_until <= now and replica not in besides]

    def pick(self, besides: Collection[Replica] = ()) -> Replica:
        """The ready one with the fewest requests in flight; where none is ready, the one whose rest ends first.

        One that failed before gets a single request when its rest is over, and more once that is answered.
        """
        ready = self.ready(besides)
        if not ready:
            return min(self, key=lambda replica: replica.rests_until)
        chosen = min(ready, key=lambda replica: replica.in_flight)
        if chosen.failures:
            chosen.rests_until = time.monotonic() + chosen.rest
        return chosen


class Attempts:
    """One request's way through the replicas, and how long it may take; its methods are what tenacity asks for.

    Attributes:
        failure: The last one, None before; `failed_at` is the base URL that it came from.
        moves: Whether the next try goes to another replica, at once.
    """

    def __init__(self, replicas: Replicas, patience: float, backoff: Callable[[RetryCallState], float]):
        self.replicas = replicas
        self.patience = patience
        self.backoff = backoff
        self.failure: Failure | None = None
        self.failed_at = ""
        self.moves = False
        self._failed: set[Replica] = set()
        self._waiting_since: float | None = None

    async def once(self, exchange: Callable[[str], Awaitable[T]]) -> T:
        """A try with the replica whose turn it is; `exchange` gets its base URL and raises Failure."""
        return await self._with(self.replicas.pick(self._failed), exchange)

    async def of_all(self, exchange: Callable[[str], Awaitable[T]]) -> dict[str, T]:
        """A try with every replica at once: the answers by base URL. Raises where one declines, or all fail."""
        tries = (self._with(replica, exchange) for replica in self.replicas)
        results = await asyncio.gather(*tries, return_exceptions=True)
        answers: dict[str, T] = {}
        errors: list[BaseException] = []
        for replica, result in zip(self.replicas, results, strict=True):
            if isinstance(result, BaseException):
                errors.append(result)
            else:
                answers[replica.base_url] = result
        final = [error for error in errors if not (isinstance(error, Failure) and error.may_pass)]
        for error in final or errors[: not answers]:
            raise error
        return answers

    def pause(self, state: RetryCallState) -> float:
        """Seconds until the next try: none while a replica is ready that has not failed on this request."""
        self.moves = bool(self.replicas.ready(self._failed))
        if self.moves or self.failure is None:
            return 0.0
        self._failed.clear()
        return max(self.backoff(state), self.failure.retry_after)

    def are_enough(self, state: RetryCallState) -> bool:
        """Whether the next try would begin later than `patience` seconds after the first wait.

        Counted from a failure, because an answer may take longer to write than a user waits for a dead server.
        """
        if self.moves:
            return False
        if self.is_hopeless:
            return True
        now = time.monotonic()
        self._waiting_since = now if self._waiting_since is None else self._waiting_since
        return now + state.upcoming_sleep - self._waiting_since > self.patience

    @property
    def is_hopeless(self) -> bool:
        """Whether the last failure is one that only heals at a server which was reached before, and none was."""
        healing = self.failure.healing if self.failure else Healing.PERHAPS
        return healing is Healing.ONCE_KNOWN and not any(replica.has_answered for replica in self.replicas)

    async def _with(self, replica: Replica, exchange: Callable[[str], Awaitable[T]]) -> T:
        try:
            with used(replica):
                return await exchange(replica.base_url)
        except Failure as failure:
            self._failed.add(replica)
            self.failure, self.failed_at = failure, replica.base_url
            raise


@contextmanager
def used(replica: Replica) -> Iterator[None]:
    """Keeps the replica's account of one request: it rests after a failure that may pass, and is well after an answer.

    A refusal is an answer too.
    """
    began = time.monotonic()
    replica.in_flight += 1
    try:
        yield
    except Failure as failure:
        if failure.may_pass:
            _rest(replica, began, failure.retry_after)
        else:
            _restore(replica)
        raise
    else:
        _restore(replica)
    finally:
        replica.in_flight -= 1


def _rest(replica: Replica, began: float, retry_after: float) -> None:
    now = time.monotonic()
    if began >= replica.failed_at:
        replica.failures += 1
        replica.failed_at = now
    replica.rests_until = max(replica.rests_until, now + max(replica.rest, retry_after))


def _restore(replica: Replica) -> None:
    now = time.monotonic()
    replica.returns += replica.failures > 0
    replica.absences += now - replica.answered_at > RESTART_SECONDS
    replica.answered_at = now
    replica.failures = 0
    replica.has_answered = True
    replica.rests_until = float("-inf")
