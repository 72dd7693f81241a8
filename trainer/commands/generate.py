"""`generate`: train and eval data in the data format, written by the served teacher as a recipe says."""

import dataclasses
import gc
import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from trainer.data.dataset import Row
from trainer.errors import TeacherError, UsageError
from trainer.generation.card import card, rejections, report
from trainer.generation.factory import Factory
from trainer.generation.prompts import Commissions, Draft, given
from trainer.generation.recipe import Recipe, load_recipe
from trainer.generation.tools import Tool, load_tools
from trainer.run.atomic import replacing, try_to_write, write_json, write_text
from trainer.run.journal import Journal
from trainer.run.progress import Progress
from trainer.settings.options import Generate
from trainer.settings.resolve import Resolved
from trainer.teachers.served.batch import run_until_stopped

JOURNAL, REJECTED, REPORT, CARD = "generate.journal.jsonl", "rejected.jsonl", "generation_report.json", "README.md"
TRAIN, EVAL = "train_data", "eval_data"  # .json, .jsonl or .parquet
NEW_OBJECTS = 100_000  # among which garbage is looked for


def run(resolved: Resolved) -> int:
    """Entry of `generate`; 0 when both files hold as many rows as asked.

    Raises:
        UsageError: a bad recipe, bad or too few prompts, a folder that isn't ours or isn't writable.
        TeacherError: the teacher is gone or unfit, or too few candidates were good (the good ones are written).
        Stopped: SIGINT or SIGTERM; finished rows are in the journal.
    """
    settings: Generate = resolved.settings
    recipe = load_recipe(settings.recipe or ("qa" if settings.prompts is None else "from_prompts"))
    tools = tools_of(settings, recipe)
    prompts = prompts_of(settings, recipe, tools)
    folder = claim_folder(settings)
    gc.freeze()  # what is imported need not be looked through again and again while answers come
    gc.set_threshold(NEW_OBJECTS)  # Python's 700 are a few answers
    with Journal(folder / JOURNAL, decides(settings, recipe, tools, prompts)) as journal:
        factory = Factory(settings, recipe, prompts, journal)
        work(factory, journal)
    if not factory.kept:
        raise TeacherError(shortage(factory))
    write_files(folder, factory)
    print(summary(factory), f"wrote {', '.join(map(str, data_files(folder, settings)))}", sep="\n")
    if len(factory.kept) < factory.wanted:
        raise TeacherError(shortage(factory))
    return 0


def work(factory: Factory, journal: Journal) -> None:
    """Let the factory make its rows, and say how to go on where it can't."""
    kept = f"{journal.path} keeps what the teacher wrote; the same command continues."
    try:
        with Progress(factory.wanted, "generate") as progress:
            run_until_stopped(factory.run(progress), f"stopped; {kept}")
    except TeacherError as error:
        paid = factory.spent.requests or factory.earlier.requests
        raise TeacherError(f"{error} {kept if paid else ''}".strip()) from error


def tools_of(settings: Generate, recipe: Recipe) -> list[Tool]:
    """The recipe's tools.

    Raises:
        UsageError: no or bad tools, or `--tools` with a recipe that has no place for them.
    """
    if recipe.tools is None:
        if settings.tools is not None:
            raise UsageError(f"--tools {settings.tools}: the recipe {recipe.name} has no tools. Pass --recipe tooluse.")
        return []
    return load_tools(settings.tools or recipe.tools)


def prompts_of(settings: Generate, recipe: Recipe, tools: Sequence[Tool]) -> Commissions | list[Draft]:
    """The given prompts; else those that the teacher is to write.

    Raises:
        UsageError: bad data, fewer prompts than rows asked for, or neither prompts nor a recipe that makes some.
    """
    if settings.prompts is None:
        if recipe.request is None:
            raise UsageError(f"the recipe {recipe.name} makes no prompts. Pass --prompts FILE, or --recipe qa.")
        return Commissions(recipe, tools, settings.seed)
    different = given(settings.prompts, tools, settings.seed, skip_bad_rows=settings.skip_bad_rows)
    wanted = settings.train_samples + settings.eval_samples
    if len(different) < wanted:
        raise UsageError(
            f"{settings.prompts} has {len(different)} different prompts; expected {wanted} (--train_samples "
            f"{settings.train_samples} + --eval_samples {settings.eval_samples}). Lower one of them."
        )
    return different


def data_files(folder: Path, settings: Generate) -> tuple[Path, Path]:
    """Those to train and to evaluate on."""
    return folder / f"{TRAIN}.{settings.format}", folder / f"{EVAL}.{settings.format}"


def claim_folder(settings: Generate) -> Path:
    """The output folder, made where missing.

    Raises:
        UsageError: it can't be made or written, or holds files that `generate` did not make.
    """
    folder = Path(settings.out_dir)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(f"can't make the folder {folder}: {error.strerror}. Pass a writable --out_dir.") from error
    try:
        try_to_write(folder)
    except OSError as error:
        raise UsageError(f"the folder {folder} isn't writable. Pass a writable --out_dir.") from error
    for path in (*data_files(folder, settings), folder / REJECTED, folder / REPORT, folder / CARD):
        if path.exists() and not (folder / JOURNAL).exists():
            raise UsageError(
                f"{path} exists and was not made by `generate` (no {JOURNAL} beside it); it would be overwritten. Pass "
                "another --out_dir, or move the file away."
            )
    return folder


