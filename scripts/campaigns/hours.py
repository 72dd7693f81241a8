"""Hours of steps, of rows, and of a teacher that comes and goes: memory, handles, threads and speed stay as they are.

While a command works, its resident memory, open files and threads are read at intervals from /proc. The slope of each
over the steps or rows is fitted to the means of 20 stretches, after the first half, in which everything is opened and
the allocator's pools are filled; its interval is that of 95 %. It counts as lost if the fewest handles or threads at
the end are more than those before, as a leak leaves them and a lost connection does not, if memory grows by more than
seven thousandths over the time that is looked at and the interval lies above 0, if the end is not reached, or if the
report takes more than a minute or is larger than 10 MB. What the run directory grows by is told and is no loss: a step
leaves a line of metrics.
"""

import json
import logging
import math
import os
import random
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing.context import ForkServerProcess
from pathlib import Path
from threading import Event, Thread

import numpy as np
from campaigns.case import Case, Outcome
from campaigns.forked import ROOT, code_of, start
from campaigns.teachers.counting_teacher import CountingTeacher

WORLD = ROOT / "data" / "tiny_world"
STRETCHES = 20
T_95 = 2.1  # Student's, for 18 degrees of freedom
MOST_GROWTH = 0.007  # of the memory
LONGEST = 24 * 3600  # seconds
TRAIN = {
    "model_name_or_path": WORLD / "student", "max_prompt_length": 128, "max_completion_length": 4,
    "num_prompts_per_batch": 1, "per_device_train_batch_size": 1, "learning_rate": 1e-5, "save_steps": 500,
    "rollout_engine": "generate",
    "train_data_path": WORLD / "train_data.json",
}  # fmt: skip


@dataclass(frozen=True)
class Sample:
    """What a process had at a moment, and how many steps or rows were done by then."""

    seconds: float
    done: int
    memory: int
    handles: int
    threads: int
    disk: int


def cases(seed: int, quick: bool) -> Iterator[Case]:
    steps, rows = (150, 4_000) if quick else (10_000, 200_000)
    yield Case("steps", steps, lambda folder: of_steps(steps, seed, folder))
    yield Case("rows", rows, lambda folder: of_rows(rows, seed, folder))
    few, away, takes = (2_000, 1, 0.02) if quick else (100_000, 120, 0.4)
    yield Case("rows, the teacher comes and goes", few, lambda folder: of_rows(few, seed, folder, away, takes))


def of_steps(steps: int, seed: int, folder: Path) -> Outcome:
    """A training, and its report."""
    words = [
        word for name, value in (TRAIN | {"max_steps": steps, "seed": seed}).items() for word in (f"--{name}", value)
    ]
    run = folder / "run"
    process = start(["train", "--local_files_only", *words, "--output_dir", run], folder / "log")
    found = watched(process, run, lambda: lines_of(run / "metrics.jsonl"))
    lost = [*ended(process, folder / "log"), *growth(found)]
    began = time.monotonic()
    code = code_of(start(["report", run], folder / "report.log"))
    seconds = time.monotonic() - began
    page = run / "report.html"
    size = page.stat().st_size if page.exists() else math.inf
    if code or seconds > 60 or size > 10e6:
        lost.append(f"the report ended with {code} after {seconds:.0f} s and has {size / 1e6:.1f} MB.")
    told = figures(found) | {"seconds of the report": seconds, "MB of the report": size / 1e6}
    return Outcome(tuple(lost), {"steps": found[-1].done if found else 0}, told)


def of_rows(rows: int, seed: int, folder: Path, away: float | None = None, takes: float = 0.02) -> Outcome:
    """Rows of a mock whose answer takes so many seconds; with `away` it is gone now and then.

    As many requests are in flight from first to last, so that handles grow only if one is lost.

    Args:
        away: It is gone for up to two seconds after each so many seconds.
    """
    given = {
        "train_samples": rows, "eval_samples": 0, "recipe": "qa", "seed": seed, "out_dir": folder / "out",
        "vllm_server_max_concurrency": 32,
    }  # fmt: skip
    words = [word for name, value in given.items() for word in (f"--{name}", value)]
    with CountingTeacher(seconds=takes) as teacher, restarting(teacher, away, seed) as restarts:
        process = start(["generate", "--base_url", teacher.url, *words], folder / "log")
        found = watched(process, folder / "out", lambda: lines_of(folder / "out" / "generate.journal.jsonl"))
    counts = {"answers": found[-1].done if found else 0, "restarts": len(restarts)}
    return Outcome((*ended(process, folder / "log"), *growth(found, keeps=True)), counts, figures(found))


