"""What the model of a run can do, before, while and after it trains; kept in the run directory."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, cast

from transformers import PreTrainedModel

from ..run.directory import RunDirectory
from ..training.assemble import AnyTrainer
from ..training.inputs import Inputs
from ..training.midway import MidwayScores
from .judge import Judge
from .outcome import Right, known
from .scorer import Scorer
from .scores import Answer, Scores, as_json, mark_seen, summarize, table

MOMENTS = ("before", "after")


class RunScores:
    """Scores the model of a run on each given file.

    Args:
        stop_requested: Whether a signal asked to stop.
        scorer: What `--scorer` names.

    """

    def __init__(
        self, inputs: Inputs, directory: RunDirectory, stop_requested: Callable[[], bool], scorer: Scorer | None = None
    ):
        self.scorer = scorer
        self.inputs = inputs
        self.directory = directory
        self.stop_requested = stop_requested

    def are_due(self, moment: str) -> bool:
        """Whether there are rows to score that an interrupted run has not scored yet."""
        return bool(self.inputs.eval_rows) and self.directory.read_json(file_of(moment)) is None

    def measure(self, moment: str, trainer: AnyTrainer) -> None:
        """Score the model before or after training; print and keep what was found.

        Raises:
            Stopped: a signal asked to stop.
        """
        answers = self.answers(trainer)
        scores = {title: summarize(some) for title, some in answers.items()}
        print(table(scores))
        self.directory.write_json(file_of(moment), as_json(scores, answers))

    def answers(self, trainer: AnyTrainer, *, shows_progress: bool = True) -> dict[str, list[Answer]]:
        """The model's answers to each given file, under autocast where training is, so that all are computed alike."""
        arguments = self.inputs.arguments
        judge = Judge(
            self.inputs.encoder,
            arguments.per_device_eval_batch_size,
            # Of several processes all stop after the next step: one that stopped alone would leave the others waiting.
            should_stop=lambda: self.stop_requested() and arguments.world_size == 1,
            shows_progress=shows_progress,
            scorer=self.scorer,
        )
        model = cast(PreTrainedModel, trainer.model)
        with trainer.accelerator.autocast():
            answers = {title: judge.answers(model, rows, title) for title, rows in self.inputs.eval_rows.items()}
        return {title: mark_seen(some, self.inputs.train_rows) for title, some in answers.items()}

    def midway(self, trainer: AnyTrainer, every: int, max_forgetting: float) -> MidwayScores:
        """What scores each `every` steps."""

        def score() -> dict[str, float]:
            answers = self.answers(trainer, shows_progress=False)
            scores = midway_scores({title: summarize(some) for title, some in answers.items()})
            logs = {f"eval_{name}": value for name, value in scores.items()}  # for --report_to
            trainer.callback_handler.on_log(trainer.args, trainer.state, trainer.control, logs)
            return scores

        def protect(folder: Path | None) -> None:
            trainer.protected = folder

        return MidwayScores(self.directory, every, score, figures(self.directory, "before"), max_forgetting, protect)


def file_of(moment: str) -> str:
    """The file of the scores before or after."""
    return f"scores_{moment}.json"


def measures(directory: RunDirectory, moment: str) -> dict[str, dict[str, Any]]:
    """All measures before or after by what was measured; empty where that was not done yet."""
    return (directory.read_json(file_of(moment)) or {}).get("scores", {})


def figures(directory: RunDirectory, moment: str) -> dict[str, float]:
    """What checkpoints are compared by, before or after: accuracy by what was measured, see `midway_scores`."""
    found = {}
    for title, scores in measures(directory, moment).items():
        found |= _figure(title, scores["accuracy"], scores.get("similarity"))
    return found


def midway_scores(scores: Mapping[str, Scores]) -> dict[str, float]:
    """The same while training: `new_skill` is an accuracy; without one, `new_skill/similarity` stands for it."""
    found = {}
    for title, some in scores.items():
        found |= _figure(title, some.accuracy, some.similarity)
    return found


def _figure(title: str, accuracy: float | None, similarity: float | None) -> dict[str, float]:
    if accuracy is not None:
        return {title: accuracy}
    return {} if similarity is None else {f"{title}/similarity": similarity}


def right(directory: RunDirectory, moment: str) -> dict[str, Right]:
    """Whether each row was answered right before or after, by what was measured; empty where that was not done."""
    answers = (directory.read_json(file_of(moment)) or {}).get("answers", {})
    return {title: known({answer["id"]: answer["right"] for answer in some}) for title, some in answers.items()}
