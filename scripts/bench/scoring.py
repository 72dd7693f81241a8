#!/usr/bin/env python3
"""How many positions a second a client gets scored: ours, TRL's VLLMClient, and one that only reads bytes.

    .venv/bin/python scripts/bench/scoring.py [--quick] [--json FILE] [--url URL]

A real vLLM on the CPU serves the tiny teacher, which writes completions of 480 tokens to prompts of 32; a position is a
token of a completion, asked for with its 20 likeliest.

    recorded   the server's answers were recorded and come from a process that does nothing but send them, so the
               client is the bottleneck; also told is the share of one core that it keeps busy
    served     the same requests to the real server, which is the bottleneck; bytes that are only read are what it can
               give

One request a sequence on all sides, 1 or 16 at a time. TRL's client asks whether vLLM is installed here, though it
calls nothing of it, and is told that it is; the package `requests`, which it needs, is installed in .bench.
"""

import argparse
import asyncio
import json
import os
import re
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
REQUESTS = "2.34.2"
REQUESTS_FOLDER = ROOT / ".bench" / f"requests-{REQUESTS}"
sys.path[:0] = [str(ROOT), str(ROOT / "scripts" / "bench")]
os.environ.setdefault("TRL_EXPERIMENTAL_SILENCE", "1")

import aiohttp  # noqa: E402
import numpy as np  # noqa: E402
import record  # noqa: E402
from serving import scripted, vllm  # noqa: E402

from trainer.teachers.served.client import NO_SAMPLING, TeacherClient  # noqa: E402
from trainer.teachers.tokens.token_scores import TokenScores  # noqa: E402

MODEL = "glm-4.7"
PROMPT, COMPLETION, TOP_K = 32, 480, 20
FIRST_TOKEN, VOCABULARY = 3, 512  # the ids below are the tiny world's special tokens
CONCURRENCIES = (1, 16)
DISTINCT = 16  # sequences; more requests repeat them


@dataclass(frozen=True)
class Sequence:
    """A prompt whose first token no other one has, and what the teacher wrote after it."""

    prompt_ids: list[int]
    completion_ids: list[int]

    @cached_property
    def request(self) -> bytes:
        body = {"model": MODEL, "prompt": self.prompt_ids + self.completion_ids, "prompt_logprobs": TOP_K}
        return json.dumps(body | NO_SAMPLING).encode()


# ---- the sides: each scores all sequences, so many at a time


class Ours:
    """`trainer.teachers.served.client.TeacherClient`."""

    name = "ours"

    def __init__(self, url: str, runner: asyncio.Runner, concurrency: int):
        self.runner = runner
        self.client = TeacherClient(url, MODEL, max_concurrency=concurrency)
        self.runner.run(self.client.__aenter__())

    def score(self, sequences: list[Sequence]) -> list[TokenScores]:
        async def all_of_them() -> list[TokenScores]:
            one = self.client.score
            return await asyncio.gather(*(one(s.prompt_ids, s.completion_ids, top_k=TOP_K) for s in sequences))

        return self.runner.run(all_of_them())

    def close(self) -> None:
        self.runner.run(self.client.__aexit__(None, None, None))


class Trl:
    """`trl.generation.vllm_client.VLLMClient.get_sequence_logprobs`."""

    name = "trl"

    def __init__(self, url: str, runner: asyncio.Runner, concurrency: int):
        from trl.generation import vllm_client

        vllm_client.is_vllm_available = lambda *args, **kwargs: True
        self.client = vllm_client.VLLMClient(base_url=url, connection_timeout=10)
        self.concurrency = concurrency

    def score(self, sequences: list[Sequence]) -> dict[str, list]:
        return self.client.get_sequence_logprobs(
            sequences=[s.prompt_ids + s.completion_ids for s in sequences],
            prompt_lengths=[len(s.prompt_ids) for s in sequences],
            top_logprobs=TOP_K,
            chunk_size=1,
            max_concurrent_requests=self.concurrency,
        )

    def close(self) -> None:
        self.client.session.close()


