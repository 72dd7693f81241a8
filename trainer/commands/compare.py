"""The `compare` subcommand: two models answer the same rows, or a prompt; where do they differ, which is right?"""

import dataclasses
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.text import Text

from .. import COMMAND
from ..data.dataset import Reading, load_eval_rows
from ..data.rows.row import Row
from ..errors import UsageError
from ..evaluation.differences import Comparison, Parts, compared, marked, told
from ..evaluation.scorer import Scorer, load_scorer
from ..evaluation.scores import Answer
from ..evaluation.served import served_answers
from ..run.records import read_yaml
from ..run.streams import printable
from ..settings.options import Compare, Eval
from ..settings.resolve import COMMAND_LINE, PROGRAM, Resolved, made_by_program
from ..settings.server_url import ServerUrl, read_urls, without_secrets
from ..teachers.served.batch import run_until_stopped
from ..teachers.served.client import TeacherClient

ADDRESS = re.compile(r"\S+://\S+|[\w.-]+:\d+(/\S*)?")  # of a server; a folder of that name goes before
STOPPED = "stopped before the server was asked; nothing was compared."


@dataclass(frozen=True)
class Compared:
    """One of the two models.

    Attributes:
        name: As people read it.
        folder: Of a local model, or its hub name; None for a served one.
        url, served: Of a served model.
    """

    name: str
    folder: str | None = None
    url: ServerUrl | None = None
    served: str = ""


@dataclass(frozen=True)
class CompareResult:
    """Two models' answers to the same rows.

    Attributes:
        models: Their names.
        rows: What was asked.
        answers: Of each model, in the order of the rows.
        comparison: What they come to.
    """

    models: tuple[str, str]
    rows: list[Row]
    answers: tuple[list[Answer], list[Answer]]
    comparison: Comparison


def run(resolved: Resolved) -> int:
    """Entry of `compare`."""
    _compare(resolved)
    return 0


def compare(settings: Compare) -> CompareResult:
    """Do what the command `compare` does: show the answers that differ, and what all come to.

    Raises:
        UsageError: not two models; no rows; a model or a row that can't be read.
        TeacherError: a server that can't be reached, or serves no such model.
        Stopped: SIGINT or SIGTERM at a server.
    """
    return _compare(made_by_program(Compare, settings))


def _compare(resolved: Resolved) -> CompareResult:
    settings: Compare = resolved.settings
    if len(settings.models) != 2:
        raise UsageError(
            f"found {len(settings.models)} models, expected two. Type `{COMMAND} compare MODEL_A MODEL_B`, "
            "each a run directory, a folder, a hub name or a server's URL."
        )
    scorer = load_scorer(settings.scorer)
    rows = _rows(settings, typed_in=resolved.origins["eval_data_path"] in (COMMAND_LINE, PROGRAM))
    models = [_model(name, settings) for name in settings.models]
    encoders = [_encoder(model, settings) for model in models]
    rows = _readable(rows, encoders, settings)
    first, second = (
        _answers(model, encoder, rows, f"{letter} ({model.name})", settings, scorer)
        for letter, model, encoder in zip("AB", models, encoders, strict=True)
    )
    _show(rows, (first, second), settings.max_shown)
    for letter, model in zip("AB", models, strict=True):
        print(f"{letter}: {model.name}")
    comparison = compared(first, second)
    print(told(comparison))
    return CompareResult((models[0].name, models[1].name), rows, (first, second), comparison)


def _rows(settings: Compare, *, typed_in: bool) -> list[Row]:
    """The prompt that was typed in, or rows of a file; a file that is set for `train` too gives way to a prompt."""
    if settings.prompt is not None:
        if typed_in:
            raise UsageError("found --prompt and --eval_data_path; give one of them.")
        return [Row("prompt", [{"role": "user", "content": settings.prompt}])]
    path = settings.eval_data_path or _scored_by_a_run(settings)
    if path is None:
        raise UsageError("nothing to ask. Pass --eval_data_path FILE, or --prompt TEXT.")
    reading = Reading.of(_settings_of("", settings))
    return load_eval_rows(path, at_most=settings.max_eval_samples, reading=reading)


def _scored_by_a_run(settings: Compare) -> str | None:
    """The evaluation rows of the first run directory among the models."""
    folders = (Path(name) for name in settings.models)
    configs = (read_yaml(folder / "config.yaml") for folder in folders if (folder / "config.yaml").is_file())
    return next((path for config in configs if (path := config.get("eval_data_path"))), None)


