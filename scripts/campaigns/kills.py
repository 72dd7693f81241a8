"""SIGKILL at random moments over train and generate, and within saving: the same bits at the end.

A run is killed some times, at any moment from its start on, and begun again by the same command each time. It counts
as lost if the run can't go on, if its weights, metrics, samples, scores or rows differ at the end from those of a run
that was left alone, if a file or a checkpoint under its own name is half written or a file of another name is left
over, or if more requests were paid twice than were in flight at the kills.
"""

import json
import random
import signal
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import partial
from multiprocessing.context import ForkServerProcess
from pathlib import Path
from typing import Any

from campaigns import deaths
from campaigns.case import Case, Outcome, drawn
from campaigns.compared import differences, half_written
from campaigns.forked import ROOT, code_of, start
from campaigns.teachers.counting_teacher import CountingTeacher
from campaigns.teachers.fake_teacher import FakeTeacher

WORLD = ROOT / "data" / "tiny_world"
STEPS, KILLS = 10, 5  # of a run
TRAIN = {
    "model_name_or_path": WORLD / "student", "max_prompt_length": 256, "max_completion_length": 16,
    "num_prompts_per_batch": 2, "per_device_train_batch_size": 2, "learning_rate": 1e-3, "max_steps": STEPS,
    "save_steps": 1, "max_eval_samples": 4, "teacher_patience": 30,
}  # fmt: skip
EXACT = ["--no_overlap", "--vllm_server_max_concurrency", "1"]  # so that a repeated run has the same bits
IN_FLIGHT = 8
GENERATE = {"train_samples": 100, "eval_samples": 20, "recipe": "qa", "vllm_server_max_concurrency": IN_FLIGHT}
WRITTEN = ("train_data.json", "eval_data.json", "rejected.jsonl", "README.md")
IN_FLIGHT_WHILE_TRAINING = 16
KILLS_IN_SAVING = 5
Served = AbstractContextManager[Any] | None


@dataclass(frozen=True)
class Kind:
    """A kind of training that is killed.

    Attributes:
        cases: Runs in the full campaign, in the quick one.
        words: Its flags.
        processes: So many train together.
        teacher: The server that it asks, None where it asks none.
    """

    cases: tuple[int, int]
    words: tuple[str, ...] = ()
    processes: int = 1
    teacher: Callable[[], Served] = lambda: None


def of_model() -> FakeTeacher:
    """A teacher with the log-probabilities of the tiny world's, which the tokens before alone decide."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    model = AutoModelForCausalLM.from_pretrained(WORLD / "teacher", dtype=torch.float32).eval()
    torch.set_num_threads(1)

    def score(ids: list[int], top_k: int) -> list[dict[int, float]]:
        with torch.inference_mode():
            logps_TV = model(input_ids=torch.tensor([ids])).logits[0].log_softmax(-1)
        rows: list[dict[int, float]] = [{}]
        for logps_V, own in zip(logps_TV[:-1], ids[1:], strict=True):
            found = logps_V.topk(top_k)
            rows.append(
                dict(zip(found.indices.tolist(), found.values.tolist(), strict=True)) | {own: float(logps_V[own])}
            )
        return rows

    return FakeTeacher(tokenizer=AutoTokenizer.from_pretrained(WORLD / "teacher"), score=score)


KINDS = {
    "sdft, all weights": Kind((4, 1)),
    "sdft, LoRA": Kind((4, 1), ("--use_peft", "--lora_r", "4")),
    "served": Kind((4, 1), ("--objective", "served", *EXACT), teacher=of_model),
    "seqkd": Kind((2, 1), ("--objective", "seqkd"), teacher=CountingTeacher),
    "sft": Kind((2, 1), ("--objective", "sft")),
    "two processes": Kind((2, 0), ("--use_cpu", "true"), 2),
    "two processes, sharded": Kind((2, 1), ("--use_cpu", "true", "--fsdp", "true"), 2),
}
SAVING = {"saving, all weights": (), "saving, LoRA": ("--use_peft", "--lora_r", "4")}


def cases(seed: int, quick: bool) -> Iterator[Case]:
    for name, kind in KINDS.items():
        yield from drawn(seed, name, kind.cases[quick], partial(train_killed, kind))
    for name, words in SAVING.items():
        count = 0 if quick and words else 1 if quick else 2
        yield from drawn(seed, name, count, partial(saving_killed, words))
    yield from drawn(seed, "generate", 1 if quick else 10, generate_killed)


# ---- train


def train_words(folder: Path, words: tuple[str, ...], draw: random.Random) -> list[object]:
    """A `train` on rows that are drawn, without its teacher and its output folder."""
    rows = folder / "rows.json"
    sample = draw.sample(json.loads((WORLD / "train_data.json").read_text("utf-8")), 12)
    if "seqkd" in words:  # the counting teacher knows nothing of what is right
        sample = [{name: value for name, value in row.items() if name != "golden_answer"} for row in sample]
    rows.write_text(json.dumps(sample))
    files = {"train_data_path": rows, "eval_data_path": rows, "seed": draw.randrange(1000)}
    flags = [word for name, value in (TRAIN | files).items() for word in (f"--{name}", value)]
    return ["--local_files_only", *flags, *words]


def begin(words: list[object], run: Path, url: str | None, processes: int) -> list[ForkServerProcess]:
    """Start all processes of a run; what they print goes to files beside it."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = str(probe.getsockname()[1])
    together = {"WORLD_SIZE": str(processes), "LOCAL_WORLD_SIZE": str(processes), "MASTER_ADDR": "127.0.0.1",
                "MASTER_PORT": port}  # fmt: skip
    more = ["--output_dir", run, "--teacher_cache", run.with_name(f"{run.name}-cache")]
    return [
        start(
            ["train", *([url] if url else []), *words, *more],
            run.with_name(f"{run.name}-{rank}.log"),
            environ=together | {"RANK": str(rank), "LOCAL_RANK": str(rank)} if processes > 1 else {},
        )
        for rank in range(processes)
    ]


