#!/usr/bin/env python3
"""Skills learnt one after another: what stays of the earlier ones, with replay of what earlier runs learnt and without.

    .venv/bin/python scripts/bench/sequence.py [--quick] [--skills N] [--arms NAME …] [--seeds N …] [--epochs N]
                                               [--rate RATE] [--model FOLDER] [--bf16] [--work DIR] [--json FILE]

All by the real command line: `python -m trainer train` for each skill in turn, from the last checkpoint of the run
before, then `eval` of that checkpoint on test rows of every skill and of the prior skills. Without `--model` the tiny
world's student learns five new skills of eight tools each (one thread a run, as many runs as there are cores); with
it a real model (`scripts/fetch_small_model`) learns the five house rules with LoRA, one run at a time.

    none           nothing is replayed
    replay 0.02    --replay_share 0.02 --replay_data_path RUN1,RUN2,…: prompts of all earlier runs, without answers
    replay 0.1     the same with 0.1
    base teaches   the same, and the teacher of every later run is the student before that run (--teacher_kind base)
    first teaches  the same, and it is the model before all skills (--teacher_model_name_or_path)
    mixed          each run learns the rows of all skills so far, in as many steps: the ceiling, where all rows are kept

The first run has nothing earlier to replay; a real model replays the shipped general prompts in every run, the first
too. The column `shown` tells what the student makes of the next skill when it is shown the row's demonstration. That is
what its teacher will be in the next run, so `sdft` can't come further. Only with `first teaches` it is another.

`first_skill_kept` and `second_skill_kept` are a skill's accuracy after three skills over that when it was learnt,
`prior_skills_kept` that of the prior skills over that before the first, all with `first teaches`; median, least, most
of seeds. Intervals are 95 %, percentile bootstrap over seeds and test rows.

`--work` keeps rows, runs and answers, so that a measurement goes on where it was interrupted. A run there is known by
its settings and rows; after a change to the trainer delete the folder.
"""

import argparse
import hashlib
import json
import os
import statistics
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "scripts" / "bench"), str(ROOT / "scripts" / "bench" / "worlds")]

import numpy as np  # noqa: E402
import record  # noqa: E402
import skills_in_turn  # noqa: E402
import tiny_runs  # noqa: E402
import trajectories  # noqa: E402
from skills_in_turn import World  # noqa: E402
from tiny_rows import text_of  # noqa: E402
from trajectories import Estimate  # noqa: E402


@dataclass(frozen=True)
class Arm:
    """A way to learn one skill after another.

    Attributes:
        share: Of the prompts of a step, how many are replayed.
        teacher: Of every later run: the moving average `ema`, the student before the run `base`, or the model before
            all skills `first`.
        is_mixed: Whether the rows of all skills so far are learnt together.
    """

    share: float = 0.0
    teacher: str = "ema"
    is_mixed: bool = False


