#!/usr/bin/env python3
"""What a process of several holds when FSDP2 spreads the weights: peak memory, seconds by stage, difference in loss.

    .venv/bin/python scripts/bench/sharding.py [--quick] [--pretend] [--json FILE]

1, 2 and 4 processes on the CPU (gloo) learn the same recorded rollouts by `sdft` with an EMA teacher, on a random Qwen3
whose weights dominate. One process has plain weights. Memory is the highest resident memory of the worst process within
a step, less what it held with everything imported and nothing loaded; the peak of loading and of saving, where the main
process gathers the whole student, is told apart. Freed tensors go back to the system at once in every run
(`MALLOC_MMAP_THRESHOLD_`): else what glibc keeps of them would be measured too.
"""

import argparse
import json
import multiprocessing
import os
import re
import socket
import tempfile
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
from record import machine, ratio, spread, table, versions, write

ROOT = Path(__file__).resolve().parents[2]
TOKENIZER = ROOT / "data" / "tiny_world" / "student"
ROLLOUTS, LENGTH, STEPS = 4, 24, 3
PRELOADED = ["trainer.commands.train", "trl.experimental.sdft", "torch.distributed.checkpoint"]
STAGES = ("teacher", "student", "optimizer")


def resident(field: str) -> int:
    """Bytes of this process: `VmRSS` now, `VmHWM` the most since `forget_peak`."""
    found = re.search(rf"^{field}:\s+(\d+) kB", Path("/proc/self/status").read_text(), re.MULTILINE)
    assert found is not None
    return int(found[1]) * 1024


def forget_peak() -> None:
    Path("/proc/self/clear_refs").write_text("5")


def student(layers: int) -> Any:
    """A random Qwen3 of about 13 million parameters a layer."""
    from transformers import AutoModelForCausalLM, Qwen3Config

    torch.manual_seed(0)
    config = Qwen3Config(
        vocab_size=512, hidden_size=1024, intermediate_size=3072, num_hidden_layers=layers, num_attention_heads=16,
        num_key_value_heads=8, head_dim=64, max_position_embeddings=512, tie_word_embeddings=True,
    )  # fmt: skip
    return AutoModelForCausalLM.from_config(config, dtype=torch.float32)


def work(rank: int, processes: int, port: int, folder: Path, layers: int) -> None:
    """One process of a run; writes what it found."""
    if processes > 1:
        os.environ |= {
            "RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": str(processes), "MASTER_ADDR": "127.0.0.1",
            "MASTER_PORT": str(port), "LOCAL_WORLD_SIZE": str(processes),
        }  # fmt: skip
    torch.set_num_threads(1)
    from transformers import TrainerCallback

    found: dict[str, Any] = {"idle": resident("VmRSS"), "step": 0, "saving": 0}

    class Peaks(TrainerCallback):
        """The peaks of loading, of the steps and of saving, each told by itself."""

        def on_step_begin(self, args, state, control, **kwargs):
            if state.global_step == 0:
                found["loading"] = resident("VmHWM")
            forget_peak()

        def on_step_end(self, args, state, control, **kwargs):
            found["step"] = max(found["step"], resident("VmHWM"))
            forget_peak()

        def on_save(self, args, state, control, **kwargs):
            found["saving"] = resident("VmHWM")

    forget_peak()
    trainer = trainer_of(processes, folder, layers)
    trainer.add_callback(Peaks())
    trainer.train()
    logs = [record for record in trainer.state.log_history if "loss" in record]
    found["losses"] = [record["loss"] for record in logs]
    found |= {stage: [record[f"seconds/{stage}"] for record in logs[1:]] for stage in STAGES}
    (folder / f"{rank}.json").write_text(json.dumps(found))
    if processes > 1:
        torch.distributed.barrier()
    os._exit(0)


