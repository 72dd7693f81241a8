#!/usr/bin/env python3
"""Does `check --headroom` foretell what training does? A real model on the shipped tool-use rows.

    .venv/bin/python scripts/fetch_small_model
    .venv/bin/python scripts/bench/real_model.py [--quick] [--model FOLDER] [--arms NAME …] [--steps N] [--prompts N]
                                                 [--rate RATE] [--headroom N] [--rows N] [--work DIR] [--json FILE]

All by the real command line, one after another: headroom first, then `train` with each arm, from the same model, at the
same learning rate, for the same steps of as many rows, and a report and plots of the runs side by side. The new skill
is tool use, the prior skills are those of data/prior_suite; both are scored before and after each training, on rows
that were not learnt. With a GPU the trainer uses it; the defaults fit two CPU cores and an hour and a half.

`--work` keeps what is done, so that a measurement goes on where it was interrupted; delete it after a change to the
trainer, or name another for other settings.
"""

import argparse
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "scripts" / "bench")]

import record  # noqa: E402

DATA = ROOT / "data"
TRAIN_ROWS = DATA / "tooluse_data" / "train_data.json"
TOOL_USE, PRIOR_SUITE = DATA / "tooluse_data" / "eval_data.json", DATA / "prior_suite" / "prior_suite.json"
ANSWER_TOKENS = 330  # the longest golden response has 323 of SmolLM2's

ARMS = {
    "sft": ["--objective", "sft"],
    "sdft": ["--objective", "sdft"],
    "sdft_unmasked": ["--objective", "sdft", "--num_loss_tokens_to_skip", "0"],
    "sdft_offline": ["--objective", "sdft", "--rollouts", "teacher"],
}
COLUMNS = ("accuracy", "action_sequence", "action_inputs", "format_errors")


def trainer(*words: Any) -> None:
    """Run a command of the trainer; a failure ends the measurement."""
    command = [sys.executable, "-m", "trainer", *map(str, words)]
    if code := subprocess.run(command, cwd=ROOT, env=os.environ | {"HF_HUB_OFFLINE": "1"}).returncode:
        sys.exit(f"real_model.py: `{' '.join(command)}` ended with exit code {code}; the same command goes on.")


def measure_headroom(given: argparse.Namespace, file: Path) -> dict[str, Any]:
    if not file.exists():
        rows = ("--headroom", given.headroom, "--eval_data_path", TOOL_USE)
        trainer("check", *common(given), *rows, "--output_file", file)
    return read(file)


def train(given: argparse.Namespace, arm: str, run: Path) -> dict[str, Any]:
    """Train an arm, or go on with it; what its `summary.json` says."""
    files = ("--train_data_path", TRAIN_ROWS, "--eval_data_path", TOOL_USE, "--prior_data_path", PRIOR_SUITE)
    amount = ("--num_prompts_per_batch", given.prompts, "--max_steps", given.steps, "--learning_rate", given.rate)
    trainer("train", *ARMS[arm], *common(given), *files, *amount, "--max_eval_samples", given.rows, "--output_dir", run)
    return read(run / "summary.json")


def common(given: argparse.Namespace) -> list[Any]:
    lengths = ["--max_prompt_length", 1024, "--max_completion_length", ANSWER_TOKENS]
    return ["--model_name_or_path", given.model, "--local_files_only", *lengths]


def read(file: Path) -> Any:
    return json.loads(file.read_text(encoding="utf-8"))


# ---- what is told


def percent(value: float | None) -> str:
    return "–" if value is None else f"{100 * value:.1f}"


def headroom_table(found: dict[str, Any]) -> str:
    rows = [
        [title, score["rows"], *(percent(score[column]) for column in COLUMNS), f"{score['mean_length']:.0f}"]
        for title, score in found["scores"].items()
    ]
    return record.table(["asked", "rows", *(f"{column} %" for column in COLUMNS), "tokens"], rows)


def training_table(summaries: dict[str, dict[str, Any]]) -> str:
    rows = []
    for name, summary in summaries.items():
        for what, change in summary["changes"].items():
            before, after = (summary["score_details"][when][what] for when in ("before", "after"))
            interval = " to ".join(percent(change[end]) for end in ("low", "high")) if "low" in change else "–"
            pairs = ["" if before[c] is None else f"{percent(before[c])} → {percent(after[c])}" for c in COLUMNS]
            nll = f"{before['nll']:.2f} → {after['nll']:.2f}"
            rows.append([name, what, before["rows"], *pairs, nll, f"{percent(change['difference'])} ({interval})"])
    return record.table(["arm", "asked", "rows", *(f"{c} %" for c in COLUMNS), "nll", "change, points"], rows)


def skills_table(summaries: dict[str, dict[str, Any]]) -> str:
    """The prior skills one by one."""
    when = ("before", "after")
    by = [[summary["score_details"][w]["prior_skills"]["by"]["skill"] for w in when] for summary in summaries.values()]
    rows = [
        [skill, group["rows"], *(" → ".join(percent(told[skill]["accuracy"]) for told in pair) for pair in by)]
        for skill, group in by[0][0].items()
    ]
    return record.table(["prior skill", "rows", *(f"{name} %" for name in summaries)], rows)


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="2 steps of 2 rows, 4 scored: whether all runs")
    parser.add_argument("--model", type=Path, default=ROOT / ".models" / "SmolLM2-135M-Instruct", metavar="FOLDER")
    parser.add_argument("--arms", nargs="+", choices=ARMS, default=["sft", "sdft"])
    parser.add_argument("--steps", type=int, default=24, help="optimizer steps")
    parser.add_argument("--prompts", type=int, default=8, help="rows of a step")
    parser.add_argument("--rate", type=float, default=2e-4, help="learning rate of all arms")
    parser.add_argument("--headroom", type=int, default=40, metavar="N", help="rows that headroom asks")
    parser.add_argument("--rows", type=int, default=40, help="rows of each kind that are scored before and after")
    parser.add_argument(
        "--work", type=Path, default=ROOT / ".bench" / "real_model", help="headroom, runs, report and plots"
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="for machine, versions and runs")
    given = parser.parse_args()
    if given.quick:
        given.steps, given.prompts, given.headroom, given.rows = 2, 2, 4, 4
        given.work /= "quick"
    return given


def main() -> None:
    given = parse()
    if not given.model.is_dir():
        fetch = ".venv/bin/python scripts/fetch_small_model"
        sys.exit(f"real_model.py: {given.model} is no folder. Type {fetch}, or name one with --model.")
    given.work.mkdir(parents=True, exist_ok=True)
    headroom = measure_headroom(given, given.work / "headroom.json")
    runs = {arm: given.work / arm for arm in given.arms}
    summaries = {arm: train(given, arm, run) for arm, run in runs.items()}
    trainer("report", *runs.values(), "--output_file", given.work / "report.html", "--plots", given.work / "plots")
    print(f"### before\n\n{headroom_table(headroom)}\n")
    print("\n".join(f"- {v['objective']}: {v['works']}; {v['reason']}" for v in headroom["verdicts"]))
    print(f"\n### what {given.steps} steps of {given.prompts} rows changed\n\n{training_table(summaries)}\n")
    print(skills_table(summaries))
    if given.json:
        versions = record.versions("torch", "transformers", "trl")
        found = [{"arm": "headroom", **headroom}, *({"arm": name, **s} for name, s in summaries.items())]
        record.write(given.json, {"machine": record.machine(), "versions": versions, "runs": found, "ratios": {}})


if __name__ == "__main__":
    main()
