#!/usr/bin/env python3
"""How long a training step waits for the served teacher, with overlap and with `--no_overlap`.

    .venv/bin/python scripts/bench/overlap.py [--quick] [--json FILE] [--case NAME …] [--teacher NAME …] [--url URL]

`python -m trainer train --objective served` runs as a user starts it, with overlap and without in turn, and is timed by
its own metrics.jsonl. The first step of a run is not counted. A share is `seconds/waiting` over `seconds`.

The teacher is scripted, and no model: it speaks vLLM's HTTP in a process of its own, and answers each request for
scores with plausible log-probabilities after a given time, so many requests at once. A real vLLM could not be told its
latency, and on a machine without a GPU it would take the cores that are measured here; recorded answers would not
fit, as no two students write the same. `--url` names a real one instead, which serves data/tiny_world/teacher.

    fast        0.15 s a request, 16 at once
    middling    0.5 s, 16 at once
    overloaded  2 s, 4 at once, which takes longer than the step: for contrast, with the first case alone

The student has random weights and the tiny world's tokenizer, and learns at rate 0: it does all the work of a step, and
both sides have the same rollouts.

    ragged      answers end by chance, most early and some at the limit; transformers' generate writes them
    continuous  the same, written by continuous batching
    cut         all answers run into the limit: all requests leave at once, when there is nothing left to roll out

`teacher_wait_share` is the largest share of all cases with a teacher that suffices. The rollouts are short to keep the
benchmark so, and a step takes seconds; a teacher's latency weighs less in the steps of real students. Two quiet
cores take about 40 minutes, with --quick 10.
"""

import argparse
import asyncio
import json
import math
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from itertools import pairwise
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "scripts" / "bench")]
os.environ.setdefault("TRL_EXPERIMENTAL_SILENCE", "1")
os.environ.setdefault("HF_HUB_OFFLINE", "1")

import record  # noqa: E402
import torch  # noqa: E402
from aiohttp import web  # noqa: E402
from serving import scripted  # noqa: E402
from transformers import AutoTokenizer, Qwen3Config, Qwen3ForCausalLM  # noqa: E402

TINY = ROOT / "data" / "tiny_world"
MODEL = "glm-4.7"
VOCABULARY, END = 512, 2  # of the tiny world's tokenizer
CONTEXT = 4096  # tokens that the scripted teacher says it can read
TOP_K = 20
NEVER = 1e9  # tokens
SIDES = ("overlap", "no_overlap")
STAGES = ("rollout", "waiting", "student", "optimizer")
HEADLINE = "teacher_wait_share"


@dataclass(frozen=True)
class Teacher:
    """How fast a teacher is.

    Attributes:
        seconds: From a request's turn to its answer.
        at_once: Requests that are answered side by side; further ones wait their turn.
        suffices: Whether it could answer a step's requests well within the step.
    """

    seconds: float
    at_once: int
    suffices: bool = True


TEACHERS = {"fast": Teacher(0.15, 16), "middling": Teacher(0.5, 16), "overloaded": Teacher(2.0, 4, suffices=False)}


@dataclass(frozen=True)
class Case:
    """One workload.

    Attributes:
        shape: Of the student, a Qwen3.
        prompts: Of a step.
        completion: The most tokens of an answer.
        mean: Tokens after which an answer ends on average, were there no limit.
        engine: That writes them.
    """

    shape: dict[str, int]
    prompts: int
    completion: int
    mean: float
    engine: str = "generate"


