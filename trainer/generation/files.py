"""The folder that `generate` writes: data files, rejected rows, a report, a data card."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from trainer.data.rows import Row
from trainer.errors import UsageError
from trainer.generation.card import card, report
from trainer.generation.factory import Factory
from trainer.run.atomic import replacing, try_to_write, write_json, write_text
from trainer.settings.options import Generate

JOURNAL, REJECTED, REPORT, CARD = "generate.journal.jsonl", "rejected.jsonl", "generation_report.json", "README.md"
TRAIN, EVAL = "train_data", "eval_data"  # .json, .jsonl or .parquet


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
