#!/usr/bin/env python3
"""What a model forgets while it learns a new skill: `sdft` beside `sft`, `seqkd`, `served` and controls.

    .venv/bin/python scripts/bench/learning.py [--quick] [--json FILE] [--plots DIR] [--part NAME …] [--arms NAME …]
                                               [--rates RATE …] [--seeds N …] [--level SHARE] [--work DIR] [--url URL]

The tiny student is trained by the real command line, `python -m trainer train`, one process and one thread a run, as
many at once as there are cores, on the CPU in any case.

    table       every arm at each of its learning rates, for each seed; as controls the student without training, and
                what `sft` made, when its answers are forced to begin with the habit that it lost
    ablations   choices of `sdft`, one at a time, at the learning rate that the table chose for it
    why         between on-policy and offline rollouts: one after the other, mixtures, warm-up, weights of tokens
    sequential  three new skills one after another, at the learning rates that the table chose

Validation rows, which the runs score by themselves (`--eval_steps`), choose the learning rate of each arm: the one that
keeps most of the prior skills where the new skill reaches the level (90 %) for every seed. Test rows are told: every
checkpoint of the chosen rate's runs answers them here. Neither shares an entity of its tools or a prompt with rows that
were learnt, with the other, or with the shipped rows by which this world was made. All arms have 800 rows, 75 steps of
32 prompts, one schedule and the same number of learning rates, a grid around what pilot runs found on validation rows.

`sft_forgetting_over_sdft` is what the prior skills had lost when the new skill reached the level: with `sft`, over the
same with `sdft`, each interpolated linearly between checkpoints, every 5 steps. Its `median`, `min` and `max` are over
seeds; `estimate`, `low` and `high` are of the mean losses. Intervals are 95 %, percentile bootstrap over seeds and test
rows, both drawn with replacement, the same for all arms in a resample. Three seeds tell little of the spread between
seeds, so each seed's own loss stands beside. Where `sdft` loses nothing the ratio is unbounded (null in the JSON), and
0 where `sft` loses nothing either.

The JSON also has pairs of what `check --headroom` foretold of `sdft` and what it gained, for real_model.py's plot.

`--work` keeps rows, runs and answers, so that a measurement goes on where it was interrupted. A run there is known by
its settings and rows; after a change to the trainer or to data/tiny_world, delete the folder. It takes about 60 MB a
run: 12 GB for all.
"""

import argparse
import dataclasses
import math
import os
import statistics
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "scripts" / "bench"), str(ROOT / "scripts" / "bench" / "worlds")]
os.environ |= {
    "HF_HUB_OFFLINE": "1",
    "TRL_EXPERIMENTAL_SILENCE": "1",
    "OMP_NUM_THREADS": "1",  # the model is too small for two threads to help each other
    "CUDA_VISIBLE_DEVICES": "",  # so that figures of different machines compare
}

import foretold  # noqa: E402
import numpy as np  # noqa: E402
import pictures  # noqa: E402
import record  # noqa: E402
import tiny_rows  # noqa: E402
import tiny_runs  # noqa: E402
import trajectories  # noqa: E402
from tiny_runs import STUDENT, UNSCORED, Arm, Curve, Flags, Folder, chain, newest  # noqa: E402
from trajectories import Estimate, Trajectory  # noqa: E402

HEADLINE = "sft_forgetting_over_sdft"
HABITS = ("Thought:", "Thought: I")  # two and all three of the tokens with which the student begins every answer

# ---- what is trained

SFT: Flags = {"objective": "sft", "per_device_train_batch_size": 32}
SDFT: Flags = {"objective": "sdft"}
OWN_STYLE: Flags = {"train_data_path": "train_own_style.json"}
OFFLINE: Flags = {"rollouts": "teacher"}
# Pilot runs of seed 1: `sft` on bare goldens loses the prior skills at 1e-4 too, where the new skill is not learnt.
SFT_RATES = (5e-4, 1e-3, 2e-3, 4e-3)
OWN_STYLE_RATES = (2e-4, 3e-4, 5e-4, 1e-3)
SDFT_RATES = (3e-4, 4e-4, 5e-4, 7e-4)
SEEKING_RATES = (5e-4, 1e-3, 2e-3, 4e-3)  # a student that never visits the new answer may need larger steps

