"""The `eval` subcommand: how well a model, local or served, answers rows; better than before?"""

from dataclasses import dataclass
from typing import Any

from ..data.dataset import Reading, load_eval_files, load_rows
from ..data.privileged import require_shown
from ..data.refusals import kept
from ..data.rows.row import Row
from ..data.showing import Showing
from ..evaluation import baseline, preference, suite
from ..evaluation.scorer import Scorer, load_scorer
from ..evaluation.scores import Answer, Scores, as_json, mark_seen, summarize, table
from ..evaluation.served import served_answers
from ..run.atomic import json_text, require_output_file, write_output_file
from ..settings.options import Eval
from ..settings.resolve import Resolved, made_by_program
from ..teachers.served.chat_messages import SILENT
from ..teachers.served.client import TeacherClient


def run(resolved: Resolved) -> int:
    """Entry of `eval`."""
    evaluate(resolved.settings)
    return 0


@dataclass(frozen=True)
class EvalResult:
    """How well a model answers.

    Attributes:
        scores: Of `new_skill` and `prior_skills`, as far as there are rows.
        answers: Every answer, in the same way.
        record: What `output_file` holds: also changes since a baseline, a judge's verdicts, tasks of a suite.
    """

    scores: dict[str, Scores]
    answers: dict[str, list[Answer]]
    record: dict[str, Any]


def evaluate(settings: Eval) -> EvalResult:
    """Do what the command `eval` does: print a table, and what else was asked for; write `output_file` where given.

    Raises:
        UsageError, TeacherError: see `trainer.errors`.
        Stopped: SIGINT or SIGTERM at a served model.
    """
    settings = made_by_program(Eval, settings).settings
    if settings.output_file is not None:
        require_output_file(settings.output_file)
    scorer = load_scorer(settings.scorer)
    tasks = suite.load(settings) if settings.suite is not None else None
    encoder = None if settings.served else _encoder(settings)
    if settings.judge is not None:
        preference.require_judge(settings)
    rows = load_eval_files(
        settings.eval_data_path,
        settings.prior_data_path,
        at_most=settings.max_eval_samples,
        reading=Reading.of(settings),
    )
    training_rows = _training_rows(settings)
    rows = _readable(settings, rows, encoder)
    earlier = baseline.read(settings.baseline, rows) if settings.baseline is not None else None

    if encoder is not None:
        answers = _answers_of_model(settings, rows, encoder, scorer)
    else:
        answers = _answers_of_server(settings, rows, scorer)
    if training_rows:
        answers = {title: mark_seen(some, training_rows) for title, some in answers.items()}
    return _tell(settings, rows, answers, earlier, tasks)


def _tell(
    settings: Eval, rows: dict[str, list[Row]], answers: dict[str, list[Answer]], earlier: Any, tasks: Any
) -> EvalResult:
    """Whatever is asked of the answers, one after another; each is in the file before it is on the terminal."""
    found: dict[str, Any] = {"model": settings.model_name_or_path}
    if settings.served:
        found = {"model": settings.vllm_server_model, "served": settings.served}

    def tell(more: dict[str, Any], text: str) -> None:
        found.update(more)
        if settings.output_file is not None:
            write_output_file(settings.output_file, json_text(found))
        print(text)

    scores = {title: summarize(some) for title, some in answers.items()}
    tell(as_json(scores, answers), table(scores))
    if earlier is not None:
        changes = baseline.changes(earlier, answers)
        since = {"baseline": settings.baseline, "changes": changes}
        tell(since, f"since {settings.baseline}:\n{baseline.told(changes)}")
    if settings.judge is not None:
        judged = preference.preferences(settings, rows, answers)
        tell({"judge": preference.as_json(judged, settings)}, preference.told(judged, settings))
    if tasks is not None:  # last, for it may take hours
        more = suite.scores(settings, tasks)
        tell({"suite": more}, suite.table(more))
    return EvalResult(scores, answers, found)


def _readable(settings: Eval, rows: dict[str, list[Row]], encoder: Any) -> dict[str, list[Row]]:
    """The rows that the model can read, as far as that is known beforehand: of a served one not its template."""
    paths = {"new_skill": settings.eval_data_path, "prior_skills": settings.prior_data_path}
    skip, shows = settings.skip_bad_rows, settings.with_demonstration
    if encoder is not None:
        from ..data.encoding import readable

        return {
            title: readable(some, encoder, paths[title] or "", shown_own=shows, skip_bad_rows=skip)
            for title, some in rows.items()
        }
    if not shows:
        return rows
    return {t: [*kept(some, paths[t], require_shown, skip_bad_rows=skip)] for t, some in rows.items()}


def _training_rows(settings: Eval) -> list[Row]:
    """Those that tell which tools training has seen; none where no file does."""
    path = settings.train_data_path
    if path is None:
        return []
    rows = load_rows(path, needs_golden=False, reading=Reading.of(settings))
    telling = [row for row in rows if row.golden_answer]
    if not telling:
        print(f"warning: no row of {path} has a golden_answer, so nothing tells which tools training has seen")
    return telling


def _answers_of_server(settings: Eval, rows: dict[str, list[Row]], scorer: Scorer | None) -> dict[str, list[Answer]]:
    def client() -> TeacherClient:
        return TeacherClient(
            settings.served or "",
            settings.vllm_server_model,
            api_key=settings.vllm_server_api_key,
            max_concurrency=settings.vllm_server_max_concurrency,
            patience=settings.teacher_patience,
        )

    answers = {
        title: served_answers(
            client(),
            some,
            title,
            max_tokens=settings.max_completion_length,
            enable_thinking=settings.enable_thinking,
            showing=Showing.of(settings) if settings.with_demonstration else None,
            scorer=scorer,
        )
        for title, some in rows.items()
    }
    for title, some in answers.items():
        silent = sum(not answer.text.strip() for answer in some)
        if 2 * silent > len(some):
            print(f"warning: {silent} of {len(some)} answers to {title} hold no text. {SILENT}")
    return answers


def _encoder(settings: Eval) -> Any:
    """Renders prompts for the local model; torch is imported for it."""
    from ..models.student import context_window, encoder_for, load_tokenizer

    window = context_window(settings)
    return encoder_for(settings, load_tokenizer(settings), window)


def _answers_of_model(
    settings: Eval, rows: dict[str, list[Row]], encoder: Any, scorer: Scorer | None
) -> dict[str, list[Answer]]:
    import torch

    from ..evaluation.judge import Judge
    from ..models.loading import load_student

    shown, batch_size = settings.with_demonstration, settings.per_device_eval_batch_size
    judge = Judge(encoder, batch_size, with_demonstration=shown, scorer=scorer)
    model: Any = load_student(settings, dtype=getattr(torch, settings.dtype))
    model.to("cuda" if torch.cuda.is_available() else "cpu")
    return {title: judge.answers(model, some, title) for title, some in rows.items()}
