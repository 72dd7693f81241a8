"""Run directories as the report reads them: everything that is there, nothing made up for what is not.

Shapes: S logged steps.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from .. import COMMAND
from ..data.dataset import Reading, load_eval_rows
from ..data.rows.row import Row
from ..errors import UsageError
from ..run.records import Record, read_json, read_lines, read_yaml, whole_lines

MOMENTS = ("before", "after")
DATA_SETTINGS = {"new_skill": "eval_data_path", "prior_skills": "prior_data_path"}


@dataclass(frozen=True)
class Scored:
    """What one model scored on one set of rows.

    Attributes:
        values: Measures by name, as `eval` made them.
        answers: Answers by the row's id; empty where the run kept none.
    """

    values: Record
    answers: dict[str, Record]


@dataclass(frozen=True)
class Run:
    """One run directory.

    Attributes:
        name: Short and unlike that of any other run of the report.
        metrics: One record a step, in the order of steps.
        scores: By moment (`before`, `after`) and title (`new_skill`, `prior_skills`), where measured.
    """

    path: Path
    name: str
    config: Record
    environment: Record
    summary: Record
    metrics: list[Record]
    scores: dict[str, dict[str, Scored]]

    @property
    def status(self) -> str:
        """`finished`, `stopped`, `failed`, or `unfinished` where no summary says how it ended."""
        return self.summary.get("status") or "unfinished"

    @property
    def objective(self) -> str:
        """What the run learned from."""
        return self.summary.get("objective") or self.config.get("objective") or "unknown"

    @property
    def last_step(self) -> int:
        """The last optimizer step as the summary tells it, else the last that was logged; 0 if none was."""
        return self.summary.get("steps") or (self.metrics[-1]["step"] if self.metrics else 0)

    def series(self, key: str) -> tuple[np.ndarray, np.ndarray]:
        """The steps (int64) and values (float64), both of shape (S,), at which metric `key` is a finite number."""
        known = [(r["step"], r[key]) for r in self.metrics if _is_number(r.get(key))]
        steps_S = np.array([step for step, _ in known], dtype=np.int64)
        return steps_S, np.array([value for _, value in known], dtype=np.float64)

    def sample_lines(self) -> Iterator[str]:
        """The lines of `samples.jsonl`, read one at a time: a long run's file is larger than memory should be."""
        return whole_lines(self.path / "samples.jsonl")

    def rows(self, title: str) -> dict[str, Row]:
        """The rows that were scored as `title`, by id; none where the run names no file for them.

        Raises:
            UsageError: the file that the run names is not there any more, or can't be read.
        """
        path = self.config.get(DATA_SETTINGS.get(title, ""))
        if not path:
            return {}
        if not Path(path).exists():
            raise UsageError(f"{path} is not here. Make the report in the folder that `train` ran in to see them.")
        reading = Reading(
            columns=self.config.get("columns"),
            turns=self.config.get("turns", "each"),
            skip_bad_rows=bool(self.config.get("skip_bad_rows")),
        )
        return {row.id: row for row in load_eval_rows(path, reading=reading, say=lambda line: None)}


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and bool(np.isfinite(value))


def read_runs(paths: list[str]) -> list[Run]:
    """The runs in the folders `paths`, in that order.

    Raises:
        UsageError: no folder is named, one is no run directory, or a file of one is damaged.
    """
    if not paths:
        raise UsageError(f"no run is named. Type `{COMMAND} report RUN`, where RUN is train's --output_dir.")
    folders = list(dict.fromkeys(Path(path).resolve() for path in paths))
    for folder in folders:
        require_run_directory(folder)
    names = distinct_names(folders)
    return [read_run(folder, name) for folder, name in zip(folders, names, strict=True)]


@contextmanager
def as_written(folders: Sequence[Path]) -> Iterator[None]:
    """Say of files that were edited, and hold other kinds of values than `train` writes, that they can't be shown.

    Raises:
        UsageError: what is done within finds a value of another kind.
    """
    try:
        yield
    except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as error:
        raise UsageError(
            f"a file of {', '.join(map(str, folders))} holds another kind of value than `train` writes "
            f"({type(error).__name__}: {error}). Put back what was edited: config.yaml, environment.json, "
            "summary.json, metrics, scores and samples are read."
        ) from error


def require_run_directory(folder: Path, command: str = "report") -> None:
    """Raise UsageError, with the nearest run directories and what to type, unless `folder` is one."""
    if (folder / "config.yaml").is_file():
        return
    found = "no folder is there" if not folder.is_dir() else "it has no config.yaml"
    inside = sorted(str(file.parent) for file in folder.glob("*/config.yaml"))[:3]
    advice = f"Type `{COMMAND} {command} {inside[0]}`" if inside else "Pass the --output_dir of a `train`"
    more = f" (or {', '.join(inside[1:])})" if inside[1:] else ""
    raise UsageError(f"{folder} is no run directory: {found}. {advice}{more}.")


def distinct_names(folders: list[Path]) -> list[str]:
    """The last parts of each path, as few as tell all of them apart."""
    names = [folder.name for folder in folders]
    for parts in range(1, max(len(folder.parts) for folder in folders) + 1):
        names = ["/".join(folder.parts[-parts:]) for folder in folders]
        if len(set(names)) == len(folders):
            break
    return names


def read_run(folder: Path, name: str) -> Run:
    """The run in `folder`.

    Raises:
        UsageError: a file of it is damaged.
    """
    with as_written([folder]):
        return Run(
            path=folder,
            name=name,
            config=read_yaml(folder / "config.yaml"),
            environment=read_json(folder / "environment.json") or {},
            summary=read_json(folder / "summary.json") or {},
            metrics=read_metrics(folder / "metrics.jsonl"),
            scores={moment: read_scores(read_json(folder / f"scores_{moment}.json") or {}) for moment in MOMENTS},
        )


def read_metrics(file: Path) -> list[Record]:
    """One record a step. Lines of the same step are one record: a resumed run repeats a step, an evaluation adds to it.

    With `--logging_steps` above 1 a line has the seconds of several steps; here they are those of one.

    Raises:
        UsageError: a line is no JSON object with a whole number as its `step`.
    """
    by_step: dict[int, Record] = {}
    for _, record in read_lines(file):
        if _is_number(record.get("seconds")):
            record["seconds"] /= record.get("steps", 1)
        by_step.setdefault(record["step"], {}).update(record)
    return [by_step[step] for step in sorted(by_step)]


def read_scores(content: Record) -> dict[str, Scored]:
    """Scores by title: either measures alone, or as `eval` writes them, `{"scores": …, "answers": …}`."""
    values = content.get("scores", content)
    answers = content.get("answers", {})
    return {
        title: Scored(measures, {str(answer["id"]): answer for answer in answers.get(title, [])})
        for title, measures in values.items()
        if isinstance(measures, dict)
    }
