#!/usr/bin/env python3
"""How many rows a second `generate` gets written, beside Curator, Data Designer, distilabel and the ceiling.

    .venv/bin/python scripts/bench/generate.py [--quick] [--json FILE] [--part NAME …] [--side NAME …] [--url URL]

A file of prompts is answered, one request a row, at most 64 at a time.

    mock   a scripted server in a process of its own answers after 50 ms, 64 side by side: 1,280 a second at most
    fast   the same after 5 ms: 12,800 a second at most, so that the client is the bottleneck
    vllm   a real vLLM on the CPU serves the tiny teacher, which is the bottleneck

Rows a second are those between the arrival of the first request for a row and the last answer to one, by the clock of
the server (of vLLM: of a relay before it that passes bytes on), so a tool's imports and preparations don't count; the
whole process is told beside it. Every side works greedily on the same prompts, and its answers are compared. Each peer
lives in an environment of its own in .bench, made here; one that can't be had or fails is skipped, and told why.

    ours            python -m trainer generate --prompts FILE, with all checks of the recipe `from_prompts`
    ours_unchecked  the same without checks for language, refusals, echoes and near duplicates, which no peer makes
    curator         bespokelabs-curator as its guide for vLLM servers says (through LiteLLM), rate limits lifted
    curator_openai  the same by its backend for OpenAI's own server, the fastest way found to use it
    data_designer   data-designer, one text column over a seed data set
    distilabel      distilabel, one task in batches of 64
    openai_tasks    tasks over the asynchronous OpenAI SDK
    sequential      a loop over the OpenAI SDK, one request at a time
    bare            aiohttp that sends prepared bodies and decodes nothing meanwhile: the ceiling
"""

import argparse
import hashlib
import json
import os
import random
import re
import resource
import signal
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import psutil

ROOT = Path(__file__).resolve().parents[2]
PEERS = ROOT / "scripts" / "bench" / "peers"
sys.path[:0] = [str(ROOT / "scripts" / "bench"), str(PEERS), str(ROOT / "data" / "tiny_world")]

import record  # noqa: E402
from counting import MODEL, relay, serve  # noqa: E402
from job import Job  # noqa: E402
from serving import scripted, vllm  # noqa: E402
from world import Names, new_tool  # noqa: E402

CONCURRENCY = 64
LATENCIES = {"mock": 0.05, "fast": 0.005}  # of the scripted server, in seconds
PARTS = (*LATENCIES, "vllm")
SECONDS_AT_MOST = 600  # for one run of one side
SAMPLING = {"max_tokens": 128, "temperature": 0.0}
FURTHER = {"chat_template_kwargs": {"enable_thinking": False}}
UNCHECKED = "checks: [truncated, empty]"  # a recipe that asks no more of answers than the peers do
NOUNS = """
house road market garden letter window morning evening winter summer river mountain village teacher doctor farmer sailor
child friend neighbour city country station bridge train ship horse bread apple paper stone glass iron wood cotton
silver music story picture question answer reason lesson number
"""
VERBS = """
brings finds builds carries follows opens closes remembers describes explains measures compares chooses counts
"""
ADJECTIVES = "small large old new early late bright quiet heavy light"
SENTENCES = (
    "The {} of the {} {} a {} {} when it is in the {} with the {}",
    "There was a {} in this {} that {} the {} {} after it had been to the {} of the {}",
    "If the {} and the {} are in the same place, then the one that {} the {} {} will be at the {} before the {}",
)


@dataclass(frozen=True)
class Side:
    """Who writes answers.

    Attributes:
        script: In peers/; None: the trainer itself.
        packages: That its environment is made of; none: the development environment has what it needs.
        share: Of the prompts that it is given; less than all for one so slow that its rate shows on a few.
        unchecked: Ours alone: no language, no refusals, no near duplicates are looked for, as with the peers.
    """

    name: str
    script: str | None
    packages: tuple[str, ...] = ()
    share: float = 1.0
    unchecked: bool = False


