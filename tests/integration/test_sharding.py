"""Processes whose weights FSDP2 spreads learn what one process learns, and go on from each other's checkpoints."""

import json
import math
import multiprocessing
import os
import signal
import socket
import subprocess
import sys
import time
from collections import Counter
from concurrent.futures import Future
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from campaigns.deaths import arm
from counting_teacher import CountingTeacher
from families import FAMILIES
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM

ROOT = Path(__file__).resolve().parents[2]
WORLD = ROOT / "data" / "tiny_world"
STUDENT = WORLD / "student"
ENVIRONMENT = {"HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1", "TRL_EXPERIMENTAL_SILENCE": "1"}
PRELOADED = ["trainer.commands.train", "pytest"]
ROLLOUTS = 8
LENGTHS = {
    "ragged": (2, 4, 9, 12, 20, 5, 3, 30),  # two have no token in the loss
    "one process has no token in the loss": (2, 3, 1, 2, 20, 5, 9, 30),
}
PROMPTS = [[5 + i, 17, 40 + i, 9] for i in range(ROLLOUTS)]
CONTEXTS = [[30, 31, *ids] for ids in PROMPTS]
TOLERANCE = 1e-5  # relative, in float32


def student_of(head, family):
    """The tiny world's student, or a random model of a family."""
    if family is None:
        return untied() if head == "untied" else AutoModelForCausalLM.from_pretrained(STUDENT, dtype=torch.float32)
    torch.manual_seed(0)
    return AutoModelForCausalLM.from_config(FAMILIES[family].make())


def untied():
    """The student with an output head of its own, whose rows don't divide among processes."""
    model = AutoModelForCausalLM.from_pretrained(STUDENT, dtype=torch.float32)
    model.config.tie_word_embeddings = False
    rows = model.lm_head.weight.shape[0]
    model.lm_head.weight = torch.nn.Parameter(
        model.lm_head.weight.detach().clone() * torch.linspace(0.9, 1.1, rows)[:, None]
    )
    return model


class ServedViews:
    """The scores of a served teacher, from a rule instead of a server; by tokens, or by chunks of two tokens."""

    def __init__(self, by_bytes):
        self.by_bytes = by_bytes

    def expect(self, row):
        pass

    def forget(self):
        pass

    def request(self, row, completion_ids):
        from trainer.teachers.served.routes import ChunkScores
        from trainer.teachers.tokens.token_scores import TokenScores

        count, answer = len(completion_ids), Future()
        ids_NK = np.array([[token, token + 1, token + 2 + row] for token in completion_ids], dtype=np.int64)
        logps_NK = np.tile(np.log([0.5, 0.2, 0.1]), (count, 1)).astype(np.float32)
        scores = TokenScores(ids_NK.reshape(count, 3), logps_NK, logps_NK[:, 0])
        if self.by_bytes:
            chunks_N = np.arange(count, dtype=np.int64) // 2
            chunks_N[chunks_N % 3 == 2] = -1  # of which it tells nothing
            logps_C = np.full(count, math.log(0.3) - row / 8)
            scores = ChunkScores(chunks_N, logps_C, np.zeros(count, bool), scores)
        answer.set_result(scores)
        return answer


def kind_of_trainer(objective):
    """The class of trainer, and what it takes beside what all take."""
    from trainer.teachers.demonstrations import answered
    from trainer.training.self_distillation import SelfDistillationTrainer
    from trainer.training.served_distillation import ServedDistillationTrainer

    if objective == "sdft":
        contexts = SimpleNamespace(request=answered(CONTEXTS), ids=CONTEXTS.__getitem__)
        return SelfDistillationTrainer, {"contexts": contexts}
    by_bytes = objective == "served over bytes"
    teacher = {"teacher": ServedViews(by_bytes), "credit": "dpca", "clip": 5.0, "anchor": float(by_bytes)}
    return ServedDistillationTrainer, teacher


