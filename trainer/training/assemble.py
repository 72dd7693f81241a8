"""Puts the trainer of each objective together: student, encoded rows, and whoever teaches."""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from datasets import Dataset, concatenate_datasets
from transformers import PreTrainedModel, PrinterCallback, TrainerCallback
from transformers.integrations import TensorBoardCallback

from ..data.privileged import plain_golden, shown_text
from ..data.prompts import DemonstratedPrompts, PromptEncoder, ShownPrompts, report_cuts
from ..data.rows.row import Row
from ..errors import UsageError
from ..models.hidden_states import require_plain_head
from ..models.loading import load_student
from ..models.student import end_as_turns_do, end_token_ids, teacher_of
from ..run.directory import RunDirectory
from ..run.processes import from_main_process
from ..settings.options import DISTILLING, Train
from ..teachers.demonstrations import (
    DemonstrationFeed,
    Demonstrations,
    Request,
    answered,
    open_feed,
    write_demonstrations,
)
from ..teachers.preflight import TeacherIdentity, client_for
from ..teachers.served.background import Line, open_line
from ..teachers.served.client import TeacherClient
from .adapters import lora_config, lora_targets
from .callbacks import EventFiles, StepRecorder
from .engine_choice import choose_copy, choose_engine
from .engine_trial import MEASURED, kept
from .inputs import Inputs, require_a_step
from .loop import DistillationTrainer
from .microbatches import fitting_limit
from .needs import parameters_beside
from .order import TeacherShare
from .self_distillation import SelfDistillationTrainer
from .served_distillation import ServedDistillationTrainer
from .sharding import is_asked_for
from .supervised import SupervisedTrainer
from .teacher_setup import TeacherSetup

JOURNAL = "demonstrations.jsonl"
AnyTrainer = DistillationTrainer | SupervisedTrainer


