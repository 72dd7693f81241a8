"""The `train` subcommand: read everything, demonstrate, score, train, score again, summarise."""

import dataclasses
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from accelerate.utils import set_seed
from datasets import Dataset
from peft import LoraConfig
from transformers import PreTrainedModel, PrinterCallback
from trl import SFTConfig
from trl.experimental.sdft import SDFTConfig

from trainer import checkpoint, runlog
from trainer.arguments import microbatch_limit, prompts_per_step, training_arguments
from trainer.callbacks import StepRecorder, StopOnSignal
from trainer.config import Train
from trainer.dataset import DEFAULT_EVAL_DATA, Row, default_train_data, load_rows
from trainer.demonstrations import write_demonstrations
from trainer.errors import Stopped, UsageError
from trainer.evaluate import Judge, summarize, table
from trainer.loop import SelfDistillationTrainer, SupervisedTrainer
from trainer.microbatches import MicrobatchLimit, fitting_limit
from trainer.preflight import TeacherIdentity, require_teacher
from trainer.prompts import PromptEncoder, report_cuts
from trainer.resolve import Resolved, show
from trainer.rollout import choose_engine
from trainer.runlog import RunDirectory
from trainer.student import context_window, encoder_for, is_adapter, load_student, load_tokenizer


@dataclass(frozen=True)
class Inputs:
    """All that a run reads from this machine, checked before anything expensive.

    Attributes:
        eval_rows: "new_skill" and "prior_skills", each where a file was given.
        limit: What the user says bounds a micro-batch of `sdft`; None: what fits the device.
    """

    train_rows: list[Row]
    eval_rows: dict[str, list[Row]]
    encoder: PromptEncoder
    arguments: SDFTConfig | SFTConfig
    limit: MicrobatchLimit | None


def run(resolved: Resolved) -> int:
    """Train as `resolved` says and return the exit code.

    Raises:
        UsageError, TeacherError: see `trainer.errors`; raised before anything expensive.
        Stopped: a signal asked to stop; what is needed to go on has been saved.
    """
    settings = settle(resolved.settings)
    resolved = dataclasses.replace(resolved, settings=settings)
    inputs = read_inputs(resolved)
    if settings.dry_run:
        load_student(settings)
        print(f"would train on {len(inputs.train_rows)} rows with these settings:\n{show(resolved)}")
        return 0
    directory = RunDirectory.open(settings.output_dir, resolved)
    if directory.is_finished():
        print(f"{directory.path} holds the finished run of these settings. Pass another --output_dir to train again.")
        return 0
    teacher = require_teacher(settings) if settings.demonstrations == "teacher" else None
    with StopOnSignal() as stop:
        Run(settings, inputs, teacher, directory, stop).complete()
    return 0


def settle(settings: Train) -> Train:
    """`settings` with everything decided that they leave open: the data files, and who demonstrates.

    Raises:
        UsageError: no data; objective and `--demonstrations` contradict each other; no teacher to ask.
    """
    own_data, usual = settings.train_data_path, Path(DEFAULT_EVAL_DATA)
    return dataclasses.replace(
        settings,
        train_data_path=own_data or default_train_data(),
        eval_data_path=settings.eval_data_path or (str(usual) if own_data is None and usual.is_file() else None),
        demonstrations=who_demonstrates(settings),
    )


def who_demonstrates(settings: Train) -> str:
    """`golden` or `teacher`, the writer of the demonstrations (for `seqkd` and `sft`: of the targets)."""
    fixed = {"seqkd": "teacher", "sft": "golden"}.get(settings.objective)
    chosen = settings.demonstrations
    if fixed is not None and chosen not in ("auto", fixed):
        raise UsageError(
            f"--objective {settings.objective} learns from {fixed} texts, and --demonstrations is {chosen}. "
            "Leave one of them out."
        )
    if chosen == "auto":
        chosen = fixed or ("teacher" if settings.vllm_server_base_url else "golden")
    if chosen == "teacher" and settings.vllm_server_base_url is None:
        raise UsageError(
            f"--objective {settings.objective} with demonstrations by the teacher needs its URL: "
            "`train http://localhost:8000 …`."
        )
    return chosen


def read_inputs(resolved: Resolved) -> Inputs:
    """Data, tokenizer and training arguments, each checked."""
    settings: Train = resolved.settings
    window = context_window(settings)
    if is_adapter(settings.model_name_or_path):
        raise UsageError(
            f"{settings.model_name_or_path!r} holds LoRA adapters, expected a whole model to train. Merge them first: "
            "`AutoPeftModelForCausalLM.from_pretrained(FOLDER).merge_and_unload().save_pretrained(OTHER)`."
        )
    needs_golden = settings.demonstrations == "golden"
    train_rows = load_rows(
        settings.train_data_path or "", needs_golden=needs_golden, skip_bad_rows=settings.skip_bad_rows
    )
    encoder = encoder_for(settings, load_tokenizer(settings), window, settings.teacher_prompt_template)
    if settings.objective == "sdft":
        for row in train_rows:
            encoder.check_room(row)
    arguments = training_arguments(resolved)
    require_a_step(len(train_rows), arguments)
    return Inputs(train_rows, read_eval_rows(settings), encoder, arguments, microbatch_limit(resolved))


def require_a_step(rows: int, arguments: SDFTConfig | SFTConfig) -> None:
    """Raise UsageError unless there are rows for one optimizer step."""
    needed = prompts_per_step(arguments)
    if rows < needed:
        raise UsageError(
            f"there are {rows} rows to train on, fewer than the {needed} of one step. "
            f"Pass --num_prompts_per_batch {max(rows, 1)} or less, or more data."
        )


