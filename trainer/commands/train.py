"""The `train` subcommand: read everything, score, train, score again, summarise."""

import dataclasses
import os
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from accelerate.utils import set_seed
from transformers import PreTrainedModel

from ..errors import Stopped, TeacherError, UsageError
from ..evaluation.objective import choose_objective, record_choice
from ..evaluation.run_scores import RunScores
from ..evaluation.scorer import Scorer, load_scorer
from ..evaluation.summary import result, summary
from ..models.loading import load_student
from ..run import checkpoint
from ..run.directory import RunDirectory
from ..run.environment import environment
from ..run.processes import is_main_process, told_of_lost_process
from ..settings.options import Train
from ..settings.resolve import Resolved, made_by_program, show
from ..teachers.demonstrations import Demonstrations
from ..teachers.preflight import TeacherIdentity, require_teacher
from ..teachers.served.failures import ServerRefused
from ..training.assemble import AnyTrainer, Assembly
from ..training.callbacks import StopOnSignal
from ..training.inputs import Inputs, read_inputs, settle


def run(resolved: Resolved) -> int:
    """Entry of `train`."""
    complete(resolved)
    return 0


@dataclass(frozen=True)
class TrainResult:
    """A run that is done.

    Attributes:
        directory: The run directory.
        model: The last checkpoint, which plain transformers loads; None of a dry run.
        before, after: Accuracy as a fraction of 1, of `new_skill` and `prior_skills`; None where not measured.
        changes: Of each, what became of the same rows, with its 95 % interval where rows changed differently.
        summary: All of `summary.json`; empty of a dry run.
    """

    directory: Path
    model: Path | None
    before: dict[str, float | None]
    after: dict[str, float | None]
    changes: dict[str, dict[str, float]]
    summary: dict[str, Any]


def train(settings: Train, **training_arguments: Any) -> TrainResult:
    """Do what the command `train` does: an unfinished run in `output_dir` goes on, a finished one is only read.

    Args:
        training_arguments: Any other `TrainingArguments` of TRL's, such as `weight_decay=0.1`.

    Raises:
        UsageError, TeacherError: see `trainer.errors`; raised before anything expensive.
        Stopped: a signal asked to stop (Ctrl-C, a notebook's stop button); the same call goes on.
    """
    return complete(made_by_program(Train, settings, training_arguments))


def complete(resolved: Resolved) -> TrainResult:
    """Train as `resolved` says; raises as `train` does."""
    if not is_main_process():
        sys.stdout = open(os.devnull, "w")  # noqa: SIM115 (until the process ends)
    RunDirectory(Path(resolved.settings.output_dir)).require_no_file()
    resolved, measured = choose_objective(resolved)
    settings = settle(resolved.settings)
    resolved = dataclasses.replace(resolved, settings=settings)
    scorer = load_scorer(settings.scorer)
    inputs = read_inputs(resolved)
    if settings.dry_run:
        load_student(settings, inputs.arguments.device)
        print(f"would train on {len(inputs.train_rows)} rows with these settings:\n{show(resolved)}")
        return result_of(Path(settings.output_dir), {})
    with closing(RunDirectory.open(settings.output_dir, resolved)) as directory:
        directory.require_same_files(inputs.files, accepted=settings.accept_changed_data)
        if directory.is_finished():
            print(
                f"{directory.path} holds the finished run of these settings. Pass another --output_dir to train again."
            )
        else:
            record_choice(directory, measured)
            needs_teacher = settings.demonstrations == "teacher" or settings.objective == "served"
            teacher = require_teacher(settings) if needs_teacher else None
            with StopOnSignal() as stop, told_of_lost_process():
                Run(settings, inputs, teacher, directory, stop, scorer).complete()
        return result_of(directory.path, directory.read_json("summary.json") or {})


def result_of(directory: Path, summary: dict[str, Any]) -> TrainResult:
    """A run's result, from its summary.

    Raises:
        UsageError: the summary is damaged.
    """
    for name in ("scores", "changes"):
        if not isinstance(summary.get(name, {}), dict):
            raise UsageError(f"{directory / 'summary.json'} is damaged: {name} is no object. Move it away to go on.")
    scores, model = summary.get("scores", {}), summary.get("model")
    return TrainResult(
        directory=directory,
        model=Path(model) if model else None,
        before=scores.get("before", {}),
        after=scores.get("after", {}),
        changes=summary.get("changes", {}),
        summary=summary,
    )