def trainer_of(processes, folder, *, kind="ema", alpha=0.0, lora=False, head="tied", lengths="ragged", steps=4,
               engine="generate", objective="sdft", replays=False, family=None):  # fmt: skip
    """A trainer with recorded rollouts, on plain weights where `processes` is 0."""
    from datasets import Dataset
    from peft import LoraConfig
    from transformers import AutoTokenizer, PrinterCallback, set_seed
    from trl.experimental.sdft import SDFTConfig

    from trainer.run.directory import RunDirectory
    from trainer.settings.options import Train
    from trainer.training.arguments import CHECKPOINTING
    from trainer.training.microbatches import MicrobatchLimit
    from trainer.training.replay import Replay
    from trainer.training.rollout import Rollout
    from trainer.training.sharding import require_shardable

    set_seed(0)
    arguments = SDFTConfig(
        output_dir=str(folder), report_to="none", disable_tqdm=True, bf16=False, use_cpu=True, seed=3, max_steps=steps,
        **{CHECKPOINTING: False}, learning_rate=3e-4, lr_scheduler_type="constant", logging_steps=1, save_steps=2,
        per_device_train_batch_size=ROLLOUTS // max(processes, 1), dataloader_pin_memory=False,
        distillation_mode="full_logits", distillation_alpha=alpha, num_loss_tokens_to_skip=3, teacher_model_kind=kind,
        teacher_update_rate=0.5, num_generations=1, max_prompt_length=None, max_completion_length=32,
        shuffle_dataset=False, weight_decay=0.1, fsdp=True if processes else None,
        ddp_backend="gloo" if processes else None,
    )  # fmt: skip
    if processes:
        require_shardable(Train(rollout_engine=engine), arguments)
    rows = Dataset.from_dict({"prompt": PROMPTS, "row": list(range(ROLLOUTS))})
    made, more = kind_of_trainer(objective)
    trainer = made(
        model=student_of(head, family),
        args=arguments, train_dataset=rows, processing_class=AutoTokenizer.from_pretrained(STUDENT),
        run_directory=RunDirectory(folder), limit=MicrobatchLimit(max_tokens=60), engine=engine,
        peft_config=LoraConfig(r=4, target_modules="all-linear") if lora else None,
        # One prompt a step, so that only one process has one.
        replay=Replay(rows.select([ROLLOUTS - 1]), ROLLOUTS - 1, 1 / ROLLOUTS) if replays else None, **more,
    )  # fmt: skip
    trainer.remove_callback(PrinterCallback)
    trainer.sampler.sample = lambda given, tell=None: [
        Rollout(row["row"], row["prompt"], [PROMPTS[row["row"]][0] + 7] * LENGTHS[lengths][row["row"]]) for row in given
    ]
    return trainer


def learn(rank, processes, folder, options):
    from torch.distributed.tensor import DTensor

    trainer = trainer_of(processes, folder, **options)
    if processes:
        models = (trainer.model, trainer.teacher_model)
        assert all(isinstance(weight, DTensor) for model in models for weight in model.parameters())
    saved = sorted(folder.glob("checkpoint-*"), key=lambda path: int(path.name.rpartition("-")[2]))
    trainer.train(resume_from_checkpoint=str(saved[-1]) if saved else None)
    if rank == 0:
        logs = [record for record in trainer.state.log_history if "loss" in record]
        (folder / "logs.json").write_text(json.dumps(logs))
    teacher, ema = {}, getattr(trainer, "ema", None)
    for name, (weight, _) in (ema.pairs if ema else {}).items():
        teacher[name] = weight.detach().full_tensor() if processes else weight.detach()
    if rank == 0:
        torch.save(teacher, folder / "teacher.pt")


def sample(rank, processes, folder, options):
    """First tokens that each process samples after the same prompt, by each engine."""
    for engine in options["engines"]:
        trainer = trainer_of(processes, folder, engine=engine)
        del trainer.sampler.sample  # the recorded ones
        torch.manual_seed(100 + rank)
        trainer.sampler.trainer.generation_config.max_new_tokens = 1 + rank  # processes end at different times
        rows = [{"row": 0, "prompt": PROMPTS[0]}] * 500
        found = Counter(rollout.completion_ids[0] for _ in range(3) for rollout in trainer.sampler.sample(rows))
        (folder / f"{engine}-{rank}.json").write_text(json.dumps(found))


def _begin(work, rank, processes, port, folder, options):
    os.environ |= {
        "RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": str(processes), "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port),
    }  # fmt: skip
    torch.set_num_threads(1)
    work(rank, processes, folder, options)
    torch.distributed.barrier()
    os._exit(0)  # gloo's threads now and then abort a process that is torn down in order


def learn_until_death(rank, processes, folder, options):
    """`learn`, in which one process dies at the `nth` call of a place in saving."""
    victim, place, nth = options.pop("dies")
    if rank == victim:
        arm(place, nth)
    learn(rank, processes, folder, options)


