"""A server on loopback that speaks as much of vLLM's HTTP as the client uses, with faults to order."""

import json
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self


@dataclass
class Request:
    method: str
    path: str
    authorization: str | None
    body: Any


@dataclass
class Fault:
    """An answer to give instead of the right one."""

    status: int
    body: Any = ""
    headers: dict[str, str] = field(default_factory=dict)


def echo(body: dict[str, Any]) -> str:
    """An answer that depends on everything a deterministic server's answer depends on."""
    return f"{body['messages'][-1]['content'][:200]} | {body['seed']} | {body['temperature']}"


class FakeTeacher:
    """`reply` maps a chat request's body to a text, None, a (text, finish_reason) pair or a Fault.

    `faults` are given first, one a request, `/health` included.
    """

    def __init__(self, reply: Callable[[dict[str, Any]], Any] = echo, **settings: Any):
        self.reply = reply
        self.faults: list[Fault] = []
        self.requests: list[Request] = []
        self.served = settings.get("served", ["glm-4.7"])
        self.max_model_len = settings.get("max_model_len", 4096)
        self.max_logprobs = settings.get("max_logprobs", 20)
        self.api_key = settings.get("api_key")

    def __enter__(self) -> Self:
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        return self

    def __exit__(self, *error: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    @property
    def chats(self) -> list[Request]:
        return [request for request in self.requests if request.path == "/v1/chat/completions"]

    def answer(self, request: Request) -> tuple[int, Any, dict[str, str]]:
        if self.faults:
            fault = self.faults.pop(0)
            return fault.status, fault.body, fault.headers
        if request.path == "/health":
            return 200, "", {}
        if self.api_key and request.path.startswith("/v1") and request.authorization != f"Bearer {self.api_key}":
            return 401, {"error": "Unauthorized"}, {}
        if request.path == "/version":
            return 200, {"version": "0.32.0"}, {}
        if request.path == "/v1/models":
            models = [{"id": name, "max_model_len": self.max_model_len} for name in self.served]
            return 200, {"object": "list", "data": models}, {}
        if request.body["model"] not in self.served:
            return 404, error(f"The model `{request.body['model']}` does not exist.", 404), {}
        return self.complete(request.body) if request.path == "/v1/completions" else self.chat(request.body)

    def complete(self, body: dict[str, Any]) -> tuple[int, Any, dict[str, str]]:
        wanted = body["prompt_logprobs"]
        if wanted > self.max_logprobs:
            words = f"Requested prompt logprobs of {wanted}, which is greater than max allowed: {self.max_logprobs}"
            return 400, error(words, 400), {}
        return 200, {"choices": [{"prompt_logprobs": [None, {"7": {"logprob": -1.0}}]}]}, {}

    def chat(self, body: dict[str, Any]) -> tuple[int, Any, dict[str, str]]:
        reply = self.reply(body)
        if isinstance(reply, Fault):
            return reply.status, reply.body, reply.headers
        text, finish_reason = reply if isinstance(reply, tuple) else (reply, "stop")
        choice = {"index": 0, "finish_reason": finish_reason, "message": {"role": "assistant", "content": text}}
        return 200, {"choices": [choice], "usage": {"prompt_tokens": 11, "completion_tokens": 5}}, {}


def error(message: str, code: int) -> dict[str, Any]:
    return {"error": {"message": message, "type": "BadRequestError", "code": code}}


def _handler(teacher: FakeTeacher) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        wbufsize = 65536  # head and body leave together: apart, each answer waits 40 ms for an acknowledgement

        def do_GET(self) -> None:
            self.handle_request(None)

        def do_POST(self) -> None:
            self.handle_request(json.loads(self.rfile.read(int(self.headers["content-length"]))))

        def handle_request(self, body: Any) -> None:
            request = Request(self.command, self.path, self.headers["authorization"], body)
            teacher.requests.append(request)
            status, content, headers = teacher.answer(request)
            data = content.encode() if isinstance(content, str) else json.dumps(content).encode()
            self.send_response(status)
            for name, value in {"content-type": "application/json", **headers}.items():
                self.send_header(name, value)
            self.send_header("content-length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, *args: object) -> None:
            pass

    return Handler
