"""A deterministic chat server on loopback that counts what it is asked, takes its time, and fails as told."""

import asyncio
import json
import random
import threading
from collections import Counter
from typing import Self

from aiohttp import web


class CountingTeacher:
    """Answers depend on the messages and the seed alone; every tenth one, by its seed, is cut off.

    Args:
        failing: Share of requests that meet a 503 or a reset connection, by chance with a fixed seed.
        seconds: That an answer takes, give or take a half.

    Attributes:
        asked: How often each request came, by what it says.
        in_flight, most_in_flight: Requests at once.
        alive: While false, every request meets a reset connection.
    """

    def __init__(self, failing: float = 0.0, seconds: float = 0.02):
        self.failing = failing
        self.seconds = seconds
        self.asked: Counter[str] = Counter()
        self.in_flight = self.most_in_flight = 0
        self.alive = True
        self._chance = random.Random(5)

    def __enter__(self) -> Self:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        self.url = asyncio.run_coroutine_threadsafe(self._serve(), self._loop).result()
        return self

    def __exit__(self, *error: object) -> None:
        asyncio.run_coroutine_threadsafe(self._runner.cleanup(), self._loop).result()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()

    @property
    def wasted(self) -> int:
        """Requests that were asked before."""
        return self.asked.total() - len(self.asked)

    async def _serve(self) -> str:
        app = web.Application()
        app.router.add_get("/health", self._respond(lambda: web.Response()))
        app.router.add_get("/version", self._respond(lambda: web.json_response({"version": "0.32.0"})))
        models = {"object": "list", "data": [{"id": "glm-4.7", "max_model_len": 4096}]}
        app.router.add_get("/v1/models", self._respond(lambda: web.json_response(models)))
        app.router.add_post("/v1/chat/completions", self._chat)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=0)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0)
        await site.start()
        return f"http://127.0.0.1:{self._runner.addresses[0][1]}"

    def _respond(self, answer):
        async def handle(request: web.Request) -> web.Response:
            self._reset_if_dead(request)
            return answer()

        return handle

    def _reset_if_dead(self, request: web.Request) -> None:
        if not self.alive:
            request.transport.abort()
            raise ConnectionResetError

    async def _chat(self, request: web.Request) -> web.Response:
        body = await request.json()
        self.in_flight += 1
        self.most_in_flight = max(self.most_in_flight, self.in_flight)
        try:
            await asyncio.sleep(self.seconds * (0.5 + random.random()))
            self._reset_if_dead(request)
            if self._chance.random() < self.failing:
                return self._fault(request)
            self.asked[json.dumps([body["messages"], body["seed"]])] += 1
            return web.json_response(answer(body))
        finally:
            self.in_flight -= 1

    def _fault(self, request: web.Request) -> web.Response:
        if self._chance.random() < 0.5:
            return web.json_response({"error": {"message": "busy"}}, status=503)
        request.transport.abort()
        raise ConnectionResetError


def answer(body: dict) -> dict:
    """A chat completion as vLLM gives it."""
    prompt, seed = body["messages"][-1]["content"], body["seed"]
    words = " ".join(random.Random(f"{prompt}/{seed}").choices(WORDS.split(), k=12))
    reason = "length" if seed % 10 == 0 else "stop"
    choice = {"index": 0, "message": {"role": "assistant", "content": f"{words}."}, "finish_reason": reason}
    return {"choices": [choice], "usage": {"prompt_tokens": len(prompt), "completion_tokens": 12}}


WORDS = (
    "the a house river walks slowly under old bridges while children sing about green birds and quiet winter mornings "
    "when bread is warm then people talk of journeys over mountains with maps lamps kettles boots and patient horses"
)