ARMS = {
    "sft": Arm(SFT, SFT_RATES),
    "sft_own_style": Arm(SFT | OWN_STYLE, OWN_STYLE_RATES),
    "sdft": Arm(SDFT, SDFT_RATES),
    "sdft_reverse": Arm(SDFT | {"alpha": 1.0}, SEEKING_RATES),
    "sdft_jsd": Arm(SDFT | {"alpha": 0.5}, SEEKING_RATES),
    "sdft_base_teacher": Arm(SDFT | {"teacher_kind": "base"}, SDFT_RATES),
    "sdft_live_teacher": Arm(SDFT | {"teacher_kind": "live"}, SDFT_RATES),
    "sdft_offline": Arm(SDFT | OFFLINE, SDFT_RATES),
    "sdft_own_style": Arm(SDFT | OWN_STYLE, SDFT_RATES),
    "served": Arm({"objective": "served"}, SDFT_RATES, served=True),
    "seqkd": Arm(SFT | {"objective": "seqkd"}, OWN_STYLE_RATES, served=True),
}
AS_IN_TABLE = "as in the table"  # full vocabulary, float32 EMA, 3 tokens masked, 1 rollout a prompt
ROUNDED = "bfloat16 EMA"
ABLATIONS = {
    AS_IN_TABLE: Arm(SDFT),
    "top-20 and tail": Arm(
        SDFT | {"distillation_mode": "topk_logits", "distillation_topk": 20, "distillation_add_tail": True}
    ),
    ROUNDED: Arm(SDFT, variant="bfloat16_ema"),
    "0 tokens masked": Arm(SDFT | {"num_loss_tokens_to_skip": 0}),
    "4 rollouts a prompt, 32 prompts a step": Arm(SDFT | {"num_generations": 4}),
    "4 rollouts a prompt, 8 prompts a step": Arm(
        SDFT | {"num_generations": 4, "num_prompts_per_batch": 8, "num_train_epochs": 0.75}
    ),
}
WHY = {
    "on-policy": Arm(SDFT, SDFT_RATES),
    "offline": Arm(SDFT | OFFLINE, SDFT_RATES),
    "25 steps offline, then on-policy": Arm(
        SDFT, SDFT_RATES, stages=(OFFLINE | {"num_train_epochs": 1}, {"num_train_epochs": 2})
    ),
    "25 steps on-policy, then offline": Arm(
        SDFT, SDFT_RATES, stages=({"num_train_epochs": 1}, OFFLINE | {"num_train_epochs": 2})
    ),
    "on-policy, no warm-up": Arm(SDFT | {"warmup_steps": 0}, SDFT_RATES),
    "on-policy, 30 % warm-up": Arm(SDFT | {"warmup_steps": 0.3}, SDFT_RATES),
    "half of each step offline": Arm(SDFT | {"rollouts": "mixed", "teacher_rollouts": "0.5"}, SDFT_RATES),
    "ever fewer of a step offline": Arm(SDFT | {"rollouts": "mixed"}, SDFT_RATES),
    "on-policy, tokens after a mistake weigh a tenth": Arm(SDFT, SDFT_RATES, variant="light_after_mistakes"),
}
SECOND_TRAINING = "The second of two trainings begins with a schedule, an optimizer and an EMA teacher of its own."
IN_SEQUENCE = ("sft", "sdft")
QUICK_RATES = {"sft": (1e-3, 2e-3), "sdft": (4e-4, 5e-4)}  # the one that the whole table chose, and a neighbour


def in_sequence(arm: Arm, rate: float) -> Arm:
    """The arm on each new skill in turn; the first training is that of the table."""
    further = [UNSCORED | {"train_data_path": tiny_rows.numbered("train", n)} for n in range(1, len(tiny_rows.SKILLS))]
    return dataclasses.replace(arm, rates=(rate,), stages=({}, *further))


# ---- one part after another


@dataclass(frozen=True)
class Options:
    """What the command line asked for; `arms` of the part `table`."""

    folder: Folder
    arms: dict[str, Arm]
    rates: list[float] | None
    seeds: list[int]
    level: float
    url: str | None

    def rates_of(self, arm: Arm) -> tuple[float, ...] | list[float]:
        return self.rates or arm.rates