class Bare:
    """aiohttp that reads the bytes and looks at none."""

    name = "bare"

    def __init__(self, url: str, runner: asyncio.Runner, concurrency: int):
        self.url, self.runner, self.concurrency = url, runner, concurrency
        self.session = runner.run(self.opened())

    async def opened(self) -> aiohttp.ClientSession:
        headers = {"Content-Type": "application/json"}
        connector = aiohttp.TCPConnector(limit=self.concurrency)
        return aiohttp.ClientSession(connector=connector, headers=headers, read_bufsize=2**20)

    def score(self, sequences: list[Sequence]) -> list[bytes]:
        async def read(sequence: Sequence) -> bytes:
            async with self.session.post(f"{self.url}/v1/completions", data=sequence.request) as response:
                assert response.status == 200, await response.text()
                return await response.read()

        async def all_of_them() -> list[bytes]:
            return await asyncio.gather(*(read(sequence) for sequence in sequences))

        return self.runner.run(all_of_them())

    def close(self) -> None:
        self.runner.run(self.session.close())


# ---- the servers


def written(url: str, runner: asyncio.Runner) -> list[Sequence]:
    """What the teacher writes at temperature 1 after prompts of random tokens."""
    prompts = [
        [FIRST_TOKEN + i, *np.random.default_rng(i).integers(FIRST_TOKEN, VOCABULARY, PROMPT - 1).tolist()]
        for i in range(DISTINCT)
    ]

    async def complete(session: aiohttp.ClientSession, prompt: list[int], seed: int) -> Sequence:
        body = {"model": MODEL, "prompt": prompt, "max_tokens": COMPLETION, "temperature": 1.0, "seed": seed}
        body |= {"ignore_eos": True, "return_token_ids": True}
        async with session.post(f"{url}/v1/completions", json=body) as response:
            answer = await response.json()
            assert response.status == 200, answer
            return Sequence(prompt, answer["choices"][0]["token_ids"])

    async def all_of_them() -> list[Sequence]:
        async with aiohttp.ClientSession() as session:
            return await asyncio.gather(*(complete(session, prompt, i) for i, prompt in enumerate(prompts)))

    return runner.run(all_of_them())


class Replay(asyncio.Protocol):
    """Answers each request for scores with the bytes recorded for its prompt's first token."""

    def __init__(self, answers: dict[int, bytes]):
        self.answers = answers
        self.received = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        self.received += data
        while (end := self.received.find(b"\r\n\r\n")) >= 0:
            head, body = self.received[:end], self.received[end + 4 :]
            length = re.search(rb"content-length: *(\d+)", head, re.IGNORECASE)
            expected = int(length[1]) if length else 0
            if len(body) < expected:
                return
            self.received = body[expected:]
            self.transport.write(self.answer(head, body[:expected]))

    def answer(self, head: bytes, body: bytes) -> bytes:
        if prompt := re.search(rb'"prompt": *\[+(\d+)', body):
            return self.answers[int(prompt[1])]
        return response(json.dumps({"data": [{"id": MODEL}]}).encode() if b"/v1/models" in head else b"")


