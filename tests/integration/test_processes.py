"""Data-parallel processes learn what one process learns from the same rollouts."""

import json
import os
import socket
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from datasets import Dataset
from peft import LoraConfig
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, AutoTokenizer, PrinterCallback, set_seed
from trl.experimental.sdft import SDFTConfig

from trainer.run.directory import RunDirectory
from trainer.teachers.demonstrations import answered
from trainer.training.arguments import CHECKPOINTING
from trainer.training.microbatches import MicrobatchLimit
from trainer.training.rollout import Rollout
from trainer.training.self_distillation import SelfDistillationTrainer

WORLD = Path(__file__).resolve().parents[2] / "data" / "tiny_world"
STUDENT = WORLD / "student"
ENVIRONMENT = {"HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1", "TRL_EXPERIMENTAL_SILENCE": "1"}
ROLLOUTS = 8
LENGTHS = {
    "ragged": (2, 4, 9, 12, 20, 5, 3, 30),  # two have no token in the loss
    "one process has no token in the loss": (2, 3, 1, 2, 20, 5, 9, 30),
}


PROMPTS = [[5 + i, 17, 40 + i, 9] for i in range(ROLLOUTS)]
CONTEXTS = [[30, 31, *ids] for ids in PROMPTS]


def rows() -> Dataset:
    return Dataset.from_dict({"prompt": PROMPTS, "row": list(range(ROLLOUTS))})


def recorded(given: list[dict], lengths: str) -> list[Rollout]:
    """A completion for each row that depends on the row alone."""
    return [
        Rollout(row["row"], row["prompt"], [first + 7] * LENGTHS[lengths][first - 5])
        for row in given
        for first in row["prompt"][:1]
    ]


def learn(
    rank: int, processes: int, port: int, folder: str, lengths: str, normalization: str, lora: bool, iterations: int
) -> None:
    """Three steps of one of `processes` processes."""
    if processes > 1:
        os.environ |= {
            "RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": str(processes), "MASTER_ADDR": "127.0.0.1",
            "MASTER_PORT": str(port),
        }  # fmt: skip
    torch.set_num_threads(1)
    set_seed(0)
    arguments = SDFTConfig(
        output_dir=folder, report_to="none", disable_tqdm=True, bf16=False, use_cpu=True, seed=3, max_steps=3,
        **{CHECKPOINTING: False}, learning_rate=1e-4, per_device_train_batch_size=ROLLOUTS // processes,
        logging_steps=1, save_steps=3, dataloader_pin_memory=False, distillation_mode="full_logits",
        distillation_alpha=0.0, num_loss_tokens_to_skip=3, teacher_model_kind="ema", teacher_update_rate=0.05,
        num_generations=1, max_prompt_length=None, max_completion_length=32, shuffle_dataset=False, weight_decay=0.1,
        num_iterations=iterations, ddp_backend="gloo" if processes > 1 else None,
    )  # fmt: skip
    trainer = SelfDistillationTrainer(
        model=AutoModelForCausalLM.from_pretrained(STUDENT, dtype=torch.float32),
        args=arguments, train_dataset=rows(), processing_class=AutoTokenizer.from_pretrained(STUDENT),
        run_directory=RunDirectory(Path(folder)), limit=MicrobatchLimit(max_tokens=60), normalization=normalization,
        peft_config=LoraConfig(r=4, target_modules="all-linear") if lora else None,
        contexts=SimpleNamespace(request=answered(CONTEXTS), ids=CONTEXTS.__getitem__),
    )  # fmt: skip
    trainer.remove_callback(PrinterCallback)
    trainer.sampler.sample = lambda given, tell: recorded(given, lengths)
    assert trainer.args.world_size == processes
    trainer.train()
    if rank == 0:
        logs = [record for record in trainer.state.log_history if "loss" in record]
        (Path(folder) / "logs.json").write_text(json.dumps(logs))
    if processes > 1:
        trainer.accelerator.wait_for_everyone()
        torch.distributed.destroy_process_group()
        os._exit(0)  # gloo's threads now and then abort a process that is torn down in order


@pytest.mark.parametrize(
    ("lengths", "normalization", "lora", "iterations"),
    [
        ("ragged", "sequence", False, 2),
        ("ragged", "token", False, 1),
        ("ragged", "sequence", True, 1),
        ("one process has no token in the loss", "sequence", False, 1),
    ],
)
def test_two_processes_learn_what_one_learns(tmp_path, lengths, normalization, lora, iterations):
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    found = []
    for processes in (1, 2):
        folder = tmp_path / str(processes)
        folder.mkdir()
        arguments = (processes, port, str(folder), lengths, normalization, lora, iterations)
        torch.multiprocessing.spawn(learn, arguments, nprocs=processes)
        weights = {
            name: load_file(folder / "checkpoint-3" / name)
            for name in ("teacher.ema", "adapter_model.safetensors" if lora else "model.safetensors")
        }
        found.append((json.loads((folder / "logs.json").read_text()), weights))
    (logs, weights), (parallel_logs, parallel_weights) = found
    for ours, theirs in zip(logs, parallel_logs, strict=True):
        for name in ("loss", "grad_norm", "kl/forward", "entropy/teacher", "completions/mean_length"):
            assert theirs[name] == pytest.approx(ours[name], rel=1e-4), name
    for file, tensors in weights.items():
        for name, tensor in tensors.items():
            torch.testing.assert_close(parallel_weights[file][name], tensor, rtol=1e-3, atol=2e-5, msg=name)


def test_two_processes_score_in_between_and_write_each_line_once(tmp_path):
    rows = json.loads((WORLD / "train_data.json").read_text())[:24]
    (tmp_path / "rows.json").write_text(json.dumps(rows))
    command = [
        sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2",
        "-m", "trainer", "train", "--model_name_or_path", STUDENT, "--local_files_only", "--use_cpu", "true",
        "--train_data_path", tmp_path / "rows.json", "--eval_data_path", tmp_path / "rows.json",
        "--num_prompts_per_batch", "8", "--num_train_epochs", "1", "--eval_steps", "2", "--max_eval_samples", "8",
        "--max_prompt_length", "256", "--max_completion_length", "48", "--output_dir", tmp_path / "run",
    ]  # fmt: skip
    done = subprocess.run(
        list(map(str, command)), cwd=WORLD.parents[1], env=os.environ | ENVIRONMENT, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr[-2000:]
    lines = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    assert [(line["step"], "eval/new_skill" in line) for line in lines] == [
        (1, False),
        (2, False),
        (2, True),
        (3, False),
    ]
    summary = json.loads((tmp_path / "run" / "summary.json").read_text())
    assert summary["status"] == "finished" and summary["best"]["step"] in (2, 3)