class Run:
    """One run in its directory, from demonstrations to summary. An interrupted one goes on where it was."""

    def __init__(
        self,
        settings: Train,
        inputs: Inputs,
        teacher: TeacherIdentity | None,
        directory: RunDirectory,
        stop: StopOnSignal,
        scorer: Scorer | None = None,
    ):
        self.settings = settings
        self.inputs = inputs
        self.teacher = teacher
        self.directory = directory
        self.stop = stop
        self.scores = RunScores(inputs, directory, lambda: stop.requested, scorer)
        earlier = directory.read_json("summary.json") or {}
        self.wall_seconds: dict[str, float] = earlier.get("wall_seconds", {})
        self.demonstration_counts: dict[str, int] | None = earlier.get("demonstrations")

    def complete(self) -> None:
        """Do whatever of the run is not done yet; the last file written is `summary.json`.

        Raises:
            Stopped: a signal asked to stop; the summary says so and the same command goes on.
            TeacherError: the teacher is gone; the same command goes on when it is back.
        """
        self.write_environment()
        if self.directory.read_json("summary.json") is not None:
            self.summarize("unfinished")  # no longer as it was left
        try:
            with self.stage("model"):
                student = load_student(self.settings, self.inputs.arguments.device)
            with ExitStack() as resources:
                self.train(student, resources)
        except Stopped:
            self.summarize("stopped")
            raise
        except Exception:
            self.summarize("failed")
            raise
        self.summarize("finished")
        self.print_result()

    def train(self, student: PreTrainedModel, resources: ExitStack) -> None:
        """Score, train, score."""
        assembly = Assembly(
            self.settings, self.inputs, self.directory, [self.stop], self.teacher, self.stage, resources
        )
        trainer = assembly.trainer(student)
        self.teacher = assembly.teacher
        self.write_environment()
        self.score("before", trainer)
        every, floor = self.settings.eval_steps, self.settings.max_forgetting
        if every is not None:
            trainer.add_callback(self.scores.midway(trainer, every, floor))
        with self.stage("train"):
            self.optimize(trainer)
        assembly.report(trainer)
        if assembly.written is not None:
            self.count(assembly.written)
        self.score("after", trainer)

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

    def count(self, demonstrations: Demonstrations) -> None:
        """Keep for the summary what became of the demonstrations."""
        self.demonstration_counts = {kind: getattr(demonstrations, kind) for kind in ("written", "replaced", "dropped")}

    def score(self, moment: str, trainer: AnyTrainer) -> None:
        """Score the model on each given file, once: an interrupted run finds its scores again."""
        if self.scores.are_due(moment):
            with self.stage(f"eval_{moment}"):
                self.scores.measure(moment, trainer)

    def optimize(self, trainer: AnyTrainer) -> None:
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
        try:
            trainer.train(resume_from_checkpoint=str(last) if last else None)
        except TeacherError as error:
            saved = checkpoint.newest(self.directory.path)
            mended = "once it takes such requests" if isinstance(error, ServerRefused) else "when the teacher is back"
            raise TeacherError(
                f"{error} Step {trainer.state.global_step + 1} was given up; the same command goes on from "
                f"{saved.name if saved else 'the beginning'} {mended}."
            ) from error
        if self.stop.requested and trainer.state.global_step < trainer.state.max_steps:
            raise Stopped(
                f"stopped at step {trainer.state.global_step} of {trainer.state.max_steps}; the same command goes on."
            )

    def summarize(self, status: str) -> None:
        """Write `summary.json`."""
        more = {
            "wall_seconds": self.wall_seconds,
            "demonstrations": self.demonstration_counts,
            "teacher": self.teacher_summary(),
        }
        self.directory.write_json("summary.json", summary(self.directory, self.settings, status, more))

    def teacher_summary(self) -> dict[str, Any] | None:
        """The served teacher that took part; the tokenizer route is of objectives that it scores tokens for."""
        return None if self.teacher is None else dataclasses.asdict(self.teacher)

    def write_environment(self) -> None:
        """Write `environment.json`."""
        self.directory.write_json("environment.json", environment(self.teacher_summary(), self.inputs.files))

    def print_result(self) -> None:
        """The headline of the run and where the rest is."""
        if not is_main_process():
            return
        print("── finished")
        print(result(self.directory.read_json("summary.json") or {}, self.directory, self.settings))
