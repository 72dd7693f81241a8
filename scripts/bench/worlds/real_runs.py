"""Trainings of real models by the real command line, and the folders of what came out: for real_model.py.

    WORK/MODEL/SKILL/               what is known before any training
        headroom/SHOWN.json         `check --headroom` on validation rows
        before.json                 `eval` of the model as it is: validation rows, and the prior skills
        ARM/rate-RATE/seed-SEED/    the run directory of `train`, which scores the eval rows before and after
            scores.json             `eval` of its last checkpoint, as in before.json

A command whose file is there is not run again. A run that was interrupted goes on.
"""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parents[3]
RULES, PRIOR_SUITE = ROOT / "data" / "house_rules", ROOT / "data" / "prior_suite" / "prior_suite.json"
Flags = dict[str, Any]  # of a subcommand; None leaves a flag out
Url = Callable[[], str]  # of the served teacher, which is started where it is first asked for
UNDECIDING = ("eval_steps", "save_steps", "save_total_limit")  # flags that don't decide what a training comes to
AWAY = 600  # seconds for which a run waits for a teacher that a CPU serves


@dataclass(frozen=True)
class Sizes:
    """How much is trained and scored.

    Attributes:
        scored: Rows of a file, at most.
        prompt: Tokens of a prompt with what it is shown.
        answer: Tokens of an answer in the new skill's form, also of a rollout.
        prior: Tokens of an answer to the prior skills; cut off sooner, most of the longer ones are wrong.
        prompts: Of a step.
        midway: Scores also each so many steps, None only before and after.
        bf16: Whether training, and scoring behind it, compute in bfloat16.
    """

    scored: int
    prompt: int
    answer: int
    prior: int
    prompts: int
    steps: int
    midway: int | None
    bf16: bool = False

    def lengths(self, answer: int) -> Flags:
        return {"max_prompt_length": self.prompt, "max_completion_length": answer}


@dataclass(frozen=True)
class Arm:
    """One way to learn.

    Attributes:
        flags: Of `train`.
        shown: Whose headroom foretells it: that of the student, shown its demonstration in this way, or of the served
            `TEACHER`; None: nobody's, for the golden text is learnt whatever anyone can do.
        rates: So many times the learning rates of `--rates`.
    """

    flags: Flags
    shown: str | None
    rates: float = 1

    @property
    def served(self) -> bool:
        return self.shown == TEACHER


TEACHER = "teacher"


@dataclass(frozen=True)
class Place:
    """A model that is to learn a skill, and the folder for what comes out."""

    work: Path
    model: Path
    skill: str

    @property
    def folder(self) -> Path:
        return self.work / self.model.name / self.skill

    def rows(self, split: str) -> Path:
        return RULES / self.skill / f"{split}_data.json"

    def run(self, arm: str, rate: float, seed: int) -> Path:
        return self.folder / arm / f"rate-{rate:g}" / f"seed-{seed}"


def measure_headroom(place: Place, sizes: Sizes, name: str, flags: Flags, url: str | None = None) -> None:
    """What the student, and a served teacher, can do when they are shown a demonstration or the rule."""
    file = place.folder / "headroom" / f"{name}.json"
    rows = {"headroom": sizes.scored, "eval_data_path": place.rows("validation"), "output_file": file}
    if not file.exists():
        file.parent.mkdir(parents=True, exist_ok=True)
        trainer("check", {"model_name_or_path": place.model} | sizes.lengths(sizes.answer) | rows | flags, url)


def score(place: Place, sizes: Sizes, model: Path, file: Path) -> None:
    """Answers to validation rows and to those of the prior skills."""
    asked = {"eval_data_path": place.rows("validation"), "prior_data_path": PRIOR_SUITE}
    amount = {"max_eval_samples": sizes.scored} | sizes.lengths(sizes.prior)
    amount |= {"dtype": "bfloat16", "per_device_eval_batch_size": sizes.scored} if sizes.bf16 else {}
    if not file.exists():
        file.parent.mkdir(parents=True, exist_ok=True)
        trainer("eval", {"model_name_or_path": model, "output_file": file} | asked | amount)