CURATOR = "bespokelabs-curator==0.1.31"
SIDES = {  # in the order of a round: whoever is compared most runs side by side
    side.name: side
    for side in (
        Side("bare", "by_aiohttp.py"),
        Side("ours", None),
        Side("curator", "by_curator.py", (CURATOR,)),
        Side("curator_openai", "by_curator_openai.py", (CURATOR,)),
        Side("data_designer", "by_data_designer.py", ("data-designer==0.9.6",)),
        Side("distilabel", "by_distilabel.py", ("distilabel[openai]==1.5.3", "requests==2.34.2")),
        Side("openai_tasks", "by_openai_tasks.py"),
        Side("sequential", "by_openai_loop.py", share=1 / 32),
        Side("ours_unchecked", None, unchecked=True),
    )
}
QUIET = {  # no telemetry, no look-ups on the way, no progress display, no answers of an earlier run
    "TELEMETRY_ENABLED": "false",  # Curator
    "CURATOR_DISABLE_CACHE": "1",
    "CURATOR_DISABLE_RICH_DISPLAY": "1",
    "LITELLM_LOCAL_MODEL_COST_MAP": "True",
    "NEMO_TELEMETRY_ENABLED": "false",  # Data Designer
    "DISTILABEL_LOG_LEVEL": "WARNING",
    "HF_HUB_OFFLINE": "1",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "DO_NOT_TRACK": "1",
    "OPENAI_API_KEY": "none",
}


# ---- prompts and answers


def scripted_rows(count: int) -> dict[str, str]:
    """Prompts of about 25 words and answers of about 75, in English sentences, all different."""
    draw, rows = random.Random(0), {}
    for number in range(count):
        answer = " ".join(f"{sentence(draw)}." for _ in range(4))
        rows[f"What follows, in story {number}, when {sentence(draw).lower()}?"] = answer
    return rows


def sentence(draw: random.Random) -> str:
    nouns = [*draw.sample(NOUNS.split(), 5)]
    words = [nouns[0], nouns[1], draw.choice(VERBS.split()), draw.choice(ADJECTIVES.split()), *nouns[2:]]
    return draw.choice(SENTENCES).format(*words)


def tiny_prompts(count: int) -> list[str]:
    """Prompts of the tiny world's new skill, which its teacher answers in three lines."""
    names = Names(random.Random(0))
    prompts: dict[str, None] = {}
    while len(prompts) < count:
        prompts[new_tool(names).prompt] = None
    return [*prompts]


# ---- the sides


class Failed(Exception):
    """A side can't be had, or did not do its work; says why."""


def interpreter(side: Side) -> str:
    """The Python of a side's environment, which is made where it is missing."""
    if not side.packages:
        return sys.executable
    tool = re.split(r"[\[=]", side.packages[0])[0]
    folder = ROOT / ".bench" / f"{tool}-{hashlib.sha256(repr(side.packages).encode()).hexdigest()[:8]}"
    python = folder / "bin" / "python"
    if not (folder / "made").exists():
        say(f"making {folder.relative_to(ROOT)} of {', '.join(side.packages)} (minutes, once)")
        called([sys.executable, "-m", "venv", "--clear", str(folder)])
        called([str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *side.packages])
        (folder / "made").touch()
    return str(python)


def called(command: list[str]) -> None:
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise Failed(last_line(done.stderr))


def last_line(text: str) -> str:
    return next((line.strip() for line in reversed(text.splitlines()) if line.strip()), "no message")[:300]


@dataclass(frozen=True)
class Part:
    """A server and what it is asked.

    Attributes:
        answers: What is expected.
        is_real: Another answer is no mistake then, as it may depend on what is computed side by side; ours checks no
            more than the peers, as the tiny world's words are no English and much alike.
    """

    name: str
    url: str
    prompts: list[str]
    answers: dict[str, str]
    is_real: bool = False


