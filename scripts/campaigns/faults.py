"""Faults and lies of the served teacher while a run learns from it.

Faults pass, so the run has to come to the bits of one left alone; at many requests at once, to its losses. A lie is
told by the first of two replicas: from the start, from some request on, or after an outage. Lost: the run learns from
one (another loss than the run left alone), hangs, ends with a traceback or with a code that is not 3, or takes more
than 300 MiB beyond the memory of the run left alone.
"""

import contextlib
import json
import os
import random
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import Any

from campaigns.case import Case, Outcome
from campaigns.lies import LIES, Lie
from campaigns.teachers.faulty_proxy import SCORES, Fault, FaultyProxy

ROOT = Path(__file__).resolve().parents[2]
WORLD = ROOT / "data" / "tiny_world"
STEPS, PROMPTS, BEFORE = 3, 8, 5  # requests for scores before the first step: to recognise the teacher
SECONDS = 240  # until a run hangs
ANSWER_SECONDS = 3.0  # what a run is made to take for a silent server, in place of ten minutes
MORE_MEMORY = 300 * 2**10  # KiB
FAULTS = {
    "refused": Fault(share=0, reset=True, away=1.5),
    "reset": Fault(share=0.5, reset=True),
    "cut": Fault(share=0.5),
    "empty": Fault(share=0),
    "slow": Fault(seconds=1.0),
    "silent": Fault(seconds=ANSWER_SECONDS + 3),
    "408": Fault(408),
    "429": Fault(429, {"Retry-After": "1"}),
    "500": Fault(500),
    "502": Fault(502, {"Content-Type": "text/html"}),
    "503": Fault(503, {"Retry-After": "0"}),
    "504": Fault(504),
}
SERVED: list[object] = [
    *("--objective", "served", "--model_name_or_path", WORLD / "student", "--local_files_only"),
    *("--max_prompt_length", "256", "--max_completion_length", "32", "--num_prompts_per_batch", PROMPTS),
    *("--per_device_train_batch_size", "4", "--learning_rate", "1e-3", "--teacher_patience", "30"),
]
ONE_BY_ONE = ["--no_overlap", "--vllm_server_max_concurrency", "1", "--teacher_cache", "off"]

Answer = Callable[[str, Any, Any], Any]


def cases(seed: int, quick: bool) -> Iterator[Case]:
    """100 runs with faults, and each lie from the start and later."""
    singly = list(FAULTS)[:: 4 if quick else 1]
    for number, name in enumerate(singly, start=1):
        yield Case("a fault", number, partial(with_faults, [name], seed, number))
    for number in range(1, 3 if quick else 39):
        pair = random.Random(f"{seed}/pair/{number}").sample(list(FAULTS), 2)
        yield Case("two faults", number, partial(with_faults, pair, seed, number))
    for number in range(1, 3 if quick else 51):
        yield Case("a sixth of all requests fail", number, partial(at_random, seed, number))
    for number, (name, lie) in enumerate(LIES.items(), start=1):
        for later in (False, True):
            if not quick or (number + later) % 5 == 0:
                kind = "a replica lies later" if later else "a replica lies from the start"
                yield Case(kind, number, partial(with_a_lie, name, lie, later, seed))


# ---- the world: two models behind HTTP, and a run left alone


@cache
def model_url(name: str) -> str:
    """A server that scores by the weights of a model of the tiny world, as long as this process lives.

    TEACHER_URL, a vLLM that serves the tiny teacher, takes the place of that.
    """
    if name == "teacher" and (url := os.environ.get("TEACHER_URL")):
        return url
    from campaigns.teachers.fake_teacher import FakeTeacher
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(WORLD / "teacher")
    settings = {"tokenizer": tokenizer, "score": scores_of(name), "max_logprobs": 100}
    return FakeTeacher(**settings).__enter__().url