def in_processes(processes, folder, work=learn, **options):
    """The logs of a run of so many processes; 0 is one with plain weights."""
    assert exit_codes(processes, folder, work, options) == [0] * max(processes, 1)
    return json.loads((folder / "logs.json").read_text()) if work is learn else None


def exit_codes(processes, folder, work, options):
    folder.mkdir(exist_ok=True)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(PRELOADED)
    ranks = [
        context.Process(target=_begin, args=(work, rank, processes, port, folder, options))
        if processes
        else context.Process(target=work, args=(0, 0, folder, options))
        for rank in range(max(processes, 1))
    ]
    for rank in ranks:
        rank.start()
    for rank in ranks:
        rank.join(150)
    return [rank.exitcode for rank in ranks]


def distance(ours: dict, theirs: dict) -> float:
    """Between two sets of weights, relative to the length of the first."""
    assert ours.keys() == theirs.keys()
    apart = sum(float((ours[name] - theirs[name]).square().sum()) for name in ours)
    return (apart / sum(float(weight.square().sum()) for weight in ours.values())) ** 0.5


def require_same(logs, others, tolerance=TOLERANCE):
    """Adam makes whole steps of what is rounding in a gradient, so that later gradients differ by more than losses."""
    assert len(logs) == len(others)
    for ours, theirs in zip(logs, others, strict=True):
        assert {"loss", "grad_norm", "completions/mean_length"} < ours.keys()
        names = ours.keys() & {"loss", "grad_norm", "kl/forward", "kl/reverse", "entropy/teacher", "replay/kl"}
        for name in names:
            near = 3 * tolerance if name == "grad_norm" else tolerance
            same = pytest.approx(ours[name], rel=near, abs=1e-7, nan_ok=True)  # a KL is a difference
            assert theirs[name] == same, (name, theirs["epoch"])


@pytest.mark.parametrize(
    ("processes", "options"),
    [
        (2, {"kind": "ema", "alpha": 0.0, "replays": True}),
        (4, {"kind": "ema", "alpha": 0.5, "lengths": "one process has no token in the loss"}),
        (2, {"kind": "base", "alpha": 1.0, "head": "untied"}),
        (2, {"kind": "live", "alpha": 0.5}),
        (2, {"kind": "ema", "alpha": 0.0, "replays": True, "lora": True, "head": "untied"}),
        (2, {"kind": "live", "objective": "served", "alpha": 0.5}),
        (2, {"kind": "live", "objective": "served over bytes"}),
        (2, {"kind": "live", "objective": "served over bytes", "lora": True, "head": "untied"}),
    ],
    ids=lambda value: "-".join(map(str, value.values())) if isinstance(value, dict) else str(value),
)
def test_sharded_processes_learn_what_one_learns(tmp_path, processes, options):
    logs, sharded = (in_processes(n, tmp_path / str(n), **options) for n in (0, processes))
    require_same(logs, sharded)
    file = "adapter_model.safetensors" if options.get("lora") else "model.safetensors"
    weights, theirs = (load_file(tmp_path / str(n) / "checkpoint-4" / file) for n in (0, processes))
    # Adam makes a step of a gradient that is nothing but rounding; of adapters, which begin at 0, that shows.
    assert distance(weights, theirs) < (1e-3 if options.get("lora") else TOLERANCE)
    teachers = [torch.load(tmp_path / str(n) / "teacher.pt") for n in (0, processes)]
    if options["kind"] == "ema":
        assert distance(*teachers) < (1e-3 if options.get("lora") else TOLERANCE)


@pytest.mark.parametrize(("lora", "parts"), [(False, ((2, 2), (0, 4), (4, 6))), (True, ((2, 2), (0, 4)))])
def test_a_run_goes_on_with_another_number_of_processes(tmp_path, lora, parts):
    alone = in_processes(2, tmp_path / "alone", lora=lora, steps=parts[-1][1])
    for processes, steps in parts:
        logs = in_processes(processes, tmp_path / "parts", lora=lora, steps=steps)
    require_same(alone, logs, 5e-5)
    teachers = [torch.load(tmp_path / run / "teacher.pt") for run in ("alone", "parts")]
    assert distance(*teachers) < (1e-3 if lora else TOLERANCE)


def test_a_run_that_goes_on_with_as_many_processes_ends_with_the_same_bits(tmp_path):
    alone = in_processes(2, tmp_path / "alone")
    in_processes(2, tmp_path / "parts", steps=2)
    assert [log["loss"] for log in in_processes(2, tmp_path / "parts")] == [log["loss"] for log in alone]
    files = [(tmp_path / run / "checkpoint-4" / "model.safetensors").read_bytes() for run in ("alone", "parts")]
    assert files[0] == files[1]


