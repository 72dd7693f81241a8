"""A proxy on loopback between a trainer and a real teacher, which does to chosen answers what networks do."""

import asyncio
import contextlib
import json
import math
import socket
import struct
import threading
from collections import Counter
from collections.abc import Callable, Coroutine, Iterable
from dataclasses import dataclass, field
from typing import Any, Self, TypeVar

import aiohttp
from aiohttp import web

T = TypeVar("T")
CHAT, SCORES = "/v1/chat/completions", "/v1/completions"
TOKENS, TEXT = "/tokenize", "/detokenize"
RESET_AT_CLOSE = struct.pack("ii", 1, 0)  # for SO_LINGER: the peer gets a reset instead of an orderly end
DRIPS = 20


@dataclass(frozen=True)
class Fault:
    """What becomes of one answer.

    Attributes:
        status: Answered instead of asking the teacher; None: the teacher's own answer.
        headers: Of that answer.
        share: How much of the body is sent.
        reset: Whether the connection is reset behind it.
        seconds: That the body takes.
        body: Given the answer's body, what is sent instead, piece by piece and without a length.
        pause: Seconds between these pieces.
        away: Seconds for which nobody listens from then on; `math.inf`: until `FaultyProxy.listen`.
    """

    status: int | None = None
    headers: dict[str, str] = field(default_factory=dict)
    share: float = 1.0
    reset: bool = False
    seconds: float = 0.0
    body: Callable[[bytes], Iterable[bytes]] | None = None
    pause: float = 0.0
    away: float = 0.0


RESET, TRUNCATED, DRIP = Fault(share=0.5, reset=True), Fault(share=0.5), Fault(seconds=2.0)
BUSY, BROKEN, UNAVAILABLE = Fault(429, {"Retry-After": "1"}), Fault(500), Fault(503)
REFUSED, GONE = Fault(share=0, reset=True, away=2.0), Fault(share=0, reset=True, away=math.inf)


class FaultyProxy:
    """A context manager; it listens at `url` and passes everything on to `upstream`.

    Attributes:
        plan: Given a path and how many requests it had, this one included: the fault of this answer, if any.
        question: Given the path and the JSON of a request: what is passed on in its place.
        answer: Given the path, the JSON of a request as it came, and that of its answer: the same.
        asked: Requests so far, by path.
        met: Faults so far.
    """

    def __init__(self, upstream: str):
        self.upstream = upstream
        self.plan: Callable[[str, int], Fault | None] = lambda path, nth: None
        self.question: Callable[[str, Any], Any] = lambda path, body: body
        self.answer: Callable[[str, Any, Any], Any] = lambda path, question, body: body
        self.asked: Counter[str] = Counter()
        self.met: list[Fault] = []
        self._port = 0
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="faulty proxy", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        self._call(self._open())
        self.url = f"http://127.0.0.1:{self._port}"
        return self

    def __exit__(self, *exception: object) -> None:
        self._call(self._close())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def listen(self) -> None:
        """Be there again."""
        self._call(self._listen())

    def _call(self, work: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(30)

    async def _open(self) -> None:
        self._teacher = aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=None))
        await self._listen()

    async def _close(self) -> None:
        await self._runner.cleanup()
        await self._teacher.close()

    async def _listen(self) -> None:
        application = web.Application(client_max_size=2**26)
        application.router.add_route("*", "/{path:.*}", self._handle)
        self._runner = web.AppRunner(application, shutdown_timeout=0)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", self._port).start()
        self._port = self._runner.addresses[0][1]

    async def _be_away(self, seconds: float) -> None:
        await self._runner.cleanup()
        if math.isfinite(seconds):
            await asyncio.sleep(seconds)
            await self._listen()

    async def _handle(self, request: web.Request) -> web.StreamResponse:
        self.asked[request.path] += 1
        planned = self.plan(request.path, self.asked[request.path])
        self.met += [planned] if planned else []
        fault, question = planned or Fault(), await request.read()
        status, answer = (fault.status, b"") if fault.status else await self._ask(request, question)
        response = web.StreamResponse(status=status, headers={"Content-Type": "application/json", **fault.headers})
        if fault.body:
            return await self._send_pieces(request, response, fault.body(answer), fault.pause)
        kept = answer[: int(len(answer) * fault.share)]
        response.content_length = len(answer if fault.reset else kept)
        await response.prepare(request)
        for drip in parts(kept, DRIPS if fault.seconds else 1):
            await response.write(drip)
            await asyncio.sleep(fault.seconds / DRIPS)
        if fault.reset and request.transport is not None:
            request.transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET_AT_CLOSE)
            request.transport.abort()
        if fault.away:
            self._absence = asyncio.create_task(self._be_away(fault.away))
        return response

    async def _send_pieces(
        self, request: web.Request, response: web.StreamResponse, pieces: Iterable[bytes], pause: float
    ) -> web.StreamResponse:
        await response.prepare(request)
        with contextlib.suppress(ConnectionError):  # whoever asked has heard enough
            for piece in pieces:
                await response.write(piece)
                await asyncio.sleep(pause)
        return response

    async def _ask(self, request: web.Request, question: bytes) -> tuple[int, bytes]:
        """Status and body of the teacher's answer, both ways changed as told."""
        asked = json.loads(question) if question else None
        if question:
            question = json.dumps(self.question(request.path, asked)).encode()
        call = self._teacher.request(
            request.method, self.upstream + request.path, data=question, headers={"Content-Type": "application/json"}
        )
        async with call as response:
            answer = await response.read()
        if answer and response.status == 200:
            answer = json.dumps(self.answer(request.path, asked, json.loads(answer))).encode()
        return response.status, answer


def parts(body: bytes, count: int) -> list[bytes]:
    """`body` in `count` pieces or fewer."""
    size = max(1, -(-len(body) // count))
    return [body[start : start + size] for start in range(0, len(body), size)]
