"""Runs of `python -m trainer train` in the tiny world, and what came out of them: for learning.py.

A run's folder is named after all that decides its outcome. A finished one is kept, an interrupted one goes on.
"""

import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Executor, ProcessPoolExecutor, ThreadPoolExecutor, as_completed
from contextlib import nullcontext
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import tiny_rows
import torch
from safetensors.torch import load_file
from serving import vllm
from trajectories import Trajectory

from trainer.data.actions.answers import golden_actions, parse_actions, same_inputs, same_sequence
from trainer.data.dataset import load_rows
from trainer.data.rows.row import Row
from trainer.evaluation import verdicts
from trainer.models.loading import load_student
from trainer.models.student import context_window, encoder_for, end_token_ids, load_tokenizer
from trainer.settings.options import Eval

ROOT = Path(__file__).resolve().parents[3]
VARIANTS = Path(__file__).with_name("variants.py")
STUDENT = ROOT / "data" / "tiny_world" / "student"
Flags = dict[str, Any]  # of `train`; files by their names among the rows; None leaves a flag out
LENGTHS: Flags = {"max_prompt_length": 256, "max_completion_length": 64}  # the longest right answer has 47

COMMON: Flags = {
    **LENGTHS,
    "train_data_path": "train.json",
    "eval_data_path": "validation_new.json",
    "prior_data_path": "validation_prior.json",
    "num_prompts_per_batch": 32,
    "num_train_epochs": 3,
    "eval_steps": 5,
    "save_steps": 10_000,  # those that are scored are saved
    "save_total_limit": 10_000,
    "per_device_eval_batch_size": 128,
}
UNSCORED: Flags = {"eval_data_path": None, "prior_data_path": None, "eval_steps": None}


@dataclass(frozen=True)
class Arm:
    """One way to learn.

    Attributes:
        flags: Over `COMMON`.
        rates: Learning rates that are tried; none: the one that was chosen for `sdft`.
        stages: Flags of trainings one after another, each from the weights that the one before left.
        served: Whether a vLLM with the tiny teacher takes part.
        variant: A function of variants.py, for what no flag does.
    """

    flags: Flags
    rates: tuple[float, ...] = ()
    stages: tuple[Flags, ...] = ({},)
    served: bool = False
    variant: str | None = None


@dataclass(frozen=True)
class Stage:
    """One `train` command.

    Attributes:
        name: Of its run directory; says all that decides the outcome.
        flags: Files by their names among the rows.
        start: The run whose last weights it starts from; None: the shipped student.
    """

    name: str
    flags: Flags
    start: str | None
    served: bool
    variant: str | None


def chain(arm: Arm, rate: float, seed: int) -> list[Stage]:
    """The trainings of an arm at a learning rate, in order."""
    found: list[Stage] = []
    for more in arm.stages:
        flags = COMMON | arm.flags | more | {"learning_rate": rate, "seed": seed}
        flags = {name: value for name, value in flags.items() if value is not None}
        start = found[-1].name if found else None
        digest = hashlib.sha256(json.dumps([flags, start, arm.variant], sort_keys=True).encode()).hexdigest()
        name = f"{flags['objective']}-{rate:g}-{seed}-{digest[:8]}"
        found.append(Stage(name, flags, start, arm.served, arm.variant))
    return found


@dataclass(frozen=True)
class Folder:
    """Where rows, runs and scores lie."""

    path: Path

    @classmethod
    def made(cls, work: Path) -> "Folder":
        """A folder with the rows in it."""
        texts = {name: tiny_rows.text_of(rows) for name, rows in tiny_rows.all_files().items()}
        digest = hashlib.sha256("".join(texts.values()).encode()).hexdigest()
        folder = cls(work / digest[:8])
        for part in ("rows", "runs", "scores"):
            (folder.path / part).mkdir(parents=True, exist_ok=True)
        for name, text in texts.items():
            (folder.path / "rows" / name).write_text(text, encoding="utf-8")
        return folder

    def run(self, stage: Stage) -> Path:
        return self.path / "runs" / stage.name

    def rows(self, name: str) -> Path:
        return self.path / "rows" / name

    def is_finished(self, stage: Stage) -> bool:
        summary = self.run(stage) / "summary.json"
        return summary.exists() and json.loads(summary.read_text(encoding="utf-8"))["status"] == "finished"

    def command(self, stage: Stage, url: str | None) -> list[str]:
        """The words that train a stage."""
        student = STUDENT if stage.start is None else newest(self.path / "runs" / stage.start)
        program = ["-m", "trainer"] if stage.variant is None else [str(VARIANTS), stage.variant]
        values = {"model_name_or_path": student, "output_dir": self.run(stage)} | {
            name: self.rows(value) if name.endswith("_data_path") else value for name, value in stage.flags.items()
        }
        words = [word for name, value in values.items() for word in (f"--{name}", str(value))]
        return [sys.executable, *program, "train", *([url] if stage.served and url else []), *words]