def response(body: bytes) -> bytes:
    head = (
        f"HTTP/1.1 200 OK\r\nserver: uvicorn\r\ncontent-type: application/json\r\ncontent-length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


def replay(answers: dict[int, bytes], pipe: Connection) -> None:
    """What the replaying process does, until it is ended."""

    async def serve() -> None:
        whole = {token: response(body) for token, body in answers.items()}
        server = await asyncio.get_running_loop().create_server(lambda: Replay(whole), "127.0.0.1", 0)
        pipe.send(server.sockets[0].getsockname()[1])
        await server.serve_forever()

    asyncio.run(serve())


# ---- the measurement


def measure(part: str, url: str, sides: list[type], sequences: list[Sequence], rounds: int, runner: asyncio.Runner):
    """Positions a second and share of a core of each side, in turn, after one turn of each that is not counted."""
    runs = []
    for concurrency in CONCURRENCIES:
        opened = [side(url, runner, concurrency) for side in sides]
        for number in range(rounds + 1):
            for side in opened if number % 2 else opened[::-1]:
                found = timed(lambda side=side: side.score(sequences), len(sequences) * COMPLETION)
                runs.append({"part": part, "side": side.name, "concurrency": concurrency, "round": number} | found)
                say(f"{part} x{concurrency} round {number} {side.name}: {found['positions_per_second']:,.0f}/s")
        for side in opened:
            side.close()
    return [run for run in runs if run["round"] > 0]


def timed(work: Callable[[], Any], positions: int) -> dict[str, float]:
    wall, processor = time.perf_counter(), time.process_time()
    work()
    wall, processor = time.perf_counter() - wall, time.process_time() - processor
    return {"positions_per_second": positions / wall, "core_share": processor / wall}


def require_equal_scores(url: str, sequences: list[Sequence], runner: asyncio.Runner) -> None:
    """Both clients get the same work done: equal log-probabilities from the same bytes."""
    ours, theirs = Ours(url, runner, 1), Trl(url, runner, 1)
    expected = theirs.score(sequences)
    for n, scores in enumerate(ours.score(sequences)):
        same = np.array_equal(scores.logps_NK, np.float32(expected["logprobs"][n]))
        same &= np.array_equal(scores.token_ids_NK, expected["logprob_token_ids"][n])
        same &= np.array_equal(scores.sampled_logps_N, np.float32(expected["actual_logprobs"][n])[:, 0])
        if not same:
            sys.exit("scoring.py: our scores differ from TRL's on the same recorded answer")
    ours.close(), theirs.close()


def ratios(runs: list[dict[str, Any]]) -> dict[str, dict[str, float]]:
    """Positions a second of ours over TRL's (recorded) and over the bare reader's (served).

    A name without a concurrency is the less favourable of them.
    """
    found = {}
    for name, part, other in (("positions_vs_trl", "recorded", "trl"), ("server_share", "served", "bare")):
        each = {c: record.ratio(*(rates(runs, part, side, c) for side in ("ours", other))) for c in CONCURRENCIES}
        found[name] = min(each.values(), key=lambda quotient: quotient["median"])
        found |= {f"{name}_x{concurrency}": quotient for concurrency, quotient in each.items()}
    return found


def rates(runs: list[dict[str, Any]], part: str, side: str, concurrency: int, what: str = "positions_per_second"):
    return [run[what] for run in runs if (run["part"], run["side"], run["concurrency"]) == (part, side, concurrency)]


def markdown(runs: list[dict[str, Any]], found: dict[str, dict[str, float]]) -> str:
    rows = []
    for part, side, concurrency in dict.fromkeys((run["part"], run["side"], run["concurrency"]) for run in runs):
        speed = record.spread(rates(runs, part, side, concurrency), 0)
        core = statistics.median(rates(runs, part, side, concurrency, "core_share"))
        rows.append([part, concurrency, side, speed, f"{core:.2f}"])
    head = ["answers", "at a time", "client", "positions/s", "share of a core"]
    quotients = [[name, *(f"{value:.2f}" for value in quotient.values())] for name, quotient in found.items()]
    return record.table(head, rows) + "\n\n" + record.table(["ours ÷ theirs", "median", "min", "max"], quotients)


def install_requests() -> None:
    """TRL's client is written on `requests`, which the trainer has no other use for."""
    if not REQUESTS_FOLDER.is_dir():
        partial = REQUESTS_FOLDER.with_name(REQUESTS_FOLDER.name + ".partial")
        pip = [sys.executable, "-m", "pip", "install", "--quiet", "--upgrade", "--target", str(partial)]
        subprocess.run([*pip, f"requests=={REQUESTS}"], check=True)
        partial.rename(REQUESTS_FOLDER)
    sys.path.append(str(REQUESTS_FOLDER))


def say(text: str) -> None:
    """Progress goes to stderr, the tables to stdout."""
    print(f"scoring: {text}", file=sys.stderr, flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="2 rounds instead of 5, of fewer requests")
    parser.add_argument("--json", type=Path, metavar="FILE", help="for machine, versions, runs and ratios")
    parser.add_argument("--url", help="a vLLM that already serves the tiny teacher as glm-4.7")
    options = parser.parse_args()
    install_requests()
    rounds, served, recorded = (2, 1, 2) if options.quick else (5, 3, 8)  # sequences are repeated so often
    with asyncio.Runner() as runner, vllm(options.url) as url:
        sequences = written(url, runner)
        bare = Bare(url, runner, DISTINCT)
        answers = {s.prompt_ids[0]: body for s, body in zip(sequences, bare.score(sequences), strict=True)}
        bare.close()
        say(f"recorded {len(answers)} answers of {statistics.mean(map(len, answers.values())) / 1e3:,.0f} KB")
        runs = measure("served", url, [Ours, Bare], sequences * served, rounds, runner)
        with scripted(replay, answers) as replaying:
            require_equal_scores(replaying, sequences, runner)
            runs += measure("recorded", replaying, [Ours, Trl, Bare], sequences * recorded, rounds, runner)
    found = ratios(runs)
    print(markdown(runs, found))
    if options.json:
        versions = record.versions("aiohttp", "msgspec", "numpy", "trl") | {"requests": REQUESTS}
        record.write(options.json, {"machine": record.machine(), "versions": versions, "runs": runs, "ratios": found})


if __name__ == "__main__":
    main()