@pytest.mark.parametrize(
    ("dies", "left"),
    [
        ((0, "half of the weights", 2), ["checkpoint-2"]),
        ((0, "before the rename", 2), ["checkpoint-2"]),
        ((1, "between two files", 2), []),
    ],
    ids=["the first, in the weights", "the first, before it publishes", "the second, in its shards"],
)
def test_a_process_that_is_killed_in_saving_leaves_no_half_checkpoint_and_the_same_bits(tmp_path, dies, left):
    alone = in_processes(2, tmp_path / "alone")
    codes = exit_codes(2, tmp_path / "killed", learn_until_death, {"dies": dies})
    assert codes[dies[0]] == -signal.SIGKILL and codes[1 - dies[0]] not in (None, 0)
    assert [path.name for path in (tmp_path / "killed").glob("checkpoint-*")] == left
    assert [log["loss"] for log in in_processes(2, tmp_path / "killed")] == [log["loss"] for log in alone]
    files = [(tmp_path / run / "checkpoint-4" / "model.safetensors").read_bytes() for run in ("alone", "killed")]
    assert files[0] == files[1]


@pytest.mark.parametrize("family", ["BLOOM", "Qwen3.5"])  # a norm beside the layers; layers of an image part it lacks
def test_families_whose_parts_lie_otherwise_learn_the_same(tmp_path, family):
    logs, sharded = (in_processes(n, tmp_path / str(n), family=family, steps=1) for n in (0, 2))
    require_same(logs, sharded)


def test_rollouts_of_sharded_weights_are_drawn_from_the_students_law(tmp_path):
    in_processes(2, tmp_path, sample, engines=("generate", "sharded"))
    model = AutoModelForCausalLM.from_pretrained(STUDENT, dtype=torch.float32).eval()
    with torch.no_grad():
        law = model(input_ids=torch.tensor([PROMPTS[0]])).logits[0, -1].softmax(-1)
    for file in ("generate-0", "generate-1", "sharded-0", "sharded-1"):
        found = {int(k): n for k, n in json.loads((tmp_path / f"{file}.json").read_text()).items()}
        total = sum(found.values())
        likely = [token for token in law.topk(5).indices.tolist() if law[token] * total > 20]
        assert likely
        for token in likely:
            expected = float(law[token]) * total
            assert abs(found.get(token, 0) - expected) < 4.5 * (expected * (1 - float(law[token]))) ** 0.5, token


# ---- the commands that a user types

TORCHRUN = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "-m", "trainer", "train"]
ACCELERATE = [
    "-m", "accelerate.commands.launch", "--config_file", "docker/accelerate/fsdp2.yaml", "--num_processes", "2",
    "-m", "trainer", "train",
]  # fmt: skip

# What `--objective auto` measures on: answers of 64 tokens at most, or none is whole.
SCORED = ("--eval_data_path", WORLD / "eval_data.json", "--max_eval_samples", "16", "--max_completion_length", "64")


def command(launcher, folder, *more):
    words = [
        sys.executable, *launcher, "--model_name_or_path", STUDENT, "--local_files_only", "--use_cpu", "true",
        "--train_data_path", folder / "rows.json", "--num_prompts_per_batch", "8", "--num_train_epochs", "1",
        "--max_prompt_length", "256", "--max_completion_length", "32", "--output_dir", folder / "run", *more,
    ]  # fmt: skip
    return [str(word) for word in words]


@pytest.fixture
def folder(tmp_path):
    rows = json.loads((WORLD / "train_data.json").read_text())[:32]
    (tmp_path / "rows.json").write_text(json.dumps(rows))
    return tmp_path


def run(words):
    return subprocess.run(words, cwd=ROOT, env=os.environ | ENVIRONMENT, capture_output=True, text=True, timeout=150)