ARMS = {
    "none": Arm(), "replay 0.02": Arm(0.02), "replay 0.1": Arm(0.1), "base teaches": Arm(0.1, "base"),
    "first teaches": Arm(0.1, "first"), "mixed": Arm(is_mixed=True),
}  # fmt: skip
HEADLINE_ARM, HEADLINE_SKILLS = "first teaches", 3
PRIOR, SHOWN = "prior skills", "next skill, shown"
EVERY_RUN = {"objective": "sdft", "save_steps": 10_000, "save_total_limit": 1}
QUICK = {"skills": 2, "arms": ["none", "replay 0.1"], "seeds": [1], "epochs": 0.25}
TINY_ENVIRONMENT = {"OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}  # so that figures of different machines compare


@dataclass(frozen=True)
class Run:
    """One `train` command; its name says all that decides the outcome."""

    name: str
    flags: dict[str, Any]
    start: str | None


def chain(world: World, arm: Arm, seed: int) -> list[Run]:
    """The runs of an arm, one for each skill. Arms whose first run is the same share it."""
    found: list[Run] = []
    for number in range(len(world.skills)):
        learnt = world.skills[: number + 1] if arm.is_mixed else world.skills[number : number + 1]
        flags = EVERY_RUN | world.train | {"seed": seed, "learnt": [f"{title}_train.json" for title in learnt]}
        flags["num_train_epochs"] = flags["num_train_epochs"] / len(learnt)
        replayed = [*([str(world.general)] if world.general else []), *(run.name for run in found)]
        if arm.share and replayed:
            flags |= {"replay_share": arm.share, "replayed": replayed}
        if arm.teacher != "ema" and found:
            first = {"teacher_model_name_or_path": str(world.student)} if arm.teacher == "first" else {}
            flags |= {"teacher_kind": "base"} | first
        start = found[-1].name if found else None
        digest = hashlib.sha256(json.dumps([flags, start], sort_keys=True).encode()).hexdigest()[:8]
        found.append(Run(f"{world.skills[number]}-{seed}-{digest}", flags, start))
    return found


class Folder:
    """Where rows, runs and answers of a world lie.

    Args:
        work: The folder of all worlds.
    """

    def __init__(self, work: Path, world: World):
        texts = {name: text_of(rows) for name, rows in world.files.items()}
        known_by = [str(world.student), json.dumps(world.score), *texts.values()]
        digest = hashlib.sha256("".join(known_by).encode()).hexdigest()
        self.world = world
        self.path = work / digest[:8]
        for part in ("rows", "runs", "answers"):
            (self.path / part).mkdir(parents=True, exist_ok=True)
        for name, text in texts.items():
            (self.path / "rows" / name).write_text(text, encoding="utf-8")

    def run(self, name: str) -> Path:
        return self.path / "runs" / name

    def rows(self, *names: str) -> str:
        return ",".join(str(self.path / "rows" / name) for name in names)

    def model(self, run: Run | None) -> Path:
        return self.world.student if run is None else self.learnt(run.name)

    def learnt(self, name: str) -> Path:
        """The model at a run's end; adapters are merged once, into a folder beside their checkpoint."""
        run, checkpoint = self.run(name), tiny_runs.newest(self.run(name))
        if not (checkpoint / "adapter_config.json").exists():
            return checkpoint
        merged = run / "model"
        if not merged.exists():
            self.command("export", name, {"run": run, "output_dir": merged, "dtype": "float32"})
        return merged

    def train(self, run: Run) -> None:
        """Train, unless that is done."""
        summary = self.run(run.name) / "summary.json"
        if summary.exists() and json.loads(summary.read_text(encoding="utf-8"))["status"] == "finished":
            return
        flags = dict(run.flags)
        flags["train_data_path"] = self.rows(*flags.pop("learnt"))
        if replayed := flags.pop("replayed", None):
            flags["replay_data_path"] = ",".join(str(self.run(name)) for name in replayed)  # a whole path stays one
        start = self.world.student if run.start is None else self.learnt(run.start)
        self.command("train", run.name, flags | {"model_name_or_path": start, "output_dir": self.run(run.name)})
        for weighty in self.run(run.name).glob("checkpoint-*/optimizer.pt"):
            weighty.unlink()

    def score(self, run: Run | None, upcoming: str | None) -> dict[str, list[bool]]:
        """Which test rows of each skill and of the prior skills a model has right; None: the student before all."""
        who, skills = "student" if run is None else run.name, self.world.skills
        as_long = {"max_completion_length": self.world.train["max_completion_length"]}
        tests = [f"{title}_test.json" for title in skills]
        right = self.right(run, f"{who}-{len(skills)}", tests, as_long)
        told: dict[str, list[bool]] = {}
        for title, test in zip(skills, tests, strict=True):
            count = len(self.world.files[test])
            told[title], right = right[:count], right[count:]
        told[PRIOR] = self.right(run, f"{who}-prior", ["prior.json"], {})
        if upcoming is not None:
            shown = as_long | {"with_demonstration": True}
            told[SHOWN] = self.right(run, f"{who}-shown-{upcoming}", [f"{upcoming}_test.json"], shown)
        return told

    def right(self, run: Run | None, name: str, rows: list[str], asked: dict[str, Any]) -> list[bool]:
        """Which of the rows of some files a model has right, by `eval` with its flags and those that are asked for."""
        file = self.path / "answers" / f"{name}.json"
        if not file.exists():
            files = {"eval_data_path": self.rows(*rows), "output_file": file}
            self.command("eval", name, self.world.score | asked | files | {"model_name_or_path": self.model(run)})
        told = json.loads(file.read_text(encoding="utf-8"))["answers"]
        return [bool(answer["right"]) for answer in told["new_skill"]]

    def command(self, subcommand: str, name: str, flags: dict[str, Any]) -> None:
        """Run a command of the trainer; a failure ends the measurement."""
        given = flags | {"local_files_only": True}
        words = [word for key, value in given.items() for word in (f"--{key}", str(value))]
        log = self.path / "runs" / f"{subcommand}-{name}.log"
        tiny = {} if self.world.at_once == 1 else TINY_ENVIRONMENT
        with log.open("w", encoding="utf-8") as file:
            done = subprocess.run(
                [sys.executable, "-m", "trainer", subcommand, *words], cwd=ROOT, stdout=file, stderr=subprocess.STDOUT,
                env=os.environ | {"HF_HUB_OFFLINE": "1", "TRL_EXPERIMENTAL_SILENCE": "1"} | tiny,
            )  # fmt: skip
        if done.returncode:
            sys.exit(f"sequence.py: {subcommand} of {name} ended with {done.returncode}; {log}:\n{tiny_runs.tail(log)}")


def learn(folder: Folder, runs: list[Run]) -> list[dict[str, list[bool]]]:
    """Train one skill after another, and score after each; the first scores are of the student before all."""
    skills = folder.world.skills
    found = [folder.score(None, skills[0])]
    for number, run in enumerate(runs, 1):
        folder.train(run)
        found.append(folder.score(run, skills[number] if number < len(skills) else None))
    return found


def learn_all(folder: Folder, arms: dict[str, Arm], seeds: list[int]) -> dict[str, list[list[dict[str, list[bool]]]]]:
    """What each arm had right after each skill, for each seed."""
    chains = {(name, seed): chain(folder.world, arm, seed) for name, arm in arms.items() for seed in seeds}
    folder.score(None, folder.world.skills[0])  # what all have in common comes first
    with ThreadPoolExecutor(folder.world.at_once or tiny_runs.cores()) as pool:
        firsts = {runs[0].name: runs[0] for runs in chains.values()}
        tiny_runs.for_all(pool, folder.train, [*firsts.values()], lambda run: run.name)
        tiny_runs.for_all(pool, lambda key: learn(folder, chains[key]), [*chains], lambda key: f"{key[0]}, {key[1]}")
    return {name: [learn(folder, chains[name, seed]) for seed in seeds] for name in arms}


# ---- what is told


def accuracies(by_seed: list[list[dict[str, list[bool]]]]) -> list[dict[str, Estimate]]:
    """After each skill, of everything that was asked, over seeds and rows."""
    return [
        {title: trajectories.accuracy(np.array([seed[title] for seed in moment], bool)) for title in moment[0]}
        for moment in zip(*by_seed, strict=True)
    ]


def share(right: list[bool]) -> float:
    return sum(right) / len(right)


def kept(skills: tuple[str, ...], after: list[dict[str, list[bool]]], count: int) -> dict[str, float]:
    """Of one seed, after `count` skills: accuracies over those when a skill was learnt; nan where it never was.

    `newest` is the accuracy of the worst skill when it was learnt.
    """
    end, learnt = after[count], {title: share(after[n][title]) for n, title in enumerate(skills[:count], 1)}
    told = {title: share(end[title]) / best if best else float("nan") for title, best in learnt.items()}
    return told | {PRIOR: share(end[PRIOR]) / share(after[0][PRIOR]), "newest": min(learnt.values())}


def ratios(skills: tuple[str, ...], found: dict[str, list[Any]]) -> dict[str, dict[str, float]]:
    """The headline: medians, least and most of seeds."""
    if HEADLINE_ARM not in found or len(skills) < HEADLINE_SKILLS:
        return {}
    told = [kept(skills, after, HEADLINE_SKILLS) for after in found[HEADLINE_ARM]]
    names = {"first_skill_kept": skills[0], "second_skill_kept": skills[1], "prior_skills_kept": PRIOR}
    return {name: spread([one[title] for one in told]) for name, title in names.items()}


def spread(values: list[float]) -> dict[str, float]:
    return {"median": statistics.median(values), "min": min(values), "max": max(values)}


def matrix(skills: tuple[str, ...], found: dict[str, list[dict[str, Estimate]]]) -> str:
    """Every skill after each run, an arm after the other."""
    columns = (*skills, PRIOR, SHOWN)
    rows = [
        [arm, number, *(cell(estimates.get(title)) for title in columns)]
        for arm, moments in found.items()
        for number, estimates in enumerate(moments)
    ]
    return record.table(["arm", "skills learnt", *(f"{title} %" for title in columns)], rows)


def cell(estimate: Estimate | None) -> str:
    if estimate is None:
        return "–"
    return f"{100 * estimate.value:.1f} ({100 * estimate.low:.1f} to {100 * estimate.high:.1f})"


def summary(skills: tuple[str, ...], found: dict[str, list[Any]], counts: list[int]) -> str:
    """What is kept after some numbers of skills; medians of seeds, with least and most."""
    rows = []
    for arm, by_seed in found.items():
        for count in counts:
            told = [kept(skills, after, count) for after in by_seed]
            earlier = [min(one[title] for title in skills[: count - 1]) for one in told]
            values = (earlier, [one[PRIOR] for one in told], [one["newest"] for one in told])
            rows.append([arm, count, *(record.spread([100 * value for value in some], 1) for some in values)])
    head = ["arm", "skills learnt", "worst earlier skill kept %", "prior skills kept %", "worst skill when learnt %"]
    return record.table(head, rows)


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="two skills, two arms, one seed, few steps: does it run?")
    parser.add_argument("--skills", type=int, default=5, help="how many of the five, from 2 on")
    parser.add_argument("--arms", nargs="+", choices=ARMS, default=[*ARMS], metavar="NAME", help=", ".join(ARMS))
    parser.add_argument("--seeds", nargs="+", type=int, default=[1, 2, 3])
    parser.add_argument("--epochs", type=float, help="passes over the rows of a run, instead of the world's own")
    parser.add_argument("--rate", type=float, help="learning rate, instead of the world's own")
    parser.add_argument("--model", type=Path, metavar="FOLDER", help="a real model, which learns data/house_rules")
    parser.add_argument("--bf16", action="store_true", help="train and score in bfloat16, on a CPU, too")
    parser.add_argument("--work", type=Path, default=ROOT / ".bench" / "sequence", help="rows, runs and answers")
    parser.add_argument("--json", type=Path, metavar="FILE", help="for machine, versions, runs and ratios")
    given = parser.parse_args()
    if not 2 <= given.skills <= len(skills_in_turn.SETS):
        sys.exit(f"sequence.py: found --skills {given.skills}, expected 2 to {len(skills_in_turn.SETS)}.")
    if len(set(given.seeds)) < len(given.seeds):
        sys.exit(f"sequence.py: found --seeds {' '.join(map(str, given.seeds))}, expected different ones.")
    if given.model is not None and not given.model.is_dir():
        sys.exit(f"sequence.py: {given.model} is no folder. `scripts/fetch_small_model --list` names models to fetch.")
    if given.quick:
        vars(given).update(QUICK)
    return given