def steps_of(checkpoint: Path) -> int:
    return int(checkpoint.name.rpartition("-")[2])


def checkpoints(run: Path) -> list[Path]:
    """The checkpoints of a run by their steps."""
    return sorted(run.glob("checkpoint-*"), key=steps_of)


def newest(run: Path) -> Path:
    return checkpoints(run)[-1]


def train(folder: Folder, stages: list[Stage], url: str | None) -> None:
    """Train what is not trained yet, one stage after another."""
    for stage in stages:
        if folder.is_finished(stage):
            continue
        command, run = folder.command(stage, url), folder.run(stage)
        log = run.with_name(f"{run.name}.log")
        with log.open("w", encoding="utf-8") as file:
            done = subprocess.run(command, cwd=ROOT, stdout=file, stderr=subprocess.STDOUT)
        if done.returncode:
            sys.exit(f"learning.py: the run {stage.name} ended with {done.returncode}; {log} says why:\n{tail(log)}")
        for weighty in run.glob("checkpoint-*/optimizer.pt"):  # nothing goes on from here but with the weights
            weighty.unlink()


def tail(log: Path) -> str:
    return log.read_text(encoding="utf-8")[-1500:]


def train_all(folder: Folder, chains: Iterable[list[Stage]], url: str | None) -> None:
    """Train every chain, those with a served teacher last, with one server for all."""
    waiting = {c[-1].name: c for c in chains if not all(map(folder.is_finished, c))}
    local = [c for c in waiting.values() if not c[0].served]
    served = [c for c in waiting.values() if c[0].served]
    for some, server in ((local, nullcontext()), (served, vllm(url))):
        if some:
            with server as found, ThreadPoolExecutor(cores()) as pool:
                for_all(pool, lambda c, at=found: train(folder, c, at), some, lambda c: c[-1].name)


def for_all(pool: Executor, work: Callable[[Any], None], items: Sequence[Any], name: Callable[[Any], str]) -> None:
    """Do the work for every item, telling each; the first failure ends it when what is under way is done."""
    futures = {pool.submit(work, item): name(item) for item in items}
    try:
        for number, future in enumerate(as_completed(futures), 1):
            future.result()
            say(f"{number} of {len(items)}: {futures[future]}")
    except BaseException:
        pool.shutdown(wait=True, cancel_futures=True)
        raise


def say(text: str) -> None:
    """Progress goes to stderr, the tables to stdout."""
    print(f"learning: {text}", file=sys.stderr, flush=True)


def cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@dataclass(frozen=True)
class Curve:
    """Accuracies on validation rows, at steps."""

    steps: tuple[int, ...]
    new: tuple[float, ...]
    prior: tuple[float, ...]


def curve(folder: Folder, stages: list[Stage]) -> Curve:
    """What a chain of runs measured by itself; each goes on where the one before ended."""
    points: list[tuple[int, float, float]] = []
    for stage in stages:
        run, behind = folder.run(stage), points[-1][0] if points else 0
        lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text(encoding="utf-8").splitlines()]
        last = max(line["step"] for line in lines)
        first = [] if points else [(0, *scores(run, "before"))]
        midway = [(x["step"], x["eval/new_skill"], x["eval/prior_skills"]) for x in lines if "eval/new_skill" in x]
        points += [(behind + step, new, prior) for step, new, prior in [*first, *midway, (last, *scores(run, "after"))]]
    return Curve(*zip(*points, strict=True))


def scores(run: Path, moment: str) -> tuple[float, float]:
    """Accuracies on the new skill and on the prior skills, before or after training."""
    found = json.loads((run / f"scores_{moment}.json").read_text(encoding="utf-8"))["scores"]
    return found["new_skill"]["accuracy"], found["prior_skills"]["accuracy"]


def models_of(folder: Folder, stages: list[Stage]) -> list[tuple[int, Path]]:
    """Steps and folder of the shipped student and of every checkpoint of a chain."""
    found = [(0, STUDENT)]
    for stage in stages:
        behind = found[-1][0]
        found += [(behind + steps_of(checkpoint), checkpoint) for checkpoint in checkpoints(folder.run(stage))]
    return found


