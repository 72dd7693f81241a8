"""The `train` subcommand: read everything, demonstrate, score, train, score again, summarise."""

import dataclasses
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from datasets import Dataset
from peft import LoraConfig
from transformers import PrinterCallback, set_seed
from trl import SFTConfig
from trl.experimental.sdft import SDFTConfig

from trainer import checkpoint, runlog
from trainer.arguments import training_arguments
from trainer.config import Train
from trainer.dataset import DEFAULT_EVAL_DATA, Row, default_train_data, load_rows
from trainer.demonstrations import write_demonstrations
from trainer.errors import Stopped, UsageError
from trainer.evaluate import Judge, summarize, table
from trainer.loop import SelfDistillationTrainer, StepRecorder, StopOnSignal, SupervisedTrainer
from trainer.preflight import TeacherIdentity, require_teacher
from trainer.prompts import Prompt, PromptEncoder
from trainer.resolve import Resolved, show
from trainer.runlog import RunDirectory
from trainer.student import context_window, encoder_for, load_student, load_tokenizer


@dataclass(frozen=True)
class Inputs:
    """All that a run reads, checked before anything expensive.

    Attributes:
        eval_rows: "new_skill" and "prior_skills", each where a file was given.
        teacher: The served teacher, where the run needs one.
    """

    train_rows: list[Row]
    eval_rows: dict[str, list[Row]]
    encoder: PromptEncoder
    arguments: SDFTConfig | SFTConfig
    teacher: TeacherIdentity | None


def run(resolved: Resolved) -> int:
    """Train as `resolved` says and return the exit code.

    Raises:
        UsageError, TeacherError: see `trainer.errors`; raised before anything expensive.
        Stopped: a signal asked to stop; what is needed to go on has been saved.
    """
    settings: Train = resolved.settings
    inputs = read_inputs(resolved)
    if settings.dry_run:
        load_student(settings)
        print(f"would train on {len(inputs.train_rows)} rows with these settings:\n{show(resolved)}")
        return 0
    directory = RunDirectory.open(settings.output_dir, resolved)
    if directory.is_finished():
        print(f"{directory.path} holds the finished run of these settings. Pass another --output_dir to train again.")
        return 0
    with StopOnSignal() as stop:
        Run(settings, inputs, directory, stop).complete()
    return 0


def read_inputs(resolved: Resolved) -> Inputs:
    """Data, tokenizer, training arguments and the teacher's identity, each checked."""
    settings: Train = resolved.settings
    by_teacher = demonstrations_by_teacher(settings)
    path = settings.train_data_path or default_train_data()
    train_rows = load_rows(path, needs_golden=not by_teacher, skip_bad_rows=settings.skip_bad_rows)
    if len(train_rows) < settings.num_prompts_per_batch:
        raise UsageError(
            f"{path} has {len(train_rows)} rows, fewer than the {settings.num_prompts_per_batch} of one step. "
            f"Pass --num_prompts_per_batch {len(train_rows)} or less, or more data."
        )
    window = context_window(settings)
    encoder = encoder_for(settings, load_tokenizer(settings), window, settings.teacher_prompt_template)
    if settings.objective == "sdft":
        for row in train_rows:
            encoder.check_room(row)
    arguments = training_arguments(resolved)
    teacher = require_teacher(settings) if by_teacher else None
    return Inputs(train_rows, read_eval_rows(settings), encoder, arguments, teacher)


def demonstrations_by_teacher(settings: Train) -> bool:
    """Whether the served teacher writes the demonstrations (for `seqkd`: the targets).

    Raises:
        UsageError: the objective and `--demonstrations` contradict each other, or there is no teacher to ask.
    """
    fixed = {"seqkd": "teacher", "sft": "golden"}.get(settings.objective)
    chosen = settings.demonstrations
    if fixed is not None and chosen not in ("auto", fixed):
        raise UsageError(
            f"--objective {settings.objective} learns from {fixed} texts, and --demonstrations is {chosen}."
        )
    if chosen == "auto":
        chosen = fixed or ("teacher" if settings.vllm_server_base_url else "golden")
    if chosen == "teacher" and settings.vllm_server_base_url is None:
        raise UsageError(
            f"--objective {settings.objective} with demonstrations by the teacher needs its URL: "
            "`train http://localhost:8000 …`."
        )
    return chosen == "teacher"


