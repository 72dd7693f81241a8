"""The `train` subcommand: read everything, score, train, score again, summarise."""

import dataclasses
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, cast

from accelerate.utils import set_seed
from transformers import PreTrainedModel

from trainer.errors import Stopped, TeacherError
from trainer.evaluation.headroom import choose_objective, record_choice
from trainer.evaluation.judge import Judge
from trainer.evaluation.outcome import Right, change, headline, in_points, told
from trainer.evaluation.scores import Answer, as_json, mark_seen, summarize, table
from trainer.models.student import load_student
from trainer.run import checkpoint
from trainer.run.directory import RunDirectory
from trainer.run.environment import environment
from trainer.settings.options import Train
from trainer.settings.resolve import Resolved, show
from trainer.teachers.demonstrations import Demonstrations
from trainer.teachers.preflight import TeacherIdentity, require_teacher
from trainer.training.assemble import AnyTrainer, Assembly
from trainer.training.callbacks import StopOnSignal
from trainer.training.inputs import Inputs, read_inputs, settle
from trainer.training.midway import MidwayScores, best_step, folder_of

MOMENTS = ("before", "after")


def run(resolved: Resolved) -> int:
    """Train as `resolved` says and return the exit code.

    Raises:
        UsageError, TeacherError: see `trainer.errors`; raised before anything expensive.
        Stopped: a signal asked to stop; what is needed to go on has been saved.
    """
    resolved, measured = choose_objective(resolved)
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
    record_choice(directory, measured)
    needs_teacher = settings.demonstrations == "teacher" or settings.objective == "served"
    teacher = require_teacher(settings) if needs_teacher else None
    with StopOnSignal() as stop:
        Run(settings, inputs, teacher, directory, stop).complete()
    return 0


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
                student = load_student(self.settings)
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
        if self.settings.eval_steps is not None:
            trainer.add_callback(self.midway(trainer, self.settings.eval_steps))
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
        name = f"scores_{moment}.json"
        if self.directory.read_json(name) is not None or not self.inputs.eval_rows:
            return
        with self.stage(f"eval_{moment}"):
            answers = self.answers(trainer)
            scores = {title: summarize(some) for title, some in answers.items()}
            print(table(scores))
            self.directory.write_json(name, as_json(scores, answers))

    def answers(self, trainer: AnyTrainer, *, shows_progress: bool = True) -> dict[str, list[Answer]]:
        """The model's answers to each given file, under autocast where training is, so that all are computed alike."""
        arguments = self.inputs.arguments
        judge = Judge(
            self.inputs.encoder,
            arguments.per_device_eval_batch_size,
            # Of several processes all stop after the next step: one that stopped alone would leave the others waiting.
            should_stop=lambda: self.stop.requested and arguments.world_size == 1,
            shows_progress=shows_progress,
        )
        model = cast(PreTrainedModel, trainer.model)
        with trainer.accelerator.autocast():
            answers = {title: judge.answers(model, rows, title) for title, rows in self.inputs.eval_rows.items()}
        return {title: mark_seen(some, self.inputs.train_rows) for title, some in answers.items()}

    def midway(self, trainer: AnyTrainer, every: int) -> MidwayScores:
        """What scores each `every` steps."""

        def score() -> dict[str, float]:
            answers = self.answers(trainer, shows_progress=False)
            scores = {title: summarize(some).accuracy for title, some in answers.items()}
            logs = {f"eval_{title}": value for title, value in scores.items()}  # for --report_to
            trainer.callback_handler.on_log(trainer.args, trainer.state, trainer.control, logs)
            return scores

        def protect(folder: Path | None) -> None:
            trainer.protected = folder

        before, floor = self.accuracies("before"), self.settings.max_forgetting
        return MidwayScores(self.directory, every, score, before, floor, protect)

    def right(self, moment: str) -> dict[str, Right]:
        """Whether each row was answered right before or after, by what was measured; empty where that was not done."""
        answers = (self.directory.read_json(f"scores_{moment}.json") or {}).get("answers", {})
        return {title: {answer["id"]: answer["right"] for answer in some} for title, some in answers.items()}

    def accuracies(self, moment: str) -> dict[str, float]:
        """Accuracy before or after by what was measured."""
        return {title: scores["accuracy"] for title, scores in self.measures(moment).items()}

    def measures(self, moment: str) -> dict[str, dict[str, Any]]:
        """All measures before or after by what was measured; empty where that was not done yet."""
        return (self.directory.read_json(f"scores_{moment}.json") or {}).get("scores", {})

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
            raise TeacherError(
                f"{error} Step {trainer.state.global_step + 1} was given up; the same command goes on from "
                f"{saved.name if saved else 'the beginning'} when the teacher is back."
            ) from error
        if self.stop.requested and trainer.state.global_step < trainer.state.max_steps:
            raise Stopped(
                f"stopped at step {trainer.state.global_step} of {trainer.state.max_steps}; the same command goes on."
            )

    def summarize(self, status: str) -> None:
        """Write `summary.json`."""
        metrics, newest = self.directory.read_metrics(), checkpoint.newest(self.directory.path)
        steps = [record for record in metrics if "loss" in record]
        seconds = sum(record["seconds"] for record in steps)
        details = {moment: self.measures(moment) for moment in MOMENTS}
        self.directory.write_json(
            "summary.json",
            {
                "status": status,
                "objective": self.settings.objective,
                "model": str(newest or ""),
                "steps": checkpoint.step_of(newest) if newest else 0,
                "scores": {moment: headline(scores) for moment, scores in details.items()},
                "changes": self.changes(),
                "best": self.best(metrics),
                "score_details": details,
                "tokens_per_second": round(sum(r["tokens"] for r in steps) / seconds, 1) if steps else None,
                "wall_seconds": self.wall_seconds,
                "demonstrations": self.demonstration_counts,
                "teacher": self.teacher_summary(),
            },
        )

    def changes(self) -> dict[str, dict[str, float]]:
        """What became of each accuracy on the rows that were answered before and after."""
        before, after = (self.right(moment) for moment in MOMENTS)
        found = {title: change(before[title], after[title]) for title in before if title in after}
        return {title: changed for title, changed in found.items() if changed is not None}

    def best(self, metrics: list[dict[str, Any]]) -> dict[str, Any] | None:
        """With `--eval_steps` the best checkpoint of a finished training, the last one among them, and its scores."""
        after, newest = self.accuracies("after"), checkpoint.newest(self.directory.path)
        if self.settings.eval_steps is None or not after or newest is None:
            return None
        last = {"step": checkpoint.step_of(newest), **{f"eval/{title}": value for title, value in after.items()}}
        scored = {record["step"]: record for record in [*metrics, last] if "eval/new_skill" in record}
        step = best_step([*scored.values()], self.accuracies("before"), self.settings.max_forgetting)
        if step is None:
            return None
        scores = {title: scored[step][f"eval/{title}"] for title in after}
        return {"step": step, "model": str(folder_of(self.directory.path, step)), **scores}

    def print_result(self) -> None:
        """The headline of the run and where the rest is."""
        summary = self.directory.read_json("summary.json") or {}
        print("── finished")
        for title, changed in summary["changes"].items():
            accuracies = f"{changed['before']:.1%} → {changed['after']:.1%}"
            print(f"{title.replace('_', ' '):<14}{accuracies}{in_points(changed)}")
        if self.settings.eval_steps is not None:
            print(f"{'best':<14}{told(summary['best'], self.settings.max_forgetting)}")
        print(f"{'model':<14}{summary['model']}\n{'run':<14}{self.directory.path}")
        print(f"{'report':<14}python -m trainer report {self.directory.path}")

    def teacher_summary(self) -> dict[str, Any] | None:
        """The served teacher that took part; the tokenizer route is of objectives that it scores tokens for."""
        return None if self.teacher is None else dataclasses.asdict(self.teacher)

    def write_environment(self) -> None:
        """Write `environment.json`."""
        self.directory.write_json("environment.json", environment(self.teacher_summary()))
