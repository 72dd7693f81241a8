"""The servers that all sides ask, each in a process of its own: a scripted one, and a relay before a real one.

Both count the requests for rows, and answer `GET /tally` with what they counted since the last time.
"""

import asyncio
import heapq
import json
import re
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from typing import Any

Reader, Writer = asyncio.StreamReader, asyncio.StreamWriter
MODEL = "glm-4.7"
AT_ONCE = 64  # requests that the scripted server answers side by side
CONTEXT = 8192  # tokens that the scripted server says it can read


class Requests:
    """Finds whole requests in the bytes of one connection."""

    LENGTH = re.compile(rb"content-length: *(\d+)", re.IGNORECASE)

    def __init__(self):
        self.received = b""

    def fed(self, data: bytes) -> Iterator[tuple[bytes, bytes]]:
        """Head and body of each request that `data` completes."""
        self.received += data
        while (end := self.received.find(b"\r\n\r\n")) >= 0:
            length = self.LENGTH.search(self.received, 0, end)
            whole = end + 4 + (int(length[1]) if length else 0)
            if len(self.received) < whole:
                return
            head, body, self.received = self.received[:end], self.received[end + 4 : whole], self.received[whole:]
            yield head, body


@dataclass
class Tally:
    """Counts requests, and by the clock of this process the time from the first for a row to the last answer to one."""

    prompts: set[str]
    posts: int = 0
    rows: set[str] = field(default_factory=set)
    began: float | None = None
    ended: float = 0.0
    in_flight: int = 0
    most: int = 0

    def asked(self, prompt: str) -> bool:
        """Count a request; is it for a row?"""
        self.posts += 1
        if prompt not in self.prompts:
            return False
        self.began = self.began or time.perf_counter()
        self.rows.add(prompt)
        self.in_flight += 1
        self.most = max(self.most, self.in_flight)
        return True

    def answered(self) -> None:
        self.in_flight -= 1
        self.ended = time.perf_counter()

    def told(self) -> bytes:
        """All of it as JSON, and begin anew."""
        seconds = self.ended - (self.began or self.ended)
        found = {"requests": self.posts, "rows": len(self.rows), "seconds": seconds, "at_once": self.most}
        self.__init__(self.prompts)
        return json.dumps(found).encode()


def prompt_of(body: bytes) -> str:
    """The last message of a request, whose content may be a text or a list of parts."""
    messages = json.loads(body)["messages"]
    content = messages[-1]["content"] if messages else ""
    return (content if isinstance(content, str) else "".join(part["text"] for part in content)).strip()


def is_chat(head: bytes) -> bool:
    return head.startswith(b"POST /v1/chat/completions")


def http(body: bytes, status: str = "200 OK") -> bytes:
    head = f"HTTP/1.1 {status}\r\ncontent-type: application/json\r\ncontent-length: {len(body)}\r\n\r\n"
    return head.encode() + body


class Scripted:
    """A server whose turns begin when one of so many places is free, and all take `latency` seconds.

    A place is free again when its turn should have ended, so a late timer costs nothing where requests queue.
    """

    def __init__(self, answers: dict[str, str], latency: float):
        self.latency = latency
        self.answers = {prompt: http(completion(text)) for prompt, text in answers.items()}
        self.tally = Tally(set(answers))
        self.free = [0.0] * AT_ONCE
        model = {"id": MODEL, "object": "model", "max_model_len": CONTEXT}
        self.pages = {
            b"/health": http(b""),
            b"/version": http(b'{"version": "0.32.0"}'),
            b"/v1/models": http(json.dumps({"object": "list", "data": [model]}).encode()),
        }

    def due(self, now: float) -> float:
        """When a request that arrives now is answered."""
        begins = max(now, heapq.heappop(self.free))
        heapq.heappush(self.free, begins + self.latency)
        return begins + self.latency

    def page(self, head: bytes) -> bytes:
        path = head.split(b" ", 2)[1]
        if path == b"/tally":
            return http(self.tally.told())
        return self.pages.get(path) or http(b'{"detail": "Not Found"}', "404 Not Found")


class Client(asyncio.Protocol):
    """A connection to the scripted server."""

    def __init__(self, server: Scripted):
        self.server = server
        self.requests = Requests()
        self.loop = asyncio.get_running_loop()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        for head, body in self.requests.fed(data):
            if is_chat(head):
                self.loop.call_at(self.server.due(self.loop.time()), self.answer, *self.prepared(prompt_of(body)))
            else:
                self.transport.write(self.server.page(head))

    def prepared(self, prompt: str) -> tuple[bytes, bool]:
        is_row = self.server.tally.asked(prompt)
        return self.server.answers[prompt] if is_row else http(completion("Yes.")), is_row

    def answer(self, answer: bytes, is_row: bool) -> None:
        if is_row:
            self.server.tally.answered()
        if not self.transport.is_closing():
            self.transport.write(answer)


def completion(text: str) -> bytes:
    """vLLM's answer to a request for a chat completion."""
    choice = {"index": 0, "message": {"role": "assistant", "content": text}, "logprobs": None, "finish_reason": "stop"}
    usage = {"prompt_tokens": 40, "completion_tokens": len(text.split()), "total_tokens": 40 + len(text.split())}
    body = {"id": "chatcmpl-0", "object": "chat.completion", "created": 0, "model": MODEL}
    return json.dumps(body | {"choices": [choice], "usage": usage}).encode()


def serve(answers: dict[str, str], latency: float, pipe: Connection) -> None:
    """What the scripted server's process does, until it is ended."""

    async def run() -> None:
        scripted_server = Scripted(answers, latency)
        server = await asyncio.get_running_loop().create_server(lambda: Client(scripted_server), "127.0.0.1", 0)
        pipe.send(server.sockets[0].getsockname()[1])
        await server.serve_forever()

    asyncio.run(run())


class Relay:
    """Passes bytes between a client and the server at `address`, and counts."""

    def __init__(self, tally: Tally, *address: Any):
        self.tally, self.address = tally, address

    async def connect(self, reader: Reader, writer: Writer) -> None:
        rows: list[bool] = []  # of this connection: whether the request in flight is for a row
        inwards, outwards = await asyncio.open_connection(*self.address)
        with suppress(ConnectionError):
            await asyncio.gather(self.ask(reader, outwards, writer, rows), self.answer(inwards, writer, rows))

    async def ask(self, reader: Reader, outwards: Writer, writer: Writer, rows: list[bool]) -> None:
        requests = Requests()
        while data := await reader.read(2**16):
            if data.startswith(b"GET /tally"):
                writer.write(http(self.tally.told()))
                continue
            for head, body in requests.fed(data):
                if is_chat(head) and self.tally.asked(prompt_of(body)):
                    rows.append(True)
            outwards.write(data)
        outwards.close()

    async def answer(self, inwards: Reader, writer: Writer, rows: list[bool]) -> None:
        while data := await inwards.read(2**16):
            if rows:
                rows.pop()
                self.tally.answered()
            writer.write(data)
        writer.close()


def relay(host: str, port: int, prompts: set[str], pipe: Connection) -> None:
    """What the relay's process does, until it is ended."""

    async def run() -> None:
        server = await asyncio.start_server(Relay(Tally(prompts), host, port).connect, "127.0.0.1", 0)
        pipe.send(server.sockets[0].getsockname()[1])
        await server.serve_forever()

    asyncio.run(run())