@dataclass(frozen=True)
class Finding:
    """One arm.

    Attributes:
        curves: On validation rows: by learning rate, one for each seed.
        rate: The best learning rate.
        tested: On test rows, at that rate: one for each seed.
    """

    arm: Arm
    curves: dict[float, list[Curve]]
    rate: float
    tested: list[Trajectory]


@dataclass(frozen=True)
class Section:
    """One part: its arms, `controls`, which have no runs of their own, and what is to be said below the tables."""

    found: dict[str, Finding]
    controls: dict[str, Finding] = field(default_factory=dict)
    note: str = ""


@dataclass(frozen=True)
class Learnt:
    """An arm at a learning rate, on test rows.

    Attributes:
        accuracies: Before, and after each new skill: by what was asked.
    """

    rate: float
    accuracies: list[dict[str, Estimate]]


def find(options: Options, arms: dict[str, Arm]) -> dict[str, Finding]:
    """Train all arms at all their rates, choose the rate of each, test that."""
    chains = {
        name: {rate: [chain(arm, rate, seed) for seed in options.seeds] for rate in options.rates_of(arm)}
        for name, arm in arms.items()
    }
    every = [stages for rates in chains.values() for some in rates.values() for stages in some]
    tiny_runs.train_all(options.folder, every, options.url)
    curves = {
        name: {rate: [tiny_runs.curve(options.folder, stages) for stages in some] for rate, some in rates.items()}
        for name, rates in chains.items()
    }
    chosen = {name: best_rate(options.level, rates) for name, rates in curves.items()}
    models = [
        tiny_runs.models_of(options.folder, stages) for name, rate in chosen.items() for stages in chains[name][rate]
    ]
    tested = iter(tiny_runs.tested(options.folder, models))
    return {
        name: Finding(arms[name], curves[name], rate, [next(tested) for _ in options.seeds])
        for name, rate in chosen.items()
    }


def best_rate(level: float, curves: dict[float, list[Curve]]) -> float:
    """The learning rate that validation rows choose."""
    pairs = {rate: [(curve.new, curve.prior) for curve in some] for rate, some in curves.items()}
    return trajectories.best_rate(level, pairs)


def chosen_rate(options: Options, name: str) -> float:
    """The learning rate that the table chooses for an arm."""
    return find(options, {name: ARMS[name]})[name].rate


def with_table(options: Options) -> Section:
    found = find(options, options.arms)
    some = next(iter(found.values()))
    controls = {"base: not trained": control(options, some, slice(1))}
    if "sft" in found:
        last = slice(-1, None)
        controls |= {f"sft, forced to begin with “{h}”": control(options, found["sft"], last, h) for h in HABITS}
    return Section(found, controls)


def control(options: Options, finding: Finding, points: slice, habit: str = "") -> Finding:
    """Some models of the same runs, which begin every answer with the habit."""
    chains = [chain(finding.arm, finding.rate, seed) for seed in options.seeds]
    models = [tiny_runs.models_of(options.folder, stages)[points] for stages in chains]
    return dataclasses.replace(finding, tested=tiny_runs.tested(options.folder, models, habit))


def with_ablations(options: Options) -> Section:
    rate = chosen_rate(options, "sdft")
    found = find(dataclasses.replace(options, rates=[rate]), ABLATIONS)
    ways = {
        name: [tiny_runs.movement(options.folder.run(chain(ABLATIONS[name], rate, seed)[-1])) for seed in options.seeds]
        for name in (AS_IN_TABLE, ROUNDED)
    }
    return Section(
        found,
        note="How far the EMA teacher's weights went from the first checkpoint to the last, over how far the student's "
        f"went: {record.spread(ways[AS_IN_TABLE], 3)} in float32, {record.spread(ways[ROUNDED], 3)} in bfloat16.",
    )


def with_why(options: Options) -> Section:
    return Section(find(options, WHY), note=SECOND_TRAINING)