def require_done(codes: list[int | None], run: Path) -> None:
    """Raise RuntimeError unless every process of a run ended with 0."""
    if any(codes):
        raise RuntimeError(f"{run.name} ended with the exit codes {codes}: {said(run)}")


def said(run: Path) -> str:
    """The last words of a run's processes."""
    logs = sorted(run.parent.glob(f"{run.name}-*.log"))
    return " | ".join(log.read_text(encoding="utf-8", errors="replace")[-400:] for log in logs)


def train_killed(kind: Kind, draw: random.Random, folder: Path) -> Outcome:
    """A run left alone, then runs of the same command that are killed, each until it is done, for so many kills."""
    words, whole, began = train_words(folder, kind.words, draw), folder / "whole", time.monotonic()
    with kind.teacher() or nullcontext() as teacher:
        url = teacher.url if teacher else None
        require_done([code_of(process) for process in begin(words, whole, url, kind.processes)], whole)
    lasts = time.monotonic() - began
    lost: list[str] = []
    kills = runs = twice = 0
    while kills < KILLS and not lost:
        run, runs = folder / f"killed{runs}", runs + 1
        with kind.teacher() or nullcontext() as teacher:
            url = teacher.url if teacher else None
            here, lost = killed_until_done(kind, words, run, url, lasts, KILLS - kills, draw)
            kills, found = kills + here, paid_twice(teacher)
        twice += found
        lost = lost or [*differences(run, whole)]
        if found > here * (IN_FLIGHT_WHILE_TRAINING + 1):  # a greeting at each start
            lost.append(f"{found} requests were paid twice by {here} kills.")
    return Outcome(tuple(lost), {"kills": kills, "runs": runs, "requests paid twice": twice})


def killed_until_done(
    kind: Kind, words: list[object], run: Path, url: str | None, lasts: float, at_most: int, draw: random.Random
) -> tuple[int, list[str]]:
    """Start a run again and again, killing one of its processes; how many kills it took, and what was lost."""
    for kills in range(at_most + 1):
        processes = begin(words, run, url, kind.processes)
        if kills == at_most or not killed(processes, lasts, draw):
            codes = [code_of(process) for process in processes]
            return kills, [f"after {kills} kills the exit codes were {codes}: {said(run)}"] if any(codes) else []
        if lost := [*half_written(run)]:
            return kills + 1, lost
    raise AssertionError("unreachable")