@pytest.mark.parametrize(
    ("launcher", "more"),
    [
        ([*TORCHRUN], ("--objective", "sft", "--fsdp", "true")),
        ([*TORCHRUN], ("--fsdp", "true", "--rollout_engine", "sharded", *SCORED, "--objective", "auto")),
        ([*ACCELERATE], ("--use_peft",)),
    ],
    ids=["torchrun-sft", "torchrun-auto-scored", "accelerate-lora"],
)
def test_a_command_of_the_readme_trains_and_leaves_a_checkpoint_that_plain_transformers_loads(folder, launcher, more):
    done = run(command(launcher, folder, *more))
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stdout.count("── finished") == 1 and done.stdout.count("step 4/4") == 1
    summary = json.loads((folder / "run" / "summary.json").read_text())
    assert (summary["status"], summary["steps"]) == ("finished", 4)
    checkpoint = folder / "run" / "checkpoint-4"
    assert (checkpoint / "shards" / ".metadata").is_file() and not (checkpoint / "optimizer.pt").exists()
    if "--use_peft" in more:
        assert (checkpoint / "adapter_model.safetensors").is_file()
        return
    model, report = AutoModelForCausalLM.from_pretrained(checkpoint, output_loading_info=True)
    assert not report["missing_keys"] and not report["unexpected_keys"]
    start = AutoModelForCausalLM.from_pretrained(STUDENT)
    assert any(not torch.equal(a, b) for a, b in zip(model.parameters(), start.parameters(), strict=True))


@pytest.mark.parametrize("sharded", [(), ("--fsdp", "true")], ids=["whole", "sharded"])
@pytest.mark.parametrize("objective", ["sft", "seqkd"])
def test_two_processes_learn_the_same_targets_in_the_same_steps_as_one(folder, objective, sharded):
    """Both by the command, in the order of rows that the seed says; each answer of a teacher is asked for once."""
    rows = json.loads((folder / "rows.json").read_text())
    (folder / "rows.json").write_text(json.dumps([row | {"golden_answer": None} for row in rows]))
    found, asked = [], []
    for number, launcher in enumerate((["-m", "trainer", "train"], [*TORCHRUN, *sharded])):
        with CountingTeacher() if objective == "seqkd" else nullcontext() as teacher:
            more = (["--vllm_server_base_url", teacher.url] if teacher else []) + ["--output_dir", folder / str(number)]
            done = run(command(launcher, folder, "--objective", objective, *more))
            asked.append(teacher and teacher.asked)
        assert done.returncode == 0, done.stderr[-2000:]
        lines = (folder / str(number) / "metrics.jsonl").read_text().splitlines()
        found.append([json.loads(line)["loss"] for line in lines])
    assert len(found[0]) == 4 and found[1] == pytest.approx(found[0], rel=TOLERANCE)
    assert asked[0] == asked[1]


def test_processes_on_a_full_disk_say_what_to_do_and_go_on_when_there_is_room(folder, small_disk):
    disk, resize = small_disk
    words = command(
        TORCHRUN, folder, "--fsdp", "true", "--save_steps", "1", "--output_dir", disk / "run", "--local_files_only"
    )
    done = run(words)
    assert done.returncode == 1 and "trainer.errors" not in done.stderr
    assert f"error: no space left for checkpoint-2 in {disk / 'run'}: " in done.stderr
    assert [path.name for path in (disk / "run").iterdir() if path.is_dir()] == ["checkpoint-1"]
    resize("64m")
    done = run(words)
    assert done.returncode == 0 and "going on from" in done.stdout, done.stderr[-2000:]


def test_what_sharding_cant_be_combined_with_is_said_before_anything_is_loaded(folder):
    done = run(command(TORCHRUN, folder, "--rollout_engine", "sharded"))
    assert done.returncode != 0 and "--rollout_engine sharded is for weights that are spread" in done.stderr
    assert "── model" not in done.stdout and not (folder / "run").exists()


def test_a_killed_process_ends_the_others_with_a_message_and_the_same_command_goes_on(folder):
    words = command(TORCHRUN, folder, "--fsdp", "true", "--save_steps", "1", "--num_train_epochs", "3")
    started = subprocess.Popen(
        words, cwd=ROOT, env=os.environ | ENVIRONMENT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    deadline = time.monotonic() + 120
    while not (folder / "run" / "checkpoint-2").exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    children = subprocess.run(["pgrep", "-P", str(started.pid)], capture_output=True, text=True).stdout.split()
    second = next(pid for pid in children if "RANK=1" in Path(f"/proc/{pid}/environ").read_text().split("\0"))
    os.kill(int(second), signal.SIGKILL)
    _, errors = started.communicate(timeout=90)
    assert started.returncode != 0
    assert "error: another process of this run ended, or can't be reached" in errors
    done = run(words)
    assert done.returncode == 0, done.stderr[-2000:]
    assert "going on from" in done.stdout
    lines = [json.loads(line) for line in (folder / "run" / "metrics.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == [*range(1, 13)]