def train(place: Place, sizes: Sizes, arm: Arm, run: Path, rate: float, seed: int, url: Url, *, keep: bool) -> None:
    """Train, or go on, and score the last checkpoint.

    Args:
        keep: Whether the checkpoints stay. Those of a run that is only linked to stay in any case.
    """
    flags = flags_of_training(place, sizes, arm, rate, seed)
    if is_finished(run):
        require_same(run, flags)
    else:
        served = {"teacher_patience": AWAY} if arm.served else {}
        trainer("train", flags | served | {"output_dir": run}, url() if arm.served else None)
    if not (run / "scores.json").exists():
        score(place, sizes, newest(run), run / "scores.json")
    if not keep and not run.is_symlink():
        for checkpoint in run.glob("checkpoint-*"):
            shutil.rmtree(checkpoint)


def flags_of_training(place: Place, sizes: Sizes, arm: Arm, rate: float, seed: int) -> Flags:
    files = {"train_data_path": place.rows("train"), "eval_data_path": place.rows("eval")}
    amount = {"num_prompts_per_batch": sizes.prompts, "max_steps": sizes.steps, "max_eval_samples": sizes.scored}
    saved = {"eval_steps": sizes.midway, "save_steps": 12, "save_total_limit": 1}
    model = {"model_name_or_path": place.model, "prior_data_path": PRIOR_SUITE, "learning_rate": rate, "seed": seed}
    half = {"bf16": True, "per_device_eval_batch_size": sizes.scored} if sizes.bf16 else {}
    return model | files | sizes.lengths(sizes.answer) | amount | saved | half | arm.flags


def is_finished(run: Path) -> bool:
    summary = run / "summary.json"
    return summary.exists() and read(summary)["status"] == "finished"


def require_same(run: Path, flags: Flags) -> None:
    """End where a finished run had other settings; its files may have lain elsewhere."""
    found = yaml.safe_load((run / "config.yaml").read_text(encoding="utf-8"))
    for name, value in flags.items():
        if name in UNDECIDING or name.endswith("_path") or alike(found.get(name), value):
            continue
        sys.exit(
            f"real_model.py: {run} has a run with --{name} {found.get(name)}, expected {value}. "
            "Name another folder with --work, or the settings of that run."
        )


def alike(found: Any, expected: Any) -> bool:
    """Whether two settings are one; a file may have the text of a number."""
    return str(found) == str(expected) or (is_number(found) and is_number(expected) and float(found) == float(expected))


def is_number(value: Any) -> bool:
    try:
        float(value)
    except (TypeError, ValueError):
        return False
    return True


def newest(run: Path) -> Path:
    """The last checkpoint."""
    return max(run.glob("checkpoint-*"), key=lambda folder: int(folder.name.rpartition("-")[2]))


def trainer(subcommand: str, flags: Flags, url: str | None = None) -> None:
    """Run a command of the trainer, shown; a failure ends the measurement. Told to stop, it is let save first."""
    words = [word for name, value in flags.items() if value is not None for word in (f"--{name}", str(value))]
    command = [sys.executable, "-m", "trainer", subcommand, *([url] if url else []), "--local_files_only", *words]
    print(f"\n$ trainer {' '.join(command[3:])}", flush=True)
    with subprocess.Popen(command, cwd=ROOT, env=os.environ | {"HF_HUB_OFFLINE": "1"}) as process:
        try:
            code = process.wait()
        except BaseException:
            process.terminate()
            raise
    if code:
        sys.exit(
            f"real_model.py: that command ended with exit code {code}. When it is mended, the same command goes on."
        )


def read(file: Path) -> Any:
    return json.loads(file.read_text(encoding="utf-8"))