def world_of(given: argparse.Namespace) -> World:
    world = skills_in_turn.tiny_world() if given.model is None else skills_in_turn.house_rules(given.model.resolve())
    changes = {"num_train_epochs": given.epochs, "learning_rate": given.rate}
    world.train.update({name: value for name, value in changes.items() if value is not None})
    if given.bf16:
        world.train["bf16"], world.score["dtype"] = True, "bfloat16"
    return world.first(given.skills)


def main() -> None:
    given = parse()
    world = world_of(given)
    found = learn_all(Folder(given.work, world), {name: ARMS[name] for name in given.arms}, given.seeds)
    told = {name: accuracies(by_seed) for name, by_seed in found.items()}
    print(matrix(world.skills, told), end="\n\n")
    print(summary(world.skills, found, sorted({min(3, given.skills), given.skills})))
    if given.json:
        runs = [
            {
                "arm": name,
                "seed": seed,
                "flags": world.train,
                "accuracies": [{t: share(r) for t, r in m.items()} for m in after],
            }
            for name, by_seed in found.items()
            for seed, after in zip(given.seeds, by_seed, strict=True)
        ]
        runs += [
            {"arm": name, "estimates": [{t: asdict(e) for t, e in m.items()} for m in told[name]]} for name in told
        ]
        versions = record.versions("torch", "transformers", "trl", "numpy")
        headline = ratios(world.skills, found)
        record.write(given.json, {"machine": record.machine(), "versions": versions, "runs": runs, "ratios": headline})


if __name__ == "__main__":
    main()