@dataclass
class Assembly:
    """The trainer of a run, as its settings say.

    Args:
        teacher: The served teacher that takes part, if one does; `trainer` adds how it scores.
        stage: Announces and measures a stage of the run.
        resources: What training needs is entered there: the line to the teacher, the journal.

    Attributes:
        feed: The demonstrations that come while the trainer trains, if they do.
        written: The demonstrations that were written before, if they were.
        asked: The client of the served teacher that is asked while the trainer trains, if one is.
    """

    settings: Train
    inputs: Inputs
    directory: RunDirectory
    callbacks: Sequence[TrainerCallback]
    teacher: TeacherIdentity | None
    stage: Callable[[str], AbstractContextManager[None]]
    resources: ExitStack
    feed: DemonstrationFeed | None = None
    written: Demonstrations | None = None
    asked: TeacherClient | None = None

    def report(self, trainer: AnyTrainer) -> None:
        """Say what is known only after training: what became of the demonstrations that came meanwhile."""
        if self.feed is not None:
            self.feed.demonstrator.require_usable()
            self.written = self.feed.demonstrator.demonstrations()
            print(self.written.summary())
        cut = "demonstrations lost their end, to fit what the teacher reads"
        if isinstance(trainer, ServedDistillationTrainer):
            report_cuts(cut, trainer.teacher.prompts.cuts, len(self.inputs.train_rows))
        elif isinstance(trainer, SelfDistillationTrainer) and self.feed is not None:
            report_cuts(cut, trainer.contexts.cuts, len(self.inputs.train_rows))

    def trainer(self, student: PreTrainedModel) -> AnyTrainer:
        """The trainer, ready to train.

        Raises:
            TeacherError: the served teacher is gone or unfit.
            UsageError: settings that don't go together.
            Stopped: a signal asked to stop.
        """
        if self.settings.use_peft:
            require_plain_head(student, lora_targets(self.settings))
        if self.settings.objective not in DISTILLING:
            return self._supervised(student)
        line = self.resources.enter_context(open_line(client_for(self.settings))) if self.teacher is not None else None
        if self.settings.objective == "served":
            assert line is not None
            trainer = self._served(student, line, self._demonstrations(line))
        else:
            trainer = self._self_distillation(student, line)
        if line is not None and self.feed is not None:
            line.background.submit(self.feed.follow(order_of_rows(trainer)))
        return trainer

    def _demonstrations(self, line: Line | None) -> Request:
        """How to ask for a row's demonstration: all are known, or they come while one process trains."""
        settings, is_alone = self.settings, self.inputs.arguments.world_size == 1
        ahead = is_alone and not settings.no_overlap and settings.rollouts == "student"
        if line is None or settings.demonstrations == "golden" or not ahead:
            return answered(self._texts())
        self.asked = line.client
        feed = self.feed = self.resources.enter_context(self._open_feed(line.client))
        return lambda number: line.background.submit(feed.text(number))

    def _texts(self) -> list[str | None]:
        """Each training row's demonstration; None where there is none. The main process asks the teacher for all."""
        rows, settings = self.inputs.train_rows, self.settings
        if settings.demonstrations == "golden":
            return [shown_text(row, self._write) for row in rows]
        with self.stage("demonstrations"):
            self.written = from_main_process(
                lambda: write_demonstrations(rows, settings, self._journal, write=self._write)
            )
        return self.written.texts

    def _open_feed(self, client: TeacherClient) -> AbstractContextManager[DemonstrationFeed]:
        return open_feed(client, self.inputs.train_rows, self.settings, self._journal, self._write)

    @property
    def _write(self) -> Callable[[Row], str | None]:
        """Writes demonstrations for their reader, the student or the served teacher."""
        return plain_golden if self.settings.objective == "served" else self.inputs.encoder.golden_text

    @property
    def _journal(self) -> Path:
        return self.directory.path / JOURNAL

    def _supervised(self, student: PreTrainedModel) -> SupervisedTrainer:
        """The trainer of `sft` and `seqkd` over rows that have a target."""
        if self.settings.objective == "sft":
            return self._make(SupervisedTrainer, student, self.inputs.encoded.supervised())
        pairs = zip(self.inputs.train_rows, self._texts(), strict=True)
        targets = [(row, text) for row, text in pairs if text is not None]
        return self._make(SupervisedTrainer, student, supervised_rows(self.inputs.encoder, targets))

    def _self_distillation(self, student: PreTrainedModel, line: Line | None) -> SelfDistillationTrainer:
        """The trainer of `sdft`."""
        dataset = self.inputs.encoded.prompts()
        contexts = self._contexts(line)
        if self.settings.rollouts != "student" and isinstance(contexts, DemonstratedPrompts):
            # It can't answer a prompt that it was not shown.
            dataset = dataset.select([n for n in range(len(dataset)) if contexts.ids(n) is not None])
        is_mixed = self.settings.rollouts == "mixed"
        return self._make(
            SelfDistillationTrainer,
            student,
            self._with_replay(dataset),
            contexts=contexts,
            teacher=self._teacher_model(),
            teacher_share=TeacherShare.parse(self.settings.teacher_rollouts) if is_mixed else None,
            **self._distilling(student),
        )

    def _teacher_model(self) -> PreTrainedModel | None:
        """The model that teaches in the place of the student's own weights, if there is one."""
        settings = teacher_of(self.settings)
        return None if settings is None else load_student(settings, self.inputs.arguments.device)

    def _with_replay(self, dataset: Dataset) -> Dataset:
        """The rows to learn, and behind them the prompts to replay."""
        replay = self.inputs.replay
        return dataset if replay is None else concatenate_datasets([dataset, replay.prompts])

    def _contexts(self, line: Line | None) -> DemonstratedPrompts | ShownPrompts:
        """What the teacher of `sdft` reads."""
        if self.settings.demonstrations == "golden":
            self.inputs.encoded.report_shown()
            return ShownPrompts(self.inputs.encoder, self.inputs.train_rows)
        encoder, rows = self.inputs.encoder, self.inputs.train_rows
        contexts = DemonstratedPrompts(encoder, rows, self._demonstrations(line))
        if self.feed is None:
            for number in range(len(rows)):
                contexts.ids(number)
            report_cuts(
                "demonstrations lost their end to --max_completion_length or the context", contexts.cuts, len(rows)
            )
        return contexts

    def _served(self, student: PreTrainedModel, line: Line, request: Request) -> ServedDistillationTrainer:
        """The trainer of `served`."""
        assert self.teacher is not None
        self.asked = line.client
        settings, encoder, rows = self.settings, self.inputs.encoder, self.inputs.train_rows
        ends = end_token_ids(student, encoder.tokenizer)
        with self.stage("teacher"):
            setup = TeacherSetup(line, settings, self.teacher, rows, encoder.tokenizer, ends, request)
            teacher, self.teacher = setup.open(self.directory)
        return self._make(
            ServedDistillationTrainer,
            student,
            self._with_replay(self.inputs.encoded.prompts()),
            teacher=teacher,
            credit=settings.byte_credit,
            clip=settings.advantage_clip,
            anchor=settings.byte_anchor if teacher.route.name == "byte" else 0.0,
            overlap=not settings.no_overlap,
            **self._distilling(student),
        )

    def _make(self, kind: Any, student: PreTrainedModel, dataset: Dataset, **options: Any) -> Any:
        """A trainer of the kind over encoded rows; its rollouts, and those of its checkpoints, end as turns do."""
        end_as_turns_do(student, self.inputs.encoder.tokenizer)
        arguments = self.inputs.arguments
        require_a_step(len(dataset), arguments)
        sequences = arguments.per_device_train_batch_size * arguments.gradient_accumulation_steps * arguments.world_size
        recorder = self.resources.enter_context(StepRecorder(self.directory, sequences, self.asked))
        try:
            trainer = kind(
                model=student,
                args=arguments,
                train_dataset=dataset,
                processing_class=self.inputs.encoder.tokenizer,
                callbacks=[recorder, *self.callbacks],
                peft_config=lora_config(self.settings, student) if self.settings.use_peft else None,
                **options,
            )
        except (ValueError, ImportError) as error:
            raise UsageError(f"TRL can't begin with these settings: {error}") from error
        trainer.remove_callback(PrinterCallback)
        if trainer.pop_callback(TensorBoardCallback):
            trainer.add_callback(EventFiles(self.directory.path / "tensorboard"))
        return trainer

    def _distilling(self, student: PreTrainedModel) -> dict[str, Any]:
        """What every trainer with rollouts takes beyond TRL's arguments."""
        arguments, engine = self.inputs.arguments, self.settings.rollout_engine
        device, checkpointing, shards = arguments.device, bool(arguments.gradient_checkpointing), 1
        if is_asked_for(arguments):
            shards = arguments.world_size
            engine = choose_copy(engine, student, device, half=bool(arguments.bf16))
        beside = parameters_beside(self.settings, student.num_parameters())
        limit = self.inputs.limit or fitting_limit(student, device, checkpointing, shards, beside)
        engine = choose_engine(engine, student, device, self._longest_rollouts())
        if engine == MEASURED:
            engine = kept(self.directory) or MEASURED
        return {
            "run_directory": self.directory,
            "limit": limit,
            "normalization": self.settings.loss_normalization,
            "replay": self.inputs.replay,
            "engine": engine,
        }

    def _longest_rollouts(self) -> int:
        """The most tokens that the rollouts of a step on one device may have together, prompts included."""
        longest = self.settings.max_prompt_length + self.settings.max_completion_length
        return self.inputs.arguments.per_device_train_batch_size * longest