def scores_of(name: str) -> Callable[[list[int], int], list[dict[int, float]]]:
    """What a model says of each token of a prompt: the likeliest, and its own."""
    import torch
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(WORLD / name, dtype=torch.float32).eval()
    lock = threading.Lock()

    @torch.no_grad()
    def score(ids: list[int], top_k: int) -> list[dict[int, float]]:
        with lock:
            logps_TV = model(input_ids=torch.tensor([ids])).logits[0].log_softmax(-1)
        rows = [{}]
        for own, logps_V in zip(ids[1:], logps_TV[:-1], strict=True):
            top = logps_V.topk(top_k)
            row = dict(zip(top.indices.tolist(), top.values.tolist(), strict=True))
            rows.append({**row, own: float(logps_V[own])})
        rows[0] = {ids[0]: 0.0}
        return rows

    return score


@cache
def rows_file(folder: Path) -> Path:
    file = folder / "rows.json"
    file.write_text(json.dumps(json.loads((WORLD / "train_data.json").read_text())[: STEPS * PROMPTS]))
    return file


@dataclass(frozen=True)
class Run:
    """A run that ended, or was ended.

    Attributes:
        code: None where it hung.
        memory: Its peak in KiB.
    """

    code: int | None
    said: str
    losses: list[float]
    memory: int


def trained(url: str, folder: Path, *arguments: object) -> Run:
    """What becomes of `train URL`."""
    from campaigns import forked

    folder.mkdir(parents=True, exist_ok=True)
    words = ["train", url, *SERVED, "--train_data_path", rows_file(folder), *arguments, "--output_dir", folder / "run"]
    process = forked.server().Process(target=command, args=([str(word) for word in words], folder / "log"))
    process.start()
    memory = 0
    for _ in range(10 * SECONDS):
        process.join(0.1)
        if process.exitcode is not None:
            break
        with contextlib.suppress(OSError, StopIteration):
            status = Path(f"/proc/{process.pid}/status").read_text().splitlines()
            memory = next(int(line.split()[1]) for line in status if line.startswith("VmHWM:"))
    code = process.exitcode
    if code is None:
        process.kill()
        process.join()
    metrics = folder / "run" / "metrics.jsonl"
    lines = metrics.read_text().splitlines() if metrics.exists() else []
    return Run(code, (folder / "log").read_text(), [json.loads(line)["loss"] for line in lines], memory)


def command(words: list[str], log: Path) -> None:
    """What the process does. It waits for an answer for seconds instead of minutes."""
    from campaigns import forked

    from trainer.__main__ import main
    from trainer.teachers.served import transport

    forked.into(log)
    transport.ANSWER_SECONDS = ANSWER_SECONDS
    sys.exit(main(words))


@cache
def undisturbed(*arguments: object) -> Run:
    """A run left alone, once for each way of asking."""
    from tempfile import TemporaryDirectory

    with TemporaryDirectory() as folder:
        run = trained(model_url("teacher"), Path(folder), *arguments)
    if run.code or len(run.losses) != STEPS:
        raise RuntimeError(f"the run left alone ended with {run.code}:\n{run.said}")
    return run


# ---- what is tried


def at_requests(faults: dict[int, Fault]) -> Callable[[str, int], Fault | None]:
    return lambda path, nth: faults.get(nth) if path == SCORES else None


def with_faults(names: list[str], seed: int, number: int, folder: Path) -> Outcome:
    """Each fault at two moments of the run, drawn."""
    draw = random.Random(f"{seed}/{names}/{number}")
    moments = draw.sample(range(1, BEFORE + STEPS * PROMPTS), 2 * len(names))
    plan = {moment: FAULTS[name] for moment, name in zip(moments, names * 2, strict=True)}
    with FaultyProxy(model_url("teacher")) as proxy:
        proxy.plan = at_requests(plan)
        run = trained(proxy.url, folder, *ONE_BY_ONE)
        met = len(proxy.met)
    lost = _same_run(run, undisturbed(*ONE_BY_ONE), 0.0) + _bounded(run)
    lost += [] if met == len(plan) else [f"{met} of {len(plan)} faults were met"]
    return Outcome(tuple(f"{' and '.join(names)}: {what}" for what in lost), {"faults": met})


