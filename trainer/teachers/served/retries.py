"""Requests that outlast a server's troubles: what is tried again, where, for how long, and what the user is told."""

import time
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import TypeVar

from tenacity import AsyncRetrying, retry_if_exception, wait_exponential_jitter

from ...errors import TeacherError
from .failures import LOGIN, PAY, Failure, Healing, RequestRefused, ServerRefused
from .notices import say
from .pace import Pace
from .replicas import Attempts, Replica, Replicas

T = TypeVar("T")
Exchange = Callable[[str], Awaitable[T]]  # one request to the server of this base URL; raises Failure

TOO_LARGE = 413  # of the failures with an advice of their own the only one that another prompt would not meet
SECONDS_BETWEEN_NOTICES = 10.0
BACKOFF = wait_exponential_jitter(multiplier=0.25, max=10, jitter=0.5)


class PatientRequests:
    """Sends requests to the replicas of one teacher.

    A connection error, a timeout, a body that is no whole JSON, 408, 429 (its Retry-After is honoured) and 5xx are
    tried again. While another replica is ready the request moves there at once, and the one that failed is left
    alone for a while, longer each time. Where none is, tries come with growing, jittered pauses until `patience`
    seconds have passed since the first of them; a line on stderr says so. Every failure is a TeacherError.

    Attributes:
        retries: Tries beyond the first of a request, all requests together; only grows.
        outages: Tries that met a connection failure, a broken answer or a 5xx, counted when they fail; only grows.
    """

    def __init__(self, urls: Sequence[str], pace: Pace, patience: float):
        self.urls = urls
        self.pace = pace
        self.patience = patience
        self.retries = 0
        self.outages = 0
        self._replicas = Replicas(Replica(url) for url in urls)
        self._last_notices: dict[bool, float] = {}

    @property
    def disturbances(self) -> int:
        """Outages, and replicas that answered again after one; only grows."""
        return self.outages + sum(replica.returns for replica in self._replicas)

    @property
    def absences(self) -> int:
        """How often a replica answered that may have been restarted unseen before; only grows."""
        return sum(replica.absences for replica in self._replicas)

    async def of_one(self, exchange: Exchange[T]) -> T:
        """The answer of one replica."""
        attempts = self._attempts()
        return await self._persist(attempts, partial(attempts.once, exchange))

    async def of_all(self, exchange: Exchange[T]) -> dict[str, T]:
        """The answers, by base URL, of all replicas that can be reached; of one at least."""
        attempts = self._attempts()
        return await self._persist(attempts, partial(attempts.of_all, exchange))

    def _attempts(self) -> Attempts:
        return Attempts(self._replicas, self.patience, lambda state: BACKOFF(state))

    async def _persist(self, attempts: Attempts, attempt: Callable[[], Awaitable[T]]) -> T:
        async def in_turn() -> T:
            """A try holds a slot, and the pause behind it none: a server that has less room gets fewer at once."""
            async with self.pace.slot():
                return await attempt()

        try:
            return await in_turn()
        except Failure as failure:
            first = failure
        try:
            return await self._retry(attempts, in_turn, first)
        except Failure as failure:
            raise self._explained(failure, attempts) from failure

    async def _retry(self, attempts: Attempts, attempt: Callable[[], Awaitable[T]], first: Failure) -> T:
        """What follows a first try that failed; most requests get their answer without this machinery."""
        failed: list[Failure] = [first]

        async def again() -> T:
            if failed:
                raise failed.pop()
            return await attempt()

        retrying = AsyncRetrying(
            retry=retry_if_exception(lambda error: isinstance(error, Failure) and error.may_pass),
            wait=attempts.pause,
            stop=attempts.are_enough,
            before_sleep=lambda state: self._notice(attempts),
            reraise=True,
        )
        return await retrying(again)

    def _notice(self, attempts: Attempts) -> None:
        self.retries += 1
        self.outages += attempts.failure is not None and attempts.failure.is_outage
        now = time.monotonic()
        if now - self._last_notices.get(attempts.moves, float("-inf")) < SECONDS_BETWEEN_NOTICES:
            return
        self._last_notices[attempts.moves] = now
        found = attempts.failure.words if attempts.failure else ""
        if attempts.moves:
            say(f"the teacher at {attempts.failed_at} gets a rest ({found}); the others answer its requests")
        else:
            say(f"waiting for the teacher at {','.join(self.urls)} ({found}) …")

    def _explained(self, failure: Failure, attempts: Attempts) -> TeacherError:
        url, status = attempts.failed_at, failure.status
        if status in (401, 403) and failure.advice != PAY:
            what = "login" if failure.advice.startswith(LOGIN) else "key"
            found = f"the teacher at {url} refused the {what} ({failure})"
            return ServerRefused(_sentences(found, failure.advice), status)
        if status is not None and not failure.may_pass:
            kind = ServerRefused if failure.healing is Healing.NEVER and status != TOO_LARGE else RequestRefused
            return kind(_sentences(f"the teacher at {url} refused the request: {failure}", failure.advice), status)
        ends_at_once = not failure.may_pass or attempts.is_hopeless
        waited = "" if ends_at_once else f"; gave up after {self.patience:g} s (--teacher_patience)"
        place = url if ends_at_once else ",".join(self.urls)
        found = f"no usable answer from the teacher at {place}: {failure}{waited}"
        return TeacherError(_sentences(found, failure.advice))


def _sentences(found: str, advice: str) -> str:
    return f"{found.rstrip('.')}. {advice}".strip()