def run(side: Side, part: Part, prompts: list[str]) -> dict[str, Any]:
    """Let a side answer prompts; what the server, the clock and the answers say of it.

    Raises:
        Failed: it ended with an error, ran too long, or left rows without an answer or with a wrong one.
    """
    with tempfile.TemporaryDirectory() as folder:
        scratch = Path(folder, "scratch")
        scratch.mkdir()
        job = Job(part.url, MODEL, prompts, f"{folder}/answers", str(scratch), CONCURRENCY, SAMPLING, FURTHER)
        command = theirs(side, job) if side.script else ours(job, side.unchecked or part.is_real)
        tally(part.url)
        spent = timed(command, os.environ | QUIET | {"HOME": job.scratch}, Path(folder, "output"))
        counted = tally(part.url)
        answers = handed_in(job) if side.script else our_rows(job)
    right = statistics.mean(answers.get(prompt) == part.answers.get(prompt) for prompt in prompts)
    if counted["rows"] < len(prompts) or not all(answers.get(prompt) for prompt in prompts):
        raise Failed(f"{len(prompts)} rows asked for, {counted['rows']} requested, {len(answers)} written")
    if right < 1 and not part.is_real:
        raise Failed(f"{1 - right:.1%} of the answers are not what the server said")
    rates = {"rows_per_second": len(prompts) / counted["seconds"], "whole_rate": len(prompts) / spent["whole"]}
    return {"rows": len(prompts), **rates, **spent, "right": right, **counted, "answers": answers}


def theirs(side: Side, job: Job) -> list[str]:
    file = Path(job.scratch).with_name("job.json")
    file.write_text(json.dumps(asdict(job)), encoding="utf-8")
    return [interpreter(side), str(PEERS / str(side.script)), str(file)]


def handed_in(job: Job) -> dict[str, str]:
    lines = Path(job.answers).read_text(encoding="utf-8").splitlines()
    return {row["prompt"]: (row["answer"] or "").strip() for row in map(json.loads, lines)}


def ours(job: Job, unchecked: bool) -> list[str]:
    file, recipe = (Path(job.scratch).with_name(name) for name in ("prompts.json", "recipe.yaml"))
    recipe.write_text(UNCHECKED, encoding="utf-8")
    file.write_text(json.dumps([{"prompt": prompt} for prompt in job.prompts]), encoding="utf-8")
    values = {
        "base_url": job.url,
        "model": job.model,
        "recipe": recipe if unchecked else "from_prompts",
        "prompts": file,
        "train_samples": len(job.prompts),
        "eval_samples": 0,
        "out_dir": f"{job.scratch}/data",
        "vllm_server_max_concurrency": job.concurrency,
        **job.sampling,
    }
    flags = [word for name, value in values.items() for word in (f"--{name}", str(value))]
    return [sys.executable, "-m", "trainer", "generate", *flags]


def our_rows(job: Job) -> dict[str, str]:
    rows = json.loads(Path(job.scratch, "data", "train_data.json").read_text(encoding="utf-8"))
    return {row["prompt"]: "\n".join(row["golden_response"]).strip() for row in rows}


def tally(url: str) -> dict[str, Any]:
    direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with direct.open(f"{url}/tally", timeout=10) as answer:
        return json.loads(answer.read())


def timed(command: list[str], environment: dict[str, str], output: Path) -> dict[str, float]:
    """Seconds of a process and of the processor, its children's with it."""
    before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    with output.open("wb") as file, subprocess.Popen(
        command, cwd=ROOT, env=environment, stdout=file, stderr=file, start_new_session=True
    ) as process:  # fmt: skip
        try:
            code = process.wait(SECONDS_AT_MOST)
        except subprocess.TimeoutExpired as error:
            raise Failed(f"not done after {SECONDS_AT_MOST} s") from error
        finally:
            with suppress(ProcessLookupError):  # also children that outlive it
                os.killpg(process.pid, signal.SIGKILL)
    wall = time.perf_counter() - began
    if code:
        raise Failed(f"ended with {code}: {last_line(output.read_text(encoding='utf-8', errors='replace'))}")
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return {"whole": wall, "processor": after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime}


