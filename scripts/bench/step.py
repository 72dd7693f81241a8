#!/usr/bin/env python
"""Seconds of an SDFT step by stage, and its peak memory: this trainer beside TRL's SDFTTrainer.

    .venv/bin/python scripts/bench/step.py [--quick] [--json FILE] [--device cpu|cuda] [--case NAME …] [--sides NAME …]

All sides have the same model, rows and settings, each in a process of its own, asked for one step in turn; the
first step of each is not counted. Completions of random tokens would not end by themselves, so all get the same
recorded completions: their own engines decode as many tokens, which is timed, and the recorded ones are learnt
from. A ratio is another side's seconds (or bytes) over ours in the same round.

    ours                    this trainer, with the rollout engine that it chooses, by measuring in the first step
    trl                     TRL's SDFTTrainer
    generate, continuous    this trainer with that --rollout_engine

    distill   teacher and student: everything between the rollout and the optimizer
    step      rollout + distill + optimizer
"""

import argparse
import multiprocessing
import os
import random
import statistics
import sys
import tempfile
import time
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from types import SimpleNamespace
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "scripts" / "bench")]
os.environ.setdefault("TRL_EXPERIMENTAL_SILENCE", "1")
os.environ.setdefault("HF_HUB_OFFLINE", "1")

import record  # noqa: E402
import torch  # noqa: E402
from datasets import Dataset  # noqa: E402
from transformers import (  # noqa: E402
    AutoModelForCausalLM,
    AutoTokenizer,
    LogitsProcessor,
    PrinterCallback,
    Qwen3Config,
    TrainerCallback,
)
from trl.experimental.sdft import SDFTConfig, SDFTTrainer  # noqa: E402
from trl.experimental.sdft.sdft_trainer import DemonstrationTeacherContextBuilder  # noqa: E402

from trainer.run.directory import RunDirectory  # noqa: E402
from trainer.teachers.demonstrations import answered  # noqa: E402
from trainer.training.arguments import CHECKPOINTING  # noqa: E402
from trainer.training.engine_choice import choose_engine  # noqa: E402
from trainer.training.engine_trial import MEASURED  # noqa: E402
from trainer.training.microbatches import fitting_limit  # noqa: E402
from trainer.training.self_distillation import SelfDistillationTrainer  # noqa: E402

TINY = ROOT / "data" / "tiny_world" / "student"
END = 2  # of the tiny world's tokenizer, which the large model borrows
BEGINNING = 8  # last tokens of a prompt, by which it is recognised
SIDES = ("ours", "trl", "generate", "continuous")
# Shares of the longest completion: a long tail, the median at a tenth.
TAIL = (0.06, 0.066, 0.07, 0.078, 0.086, 0.09, 0.094, 0.098, 0.105, 0.117, 0.13, 0.156, 0.235, 0.35, 0.6, 1.0)
STAGES = ("rollout", "distill", "optimizer")


@dataclass(frozen=True)
class Case:
    """One workload.

    Attributes:
        shape: Of a Qwen3 with the vocabulary of Qwen3 and random weights; None is the tiny world's student.
        prompts: Of a step.
        prompt, demonstration, completion: The most tokens of each.
        ragged: Completions have a long tail and prompts differ; else all lengths are the most.
        threads: Of torch; None leaves it to torch.
    """

    shape: dict[str, int] | None
    prompts: int
    prompt: int
    demonstration: int
    completion: int
    ragged: bool
    threads: int | None = None


SMALL = {
    "hidden_size": 512, "intermediate_size": 1536, "num_hidden_layers": 4, "num_attention_heads": 8,
    "num_key_value_heads": 4, "head_dim": 64,
}  # fmt: skip
CASES = {
    "cpu": {
        "ragged": Case(SMALL, 16, 80, 90, 256, ragged=True),
        "equal": Case(SMALL, 16, 64, 64, 64, ragged=False),
        "tiny": Case(None, 32, 120, 120, 128, ragged=True, threads=1),
    },
    "cuda": {
        "ragged": Case(record.QWEN3_06B, 32, 1024, 512, 1024, ragged=True),
        "equal": Case(record.QWEN3_06B, 32, 1024, 512, 1024, ragged=False),
    },
    "pretend": {
        "ragged": Case(None, 4, 24, 24, 16, ragged=True, threads=1),
        "equal": Case(None, 4, 24, 24, 16, ragged=False, threads=1),
    },
}


# ---- one side, in a process of its own