def read_eval_rows(settings: Train) -> dict[str, list[Row]]:
    """The rows to score before and after, by what they measure."""
    usual = DEFAULT_EVAL_DATA if settings.train_data_path is None and Path(DEFAULT_EVAL_DATA).is_file() else None
    files = {"new_skill": settings.eval_data_path or usual, "prior_skills": settings.prior_data_path}
    return {
        name: load_rows(path, skip_bad_rows=settings.skip_bad_rows)[: settings.max_eval_samples]
        for name, path in files.items()
        if path is not None
    }


class Run:
    """One run in its directory, from demonstrations to summary. An interrupted one goes on where it was."""

    def __init__(self, settings: Train, inputs: Inputs, directory: RunDirectory, stop: StopOnSignal):
        self.settings = settings
        self.inputs = inputs
        self.directory = directory
        self.stop = stop
        earlier = directory.read_json("summary.json") or {}
        self.wall_seconds: dict[str, float] = earlier.get("wall_seconds", {})

    def complete(self) -> None:
        """Do whatever of the run is not done yet; the last file written is `summary.json`.

        Raises:
            Stopped: a signal asked to stop; the summary says so and the same command goes on.
        """
        teacher = dataclasses.asdict(self.inputs.teacher) if self.inputs.teacher else None
        self.directory.write_json("environment.json", runlog.environment(teacher))
        try:
            with self.stage("demonstrations"):
                texts = self.demonstrations()
            with self.stage("model"):
                trainer = self.make_trainer(texts)
            self.score("before", trainer.model)
            with self.stage("train"):
                self.optimize(trainer)
            self.score("after", trainer.model)
        except Stopped:
            self.summarize("stopped")
            raise
        except Exception:
            self.summarize("failed")
            raise
        self.summarize("finished")
        self.print_result()

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Announce a stage and add its wall time to the summary."""
        print(f"── {name}", flush=True)
        started = time.monotonic()
        try:
            yield
        finally:
            spent = time.monotonic() - started
            self.wall_seconds[name] = round(self.wall_seconds.get(name, 0.0) + spent, 2)
        if self.stop.requested:
            raise Stopped(f"stopped after {name}. The same command goes on from here.")

    def demonstrations(self) -> list[tuple[Row, str]]:
        """Each training row with its demonstration text."""
        if self.inputs.teacher is None:
            return [(row, row.golden_response or "") for row in self.inputs.train_rows]
        written = write_demonstrations(
            self.inputs.train_rows, self.settings, self.directory.path / "demonstrations.jsonl"
        )
        return [
            (row, text) for row, text in zip(self.inputs.train_rows, written.texts, strict=True) if text is not None
        ]

    def make_trainer(self, demonstrated: list[tuple[Row, str]]) -> SelfDistillationTrainer | SupervisedTrainer:
        """The trainer of the objective over encoded rows."""
        sdft = self.settings.objective == "sdft"
        encode = distillation_rows if sdft else supervised_rows
        arguments = self.inputs.arguments
        sequences = arguments.per_device_train_batch_size * arguments.gradient_accumulation_steps * arguments.world_size
        kind: Any = SelfDistillationTrainer if sdft else SupervisedTrainer
        trainer = kind(
            model=load_student(self.settings),
            args=arguments,
            train_dataset=encode(self.inputs.encoder, demonstrated),
            processing_class=self.inputs.encoder.tokenizer,
            callbacks=[StepRecorder(self.directory, sequences), self.stop],
            peft_config=lora_config(self.settings) if self.settings.use_peft else None,
            **({"run_directory": self.directory} if sdft else {}),
        )
        trainer.remove_callback(PrinterCallback)
        return trainer

    def score(self, moment: str, model: Any) -> None:
        """Score the model on each given file, once: an interrupted run finds its scores again."""
        name = f"scores_{moment}.json"
        if self.directory.read_json(name) is not None or not self.inputs.eval_rows:
            return
        batch_size = self.inputs.arguments.per_device_eval_batch_size
        judge = Judge(self.inputs.encoder, batch_size, should_stop=lambda: self.stop.requested)
        with self.stage(f"eval_{moment}"):
            rows = self.inputs.eval_rows
            scores = {title: summarize(judge.answers(model, some, title)) for title, some in rows.items()}
            print(table(scores))
            self.directory.write_json(name, {title: dataclasses.asdict(score) for title, score in scores.items()})

    def optimize(self, trainer: SelfDistillationTrainer | SupervisedTrainer) -> None:
        """The training loop, from the newest checkpoint where there is one."""
        last = checkpoint.newest(self.directory.path)
        step = checkpoint.step_of(last) if last else 0
        self.directory.forget_after(step)
        if last:
            print(f"going on from {last}")
        set_seed(self.settings.seed)
        trainer.train(resume_from_checkpoint=str(last) if last else None)
        if self.stop.requested and trainer.state.global_step < trainer.state.max_steps:
            raise Stopped(
                f"stopped at step {trainer.state.global_step} of {trainer.state.max_steps}; the same command goes on."
            )

    def summarize(self, status: str) -> None:
        """Write `summary.json`."""
        metrics = self.directory.read_metrics()
        seconds = sum(record["seconds"] for record in metrics)
        details = {moment: self.directory.read_json(f"scores_{moment}.json") or {} for moment in ("before", "after")}
        self.directory.write_json(
            "summary.json",
            {
                "status": status,
                "objective": self.settings.objective,
                "model": str(checkpoint.newest(self.directory.path) or ""),
                "steps": metrics[-1]["step"] if metrics else 0,
                "scores": {moment: headline(scores) for moment, scores in details.items()},
                "score_details": details,
                "tokens_per_second": round(sum(r["tokens"] for r in metrics) / seconds, 1) if metrics else None,
                "wall_seconds": self.wall_seconds,
                "teacher": self.teacher_summary(),
            },
        )

    def print_result(self) -> None:
        """The headline of the run and where the rest is."""
        summary = self.directory.read_json("summary.json") or {}
        before, after = summary["scores"]["before"], summary["scores"]["after"]
        print("── finished")
        for title in before:
            if before[title] is not None and after[title] is not None:
                print(f"{title.replace('_', ' '):<14}{before[title]:.1%} → {after[title]:.1%}")
        print(f"{'model':<14}{summary['model']}\n{'run':<14}{self.directory.path}")

    def teacher_summary(self) -> dict[str, Any] | None:
        """The served teacher that took part; the tokenizer route is of objectives that it scores tokens for."""
        teacher = self.inputs.teacher
        return None if teacher is None else dataclasses.asdict(teacher) | {"tokenizer_route": None}


def headline(scores: dict[str, dict[str, Any]]) -> dict[str, float | None]:
    """Accuracy by what was measured, null where it was not."""
    return {title: scores.get(title, {}).get("accuracy") for title in ("new_skill", "prior_skills")}


def distillation_rows(encoder: PromptEncoder, demonstrated: list[tuple[Row, str]]) -> Dataset:
    """Rows for SDFT: the prompt as the student reads it, and as the teacher reads it with the demonstration."""
    students = [encoder.student_prompt(row) for row, _ in demonstrated]
    teachers = [encoder.demonstration_prompt(row, text) for row, text in demonstrated]
    report_cuts("prompts lost their beginning to --max_prompt_length", students)
    report_cuts("demonstrations lost their end to --max_completion_length or the context", teachers)
    return Dataset.from_dict(
        {"prompt": [p.ids for p in students], "privileged_context": [p.ids for p in teachers]},
    )


def supervised_rows(encoder: PromptEncoder, demonstrated: list[tuple[Row, str]]) -> Dataset:
    """Rows for `sft` and `seqkd`: prompt and target, with the loss on the target and its end-of-turn token."""
    prompts = [encoder.student_prompt(row) for row, _ in demonstrated]
    targets = [encoder.target(text) for _, text in demonstrated]
    report_cuts("prompts lost their beginning to --max_prompt_length", prompts)
    report_cuts("targets lost their end to --max_completion_length", targets)
    pairs = list(zip(prompts, targets, strict=True))
    return Dataset.from_dict(
        {
            "input_ids": [prompt.ids + target.ids for prompt, target in pairs],
            "labels": [[-100] * len(prompt.ids) + target.ids for prompt, target in pairs],
        }
    )


def report_cuts(what: str, prompts: list[Prompt]) -> None:
    """Say how many texts were cut, if any."""
    count = sum(prompt.was_cut for prompt in prompts)
    if count:
        print(f"warning: {count} of {len(prompts)} {what}")


def lora_config(settings: Train) -> LoraConfig:
    """The adapters of `--use_peft`."""
    names = settings.lora_target_modules
    return LoraConfig(
        task_type="CAUSAL_LM",
        r=settings.lora_r,
        lora_alpha=settings.lora_alpha,
        lora_dropout=settings.lora_dropout,
        target_modules=names if names == "all-linear" else [name.strip() for name in names.split(",")],
    )
