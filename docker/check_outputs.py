"""Looks at what a run and a `generate` left in outputs/, from inside the trainer's container; scripts/smoke runs it.

Raises AssertionError with what was found and what was expected.
"""

import json
import math
import os
from pathlib import Path
from statistics import mean

import torch
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, AutoTokenizer

from trainer.data.dataset import load_rows

RUN = Path(os.environ.get("SDFT_OUTPUT_DIR", "outputs/sdft"))
GENERATED = Path("outputs/generated")


def check_summary() -> None:
    summary = json.loads((RUN / "summary.json").read_text())
    assert summary["status"] == "finished", f"status is {summary['status']!r}, expected 'finished'"
    assert summary["teacher"]["model"] == "glm-4.7", f"the teacher was {summary['teacher']}, expected glm-4.7"
    print(f"summary: {summary['steps']} steps, scores {summary['scores']}")


def check_losses() -> None:
    losses = [json.loads(line)["loss"] for line in (RUN / "metrics.jsonl").read_text().splitlines()]
    assert len(losses) >= 6, f"{len(losses)} steps in metrics.jsonl, expected at least 6"
    assert all(map(math.isfinite, losses)), f"a loss is not finite: {losses}"
    third = len(losses) // 3
    first, last = mean(losses[:third]), mean(losses[-third:])
    assert last < first, f"the loss went from {first:.4f} to {last:.4f}, expected it to fall: {losses}"
    print(f"losses: {len(losses)}, mean of the first third {first:.4f}, of the last {last:.4f}")


def check_checkpoint() -> None:
    newest = max(RUN.glob("checkpoint-*"), key=lambda folder: int(folder.name.rpartition("-")[2]))
    weights = load_file(newest / "model.safetensors")
    assert all(tensor.isfinite().all() for tensor in weights.values()), f"{newest}: a weight is not finite"
    tokenizer = AutoTokenizer.from_pretrained(newest)
    model = AutoModelForCausalLM.from_pretrained(newest)
    prompt = tokenizer("hello", return_tensors="pt").input_ids
    with torch.no_grad():
        answer = model.generate(prompt, max_new_tokens=4, do_sample=False)
    assert answer.shape[1] > prompt.shape[1], f"{newest} generates nothing"
    print(f"checkpoint: {newest} loads ({len(weights)} tensors) and generates")


def check_rows() -> None:
    train, held_out = load_rows(str(GENERATED / "train_data.json")), load_rows(str(GENERATED / "eval_data.json"))
    assert len(train) == 12 and len(held_out) == 4, f"{len(train)} and {len(held_out)} rows, expected 12 and 4"
    assert all(row.golden_response for row in [*train, *held_out]), "a row has no golden_response"
    shared = {json.dumps(row.prompt) for row in train} & {json.dumps(row.prompt) for row in held_out}
    assert not shared, f"{len(shared)} prompts stand in both files"
    print(f"generate: {len(train)} + {len(held_out)} rows in the data format")


for check in (check_summary, check_losses, check_checkpoint, check_rows):
    check()