def with_sequence(options: Options) -> dict[str, Learnt]:
    """Three new skills one after another; after each the test rows of all."""
    folder, learnt = options.folder, {}
    for name in IN_SEQUENCE:
        rate = chosen_rate(options, name)
        chains = [chain(in_sequence(ARMS[name], rate), rate, seed) for seed in options.seeds]
        tiny_runs.train_all(folder, chains, options.url)
        by_seed = [[STUDENT, *(newest(folder.run(stage)) for stage in stages)] for stages in chains]
        learnt[name] = Learnt(rate, [on_every_skill(folder, list(models)) for models in zip(*by_seed, strict=True)])
    return learnt


def on_every_skill(folder: Folder, models: list[Path]) -> dict[str, Estimate]:
    """Accuracies of models, one for each seed."""
    files = {f"new skill {n + 1}": tiny_rows.numbered("test_new", n) for n in range(len(tiny_rows.SKILLS))}
    files |= {"prior skills": "test_prior.json"}
    asked = {title: [tiny_runs.question(folder, model, rows) for model in models] for title, rows in files.items()}
    tiny_runs.answer([question for some in asked.values() for question in some])
    return {title: trajectories.accuracy(tiny_runs.rights(some)) for title, some in asked.items()}


PARTS: dict[str, Callable[[Options], Section | dict[str, Learnt]]] = {
    "table": with_table,
    "ablations": with_ablations,
    "why": with_why,
    "sequential": with_sequence,
}


# ---- what is told


def losses(section: Section, level: float) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """Prior-skill losses at the level by arm, resample by seed; and the seeds that each resample has."""
    some = next(iter(section.found.values())).tested
    draws = trajectories.draw(some[0].new_PR.shape[1], some[0].prior_PR.shape[1], len(some))
    return {name: trajectories.losses(level, f.tested, draws) for name, f in section.found.items()}, draws.seeds_MS


def mean_of(losses_MS: np.ndarray, seeds_MS: np.ndarray) -> Estimate:
    """Over seeds, with its interval."""
    return trajectories.estimate(trajectories.over_seeds(losses_MS, seeds_MS))


def ratio(losses_of: dict[str, np.ndarray], seeds_MS: np.ndarray) -> dict[str, float | None] | None:
    """The headline; None where `sft` or `sdft` is missing, or does not reach the level."""
    if not {"sft", "sdft"} <= losses_of.keys():
        return None
    above, below = losses_of["sft"], losses_of["sdft"]
    by_seed = trajectories.quotients(above[0], below[0])
    means = [trajectories.over_seeds(values, seeds_MS) for values in (above, below)]
    mean = trajectories.estimate(trajectories.quotients(*means))
    if math.isnan(mean.value):
        return None
    told = {"median": statistics.median(by_seed), "min": min(by_seed), "max": max(by_seed)}
    told |= {"estimate": mean.value, "low": mean.low, "high": mean.high, "resamples_that_reach_the_level": mean.known}
    return {name: None if math.isinf(value) else float(value) for name, value in told.items()}


def whole(value: float) -> str:
    return "–" if math.isnan(value) else f"{value:.0f}"


def percent(value: float) -> str:
    return "–" if math.isnan(value) else f"{100 * value:.1f}"


def in_percent(estimate: Estimate) -> str:
    """`value (low to high)`."""
    if math.isnan(estimate.value):
        return "not reached"
    share = "" if estimate.known == 1 else f", of {estimate.known:.0%} of resamples"
    return f"{percent(estimate.value)} ({percent(estimate.low)} to {percent(estimate.high)}{share})"


def validation_table(section: Section, level: float) -> str:
    """Every rate: medians of seeds at the last step, and at the level, on validation rows."""
    rows = []
    for name, finding in section.found.items():
        for rate, curves in finding.curves.items():
            kept = [trajectories.at(trajectories.first_reached(level, c.new), c.prior) for c in curves]
            reached = [value for value in kept if not math.isnan(value)]
            rows.append(
                [
                    name,
                    f"**{rate:g}**" if rate == finding.rate else f"{rate:g}",
                    record.spread([100 * curve.new[-1] for curve in curves], 1),
                    record.spread([100 * curve.prior[-1] for curve in curves], 1),
                    f"{len(reached)} of {len(kept)}",
                    record.spread([100 * value for value in reached], 1) if reached else "–",
                ]
            )
    head = ["arm", "learning rate", "new skill %", "prior skills %", "seeds that reach", f"prior skills at {level:.0%}"]
    return record.table(head, rows)


