"""What trainings of real models came to, read from the folders of real_runs.py. Shapes: R rows."""

import json
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import trajectories
from real_runs import RULES, Arm, is_finished, read
from trajectories import Estimate

from trainer.evaluation.intervals import paired_score_interval
from trainer.evaluation.verdicts import STUDENT, TEACHER_SHOWN

Right = dict[str, bool]  # by the id of the row


@dataclass(frozen=True)
class Change:
    """Which of the same rows were right before and after."""

    before_R: np.ndarray
    after_R: np.ndarray

    @classmethod
    def between(cls, before: Right, after: Right, where: Callable[[str], bool] = lambda _: True) -> "Change":
        shared = [row for row in before if row in after and where(row)]
        return cls(*(np.array([some[row] for row in shared], float) for some in (before, after)))


@dataclass(frozen=True)
class Curve:
    """Accuracies at steps of a run, as it scored them itself: with the new skill's length of answers."""

    steps: tuple[int, ...]
    new: tuple[float, ...]
    prior: tuple[float, ...]

    def prior_lost(self, level: float) -> float:
        """What the prior skills had lost when the new skill reached a level, between points linear; nan: never."""
        return self.prior[0] - trajectories.at(trajectories.first_reached(level, self.new), self.prior)


@dataclass(frozen=True)
class Outcome:
    """One run.

    Attributes:
        validation: Accuracy on validation rows, by which its learning rate is chosen or not.
        new: On eval rows.
        unseen: Of these, rows that name a thing which training never names.
        prior: With the length of answers that the prior skills need.
        nll: Of the prior skills' golden answers, before and after, in nats a token.
        cut_off: Share of the answers to the prior skills that were too long even so, before and after.
    """

    model: str
    skill: str
    arm: str
    rate: float
    seed: int
    steps: int
    validation: float
    new: Change
    unseen: Change
    prior: Change
    nll: tuple[float, float]
    cut_off: tuple[float, float]
    curve: Curve


Key = tuple[str, str, str]  # model, skill, arm


def outcomes(work: Path) -> list[Outcome]:
    """Every finished and scored run in a folder."""
    runs = sorted(file.parent for file in work.glob("*/*/*/rate-*/seed-*/scores.json"))
    return [outcome(run) for run in runs if is_finished(run)]


def outcome(run: Path) -> Outcome:
    model, skill, arm, rate, seed = run.parts[-5:]
    moments = [read(run.parents[2] / "before.json"), read(run / "scores.json")]
    new, prior = ([rights(found, title) for found in some] for some, title in
                  ((scored(run), "new_skill"), (moments, "prior_skills")))  # fmt: skip
    unseen = {row["id"] for row in read(RULES / skill / "eval_data.json") if row["entities"] == "unseen"}
    told = [found["scores"]["prior_skills"] for found in moments]
    return Outcome(
        model,
        skill,
        arm,
        float(rate.removeprefix("rate-")),
        int(seed.removeprefix("seed-")),
        read(run / "summary.json")["steps"],
        moments[1]["scores"]["new_skill"]["accuracy"],
        Change.between(*new),
        Change.between(*new, where=unseen.__contains__),
        Change.between(*prior),
        (told[0]["nll"], told[1]["nll"]),
        (told[0]["cut_off"], told[1]["cut_off"]),
        curve(run),
    )


def scored(run: Path) -> list[dict[str, Any]]:
    """What the run scored itself, before and after training."""
    return [read(run / f"scores_{moment}.json") for moment in ("before", "after")]


def rights(found: Mapping[str, Any], title: str) -> Right:
    return {answer["id"]: answer["right"] for answer in found["answers"][title]}


def curve(run: Path) -> Curve:
    ends = [[found["scores"][title]["accuracy"] for title in ("new_skill", "prior_skills")] for found in scored(run)]
    lines = (run / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
    midway = [record for record in map(json.loads, lines) if "eval/new_skill" in record]
    points = [(0, *ends[0])]
    points += [(record["step"], record["eval/new_skill"], record["eval/prior_skills"]) for record in midway]
    return Curve(*zip(*points, (read(run / "summary.json")["steps"], *ends[1]), strict=True))


def by_arm(found: Iterable[Outcome]) -> dict[Key, list[Outcome]]:
    groups: dict[Key, list[Outcome]] = defaultdict(list)
    for one in found:
        groups[one.model, one.skill, one.arm].append(one)
    return dict(groups)


def best_rate(level: float, found: Iterable[Outcome]) -> float:
    """The learning rate of an arm: the lowest that reaches a level on validation rows, else the one that gets furthest.

    Compared are the seeds that every rate has; of rates that get equally far it is the lowest.
    """
    rates: dict[float, dict[int, float]] = defaultdict(dict)
    for one in found:
        rates[one.rate][one.seed] = one.validation
    shared = set.intersection(*(set(seeds) for seeds in rates.values()))
    reached = {rate: float(np.mean([s[n] for n in shared or s])) for rate, s in sorted(rates.items())}
    enough = [rate for rate, accuracy in reached.items() if accuracy >= level - trajectories.SLACK]
    return enough[0] if enough else max(reached, key=lambda rate: reached[rate])


def chosen(level: float, found: Iterable[Outcome]) -> dict[Key, list[Outcome]]:
    """The runs of each arm at its learning rate, one for each seed."""
    groups = by_arm(found)
    rates = {key: best_rate(level, some) for key, some in groups.items()}
    return {key: [one for one in some if one.rate == rates[key]] for key, some in groups.items()}


def change(some: Iterable[Change]) -> Estimate:
    """The mean change over seeds, as a fraction of 1.

    Of one seed with Newcombe's interval, as headroom has it: a bootstrap is too sure of few rows, and knows nothing
    where all are alike. Of several with a bootstrap over rows and seeds.
    """
    changes = list(some)
    if len(changes) > 1:
        return trajectories.accuracy(np.array([one.after_R - one.before_R for one in changes]))
    before_R, after_R = changes[0].before_R, changes[0].after_R
    interval = paired_score_interval(before_R.astype(bool), after_R.astype(bool))
    return Estimate(float(after_R.mean() - before_R.mean()), interval.low, interval.high)


def headroom(folder: Path) -> dict[str, dict[str, Any]]:
    """What was measured before training, by what was shown."""
    return {file.stem: read(file) for file in sorted(folder.glob("headroom/*.json"))}


def lift(found: Mapping[str, dict[str, Any]], arm: Arm) -> float | None:
    """How far whoever teaches an arm was above the student before; None where that was not measured."""
    if arm.served:
        scores = found.get("served", {}).get("scores", {})
        above = scores.get(TEACHER_SHOWN)
    else:
        demonstrated = found.get("demonstration", {})
        scores, above = demonstrated.get("scores", {}), demonstrated.get("shown_as", {}).get(arm.shown)
    return None if above is None else above["accuracy"] - scores[STUDENT]["accuracy"]