def decides(
    settings: Generate, recipe: Recipe, tools: Sequence[Tool], prompts: Commissions | Sequence[Draft]
) -> dict[str, Any]:
    """Everything that an answer of the teacher's depends on; not the numbers of rows, so that they can be raised."""
    given_rows = None if isinstance(prompts, Commissions) else [draft.row.to_json() for draft in prompts]
    return {
        "recipe": _digest({**dataclasses.asdict(recipe), "name": None, "description": None, "tools": None}),
        "tools": _digest([dataclasses.asdict(tool) for tool in tools]),
        "prompts": _digest(given_rows),
        "model": settings.model,
        "seed": settings.seed,
        "max_tokens": settings.max_tokens or recipe.max_tokens,
        "temperature": recipe.temperature if settings.temperature is None else settings.temperature,
        "enable_thinking": settings.enable_thinking,
    }


def _digest(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True, default=str).encode()).hexdigest()


def write_files(folder: Path, factory: Factory) -> None:
    """Data, rejected rows, report and card.

    The first rows become eval data, so that a later, larger run of the same seed leaves them as they are.

    Raises:
        UsageError: the disk is full, or the folder not writable any more.
    """
    settings, rows = factory.settings, factory.kept
    train, evaluation = data_files(folder, settings)
    rejected = [
        {
            "number": number,
            "rule": found.reason,
            "repeats": found.repeats,
            "answer": found.answer,
            "row": found.row.to_json(),
        }
        for number, found in sorted(factory.rejected.items())
    ]
    try:
        write_rows(evaluation, rows[: settings.eval_samples])
        write_rows(train, rows[settings.eval_samples :])
        write_text(folder / REJECTED, _lines(rejected))
        write_json(folder / REPORT, report(factory))
        write_text(folder / CARD, card(factory))
    except OSError as error:
        raise UsageError(f"can't write to {folder}: {error.strerror}. Expected a writable folder with room.") from error


def write_rows(path: Path, rows: Sequence[Row]) -> None:
    """Rows in the format that the file's name says."""
    records = [row.to_json() for row in rows]
    if path.suffix == ".json":
        write_json(path, records)
    elif path.suffix == ".jsonl":
        write_text(path, _lines(records))
    else:
        _write_parquet(path, records)


def _lines(records: Sequence[Any]) -> str:
    return "".join(json.dumps(record, ensure_ascii=False) + "\n" for record in records)


def _write_parquet(path: Path, records: list[dict[str, Any]]) -> None:
    """A column holds one type: prompts become messages; inputs of actions, nested and mixed values JSON texts."""
    import pyarrow
    import pyarrow.parquet

    names = list(dict.fromkeys(key for record in records for key in record))
    columns = {name: _column(name, [record.get(name) for record in records]) for name in names}
    with replacing(path) as temporary:
        pyarrow.parquet.write_table(pyarrow.table(columns), temporary)


def _column(name: str, values: list[Any]) -> list[Any]:
    if name == "prompt":
        return [[{"role": "user", "content": value}] if isinstance(value, str) else value for value in values]
    if name == "golden_answer":
        return [None if value is None else [_call(action) for action in value] for value in values]
    kinds = {type(value) for value in values if value is not None}
    lists = kinds == {list} and all(isinstance(text, str) for value in values for text in value or [])
    alike = lists or (len(kinds) == 1 and kinds <= {str, int, float, bool})
    return values if alike else [None if value is None else _as_text(value) for value in values]


def _call(action: dict[str, Any]) -> dict[str, str]:
    return {"Action": action["Action"], "Action_Input": _as_text(action["Action_Input"])}


def _as_text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def summary(factory: Factory) -> str:
    """One line: rows, what was rejected and why, requests, tokens, speed."""
    found = report(factory)
    now, earlier = found["this_run"], factory.earlier.requests
    return (
        f"{len(factory.kept)} rows, {len(factory.rejected)} rejected{_why(factory)}; {now['requests']} requests and "
        f"{earlier} answers from the journal, {now['prompt_tokens']} prompt and {now['completion_tokens']} completion "
        f"tokens, {now['retries']} retries, {now['rows_per_second']:.1f} rows/s, {now['seconds']:.1f} s"
    )


def _why(factory: Factory) -> str:
    reasons = ", ".join(f"{count} {rule}" for rule, count in rejections(factory).items() if count)
    return f" ({reasons})" if reasons else ""


def shortage(factory: Factory) -> str:
    """The message for too few good candidates."""
    mend = "a higher --temperature" if isinstance(factory.prompts, Commissions) else "more prompts in the file"
    return (
        f"{len(factory.kept)} rows were good and are written, expected {factory.wanted}; {factory.settled} candidates "
        f"are used up{_why(factory)}. {factory.refusal + ' ' if factory.refusal else ''}{REJECTED} has them with their "
        f"reasons. Try {mend}, a higher --max_tokens, or fewer --train_samples."
    )