def _model(name: str, settings: Compare) -> Compared:
    """What an argument names: a run directory, a server, or anything that `eval` takes as a model."""
    folder = Path(name)
    if (folder / "config.yaml").is_file():
        from ..run.chosen import choose

        config = read_yaml(folder / "config.yaml")
        chosen = choose(folder, settings.checkpoint, scores_midway=bool(config.get("eval_steps")))
        return Compared(f"{chosen.path} ({chosen.why})", folder=str(chosen.path))
    if folder.exists() or not ADDRESS.fullmatch(name):
        return Compared(name, folder=name)
    url = read_urls(name)
    served = settings.served_model or run_until_stopped(_only_model(url, settings), STOPPED)
    return Compared(f"{served} at {without_secrets(str(url))}", url=url, served=served)


async def _only_model(url: ServerUrl, settings: Compare) -> str:
    """The name of the one model that a server has."""
    async with _client(url, "", settings) as client:
        await client.health()
        found = await client.models() or []
    if len(found) != 1:
        names = ", ".join(model.name for model in found) or "doesn't say what"
        raise UsageError(f"the server at {url} serves {names}; expected one model. Pass --served_model NAME.")
    return found[0].name


def _client(url: ServerUrl, model: str, settings: Compare) -> TeacherClient:
    return TeacherClient(
        url,
        model,
        api_key=settings.vllm_server_api_key,
        max_concurrency=settings.vllm_server_max_concurrency,
        patience=settings.teacher_patience,
    )


def _settings_of(folder: str, settings: Compare) -> Eval:
    """What `eval` would be told of a local model."""
    shared = {f.name for f in dataclasses.fields(Eval)} & {f.name for f in dataclasses.fields(Compare)}
    values = {name: getattr(settings, name) for name in shared - {"eval_data_path"}}
    return Eval(model_name_or_path=folder, **values)


def _encoder(model: Compared, settings: Compare) -> Any:
    """Renders prompts for a local model; None for a served one, which does that itself."""
    if model.folder is None:
        return None
    from ..models.student import context_window, encoder_for, load_tokenizer

    own = _settings_of(model.folder, settings)
    window = context_window(own)
    return encoder_for(own, load_tokenizer(own), window)


def _readable(rows: list[Row], encoders: Sequence[Any], settings: Compare) -> list[Row]:
    """The rows that both models can read."""
    path = settings.eval_data_path or "the prompt"
    for encoder in encoders:
        if encoder is not None:
            from ..data.encoding import readable

            rows = readable(rows, encoder, path, skip_bad_rows=settings.skip_bad_rows)
    return rows


def _answers(
    model: Compared, encoder: Any, rows: list[Row], title: str, settings: Compare, scorer: Scorer | None
) -> list[Answer]:
    if model.url is not None:
        texts = {"max_tokens": settings.max_completion_length, "enable_thinking": settings.enable_thinking}
        return served_answers(_client(model.url, model.served, settings), rows, title, **texts, scorer=scorer)
    import torch

    from ..evaluation.judge import Judge
    from ..models.loading import load_student

    student: Any = load_student(_settings_of(model.folder or "", settings))
    student.to("cuda" if torch.cuda.is_available() else "cpu")
    return Judge(encoder, settings.per_device_eval_batch_size, scorer=scorer).answers(student, rows, title)


# ── what is shown


def _show(rows: Sequence[Row], answers: Sequence[Sequence[Answer]], at_most: int) -> None:
    """The answers that differ, side by side line by line; a single row in any case."""
    console = Console(highlight=False, markup=False, emoji=False, soft_wrap=True)
    triples = [*zip(rows, *answers, strict=True)]
    chosen = [triple for triple in triples if triple[1].text != triple[2].text or len(rows) == 1]
    for row, one, other in chosen[:at_most]:
        console.print(Text(printable(f"── {row.id}"), style="bold"))
        console.print(Text(printable("\n\n".join(str(m.get("content") or "") for m in row.prompt)), style="dim"))
        for letter, answer, parts in zip("AB", (one, other), marked(one.text, other.text), strict=True):
            console.print(Text(f"{letter}{_verdict(answer)}:", style="bold"))
            console.print(_as_text(parts, letter, coloured=console.is_terminal))
        console.print()
    if len(chosen) > at_most:
        print(f"{len(chosen) - at_most} more rows are answered differently (--max_shown)")


def _verdict(answer: Answer) -> str:
    """Whether an answer is right, where something says that."""
    ended = "" if answer.ended else ", cut off"
    return ("" if answer.right is None else ", right" if answer.right else ", wrong") + ended


def _as_text(parts: Parts, letter: str, *, coloured: bool) -> Text:
    """An answer with what the other lacks in colour; where there is none, in brackets as `git diff --word-diff` has."""
    opening, closing, style = ("[-", "-]", "bold red") if letter == "A" else ("{+", "+}", "bold green")
    text = Text()
    for part, differs in parts:
        shown = printable(part)
        text.append(f"{opening}{shown}{closing}" if differs and not coloured else shown, style if differs else "")
    return text