def order_of_rows(trainer: DistillationTrainer) -> list[int]:
    """Numbers of the rows in the order in which the first epoch uses them; the others behind."""
    numbers: list[int] = trainer.train_dataset["row"]  # pyright: ignore
    sampler = trainer._get_train_sampler()
    sampler.set_epoch(0)
    order = [*(numbers[place] for place in sampler), *numbers]
    return [number for number in order if trainer.replay is None or not trainer.replay.has(number)]


def supervised_rows(encoder: PromptEncoder, demonstrated: list[tuple[Row, str]]) -> Dataset:
    """Rows for `sft` and `seqkd`: prompt and target, with the loss on the target and its end-of-turn token."""
    prompts = [encoder.student_prompt(row) for row, _ in demonstrated]
    targets = [encoder.target(text) for _, text in demonstrated]
    for what, some in (
        ("prompts lost their beginning to --max_prompt_length", prompts),
        ("targets lost their end to --max_completion_length", targets),
    ):
        report_cuts(what, sum(text.was_cut for text in some), len(some))
    pairs = list(zip(prompts, targets, strict=True))
    return Dataset.from_dict(
        {
            "input_ids": [prompt.ids + target.ids for prompt, target in pairs],
            "labels": [[-100] * len(prompt.ids) + target.ids for prompt, target in pairs],
        }
    )
