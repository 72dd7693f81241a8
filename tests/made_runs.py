"""Run directories made to order, for the tests of the report."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import yaml

ROWS = {"new_skill": 40, "prior_skills": 60}
WORDS = [
    "Action",
    ":",
    " get",
    "_",
    "weather",
    "\n",
    "Action",
    "_Input",
    ":",
    ' {"',
    "city",
    '": "',
    "Oslo",
    '"}',
    "<|end|>",
]


def make_run(folder: Path, *, objective: str = "sdft", steps: int = 30, **changes: Any) -> Path:
    """A finished run with everything in it.

    Args:
        changes: `config` adds settings; `scores=False` leaves scores out, `answers=False` the answers among them;
            `samples` is the number of sample rollouts, `tops=False` leaves out what both distributions put first;
            `summary=False` makes the run unfinished; `text` stands in prompts, answers and rollouts.
    """
    folder.mkdir(parents=True)
    text = changes.get("text", "")
    data = make_data(folder.parent / f"{folder.name}-data", text)
    config = {
        "objective": objective,
        "teacher_kind": "ema",
        "model_name_or_path": "a/student",
        "demonstrations": "teacher",
    }
    config |= {"train_data_path": str(data["new_skill"]), "eval_data_path": str(data["new_skill"])}
    config |= {"prior_data_path": str(data["prior_skills"])} | changes.get("config", {})
    (folder / "config.yaml").write_text(yaml.safe_dump(config))
    (folder / "environment.json").write_text(
        json.dumps({"trainer": "1.2", "packages": {"torch": "2.13"}, "cuda": None})
    )
    write_lines(folder / "metrics.jsonl", [metrics(objective, step, steps) for step in range(1, steps + 1)])
    if objective not in ("sft", "seqkd"):
        count = changes.get("samples", 5)
        write_lines(
            folder / "samples.jsonl", [sample(k, count, steps, text, changes.get("tops", True)) for k in range(count)]
        )
    if changes.get("scores", True):
        write_scores(folder, text, changes.get("answers", True))
    if changes.get("summary", True):
        (folder / "summary.json").write_text(json.dumps(summary(objective, steps)))
    return folder


def make_data(folder: Path, text: str) -> dict[str, Path]:
    """Data files with the rows that the answers are of."""
    folder.mkdir()
    for title, count in ROWS.items():
        rows = [
            {"id": f"{title}-{k}", "prompt": f"Question {k} {text}", "golden_response": [f"golden {k} {text}"]}
            for k in range(count)
        ]
        (folder / f"{title}.json").write_text(json.dumps(rows))
    return {title: folder / f"{title}.json" for title in ROWS}


def metrics(objective: str, step: int, steps: int) -> dict[str, Any]:
    """A line of metrics.jsonl that looks like training."""
    noise = np.random.default_rng(step).normal()
    loss = 3 * np.exp(-4 * step / steps) + 0.05 * abs(noise)
    record = {"step": step, "loss": loss, "grad_norm": 2 * loss + 0.2, "learning_rate": 1e-3 * (1 - step / steps)}
    record |= {"tokens": 900.0, "tokens_per_second": 900 / (1 + 0.1 * abs(noise)), "seconds": 1 + 0.1 * abs(noise)}
    if objective in ("sft", "seqkd"):
        return record | {"entropy": 0.4, "mean_token_accuracy": 1 - loss / 4}
    record |= {"kl/forward": loss, "kl/reverse": 1.3 * loss, "entropy/student": 0.9, "entropy/teacher": 0.2}
    record |= {"agreement": 1 - loss / 4, "completions/mean_length": 30 + 2 * noise}
    return record | {"seconds/rollout": 0.4, "seconds/waiting": 0.1, "seconds/student": 0.3, "seconds/optimizer": 0.01}


def sample(number: int, count: int, steps: int, text: str, tops: bool) -> dict[str, Any]:
    """A line of samples.jsonl whose divergence shrinks as training goes on."""
    chance = np.random.default_rng(number)
    tokens = [*WORDS, text] if text else WORDS
    size_T = chance.exponential(3, len(tokens)) ** 2 * (1 - 0.9 * number / max(count, 1))
    size_T[1] *= -1
    record = {
        "step": 1 + number * (steps - 1) // max(count - 1, 1),
        "prompt": f"<|user|>What is the weather in Oslo? {text}<|assistant|>",
        "tokens": tokens,
        "divergence": [None, None, *np.round(size_T[2:], 4).tolist()],
        "in_loss": [False, False, *[True] * (len(tokens) - 2)],
    }
    record["divergence"][3] = -0.8
    if tops:
        record |= {
            "student_top": [top(token, 0.55) for token in tokens],
            "teacher_top": [top(token, 0.05) for token in tokens],
        }
    return record


def top(token: str, chance: float) -> list[list[Any]]:
    """What a distribution puts first, the token itself among it."""
    others = [[f" other{k}", float(np.log((1 - chance) * share))] for k, share in enumerate((0.5, 0.25, 0.15, 0.05))]
    return sorted([[token, float(np.log(chance))], *others], key=lambda entry: -entry[1])


def write_scores(folder: Path, text: str, answers: bool) -> None:
    """Before: no new skill, all prior ones. After: three in four of the new, nine in ten of the prior."""
    for moment, right in (
        ("before", (lambda k: False, lambda k: True)),
        ("after", (lambda k: k % 4, lambda k: k % 10)),
    ):
        found = {
            title: [answer(title, k, moment, bool(is_right(k)), text) for k in range(count)]
            for (title, count), is_right in zip(ROWS.items(), right, strict=True)
        }
        scores = {title: {"rows": len(some), "accuracy": mean(some), "nll": 2.5} for title, some in found.items()}
        content = {"model": "a/student", "scores": scores, "answers": found} if answers else scores
        (folder / f"scores_{moment}.json").write_text(json.dumps(content))


def answer(title: str, number: int, moment: str, right: bool, text: str) -> dict[str, Any]:
    """One answer as `eval` keeps it."""
    return {
        "id": f"{title}-{number}",
        "text": f"{moment} {number} {text}",
        "right": right,
        "nll": float(number % 7),
        "tokens": 9,
    }


def mean(answers: list[dict[str, Any]]) -> float:
    """Accuracy of some answers."""
    return sum(a["right"] for a in answers) / len(answers)


def summary(objective: str, steps: int) -> dict[str, Any]:
    """What summary.json says of the run."""
    return {
        "status": "finished",
        "objective": objective,
        "steps": steps,
        "tokens_per_second": 871.5,
        "wall_seconds": {"model": 0.2, "train": 1.1 * steps, "eval_before": 4.0, "eval_after": 4.1},
        "demonstrations": {"written": 40, "replaced": 2, "dropped": 0},
        "teacher": None,
    }


def write_lines(file: Path, records: list[dict[str, Any]]) -> None:
    """A JSONL file."""
    file.write_text("".join(json.dumps(record) + "\n" for record in records))