def at_random(seed: int, number: int, folder: Path) -> Outcome:
    """Any request may fail, and several are under way."""
    draw = random.Random(f"{seed}/schedule/{number}")
    kinds = [fault for name, fault in FAULTS.items() if name not in ("silent", "refused")]
    with FaultyProxy(model_url("teacher")) as proxy:
        proxy.plan = lambda path, nth: draw.choice(kinds) if draw.random() < 1 / 6 else None
        run = trained(proxy.url, folder, "--teacher_cache", "off")
        met = len(proxy.met)
    lost = _same_run(run, undisturbed("--teacher_cache", "off"), 1e-3) + _bounded(run)
    return Outcome(tuple(lost), {"faults": met})


def with_a_lie(name: str, lie: Lie, later: bool, seed: int, folder: Path) -> Outcome:
    """The first of two replicas lies, so that it is asked first."""
    begins = random.Random(f"{seed}/{name}").randint(BEFORE + 2, STEPS * PROMPTS // 2) if later else 1
    with ExitStack() as stack:
        liar, honest = (stack.enter_context(FaultyProxy(model_url("teacher"))) for _ in range(2))
        lies = Lying(liar, lie, model_url("student") if name == "another model" else None, begins)
        run = trained(f"{liar.url},{honest.url}", folder, *ONE_BY_ONE)
    alone = undisturbed(*ONE_BY_ONE)
    lost = _bounded(run)
    if run.code == 3 and not lie.is_true:
        told = alone.losses[: len(run.losses)]
        lost += [] if run.losses == told else [f"the losses {run.losses}, of the run left alone {told}"]
    else:
        lost += _same_run(run, alone, 0.0)
    lost += [] if lies.count else ["the replica that lies was not asked"]
    return Outcome(tuple(f"{name}: {what}" for what in lost), {"lies": lies.count, "runs ended": int(run.code == 3)})


class Lying:
    """Makes a proxy lie about scores.

    Args:
        other: Base URL of the model that answers instead; None: the same one does.
        begins: The request for scores from which on. A plausible lie then begins after an outage.

    Attributes:
        count: Answers that were lies.
    """

    def __init__(self, proxy: FaultyProxy, lie: Lie, other: str | None, begins: int):
        self.proxy, self.lie, self.other, self.begins = proxy, lie, other, begins
        self.count = 0
        proxy.plan, proxy.answer = self.plan, self.answer

    def plan(self, path: str, nth: int) -> Fault | None:
        if path != SCORES or nth < self.begins:
            return None
        if self.lie.is_plausible and self.begins > 1 and nth == self.begins:
            self.proxy.upstream = self.other or self.proxy.upstream
            return Fault(503)
        if self.other is not None:
            self.proxy.upstream = self.other
        self.count += 1
        return self.lie.fault

    def answer(self, path: str, question: Any, body: Any) -> Any:
        return self.lie.told(body) if path == SCORES and self.count else body


# ---- verdicts


def _same_run(run: Run, alone: Run, tolerance: float) -> list[str]:
    """What is wrong with a run that has to end like the one left alone."""
    if run.code != 0:
        return [f"ended with {run.code}: {run.said[-400:]}"]
    apart = [abs(a - b) > tolerance * abs(b) for a, b in zip(run.losses, alone.losses, strict=False)]
    if len(run.losses) != len(alone.losses) or any(apart):
        return [f"the losses {run.losses}, of the run left alone {alone.losses}"]
    return []


def _bounded(run: Run) -> list[str]:
    """What is wrong with any run."""
    found = ["it hung"] if run.code is None else []
    found += [f"a traceback: {run.said[-600:]}"] if "Traceback" in run.said else []
    more = run.memory - undisturbed(*ONE_BY_ONE).memory
    return found + ([f"{more >> 10} MiB more memory than the run left alone"] if more > MORE_MEMORY else [])