def test_table(section: Section, level: float) -> str:
    """The chosen rates on test rows; controls at the end, or before any step."""
    losses_of, seeds_MS = losses(section, level)
    rows = []
    for name, finding in (section.found | section.controls).items():
        steps = [tested.steps[-1] for tested in finding.tested]
        ends = [np.array([getattr(tested, kind)[-1] for tested in finding.tested]) for kind in ("new_PR", "prior_PR")]
        row = [name, f"{finding.rate:g}" if any(steps) else "–"]
        row += [in_percent(trajectories.accuracy(right)) for right in ends]
        if name in losses_of:
            row.append(in_percent(mean_of(losses_of[name], seeds_MS)))
            row.append(", ".join(percent(value) for value in losses_of[name][0]))
            row.append(", ".join(whole(steps_to(level, tested)) for tested in finding.tested))
        rows.append(row + ["–"] * (7 - len(row)))
    loss = f"prior skills lost when the new skill reached {level:.0%}, points"
    head = ["arm", "learning rate", "new skill %", "prior skills %", loss, "each seed", "at steps"]
    return record.table(head, rows)


def steps_to(level: float, tested: Trajectory) -> float:
    """Optimizer steps until the new skill reaches a level; nan where it never does."""
    return trajectories.at(trajectories.first_reached(level, tested.new_PR.mean(1)), tested.steps)


def ratio_table(told: dict[str, float | None]) -> str:
    columns = ("estimate", "low", "high", "median", "min", "max")
    cells = ["unbounded" if told[name] is None else f"{told[name]:.1f}" for name in columns]
    return record.table(["mean losses", *columns[:3], *(f"{c} of seeds" for c in columns[3:])], [[HEADLINE, *cells]])


def sequence_table(learnt: dict[str, Learnt]) -> str:
    rows = []
    for name, found in learnt.items():
        for skills, accuracies in enumerate(found.accuracies):
            rows.append([name, f"{found.rate:g}", skills, *(in_percent(value) for value in accuracies.values())])
    titles = next(iter(learnt.values())).accuracies[0]
    return record.table(["arm", "learning rate", "skills learnt", *(f"{title} %" for title in titles)], rows)


def markdown(told: dict[str, Any], level: float) -> str:
    """All parts; the figures are percentages with their intervals, or medians of seeds with least and most."""
    texts = []
    for part, result in told.items():
        texts.append(f"### {part}")
        if not isinstance(result, Section):
            texts += ["Test rows.", sequence_table(result)]
            continue
        texts += ["Test rows, the chosen learning rates.", test_table(result, level)]
        if part == "table" and (found := ratio(*losses(result, level))) is not None:
            texts.append(ratio_table(found))
        texts += ["Validation rows, all learning rates; the chosen ones are bold.", validation_table(result, level)]
        texts += [result.note] if result.note else []
    return "\n\n".join(texts)


def runs_of(part: str, result: Section | dict[str, Learnt], seeds: list[int]) -> list[dict[str, Any]]:
    """What the JSON file tells of each run."""
    if not isinstance(result, Section):
        return [{"part": part, "arm": name, **dataclasses.asdict(found)} for name, found in result.items()]
    runs = []
    for name, finding in result.found.items():
        for rate, curves in finding.curves.items():
            for seed, curve in zip(seeds, curves, strict=True):
                what = {"part": part, "arm": name, "rate": rate, "seed": seed, "flags": finding.arm.flags}
                runs.append(what | {"validation": dataclasses.asdict(curve)})
    for name, finding in (result.found | result.controls).items():
        for seed, tested in zip(seeds, finding.tested, strict=True):
            accuracies = {"new": tested.new_PR.mean(1).tolist(), "prior": tested.prior_PR.mean(1).tolist()}
            what = {"part": part, "arm": name, "rate": finding.rate, "seed": seed}
            runs.append(what | {"test": {"steps": tested.steps} | accuracies})
    return runs