class Recorded:
    """The rows of a case and their completions, at a fixed seed."""

    def __init__(self, case: Case):
        draw = random.Random(7)
        vocabulary = 151_936 if case.shape else 512
        tokens = lambda count: [draw.randrange(3, vocabulary) for _ in range(count)]  # noqa: E731
        length = lambda most: draw.randint(most // 2, most) if case.ragged else most  # noqa: E731
        shares = [TAIL[i * len(TAIL) // case.prompts] if case.ragged else 1.0 for i in range(case.prompts)]
        draw.shuffle(shares)
        self.prompts = [tokens(length(case.prompt)) for _ in shares]
        self.contexts = [prompt + tokens(length(case.demonstration)) for prompt in self.prompts]
        self.completions = [[*tokens(max(4, int(share * case.completion)) - 1), END] for share in shares]

    def dataset(self) -> Dataset:
        numbers = list(range(len(self.prompts)))
        return Dataset.from_dict({"prompt": self.prompts, "privileged_context": self.contexts, "row": numbers})


class Forced(LogitsProcessor):
    """Lets `generate` choose the recorded tokens of the rows that are in its batch, and nothing else."""

    def __init__(self, recorded: Recorded):
        self.width = max(map(len, recorded.prompts))
        pairs = zip(recorded.prompts, recorded.completions, strict=True)
        self.completion_of = {tuple(prompt[-BEGINNING:]): completion for prompt, completion in pairs}

    def __call__(self, input_ids: torch.LongTensor, scores: torch.FloatTensor) -> torch.FloatTensor:
        at, rows = input_ids.shape[1] - self.width, input_ids[:, self.width - BEGINNING : self.width].tolist()
        completions = [self.completion_of[tuple(row)] for row in rows]
        chosen = [ids[at] if at < len(ids) else END for ids in completions]
        scores.fill_(float("-inf"))[torch.arange(len(chosen)), torch.tensor(chosen)] = 0.0
        return scores


class GivenContexts(DemonstrationTeacherContextBuilder):
    def _compose_teacher_prompt(self, prompt: list[int], privileged_context: list[int]) -> list[int]:
        return privileged_context


class Trl(SDFTTrainer):
    """TRL's trainer on encoded rows; what it does is timed and not changed."""

    rollout_seconds = training_seconds = 0.0

    def _tokenize_prompts(self, prompts: list[list[int]]) -> list[list[int]]:
        return prompts

    def _generate(self, prompt_ids: list[list[int]]) -> Any:
        started = now(self)
        answer = super()._generate(prompt_ids)
        self.rollout_seconds += now(self) - started
        return answer

    def training_step(self, *args: Any, **kwargs: Any) -> Any:
        started = now(self)
        loss = super().training_step(*args, **kwargs)
        self.training_seconds += now(self) - started
        return loss


def now(trainer: Any) -> float:
    """Seconds, after the device has done all its work."""
    if trainer.args.device.type == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter()


def arguments(case: Case, side: str, device: str, folder: Path, checkpointing: bool) -> SDFTConfig:
    """The published settings, the same for both but for who splits the step."""
    return SDFTConfig(
        output_dir=str(folder),
        per_device_train_batch_size=1 if side == "trl" else case.prompts,
        gradient_accumulation_steps=case.prompts if side == "trl" else 1,
        max_steps=1000,
        learning_rate=2e-5,
        lr_scheduler_type="constant",
        distillation_mode="full_logits",
        distillation_alpha=0.0,
        num_loss_tokens_to_skip=3,
        teacher_model_kind="ema",
        teacher_update_rate=0.01,
        num_generations=1,
        max_prompt_length=None,
        max_completion_length=case.completion,
        shuffle_dataset=False,
        bf16=device == "cuda",
        use_cpu=device == "cpu",
        **{CHECKPOINTING: checkpointing},
        dataloader_pin_memory=False,
        save_strategy="no",
        logging_steps=1,
        report_to="none",
        disable_tqdm=True,
    )


def load(case: Case, side: str, device: str, folder: Path) -> Any:
    """The model, in float32 as both trainers hold it; TRL's EMA teacher loads the folder that it came from."""
    torch.manual_seed(0)
    if case.shape is None:
        return AutoModelForCausalLM.from_pretrained(TINY, dtype=torch.float32)
    config = Qwen3Config(
        vocab_size=151_936, tie_word_embeddings=True, max_position_embeddings=4096, eos_token_id=END, **case.shape
    )
    with torch.device(device):
        model = AutoModelForCausalLM.from_config(config, dtype=torch.float32)
    if side == "trl":
        model.save_pretrained(folder / "model")
        model.config._name_or_path = str(folder / "model")
    return model


def build(case: Case, side: str, device: str, folder: Path, checkpointing: bool) -> tuple[Any, str]:
    """The trainer of a side, and the name of its rollout engine."""
    recorded, model = Recorded(case), load(case, side, device, folder)
    args = arguments(case, side, device, folder, checkpointing)
    tokenizer = AutoTokenizer.from_pretrained(TINY, padding_side="left")
    common = {"model": model, "args": args, "train_dataset": recorded.dataset(), "processing_class": tokenizer}
    if side == "trl":
        trainer, engine = Trl(**common), "generate"
        trainer.teacher_context_builder = GivenContexts(trainer)
        source = trainer.model
    else:
        cached = sum(len(p) + case.completion for p in recorded.prompts)
        engine = choose_engine("auto" if side == "ours" else side, model, args.device, cached)
        limit = fitting_limit(model, args.device, bool(args.gradient_checkpointing))
        contexts = SimpleNamespace(request=answered(recorded.contexts), ids=recorded.contexts.__getitem__)
        trainer = SelfDistillationTrainer(
            **common, run_directory=RunDirectory(folder), limit=limit, engine=engine, contexts=contexts
        )
        source = trainer.sampler.copy.model if trainer.sampler.copy else trainer.model
    follow(recorded, trainer, source, engine)
    trainer.remove_callback(PrinterCallback)
    return trainer, engine


def follow(recorded: Recorded, trainer: Any, source: Any, engine: str) -> None:
    """Make the engine decode the recorded completions, or as many tokens, and learn from the recorded ones."""
    if engine in ("generate", MEASURED):
        forced = Forced(recorded)
        original = source.generate
        source.generate = lambda logits_processor=None, **kwargs: original(
            logits_processor=[*(logits_processor or []), forced], **kwargs
        )
    if engine == "generate":
        return
    begin = source.init_continuous_batching

    def limited(**kwargs: Any) -> Any:
        manager = begin(**kwargs)
        add, rest = manager.add_request, iter(recorded.completions)
        manager.add_request = lambda ids, **more: add(ids, max_new_tokens=len(next(rest)), eos_token_id=-1, **more)
        return manager

    source.init_continuous_batching = limited
    sample = trainer.sampler.sample

    def with_recorded(rows: list[dict[str, Any]], tell: Any = None) -> Any:
        rollouts = sample(rows)
        for rollout, completion in zip(rollouts, recorded.completions, strict=True):
            assert len(rollout.completion_ids) == len(completion)
            rollout.completion_ids = completion
        return rollouts

    trainer.sampler.sample = with_recorded


class OneStepAtATime(TrainerCallback):
    """Waits before a step until it is asked for, and answers with what the step took."""

    def __init__(self, trainer: Any, side: str, pipe: Connection):
        self.trainer, self.side, self.pipe = trainer, side, pipe

    def on_step_begin(self, args, state, control, **kwargs):
        if self.pipe.recv() == "end":
            control.should_training_stop = True
            os._exit(0)
        if self.side == "trl":
            self.trainer.rollout_seconds = self.trainer.training_seconds = 0.0
        reset_peak_memory(args.device)
        self.started = now(self.trainer)

    def on_log(self, args, state, control, logs=None, **kwargs):
        if "loss" not in logs:
            return
        total = now(self.trainer) - self.started
        if self.side == "trl":
            rollout, training = self.trainer.rollout_seconds, self.trainer.training_seconds
            seconds = {"rollout": rollout, "distill": training - rollout, "optimizer": total - training}
        else:
            teacher, student = logs["seconds/teacher"], logs["seconds/student"]
            seconds = {"rollout": logs["seconds/rollout"], "distill": total - logs["seconds/rollout"]}
            seconds["distill"] -= logs["seconds/optimizer"]
            seconds |= {"optimizer": logs["seconds/optimizer"], "teacher": teacher, "student": student}
        seconds["step"] = total
        sampler = getattr(self.trainer, "sampler", None)  # it may have measured in the first step
        found = {"engine": sampler.engine} if sampler else {}
        self.pipe.send(found | {"seconds": seconds, "peak_gib": peak_memory(args.device) / 2**30, "loss": logs["loss"]})


def reset_peak_memory(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats()
    else:
        Path("/proc/self/clear_refs").write_text("5")


def peak_memory(device: torch.device) -> int:
    """Bytes: allocated on a GPU, resident of the process on a CPU; the most since the reset."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated()
    lines = Path("/proc/self/status").read_text().splitlines()
    return 1024 * int(next(line for line in lines if line.startswith("VmHWM")).split()[1])


def work(case: Case, side: str, device: str, folder: Path, pipe: Connection) -> None:
    """What a side's process does."""
    sys.stdout = open(os.devnull, "w")  # noqa: SIM115 (until the process ends)
    if case.threads:
        torch.set_num_threads(case.threads)
    trainer, engine = build(case, side, device, folder, checkpointing=device == "cuda")
    trainer.add_callback(OneStepAtATime(trainer, side, pipe))
    pipe.send(engine)
    trainer.train()


# ---- both sides in turn


def measure(name: str, case: Case, device: str, sides: list[str], rounds: int) -> list[dict[str, Any]]:
    """`rounds` alternating steps of all sides, after one of each that is not counted."""
    context = multiprocessing.get_context("spawn")
    runs = []
    with tempfile.TemporaryDirectory() as folder:
        pipes, processes = {}, []
        for side in sides:
            (Path(folder) / side).mkdir()
            pipes[side], end = context.Pipe()
            processes.append(context.Process(target=work, args=(case, side, device, Path(folder) / side, end)))
            processes[-1].start()
            end.close()
        engines = {side: pipes[side].recv() for side in sides}
        for number in range(rounds + 1):
            order = sides if number % 2 else sides[::-1]
            for side in order:
                pipes[side].send("go")
                run = {"case": name, "side": side, "round": number, "engine": engines[side]} | pipes[side].recv()
                runs.append(run)
                print(f"{name} {side} round {number}: {shown(run)}", file=sys.stderr, flush=True)
        for side in sides:
            pipes[side].send("end")
        for process in processes:
            process.join(60)
    require_equal_losses(name, device, runs)
    return [run for run in runs if run["round"] > 0]


def shown(run: dict[str, Any]) -> str:
    stages = ", ".join(f"{stage} {run['seconds'][stage]:.2f}" for stage in (*STAGES, "step"))
    return f"{stages} s, {run['peak_gib']:.2f} GiB, loss {run['loss']:.6f}"


def require_equal_losses(name: str, device: str, runs: list[dict[str, Any]]) -> None:
    """All sides do the same work: before any update their losses agree (in bfloat16 to its precision)."""
    losses = {run["side"]: run["loss"] for run in reversed(runs)}
    tolerance = 1e-4 if device == "cpu" else 5e-2
    if max(losses.values()) - min(losses.values()) > tolerance * abs(max(losses.values())):
        sys.exit(f"step.py: {name}: the first losses are {losses}: the sides do not do the same work")


def ratios(runs: list[dict[str, Any]]) -> dict[str, dict[str, float]]:
    """Another side's over the first one's, for each case: seconds of the stages and of the step, and peak memory."""
    found = {}
    for name in dict.fromkeys(run["case"] for run in runs):
        first, *others = dict.fromkeys(run["side"] for run in runs)
        for other in others:
            ours, theirs = ([r for r in runs if (r["case"], r["side"]) == (name, side)] for side in (first, other))
            of_pair = name if (first, other) == ("ours", "trl") else f"{name}_{first}_to_{other}"
            for what in ("rollout", "distill", "step"):
                columns = [[run["seconds"][what] for run in side] for side in (theirs, ours)]
                found[f"{what}_speedup_{of_pair}"] = record.ratio(*columns)
            found[f"peak_memory_{of_pair}"] = record.ratio(*([r["peak_gib"] for r in side] for side in (theirs, ours)))
    return found


def markdown(runs: list[dict[str, Any]], found: dict[str, dict[str, float]]) -> str:
    rows = []
    for name, side in dict.fromkeys((run["case"], run["side"]) for run in runs):
        mine = [run for run in runs if (run["case"], run["side"]) == (name, side)]
        stages = [record.spread([run["seconds"][stage] for run in mine]) for stage in (*STAGES, "step")]
        peak = statistics.median(run["peak_gib"] for run in mine)
        rows.append([name, f"{side} ({mine[0]['engine']})", *stages, f"{peak:.2f}"])
    head = ["case", "side (rollouts)", *(f"{stage} s" for stage in (*STAGES, "step")), "peak GiB"]
    quotients = [[name, *(f"{value:.2f}" for value in quotient.values())] for name, quotient in found.items()]
    return record.table(head, rows) + "\n\n" + record.table(["other side ÷ first", "median", "min", "max"], quotients)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="2 rounds instead of 5, without the tiny model")
    parser.add_argument("--json", type=Path, help="file for machine, versions, runs and ratios")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--pretend", action="store_true", help="a tiny model and tiny rows: does it all run?")
    parser.add_argument("--case", nargs="+", choices=("ragged", "equal", "tiny"), help="only these")
    parser.add_argument("--sides", nargs="+", choices=SIDES, default=["ours", "trl"], help="who [ours trl]")
    options = parser.parse_args()
    cases = CASES["pretend" if options.pretend else options.device]
    names = options.case or [name for name in cases if not (options.quick and name == "tiny")]
    rounds, device = 2 if options.quick else 5, options.device
    runs = [run for name in names for run in measure(name, cases[name], device, options.sides, rounds)]
    found = ratios(runs)
    print(markdown(runs, found))
    if options.json:
        versions = record.versions("torch", "transformers", "trl", "accelerate")
        record.write(options.json, {"machine": record.machine(), "versions": versions, "runs": runs, "ratios": found})


if __name__ == "__main__":
    main()