def read_eval_rows(settings: Train) -> dict[str, list[Row]]:
    """The rows to score before and after, by what they measure."""
    files = {"new_skill": settings.eval_data_path, "prior_skills": settings.prior_data_path}
    return {
        name: load_rows(path, skip_bad_rows=settings.skip_bad_rows)[: settings.max_eval_samples]
        for name, path in files.items()
        if path is not None
    }


class Run:
    """One run in its directory, from demonstrations to summary. An interrupted one goes on where it was."""

    def __init__(
        self,
        settings: Train,
        inputs: Inputs,
        teacher: TeacherIdentity | None,
        directory: RunDirectory,
        stop: StopOnSignal,
    ):
        self.settings = settings
        self.inputs = inputs
        self.teacher = teacher
        self.directory = directory
        self.stop = stop
        earlier = directory.read_json("summary.json") or {}
        self.wall_seconds: dict[str, float] = earlier.get("wall_seconds", {})
        self.demonstration_counts: dict[str, int] | None = None

    def complete(self) -> None:
        """Do whatever of the run is not done yet; the last file written is `summary.json`.

        Raises:
            Stopped: a signal asked to stop; the summary says so and the same command goes on.
        """
        self.directory.write_json("environment.json", runlog.environment(self.teacher_summary()))
        try:
            with self.stage("model"):
                student = load_student(self.settings)
            with self.stage("demonstrations"):
                texts = self.demonstrations()
            trainer = self.make_trainer(student, texts)
            self.score("before", trainer)
            with self.stage("train"):
                self.optimize(trainer)
            self.score("after", trainer)
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
        rows = self.inputs.train_rows
        if self.teacher is None:
            return [(row, row.golden_response or "") for row in rows]
        written = write_demonstrations(rows, self.settings, self.directory.path / "demonstrations.jsonl")
        self.demonstration_counts = {kind: getattr(written, kind) for kind in ("written", "replaced", "dropped")}
        return [(row, text) for row, text in zip(rows, written.texts, strict=True) if text is not None]

    def make_trainer(
        self, student: PreTrainedModel, demonstrated: list[tuple[Row, str]]
    ) -> SelfDistillationTrainer | SupervisedTrainer:
        """The trainer of the objective over encoded rows."""
        arguments = self.inputs.arguments
        require_a_step(len(demonstrated), arguments)
        sdft = self.settings.objective == "sdft"
        encode = distillation_rows if sdft else supervised_rows
        sequences = arguments.per_device_train_batch_size * arguments.gradient_accumulation_steps * arguments.world_size
        kind: Any = SelfDistillationTrainer if sdft else SupervisedTrainer
        try:
            trainer = kind(
                model=student,
                args=arguments,
                train_dataset=encode(self.inputs.encoder, demonstrated),
                processing_class=self.inputs.encoder.tokenizer,
                callbacks=[StepRecorder(self.directory, sequences), self.stop],
                peft_config=lora_config(self.settings) if self.settings.use_peft else None,
                **(self.distillation_options(student) if sdft else {}),
            )
        except (ValueError, ImportError) as error:
            raise UsageError(f"TRL can't begin with these settings: {error}") from error
        trainer.remove_callback(PrinterCallback)
        return trainer

    def distillation_options(self, student: PreTrainedModel) -> dict[str, Any]:
        """What the SDFT trainer takes beyond TRL's arguments."""
        device, checkpointing = self.inputs.arguments.device, bool(self.inputs.arguments.gradient_checkpointing)
        return {
            "run_directory": self.directory,
            "limit": self.inputs.limit or fitting_limit(student, device, checkpointing),
            "normalization": self.settings.loss_normalization,
            "engine": choose_engine(self.settings.rollout_engine, student, device, self.longest_rollouts()),
        }

    def longest_rollouts(self) -> int:
        """The most tokens that the rollouts of a step on one device may have together, prompts included."""
        longest = self.settings.max_prompt_length + self.settings.max_completion_length
        return self.inputs.arguments.per_device_train_batch_size * longest

    def score(self, moment: str, trainer: SelfDistillationTrainer | SupervisedTrainer) -> None:
        """Score the model on each given file, once: an interrupted run finds its scores again.

        Under autocast where training is, so that before and after are computed alike.
        """
        name = f"scores_{moment}.json"
        if self.directory.read_json(name) is not None or not self.inputs.eval_rows:
            return
        batch_size = self.inputs.arguments.per_device_eval_batch_size
        judge = Judge(self.inputs.encoder, batch_size, should_stop=lambda: self.stop.requested)
        with self.stage(f"eval_{moment}"), trainer.accelerator.autocast():
            rows, model = self.inputs.eval_rows, cast(PreTrainedModel, trainer.model)
            scores = {title: summarize(judge.answers(model, some, title)) for title, some in rows.items()}
            print(table(scores))
            self.directory.write_json(name, {title: dataclasses.asdict(score) for title, score in scores.items()})

    def optimize(self, trainer: SelfDistillationTrainer | SupervisedTrainer) -> None:
        """The training loop, from the newest checkpoint where there is one."""
        last = trainer.newest_whole()
        step = checkpoint.step_of(last) if last else 0
        self.directory.forget_after(step)
        if last:
            print(f"going on from {last}")
        if last and checkpoint.is_complete_run(last):
            trainer._load_from_checkpoint(str(last))
            return
        set_seed(self.settings.seed, device_specific=True)
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
                "demonstrations": self.demonstration_counts,
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
        return None if self.teacher is None else dataclasses.asdict(self.teacher) | {"tokenizer_route": None}


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
