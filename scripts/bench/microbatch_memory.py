#!/usr/bin/env python3
"""The peak memory of a micro-batch beside the estimate that `--max_tokens_per_microbatch` rests on.

    .venv/bin/python scripts/bench/microbatch_memory.py [--quick] [--json FILE] [--device cpu|cuda] [--pretend]

A step of `sdft` learns one micro-batch of so many tokens, padding none; its rollouts are given, not sampled. The peak
is of the whole step, so weights, gradients, moments and the teacher are in it. `activations` is a peak less that of the
smallest micro-batch, over the tokens between them: what a token costs. Both estimates should be at or above what is
measured: below, a micro-batch ends in "out of memory"; far above, it is smaller than it could be.
"""

import argparse
import multiprocessing
import os
import random
import sys
import tempfile
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "scripts" / "bench")]

import record  # noqa: E402
import torch  # noqa: E402
from step import Case, build, peak_memory, reset_peak_memory  # noqa: E402
from transformers import TrainerCallback  # noqa: E402

from trainer.run.machine import BYTES_PER_PARAMETER  # noqa: E402
from trainer.training.microbatches import MicrobatchLimit, device_memory, token_bytes  # noqa: E402
from trainer.training.rollout import Rollout  # noqa: E402

MIB = 2**20
CASES = {
    "cpu": (Case({"hidden_size": 512, "intermediate_size": 1536, "num_hidden_layers": 4, "num_attention_heads": 8,
                  "num_key_value_heads": 4, "head_dim": 64}, 16, 64, 32, 64, ragged=False), (512, 1024, 2048)),
    "cuda": (Case(record.QWEN3_06B, 16, 512, 256, 512, ragged=False), (2048, 4096, 8192, 16384)),
    "pretend": (Case(None, 4, 24, 24, 16, ragged=False, threads=1), (40, 80, 160)),
}  # fmt: skip


class OneMicrobatchAStep(TrainerCallback):
    """Before a step: so many rollouts, all in one micro-batch. After it: the peak."""

    def __init__(self, trainer: Any, case: Case, sizes: list[int], pipe: Connection):
        self.trainer, self.sizes, self.pipe = trainer, iter(sizes), pipe
        draw = random.Random(3)
        vocabulary = 151_936 if case.shape else 512
        prompts = [row["prompt"] for row in trainer.train_dataset]
        answers = [[draw.randrange(3, vocabulary) for _ in range(case.completion)] for _ in prompts]
        pairs = zip(prompts, answers, strict=True)
        self.rollouts = [Rollout(row, prompt, answer) for row, (prompt, answer) in enumerate(pairs)]
        self.length = case.prompt + case.completion

    def on_step_begin(self, args, state, control, **kwargs):
        self.tokens = next(self.sizes)
        chosen = self.rollouts[: self.tokens // self.length]
        self.trainer.sampler.sample = lambda rows, tell=None: chosen
        self.trainer.limit = MicrobatchLimit(max_tokens=10**9)
        reset_peak_memory(args.device)

    def on_log(self, args, state, control, logs=None, **kwargs):
        if "loss" in logs:
            assert logs["microbatches"] == 1
            self.pipe.send({"tokens": self.tokens, "peak": peak_memory(args.device)})


def work(case: Case, sizes: list[int], device: str, checkpointing: bool, folder: Path, pipe: Connection) -> None:
    """What a process does: one step for each size, the smallest once before, so that the moments are there."""
    sys.stdout = open(os.devnull, "w")  # noqa: SIM115 (until the process ends)
    if case.threads:
        torch.set_num_threads(case.threads)
    trainer, _ = build(case, "generate", device, folder, checkpointing)
    parameters = trainer.model.num_parameters()
    pipe.send(
        {
            "parameters": parameters,
            "resident_estimate": BYTES_PER_PARAMETER * parameters,
            "token_estimate": token_bytes(trainer.model, checkpointing),
            "device_memory": device_memory(trainer.args.device),
        }
    )
    trainer.args.max_steps = len(sizes) + 1
    trainer.add_callback(OneMicrobatchAStep(trainer, case, [sizes[0], *sizes], pipe))
    trainer.train()


def measure(case: Case, sizes: tuple[int, ...], device: str, checkpointing: bool) -> list[dict[str, Any]]:
    context = multiprocessing.get_context("spawn")
    with tempfile.TemporaryDirectory() as folder:
        pipe, end = context.Pipe()
        process = context.Process(target=work, args=(case, list(sizes), device, checkpointing, Path(folder), end))
        process.start()
        end.close()
        estimates, runs = pipe.recv(), []
        pipe.recv()  # the step that is not counted
        for _ in sizes:
            try:
                run = {"checkpointing": checkpointing} | estimates | pipe.recv()
            except EOFError:
                print("microbatch_memory: a step ended in an error, see above", file=sys.stderr, flush=True)
                break
            run["token"] = (run["peak"] - runs[0]["peak"]) / (run["tokens"] - runs[0]["tokens"]) if runs else None
            runs.append(run)
            print(f"microbatch_memory: {run}", file=sys.stderr, flush=True)
        process.join()
    return runs


def ratios(runs: list[dict[str, Any]]) -> dict[str, dict[str, float]]:
    """Estimate over measured: of a token, and of the whole step."""
    found = {}
    for checkpointing in dict.fromkeys(run["checkpointing"] for run in runs):
        mine = [run for run in runs if run["checkpointing"] == checkpointing]
        name = "checkpointing" if checkpointing else "plain"
        tokens = [run for run in mine if run["token"]]
        if tokens:
            columns = [run["token_estimate"] for run in tokens], [run["token"] for run in tokens]
            found[f"token_estimate_{name}"] = record.ratio(*columns)
        wholes = [run["resident_estimate"] + run["tokens"] * run["token_estimate"] for run in mine]
        found[f"step_estimate_{name}"] = record.ratio(wholes, [run["peak"] for run in mine])
    return found


def markdown(runs: list[dict[str, Any]], found: dict[str, dict[str, float]]) -> str:
    rows = [
        [
            "on" if run["checkpointing"] else "off",
            f"{run['tokens']:,}",
            f"{run['peak'] / MIB:,.0f}",
            f"{(run['resident_estimate'] + run['tokens'] * run['token_estimate']) / MIB:,.0f}",
            "–" if run["token"] is None else f"{run['token'] / 1024:,.0f}",
            f"{run['token_estimate'] / 1024:,.0f}",
        ]
        for run in runs
    ]
    head = ["checkpointing", "tokens", "peak MiB", "estimate MiB", "KiB a token", "estimate KiB a token"]
    quotients = [[name, *(f"{value:.2f}" for value in quotient.values())] for name, quotient in found.items()]
    return record.table(head, rows) + "\n\n" + record.table(["estimate ÷ measured", "median", "min", "max"], quotients)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="with activation checkpointing alone")
    parser.add_argument("--json", type=Path, help="file for machine, versions, runs and ratios")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--pretend", action="store_true", help="a tiny model and tiny rows: does it all run?")
    options = parser.parse_args()
    case, sizes = CASES["pretend" if options.pretend else options.device]
    ways = (True,) if options.quick else (True, False)
    runs = [run for way in ways for run in measure(case, sizes, options.device, way)]
    found = ratios(runs)
    print(markdown(runs, found))
    if options.json:
        versions = record.versions("torch", "transformers", "trl", "accelerate")
        record.write(options.json, {"machine": record.machine(), "versions": versions, "runs": runs, "ratios": found})


if __name__ == "__main__":
    main()