@contextmanager
def restarting(teacher: CountingTeacher, away: float | None, seed: int) -> Iterator[list[float]]:
    """Let a teacher be gone now and then; the moments at which it went."""
    logging.getLogger("aiohttp.server").setLevel(logging.CRITICAL)  # it tells of each connection that is reset
    draw, over, moments = random.Random(seed), Event(), []

    def work() -> None:
        while away is not None and not over.wait(away * draw.uniform(0.5, 1.5)):
            teacher.alive = False
            moments.append(time.monotonic())
            over.wait(draw.uniform(0.2, 2))
            teacher.alive = True

    thread = Thread(target=work)
    thread.start()
    try:
        yield moments
    finally:
        over.set()
        thread.join()


# ---- what is watched


def lines_of(file: Path) -> int:
    return file.read_bytes().count(b"\n") if file.exists() else 0


def watched(process: ForkServerProcess, folder: Path, done: Callable[[], int]) -> list[Sample]:
    """Samples until the process ends, at growing intervals, some thousand in a day.

    It is a two-hundredth of the time that has passed, so the last two thirds have enough of them at any speed.
    """
    began, samples = time.monotonic(), []
    while process.exitcode is None and (passed := time.monotonic() - began) < LONGEST:
        process.join(min(0.005 + passed / 200, 60))
        try:
            samples.append(sample(process.pid or 0, time.monotonic() - began, done(), folder))
        except (FileNotFoundError, ProcessLookupError):  # it ended in the meantime, or a file was renamed
            continue
    return samples


def sample(pid: int, seconds: float, done: int, folder: Path) -> Sample:
    status = dict(line.split(":", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines())
    if "VmRSS" not in status:  # at its end
        raise ProcessLookupError(pid)
    memory, threads = int(status["VmRSS"].split()[0]) * 1024, int(status["Threads"])
    disk = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()) if folder.exists() else 0
    return Sample(seconds, done, memory, len(os.listdir(f"/proc/{pid}/fd")), threads, disk)


def slope(samples: list[Sample], name: str) -> tuple[float, float]:
    """By how much something grows with a step or row, and half of the interval of 95 %."""
    x_N = np.array([each.done for each in samples], float)
    y_N = np.array([getattr(each, name) for each in samples], float)
    parts = [part for part in np.array_split(np.arange(len(samples)), STRETCHES) if len(part)]
    x_S, y_S = (np.array([values[part].mean() for part in parts]) for values in (x_N, y_N))
    spread = ((x_S - x_S.mean()) ** 2).sum()
    if len(parts) < 5 or not spread:
        return math.nan, math.nan
    found = ((x_S - x_S.mean()) * (y_S - y_S.mean())).sum() / spread
    rest_S = y_S - y_S.mean() - found * (x_S - x_S.mean())
    return float(found), float(T_95 * math.sqrt((rest_S**2).sum() / (len(parts) - 2) / spread))


def settled(samples: list[Sample]) -> list[Sample]:
    """Those behind the first half of the work and before its last twentieth, in which what was opened is closed."""
    last = samples[-1].done if samples else 0
    return [each for each in samples if last / 2 < each.done < 0.95 * last]


def growth(samples: list[Sample], keeps: bool = False) -> Iterator[str]:
    """What grew that should not, a sentence each.

    Args:
        keeps: Whether what is made is kept in memory until it is written, as `generate` does with its rows.
    """
    late = settled(samples)
    if len(late) < STRETCHES:
        yield f"only {len(late)} samples were taken behind the first half, expected {STRETCHES} or more."
        return
    for name in ("handles", "threads"):
        first, second = (
            min(getattr(each, name) for each in half) for half in (late[: len(late) // 2], late[len(late) // 2 :])
        )
        if second > first + 1:
            yield f"{name} grew: at least {first} in the first half, at least {second} in the second."
    done = late[-1].done - late[0].done
    found, half = slope(late, "memory")
    if (found - half) * done > MOST_GROWTH * late[0].memory and not keeps:
        yield f"memory grew by {found:.3g} ± {half:.2g} bytes with each of {done}."


def figures(samples: list[Sample]) -> dict[str, float]:
    """Slopes with their intervals, and the speed at the end over that at the start."""
    late = settled(samples)
    if len(late) < 8:
        return {}
    told: dict[str, float] = {}
    for name in ("memory", "handles", "threads", "disk"):
        found, half = slope(late, name)
        told |= {f"{name} slope": found, f"{name} slope ±": half}
    quarter = len(late) // 4
    first, last = late[: quarter + 1], late[-quarter - 1 :]
    speeds = [(p[-1].done - p[0].done) / max(p[-1].seconds - p[0].seconds, 1e-9) for p in (first, last)]
    return told | {"speed at the end / at the start": speeds[1] / max(speeds[0], 1e-9)}


def ended(process: ForkServerProcess, log: Path) -> Iterator[str]:
    code = code_of(process, 60)
    if code:
        yield f"exit code {code}: {json.dumps(log.read_text(encoding='utf-8', errors='replace')[-300:])}"