def trainer_of(processes: int, folder: Path, layers: int) -> Any:
    from datasets import Dataset
    from transformers import AutoTokenizer, PrinterCallback
    from trl.experimental.sdft import SDFTConfig

    from trainer.run.directory import RunDirectory
    from trainer.settings.options import Train
    from trainer.teachers.demonstrations import answered
    from trainer.training.arguments import CHECKPOINTING
    from trainer.training.microbatches import MicrobatchLimit
    from trainer.training.rollout import Rollout
    from trainer.training.self_distillation import SelfDistillationTrainer
    from trainer.training.sharding import require_shardable

    prompts = [[5 + number, 17, 40 + number, 9] for number in range(ROLLOUTS)]
    shards = processes > 1
    arguments = SDFTConfig(
        output_dir=str(folder), report_to="none", disable_tqdm=True, bf16=False, use_cpu=True, max_steps=STEPS,
        **{CHECKPOINTING: False}, learning_rate=1e-4, lr_scheduler_type="constant", logging_steps=1, save_steps=STEPS,
        per_device_train_batch_size=ROLLOUTS // processes, dataloader_pin_memory=False, shuffle_dataset=False,
        distillation_mode="full_logits", distillation_alpha=0.0, num_loss_tokens_to_skip=3, teacher_model_kind="ema",
        teacher_update_rate=0.1, num_generations=1, max_prompt_length=None, max_completion_length=LENGTH,
        fsdp=True if shards else None, ddp_backend="gloo" if shards else None,
    )  # fmt: skip
    if shards:
        require_shardable(Train(objective="sdft", rollout_engine="sharded"), arguments)
    contexts = [[30, 31, *ids] for ids in prompts]
    trainer = SelfDistillationTrainer(
        model=student(layers), args=arguments, engine="sharded" if shards else "generate",
        train_dataset=Dataset.from_dict({"prompt": prompts, "row": list(range(ROLLOUTS))}),
        processing_class=AutoTokenizer.from_pretrained(TOKENIZER), run_directory=RunDirectory(folder),
        limit=MicrobatchLimit(max_sequences=1),
        contexts=SimpleNamespace(request=answered(contexts), ids=contexts.__getitem__),
    )  # fmt: skip
    trainer.remove_callback(PrinterCallback)
    trainer.sampler.sample = lambda given, tell=None: [
        Rollout(row["row"], row["prompt"], [60 + row["row"]] * LENGTH) for row in given
    ]
    return trainer


def measure(processes: int, layers: int) -> dict[str, Any]:
    """The worst process's memory in GiB above an idle one, the median seconds of each stage, the losses."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(PRELOADED)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        ranks = [
            context.Process(target=work, args=(rank, processes, port, folder, layers)) for rank in range(processes)
        ]
        for rank in ranks:
            rank.start()
        for rank in ranks:
            rank.join()
        if any(rank.exitcode for rank in ranks):
            raise SystemExit(f"{processes} processes ended with {[rank.exitcode for rank in ranks]}")
        found = [json.loads((folder / f"{number}.json").read_text()) for number in range(processes)]
    above = {what: max(each[what] - each["idle"] for each in found) / 2**30 for what in ("loading", "step", "saving")}
    seconds = {stage: sorted(found[0][stage])[len(found[0][stage]) // 2] for stage in STAGES}
    return {"processes": processes, "gib": above, "seconds": seconds, "losses": found[0]["losses"]}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="one round, 1 and 2 processes")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the record there")
    parser.add_argument("--pretend", action="store_true", help="one layer: does it all run?")
    options = parser.parse_args()
    os.environ |= {"HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1", "TRL_EXPERIMENTAL_SILENCE": "1"}
    os.environ["MALLOC_MMAP_THRESHOLD_"] = "65536"  # read when the server that forks the processes starts
    counts, rounds = ((1, 2), 1) if options.quick or options.pretend else ((1, 2, 4), 3)
    layers = 1 if options.pretend else 16
    started = time.monotonic()
    runs = [{n: measure(n, layers) for n in counts} for _ in range(rounds)]
    differences = [
        max(abs(a - b) / abs(a) for n in counts[1:] for a, b in zip(run[1]["losses"], run[n]["losses"], strict=True))
        for run in runs
    ]
    peaks = {n: [run[n]["gib"]["step"] for run in runs] for n in counts}
    ratios = {
        "memory_per_process_vs_one": ratio(peaks[2], peaks[1]),
        "loss_difference": ratio(differences, [1.0] * rounds),
    }
    if 4 in counts:
        ratios["memory_per_process_of_four_vs_one"] = ratio(peaks[4], peaks[1])
    rows = [
        [n, *(spread([run[n]["gib"][what] for run in runs]) for what in ("loading", "step", "saving")),
         *(spread([run[n]["seconds"][stage] for run in runs]) for stage in STAGES)]
        for n in counts
    ]  # fmt: skip
    print(table(["processes", "GiB loading", "GiB of a step", "GiB saving", *(f"s {stage}" for stage in STAGES)], rows))
    print({name: f"{value['median']:.3g} ({value['min']:.3g}–{value['max']:.3g})" for name, value in ratios.items()})
    print(f"{time.monotonic() - started:.0f} s")
    if options.json:
        known = versions("torch", "transformers", "trl", "accelerate")
        write(options.json, {"machine": machine(), "versions": known, "runs": runs, "ratios": ratios})


if __name__ == "__main__":
    main()
