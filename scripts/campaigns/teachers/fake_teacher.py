"""A server on loopback that speaks as much of vLLM's HTTP as the client uses, with faults to order."""

import json
import math
import random
import threading
import time
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
    """An answer to give instead of the right one; with `cut` the connection ends in the middle of it."""

    status: int
    body: Any = ""
    headers: dict[str, str] = field(default_factory=dict)
    cut: bool = False


def echo(body: dict[str, Any]) -> str:
    """An answer that depends on everything a deterministic server's answer depends on."""
    return f"{body['messages'][-1]['content'][:200]} | {body['seed']} | {body['temperature']}"


VOCABULARY = 512  # without a tokenizer each byte is a token, and the rest are never used


def scattered(ids: list[int], top_k: int) -> list[dict[int, float]]:
    """Log-probabilities at each position that depend on all tokens before it: its likeliest tokens, and its own."""
    rows = []
    for position, own in enumerate(ids):
        draw = random.Random(str(ids[:position]))
        weights = {token: draw.expovariate(1.0) ** 3 for token in range(VOCABULARY)}
        weights.setdefault(own, 1.0)
        total = sum(weights.values())
        likeliest = sorted(weights, key=weights.__getitem__, reverse=True)[:top_k]
        rows.append({token: math.log(weights[token] / total) for token in (*likeliest, own)})
    return rows


class _Server(ThreadingHTTPServer):
    request_queue_size = 1024  # connections that wait to be accepted; of more than five others would be reset


class FakeTeacher:
    """`reply` maps a chat request's body to a text, None, a (text, finish_reason) pair, a message or a Fault.

    `faults` are given first, one a request, `/health` included.

    Settings:
        score: Maps the ids of a prompt and K to the log-probabilities by token at each position, the prompt's own
            token among them.
        tokenizer: Of transformers; without one each byte of a text is a token.
        clock_ahead: Seconds by which its answers are dated ahead of this machine's clock.
    """

    def __init__(self, reply: Callable[[dict[str, Any]], Any] = echo, **settings: Any):
        self.reply = reply
        self.faults: list[Fault] = []
        self.requests: list[Request] = []
        self.served = settings.get("served", ["glm-4.7"])
        self.max_model_len = settings.get("max_model_len", 4096)
        self.max_logprobs = settings.get("max_logprobs", 20)
        self.api_key = settings.get("api_key")
        self.score: Callable[[list[int], int], list[dict[int, float]]] = settings.get("score", scattered)
        self.tokenizer = settings.get("tokenizer")
        self.clock_ahead = settings.get("clock_ahead", 0.0)

    def __enter__(self) -> Self:
        self._server = _Server(("127.0.0.1", 0), _handler(self))
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
            return fault.status, fault.body, fault.headers | ({"x-cut": "1"} if fault.cut else {})
        if request.path == "/health":
            return 200, "", {}
        if self.api_key and request.path.startswith("/v1") and request.authorization != f"Bearer {self.api_key}":
            return 401, {"error": "Unauthorized"}, {}
        if request.path == "/version":
            return 200, {"version": "0.32.0"}, {}
        if request.path == "/v1/models":
            models = [{"id": name, "max_model_len": self.max_model_len} for name in self.served]
            return 200, {"object": "list", "data": models}, {}
        if request.body is None:
            return 404, {"detail": "Not Found"}, {}
        if request.body["model"] not in self.served:
            return 404, error(f"The model `{request.body['model']}` does not exist.", 404), {}
        answers = {"/v1/completions": self.complete, "/tokenize": self.tokenize, "/detokenize": self.detokenize}
        return answers.get(request.path, self.chat)(request.body)

    def complete(self, body: dict[str, Any]) -> tuple[int, Any, dict[str, str]]:
        wanted = body["prompt_logprobs"]
        if wanted > self.max_logprobs:
            words = f"Requested prompt logprobs of {wanted}, which is greater than max allowed: {self.max_logprobs}"
            return 400, error(words, 400), {}
        prompt = body["prompt"]
        ids = prompt if isinstance(prompt, list) else self.encode(prompt, True)
        rows = [entries(row, own) for row, own in zip(self.score(ids, wanted), ids, strict=True)]
        return 200, {"choices": [{"index": 0, "text": "x", "prompt_logprobs": [None, *rows[1:]]}]}, {}

    def tokenize(self, body: dict[str, Any]) -> tuple[int, Any, dict[str, str]]:
        if "messages" in body:
            ids = self.render(body["messages"], body["add_generation_prompt"], body["chat_template_kwargs"])
        else:
            ids = self.encode(body["prompt"], body["add_special_tokens"])
        names = self.tokenizer.convert_ids_to_tokens(ids) if self.tokenizer else [f"<0x{token:02X}>" for token in ids]
        strings = names if body["return_token_strs"] else None
        return 200, {"count": len(ids), "max_model_len": self.max_model_len, "tokens": ids, "token_strs": strings}, {}

    def detokenize(self, body: dict[str, Any]) -> tuple[int, Any, dict[str, str]]:
        ids = body["tokens"]
        text = self.tokenizer.decode(ids) if self.tokenizer else bytes(ids).decode(errors="replace")
        return 200, {"prompt": text}, {}

    def encode(self, text: str, add_special_tokens: bool) -> list[int]:
        if self.tokenizer is None:
            return list(text.encode())
        return self.tokenizer.encode(text, add_special_tokens=add_special_tokens)

    def render(self, messages: list[dict[str, str]], add_generation_prompt: bool, kwargs: dict[str, Any]) -> list[int]:
        if self.tokenizer is None:
            turns = "".join(f"<{message['role']}>{message['content']}\n" for message in messages)
            return list((turns + "<assistant>" * add_generation_prompt).encode())
        text = self.tokenizer.apply_chat_template(
            messages, tokenize=False, add_generation_prompt=add_generation_prompt, **kwargs
        )
        return self.encode(text, False)

    def chat(self, body: dict[str, Any]) -> tuple[int, Any, dict[str, str]]:
        reply = self.reply(body)
        if isinstance(reply, Fault):
            return reply.status, reply.body, reply.headers
        text, finish_reason = reply if isinstance(reply, tuple) else (reply, "stop")
        message = text if isinstance(text, dict) else {"role": "assistant", "content": text}
        choice = {"index": 0, "finish_reason": finish_reason, "message": message}
        return 200, {"choices": [choice], "usage": {"prompt_tokens": 11, "completion_tokens": 5}}, {}


def entries(logps: dict[int, float], own: int) -> dict[str, dict[str, Any]]:
    """One position of prompt_logprobs as vLLM writes it: the prompt's own token first, the others by rank."""
    order = sorted(logps, key=logps.__getitem__, reverse=True)
    first = [own] if own in logps else []
    return {
        str(token): {
            "logprob": max(logps[token], -9999.0),  # of NaN it makes NaN
            "rank": order.index(token) + 1,
            "decoded_token": f"<0x{token:02X}>",
        }
        for token in [*first, *(token for token in order if token != own)]
    }


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
            cut = headers.pop("x-cut", None)
            self.send_response(status)
            for name, value in {"content-type": "application/json", **headers}.items():
                self.send_header(name, value)
            self.send_header("content-length", str(len(data)))
            self.end_headers()
            self.wfile.write(data[: len(data) // 2] if cut else data)
            self.close_connection = self.close_connection or bool(cut)

        def date_time_string(self, timestamp: float | None = None) -> str:
            return super().date_time_string((timestamp or time.time()) + teacher.clock_ahead)

        def log_message(self, *args: object) -> None:
            pass

    return Handler