# ---- the measurement


@dataclass
class Bench:
    """Sides take turns; one that fails is left out from then on, and `skipped` says why."""

    sides: list[Side]
    rounds: int
    runs: list[dict[str, Any]] = field(default_factory=list)
    skipped: dict[str, str] = field(default_factory=dict)

    def prepare(self) -> None:
        """Make all environments."""
        for side in self.sides:
            with self.skipping(side):
                interpreter(side)

    def measure(self, part: Part) -> None:
        for side in self.left(part):
            with self.skipping(side):
                run(side, part, part.prompts[: len(part.prompts) // 8])
        for number in range(1, self.rounds + 1):
            for side in self.left(part) if number % 2 else self.left(part)[::-1]:
                with self.skipping(side):
                    self.add(part, side, number)

    def add(self, part: Part, side: Side, number: int) -> None:
        found = run(side, part, part.prompts[: round(len(part.prompts) * side.share)])
        del found["answers"]
        self.runs.append({"part": part.name, "side": side.name, "round": number} | found)
        speed = f"{found['rows_per_second']:,.1f} rows/s, whole {found['whole']:.1f} s"
        say(f"{part.name} round {number} {side.name}: {speed}")

    def left(self, part: Part) -> list[Side]:
        """Who takes part; where ours checks no more than the peers anyway, it does so once."""
        return [s for s in self.sides if s.name not in self.skipped and not (s.unchecked and part.is_real)]

    @contextmanager
    def skipping(self, side: Side) -> Iterator[None]:
        try:
            yield
        except Failed as error:
            if side.name in ("ours", "bare"):
                sys.exit(f"generate.py: {side.name}: {error}")
            self.skipped[side.name] = str(error)
            self.runs = [run for run in self.runs if run["side"] != side.name]
            say(f"skipped {side.name}: {error}")


def values(runs: list[dict[str, Any]], part: str, side: str, what: str = "rows_per_second") -> list[float]:
    return [run[what] for run in runs if (run["part"], run["side"]) == (part, side)]


def ratios(runs: list[dict[str, Any]]) -> dict[str, dict[str, float]]:
    """Rows a second of ours over each other side's; over those of `bare` it is the share of what the server can give.

    A name without a server is of `mock`, `server_share` of vLLM. `whole_…` is of whole processes, imports and all.
    """
    found = {}
    for part, side in dict.fromkeys((run["part"], run["side"]) for run in runs if not run["side"].startswith("ours")):
        share = "server_share" if part == "vllm" else f"{part}_share"
        name = share if side == "bare" else f"rows_vs_{side}" + ("" if part == "mock" else f"_{part}")
        for ours, prefix in (("ours", ""), ("ours_unchecked", "unchecked_")):
            if mine := values(runs, part, ours):
                found[prefix + name] = record.ratio(mine, values(runs, part, side))
        rates = (values(runs, part, who, "whole_rate") for who in ("ours", side))
        found |= {name.replace("rows", "whole"): record.ratio(*rates)} if side != "bare" else {}
    return found


def markdown(runs: list[dict[str, Any]], found: dict[str, dict[str, float]]) -> str:
    rows = []
    for part, side in dict.fromkeys((run["part"], run["side"]) for run in runs):
        middle = {what: statistics.median(values(runs, part, side, what)) for what in ("whole", "processor", "right")}
        requests = statistics.median(values(runs, part, side, "requests"))
        count, most = values(runs, part, side, "rows")[0], max(values(runs, part, side, "at_once"))
        speed = record.spread(values(runs, part, side), 1)
        whole, processor = f"{middle['whole']:.1f}", f"{middle['processor'] / count * 1e3:.2f}"
        rows.append([part, side, speed, count, f"{requests:g}", most, whole, processor, f"{middle['right']:.1%}"])
    head = ["server", "side", "rows/s", "rows", "requests", "at once", "whole s", "core ms/row", "as expected"]
    quotients = [[name, *(f"{value:.2f}" for value in quotient.values())] for name, quotient in found.items()]
    return record.table(head, rows) + "\n\n" + record.table(["ours ÷ theirs", "median", "min", "max"], quotients)


def versions(sides: list[Side]) -> dict[str, str]:
    """Of the packages of all sides' environments that matter here."""
    found = record.versions("aiohttp", "openai", "httpx", "msgspec")
    for side in sides:
        name = re.split(r"[\[=]", side.packages[0])[0] if side.packages else None
        asked = [name, "aiohttp", "openai", "httpx", "litellm"] if name else []
        for package in asked:
            code = f"from importlib.metadata import version; print(version({package!r}))"
            done = subprocess.run([interpreter(side), "-c", code], capture_output=True, text=True)
            if done.returncode == 0:
                found[package if package == name else f"{side.name}: {package}"] = done.stdout.strip()
    return found


def say(text: str) -> None:
    """Progress goes to stderr, the tables to stdout."""
    print(f"generate: {text}", file=sys.stderr, flush=True)


def parse_options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="2 rounds instead of 5, of a third of the rows")
    parser.add_argument("--json", type=Path, metavar="FILE", help="for machine, versions, runs, ratios, skipped")
    parser.add_argument("--part", nargs="+", choices=PARTS, default=[*PARTS], help="only these servers")
    parser.add_argument("--side", nargs="+", choices=SIDES, default=[*SIDES], help="only these, beside ours")
    parser.add_argument("--url", help="a vLLM that already serves data/tiny_world/teacher as glm-4.7")
    return parser.parse_args()


def measure_scripted(bench: Bench, name: str, count: int) -> None:
    answers = scripted_rows(count)
    with scripted(serve, answers, LATENCIES[name]) as url:
        bench.measure(Part(name, url, [*answers], answers))


def measure_vllm(bench: Bench, count: int, server: str | None) -> None:
    """The right answers are those that the bare generator gets before anything is measured."""
    prompts = tiny_prompts(count)
    with vllm(server) as real, engine_apart(), scripted(relay, *address(real), set(prompts)) as url:
        part = Part("vllm", url, prompts, {}, is_real=True)
        bench.measure(replace(part, answers=run(SIDES["bare"], part, prompts)["answers"]))


def address(url: str) -> tuple[str | None, int]:
    parts = urlsplit(url)
    return parts.hostname, parts.port or 80


@contextmanager
def engine_apart() -> Iterator[None]:
    """Keep vLLM's engine on all cores but the last, and this process and those that it starts on the last.

    Engine and worker poll each other without pause. Left alone on two cores they keep the server's own HTTP process
    and its clients waiting now and then, and the rate jumps between 40 and 250 rows a second from run to run.
    """
    if not hasattr(os, "sched_setaffinity") or len(cores := os.sched_getaffinity(0)) < 2:
        yield
        return
    for process in psutil.Process().children(recursive=True):
        os.sched_setaffinity(process.pid, cores - {max(cores)} if "VLLM::" in process.name() else {max(cores)})
    os.sched_setaffinity(0, {max(cores)})
    try:
        yield
    finally:
        os.sched_setaffinity(0, cores)


def main() -> None:
    options = parse_options()
    bench = Bench([side for side in SIDES.values() if side.name in ("ours", *options.side)], 2 if options.quick else 5)
    bench.prepare()
    for name in [part for part in LATENCIES if part in options.part]:
        measure_scripted(bench, name, 1000 if options.quick else 3000)
    if "vllm" in options.part:
        measure_vllm(bench, 800 if options.quick else 2400, options.url)
    found = ratios(bench.runs)
    print(markdown(bench.runs, found), *(f"\nskipped {name}: {why}" for name, why in bench.skipped.items()))
    if options.json:
        left = [side for side in bench.sides if side.name not in bench.skipped]
        told = {"machine": record.machine(), "versions": versions(left), "runs": bench.runs, "ratios": found}
        record.write(options.json, told | {"skipped": bench.skipped})


if __name__ == "__main__":
    main()