def pairs_of(options: Options, section: Section) -> list[foretold.Pair]:
    """What headroom foretold of each arm that learns by the shown student from the shipped rows, and what it gained."""
    found = []
    for name, finding in section.found.items():
        if finding.arm.flags["objective"] == "sdft" and "train_data_path" not in finding.arm.flags:
            gain = trajectories.accuracy(np.array([1.0 * t.new_PR[-1] - t.new_PR[0] for t in finding.tested]))
            lift = tiny_runs.lift(options.folder)
            found.append(foretold.Pair("tiny world", "new tool", name, lift, gain.value, gain.low, gain.high))
    return found


def save_plots(told: dict[str, Any], level: float, folder: Path) -> None:
    """The plots of every part that was measured, without controls."""
    for part, result in told.items():
        if isinstance(result, Section):
            pictures.pareto({name: f.curves for name, f in result.found.items()}, folder, f"{part}_pareto")
            losses_of, seeds_MS = losses(result, level)
            means = {name: mean_of(values, seeds_MS) for name, values in losses_of.items()}
            pictures.forgetting(means, level, folder, f"{part}_forgetting")
        else:
            pictures.sequence({name: found.accuracies for name, found in result.items()}, folder, part)


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="sft and sdft alone: 2 learning rates each, 2 seeds")
    parser.add_argument("--json", type=Path, metavar="FILE", help="for machine, versions, runs and ratios")
    parser.add_argument("--plots", type=Path, metavar="DIR", help="for plots as PNG and PDF files")
    parser.add_argument("--part", nargs="+", choices=PARTS, default=[*PARTS], help="only these")
    parser.add_argument("--arms", nargs="+", choices=ARMS, default=[*ARMS], help="only these rows of the table")
    parser.add_argument("--rates", nargs="+", type=float, help="learning rates, instead of those of each arm")
    parser.add_argument("--seeds", nargs="+", type=int, default=[1, 2, 3])
    parser.add_argument("--level", type=float, default=0.9, help="new-skill accuracy at which arms are compared")
    parser.add_argument("--work", type=Path, default=ROOT / ".bench" / "learning", help="rows, runs and answers")
    parser.add_argument("--url", help="a vLLM that serves data/tiny_world/teacher as glm-4.7, instead of one of ours")
    return parser.parse_args()


def refuse_nonsense(given: argparse.Namespace) -> None:
    """End at once where hours of training would tell nothing, or something else than what was asked."""
    if not 0 < given.level <= 1:
        sys.exit(f"learning.py: found --level {given.level:g}, expected a share of the rows, like 0.9.")
    if len(set(given.seeds)) < len(given.seeds):
        sys.exit(f"learning.py: found --seeds {' '.join(map(str, given.seeds))}, expected different ones.")
    if given.quick and (given.part != [*PARTS] or given.arms != [*ARMS]):
        sys.exit("learning.py: --quick has its own part and arms. Leave out --part and --arms, or --quick.")


def main() -> None:
    given = parse()
    refuse_nonsense(given)
    arms = {name: ARMS[name] for name in given.arms}
    parts, seeds = given.part, given.seeds
    if given.quick:
        arms = {name: dataclasses.replace(ARMS[name], rates=rates) for name, rates in QUICK_RATES.items()}
        parts, seeds = ["table"], seeds[:2]
    options = Options(Folder.made(given.work), arms, given.rates, seeds, given.level, given.url)
    told = {part: PARTS[part](options) for part in parts}
    print(markdown(told, given.level))
    if given.plots:
        save_plots(told, given.level, given.plots)
    if given.json:
        table = told.get("table")
        found = ratio(*losses(table, given.level)) if isinstance(table, Section) else None
        runs = [run for part, result in told.items() for run in runs_of(part, result, seeds)]
        versions = record.versions("torch", "transformers", "trl", "numpy")
        ratios = {} if found is None else {HEADLINE: found}
        pairs = foretold.as_json(pairs_of(options, table)) if isinstance(table, Section) else []
        whole = {"machine": record.machine(), "versions": versions, "runs": runs, "pairs": pairs, "ratios": ratios}
        record.write(given.json, whole)


if __name__ == "__main__":
    main()