def killed(processes: list[ForkServerProcess], lasts: float, draw: random.Random) -> bool:
    """Kill one process at a moment up to `lasts` seconds; False where all were at their end before.

    Others of the same run are told by the connection that broke, and end by themselves, or are killed after a minute.
    """
    victim = draw.choice(processes)
    victim.join(draw.uniform(0.1, lasts))
    if victim.exitcode is not None:
        return False
    victim.kill()
    for process in processes:
        code_of(process, 60)
    return victim.exitcode == -signal.SIGKILL


def paid_twice(teacher: Any) -> int:
    """Requests that a teacher was asked before in the same words."""
    if isinstance(teacher, CountingTeacher):
        return teacher.wasted
    if teacher is None:
        return 0
    scored = [json.dumps(request.body) for request in teacher.requests if request.path == "/v1/completions"]
    return len(scored) - len(set(scored))


# ---- within saving


def saving_killed(words: tuple[str, ...], draw: random.Random, folder: Path) -> Outcome:
    """A run that dies at each place of saving, in an order that is drawn."""
    words_of_all = train_words(folder, words, draw)
    whole, run = folder / "whole", folder / "killed"
    require_done([code_of(process) for process in begin(words_of_all, whole, None, 1)], whole)
    places = draw.sample(sorted(deaths.PLACES), len(deaths.PLACES))[:KILLS_IN_SAVING]
    lost: list[str] = []
    log = folder / "killed-0.log"
    for name in places:
        deadly = (deaths.arm, name, draw.randint(1, deaths.PLACES[name].calls))
        code = code_of(start(["train", *words_of_all, "--output_dir", run], log, before=deadly))
        if code != -signal.SIGKILL:
            lost.append(f"instead of dying at {name} the exit code was {code}: {said(run)}")
        lost += [f"{name}: {sentence}" for sentence in half_written(run)]
    require_done([code_of(process) for process in begin(words_of_all, run, None, 1)], run)
    return Outcome((*lost, *differences(run, whole)), {"kills": len(places), "runs": 1})


# ---- generate


def generate_killed(draw: random.Random, folder: Path) -> Outcome:
    """A `generate` left alone, then others that are killed, each until it is done, for so many kills."""
    words = ["generate", *(word for name, value in GENERATE.items() for word in (f"--{name}", value))]
    words += ["--seed", draw.randrange(1000)]
    whole, began = folder / "whole", time.monotonic()
    with CountingTeacher() as teacher:
        require_done([code_of(start_generate(words, whole, teacher))], whole)
    lasts, lost, kills, runs, twice = time.monotonic() - began, [], 0, 0, 0
    while kills < KILLS and not lost:
        run, runs, here = folder / f"killed{runs}", runs + 1, 0
        with CountingTeacher() as teacher:
            while kills + here < KILLS and killed([start_generate(words, run, teacher)], lasts, draw):
                here += 1
                lost += [f"after kill {here}: {sentence}" for sentence in half_written(run)]
            code = code_of(start_generate(words, run, teacher))
            kills, twice = kills + here, twice + teacher.wasted
            lost += [f"{teacher.wasted} requests were paid twice."] if teacher.wasted > here * IN_FLIGHT else []
        lost += [f"after {here} kills the exit code was {code}: {said(run)}"] if code else different_files(run, whole)
    return Outcome(tuple(lost), {"kills": kills, "runs": runs, "requests paid twice": twice})


def start_generate(words: list[object], folder: Path, teacher: CountingTeacher) -> ForkServerProcess:
    flags = ["--base_url", teacher.url, "--out_dir", folder]
    return start([*words, *flags], folder.with_name(f"{folder.name}-0.log"))


def different_files(run: Path, whole: Path) -> list[str]:
    """What a folder of `generate` has otherwise than one of a run left alone."""
    lost = [f"{name} differs." for name in WRITTEN if (run / name).read_bytes() != (whole / name).read_bytes()]
    names = [{path.name for path in folder.iterdir()} for folder in (run, whole)]
    return lost + (
        [f"there is {sorted(names[0] ^ names[1])} in one and not in the other."]
        if len({*map(frozenset, names)}) > 1
        else []
    )