SMALL = {
    "hidden_size": 256, "intermediate_size": 768, "num_hidden_layers": 6, "num_attention_heads": 4,
    "num_key_value_heads": 2, "head_dim": 64,
}  # fmt: skip
TINY_SHAPE = SMALL | {"hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 1, "head_dim": 16}
CASES = {
    "cpu": {
        "ragged": Case(SMALL, 32, 256, 80),
        "continuous": Case(SMALL, 32, 256, 80, "continuous"),
        "cut": Case(SMALL, 32, 256, math.inf),
    },
    "cuda": {
        "ragged": Case(record.QWEN3_06B, 32, 1024, 300),
        "continuous": Case(record.QWEN3_06B, 32, 1024, 300, "continuous"),
        "cut": Case(record.QWEN3_06B, 32, 1024, math.inf),
    },
    "pretend": {"ragged": Case(TINY_SHAPE, 4, 16, 8)},
}


# ---- the scripted teacher, in a process of its own


class Scripted:
    """What a vLLM of version 0.32 answers, as far as a training run asks it."""

    def __init__(self, teacher: Teacher):
        self.teacher = teacher
        self.turns = asyncio.Semaphore(teacher.at_once)
        self.tokenizer = AutoTokenizer.from_pretrained(TINY / "teacher")

    def application(self) -> web.Application:
        application = web.Application(client_max_size=2**24)
        application.add_routes(
            [
                web.get("/health", self.health),
                web.get("/version", self.version),
                web.get("/v1/models", self.models),
                web.post("/tokenize", self.tokenize),
                web.post("/detokenize", self.detokenize),
                web.post("/v1/completions", self.complete),
            ]
        )
        return application

    async def health(self, request: web.Request) -> web.Response:
        return web.Response()

    async def version(self, request: web.Request) -> web.Response:
        return web.json_response({"version": "0.32.0"})

    async def models(self, request: web.Request) -> web.Response:
        return web.json_response({"object": "list", "data": [{"id": MODEL, "max_model_len": CONTEXT}]})

    async def tokenize(self, request: web.Request) -> web.Response:
        body = await request.json()
        text = body["prompt"] if "prompt" in body else self.rendered(body)
        ids = self.tokenizer.encode(text, add_special_tokens=body.get("add_special_tokens", False))
        strings = self.tokenizer.convert_ids_to_tokens(ids)
        return web.json_response({"count": len(ids), "max_model_len": CONTEXT, "tokens": ids, "token_strs": strings})

    def rendered(self, body: dict[str, Any]) -> str:
        kwargs = {"add_generation_prompt": body["add_generation_prompt"]} | body["chat_template_kwargs"]
        return self.tokenizer.apply_chat_template(body["messages"], tokenize=False, **kwargs)

    async def detokenize(self, request: web.Request) -> web.Response:
        return web.json_response({"prompt": self.tokenizer.decode((await request.json())["tokens"])})

    async def complete(self, request: web.Request) -> web.Response:
        body = await request.json()
        async with self.turns:
            due = time.monotonic() + self.teacher.seconds
            answer = scores(body["prompt"])
            await asyncio.sleep(due - time.monotonic())
        return web.Response(body=answer, content_type="application/json")


def scores(ids: list[int]) -> bytes:
    """The answer to a request for the log-probabilities of a prompt: each token's depend on it and the one before."""
    positions = [b"null", *(position(own, before % 8) for before, own in pairwise(ids))]
    head = b'{"id":"cmpl-0","object":"text_completion","choices":[{"index":0,"text":"x","prompt_logprobs":['
    return head + b",".join(positions) + b'],"finish_reason":"length"}]}'


@cache
def position(own: int, kind: int) -> bytes:
    """A position of the answer: its own token has a probability of a half or more, 19 others share most of the rest."""
    likely = 0.5 + 0.05 * kind
    others = [((own + 1 + 23 * n) % VOCABULARY, (0.99 - likely) * 2.0**-n) for n in range(1, TOP_K)]
    logps = {token: math.log(share) for token, share in [(own, likely), *others]}
    entries = {
        str(token): {"logprob": logp, "rank": rank, "decoded_token": f"token{token}"}
        for rank, (token, logp) in enumerate(logps.items(), 1)
    }
    return json.dumps(entries).encode()


def serve(teacher: Teacher, pipe: Connection) -> None:
    """What the teacher's process does, until it is ended."""

    async def run() -> None:
        runner = web.AppRunner(Scripted(teacher).application(), access_log=None)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        pipe.send(runner.addresses[0][1])
        await asyncio.Event().wait()

    asyncio.run(run())


# ---- the student and its rows


def save_student(case: Case, folder: Path) -> None:
    """A Qwen3 with random weights that ends an answer, wherever it is, with a probability of about 1 ÷ `mean`.

    Embeddings share a component that reaches the last hidden states, and the end-of-turn token's row of the head
    points along their mean.
    """
    torch.manual_seed(0)
    config = Qwen3Config(vocab_size=VOCABULARY, tie_word_embeddings=False, max_position_embeddings=CONTEXT,
                         eos_token_id=END, pad_token_id=0, **case.shape)  # fmt: skip
    model = Qwen3ForCausalLM(config).eval()
    with torch.no_grad():
        model.get_input_embeddings().weight += config.initializer_range
        seen = torch.randint(END + 1, VOCABULARY, (8, 128))
        mean_H = model.model(input_ids=seen).last_hidden_state.mean((0, 1))
        model.lm_head.weight[END] = mean_H * math.log(VOCABULARY / min(case.mean, NEVER)) / mean_H.square().sum()
    model.save_pretrained(folder)
    AutoTokenizer.from_pretrained(TINY / "student").save_pretrained(folder)


def save_rows(count: int, path: Path) -> None:
    rows = json.loads((TINY / "train_data.json").read_text(encoding="utf-8"))
    path.write_text(json.dumps(rows[:count]), encoding="utf-8")


# ---- the measurement


@dataclass(frozen=True)
class Bench:
    """Runs of one case; `folder` holds the student, the rows and the runs, of so many steps each."""

    name: str
    case: Case
    folder: Path
    steps: int

    def prepare(self) -> None:
        save_student(self.case, self.folder / "student")
        save_rows(self.case.prompts * self.steps, self.folder / "rows.json")

    def measure(self, teacher: str, url: str, rounds: int) -> list[dict[str, Any]]:
        """The steps of `rounds` runs of both sides in turn."""
        runs = []
        for number in range(rounds):
            for side in SIDES if number % 2 else SIDES[::-1]:
                what = {"case": self.name, "teacher": teacher, "side": side, "round": number}
                steps = [what | told(line) for line in self.train(url, side)]
                runs += steps
                say(f"{self.name} {teacher} {side} round {number}: {shown(steps)}")
        require_equal_work(runs)
        return runs

    def train(self, url: str, side: str) -> list[dict[str, Any]]:
        """The metrics of the steps of one run, without the first."""
        with tempfile.TemporaryDirectory(dir=self.folder) as output:
            command = [sys.executable, "-m", "trainer", "train", url, *self.flags(), "--output_dir", output]
            command += ["--no_overlap"] if side == "no_overlap" else []
            done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
            if done.returncode:
                sys.exit(f"overlap.py: {' '.join(command)} ended with {done.returncode}:\n{done.stderr[-2000:]}")
            lines = (Path(output) / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
        return [json.loads(line) for line in lines[1:]]

    def flags(self) -> list[str]:
        values = {
            "objective": "served",
            "vllm_server_model": MODEL,
            "model_name_or_path": self.folder / "student",
            "train_data_path": self.folder / "rows.json",
            "num_prompts_per_batch": self.case.prompts,
            "max_prompt_length": 256,
            "max_completion_length": self.case.completion,
            "rollout_engine": self.case.engine,
            "teacher_top_k": TOP_K,
            "teacher_cache": "off",
            "learning_rate": 0,
            "save_steps": 1000,
        }
        return [word for name, value in values.items() for word in (f"--{name}", str(value))]


def told(line: dict[str, Any]) -> dict[str, Any]:
    """What a line of metrics.jsonl says of a step: its seconds and those of its stages, and what was done in them."""
    stages = {stage: line.get(f"seconds/{stage}", 0.0) for stage in STAGES}
    names = {"mean_length": "completions/mean_length", "microbatches": "microbatches"}
    work = {name: line[key] for name, key in names.items()}
    return {"step": line["step"], "seconds": {"step": line["seconds"]} | stages} | work


def require_equal_work(runs: list[dict[str, Any]]) -> None:
    """In every run a step has the same rollouts, so that runs differ in how they wait alone."""
    for step in {run["step"] for run in runs}:
        lengths = {run["mean_length"] for run in runs if run["step"] == step}
        if len(lengths) > 1:
            sys.exit(f"overlap.py: in step {step} rollouts have mean lengths of {lengths}; expected one for all runs")


def column(steps: list[dict[str, Any]], what: str) -> list[float]:
    return [step["seconds"][what] for step in steps]


def shown(steps: list[dict[str, Any]]) -> str:
    return ", ".join(f"{what} {record.spread(column(steps, what))}" for what in ("step", *STAGES)) + " s"


def pairs(runs: list[dict[str, Any]]) -> list[tuple[str, str]]:
    """Each case with each teacher that was measured with it."""
    return list(dict.fromkeys((run["case"], run["teacher"]) for run in runs))


def of(runs: list[dict[str, Any]], pair: tuple[str, str], side: str) -> list[dict[str, Any]]:
    return [run for run in runs if (run["case"], run["teacher"], run["side"]) == (*pair, side)]


def sums(steps: list[dict[str, Any]], what: str) -> list[float]:
    """Seconds of all steps of a run, for each run."""
    return [sum(column([s for s in steps if s["round"] == n], what)) for n in sorted({s["round"] for s in steps})]


def ratios(runs: list[dict[str, Any]]) -> dict[str, dict[str, float]]:
    """Of whole runs: the share of waiting on either side, and the seconds without overlap over those with it."""
    found, headline = {}, []
    for pair in pairs(runs):
        ours, theirs = (of(runs, pair, side) for side in SIDES)
        of_pair = "_".join(pair)
        share = record.ratio(sums(ours, "waiting"), sums(ours, "step"))
        found[f"{HEADLINE}_{of_pair}"] = share
        found[f"no_overlap_wait_share_{of_pair}"] = record.ratio(sums(theirs, "waiting"), sums(theirs, "step"))
        found[f"step_speedup_{of_pair}"] = record.ratio(sums(theirs, "step"), sums(ours, "step"))
        headline += [share] if suffices(pair[1]) else []
    worst = {HEADLINE: max(headline, key=lambda share: share["median"])} if headline else {}
    return worst | found


def suffices(teacher: str) -> bool:
    """Whether the teacher is known to; of a real one it is not."""
    return teacher in TEACHERS and TEACHERS[teacher].suffices


def markdown(runs: list[dict[str, Any]], found: dict[str, dict[str, float]]) -> str:
    rows = []
    for pair in pairs(runs):
        for side in SIDES:
            mine = of(runs, pair, side)
            share = sum(column(mine, "waiting")) / sum(column(mine, "step"))
            stages = [record.spread(column(mine, what)) for what in ("step", *STAGES)]
            rows.append(
                [*pair, side, *stages, f"{statistics.median(run['microbatches'] for run in mine):g}", f"{share:.1%}"]
            )
    head = ["case", "teacher", "side", *(f"{what} s" for what in ("step", *STAGES)), "micro-batches", "waiting"]
    quotients = [[name, *(f"{value:.3f}" for value in quotient.values())] for name, quotient in found.items()]
    return record.table(head, rows) + "\n\n" + record.table(["of whole runs", "median", "min", "max"], quotients)


@contextmanager
def teacher_at(name: str, url: str | None) -> Iterator[str]:
    """The base URL of the teacher of that name: `url`, or a scripted one's for a while."""
    if url is not None:
        yield url
        return
    with scripted(serve, TEACHERS[name]) as found:
        yield found


def say(text: str) -> None:
    """Progress goes to stderr, the tables to stdout."""
    print(f"overlap: {text}", file=sys.stderr, flush=True)


def measure(options: argparse.Namespace, cases: dict[str, Case]) -> list[dict[str, Any]]:
    """All that the options ask for, case by case."""
    (rounds, steps), runs = (1, 4) if options.quick else (3, 6), []
    for number, name in enumerate(options.case or cases):
        teachers = ["real"] if options.url else [t for t in options.teacher if suffices(t) or number == 0]
        with tempfile.TemporaryDirectory() as folder:
            bench = Bench(name, cases[name], Path(folder), steps)
            bench.prepare()
            for teacher in teachers:
                with teacher_at(teacher, options.url) as url:
                    runs += bench.measure(teacher, url, rounds)
    return runs


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="1 round of 3 counted steps instead of 3 of 5")
    parser.add_argument("--json", type=Path, metavar="FILE", help="for machine, versions, runs and ratios")
    parser.add_argument("--case", nargs="+", choices=CASES["cpu"], help="only these")
    parser.add_argument("--teacher", nargs="+", choices=TEACHERS, default=[*TEACHERS], help="only these")
    parser.add_argument("--pretend", action="store_true", help="a tiny student and the case ragged: does it all run?")
    parser.add_argument("--url", help="a vLLM that serves data/tiny_world/teacher as glm-4.7, instead of scripted ones")
    options = parser.parse_args()
    cases = "pretend" if options.pretend else "cuda" if torch.cuda.is_available() else "cpu"
    runs = measure(options, CASES[cases])
    found = ratios(runs)
    print(markdown(runs, found))
    if options.json:
        versions = record.versions("torch", "transformers", "trl", "aiohttp")
        record.write(options.json, {"machine": record.machine(), "versions": versions, "runs": runs, "ratios": found})


if __name__ == "__main__":
    main()