@dataclass(frozen=True)
class Question:
    """A model that is to answer the rows of a file, and where it is kept which of them it answered right."""

    model: Path
    rows: Path
    prefix: str
    kept: Path


def question(folder: Folder, model: Path, rows: str, prefix: str = "") -> Question:
    who = "student" if model == STUDENT else f"{model.parent.name}-{steps_of(model)}"
    forced = f"-{hashlib.sha256(prefix.encode()).hexdigest()[:8]}" if prefix else ""
    return Question(model, folder.rows(rows), prefix, folder.path / "scores" / f"{who}-{Path(rows).stem}{forced}.json")


def answer(questions: Iterable[Question]) -> None:
    """Have all questions answered that are not yet."""
    waiting = [q for q in dict.fromkeys(questions) if not q.kept.exists()]
    if waiting:
        with ProcessPoolExecutor(cores(), mp_context=get_context("spawn")) as pool:
            for_all(pool, ask, waiting, lambda q: f"answers of {q.kept.stem}")


@torch.no_grad()
def ask(question: Question) -> None:
    """Let a model answer greedily, each answer forced to begin with the prefix, and keep which answers are right."""
    torch.set_num_threads(1)
    settings = Eval(model_name_or_path=str(question.model), local_files_only=True, **LENGTHS)
    tokenizer: Any = load_tokenizer(settings)
    encoder = encoder_for(settings, tokenizer, context_window(settings))
    model: Any = load_student(settings).eval()
    rows = load_rows(str(question.rows))
    forced = tokenizer(question.prefix)["input_ids"] if question.prefix else []
    prompts = [encoder.student_prompt(row).ids + forced for row in rows]
    batch = tokenizer.pad({"input_ids": prompts}, padding_side="left", return_tensors="pt")
    ids_BT = model.generate(**batch, do_sample=False, max_new_tokens=settings.max_completion_length,
                            eos_token_id=end_token_ids(model, tokenizer))  # fmt: skip
    texts = tokenizer.batch_decode(ids_BT[:, batch["input_ids"].shape[1] :], skip_special_tokens=True)
    right = [is_right(row, question.prefix + text) for row, text in zip(rows, texts, strict=True)]
    partial = question.kept.with_suffix(f".{os.getpid()}")
    partial.write_text(json.dumps(right), encoding="utf-8")
    os.replace(partial, question.kept)


def is_right(row: Row, text: str) -> bool:
    found, golden = parse_actions(text), golden_actions(row.golden_answer or [])
    return same_sequence(found, golden) and same_inputs(found, golden)


def rights(questions: Sequence[Question]) -> np.ndarray:
    """Which rows were answered right, question by row."""
    return np.array([json.loads(q.kept.read_text(encoding="utf-8")) for q in questions], bool)


def tested(folder: Folder, models: Sequence[list[tuple[int, Path]]], prefix: str = "") -> list[Trajectory]:
    """Test rows, answered by models: a trajectory for each list of them and their steps."""
    files = ("test_new.json", "test_prior.json")
    asked = [[[question(folder, model, rows, prefix) for _, model in some] for rows in files] for some in models]
    answer(q for pair in asked for some in pair for q in some)
    return [
        Trajectory(tuple(step for step, _ in some), rights(new), rights(prior))
        for some, (new, prior) in zip(models, asked, strict=True)
    ]


def lift(folder: Folder) -> float:
    """How far the shipped student is above itself, on validation rows, when it is shown their demonstrations."""
    file = folder.path / "scores" / "headroom.json"
    rows = {"headroom": 64, "eval_data_path": folder.rows("validation_new.json"), "show_context": "template"}
    if not file.exists():
        values = {"model_name_or_path": STUDENT, "output_file": file} | rows | LENGTHS
        words = [word for name, value in values.items() for word in (f"--{name}", str(value))]
        subprocess.run([sys.executable, "-m", "trainer", "check", *words], cwd=ROOT, stdout=sys.stderr, check=True)
    scores = json.loads(file.read_text(encoding="utf-8"))["scores"]
    return scores[verdicts.SHOWN]["accuracy"] - scores[verdicts.STUDENT]["accuracy"]


def movement(run: Path) -> float:
    """How far the EMA teacher's weights went from the first checkpoint to the last, over how far the student's went."""
    first, last = checkpoints(run)[0], newest(run)

    def way(file: str) -> float:
        before, after = load_file(first / file), load_file(last / file)
        return sum(float((after[name] - before[name]).square().sum()) for name in before) ** 0.5

    return way("teacher.ema") / way("model.safetensors")
