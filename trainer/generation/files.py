"""The folder that `generate` writes: data files, rejected rows, a report, a data card."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ..data.rows.row import Row
from ..errors import UsageError
from ..run.atomic import remove_leftovers, replacing, try_to_write, write_json, write_text
from ..run.machine import mend_of
from ..settings.options import Generate
from .card import card, report
from .factory import Factory

JOURNAL, REJECTED, REPORT, CARD = "generate.journal.jsonl", "rejected.jsonl", "generation_report.json", "README.md"
MANY_KEYS = 300  # of the objects in one column
MESSAGES = ("prompt", "golden_response", "privileged_context")  # columns of texts, or of messages
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
        try_to_write(folder)
    except OSError as error:
        raise UsageError(
            f"can't write to the folder {folder}: {error.strerror}. To mend it, {mend_of(error, folder, '--out_dir')}."
        ) from error
    for path in (*data_files(folder, settings), folder / REJECTED, folder / REPORT, folder / CARD):
        if path.exists() and not (folder / JOURNAL).exists():
            raise UsageError(
                f"{path} exists and was not made by `generate` (no {JOURNAL} beside it); it would be overwritten. Pass "
                "another --out_dir, or move the file away."
            )
    return folder


def write_files(folder: Path, factory: Factory) -> None:
    """Rejected rows and report; where there are good rows, data and card too: none replaces those of an earlier run.

    The first rows become eval data, so that a later, larger run of the same seed leaves them as they are.

    Raises:
        UsageError: the disk is full, or the folder not writable any more.
    """
    try:
        remove_leftovers(folder)
        write_text(folder / REJECTED, _lines(_rejected(factory)))
        write_json(folder / REPORT, report(factory))
        if factory.kept:
            _write_data(folder, factory)
    except OSError as error:
        raise UsageError(f"can't write to {folder}: {error.strerror}. Expected a writable folder with room.") from error


def _rejected(factory: Factory) -> list[dict[str, Any]]:
    return [
        {
            "number": number,
            "rule": found.reason,
            "repeats": found.repeats,
            "answer": found.answer,
            "row": found.row.to_json(),
        }
        for number, found in sorted(factory.rejected.items())
    ]


def _write_data(folder: Path, factory: Factory) -> None:
    train, evaluation = data_files(folder, factory.settings)
    write_rows(evaluation, factory.kept[: factory.settings.eval_samples])
    write_rows(train, factory.kept[factory.settings.eval_samples :])
    write_text(folder / CARD, card(factory))


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
    """A column holds one type, and what it lacks becomes null, which `load_rows` takes for absent."""
    import pyarrow
    import pyarrow.parquet

    names = list(dict.fromkeys(key for record in records for key in record))
    columns = {name: _column(name, [record.get(name) for record in records]) for name in names}
    with replacing(path) as temporary:
        pyarrow.parquet.write_table(pyarrow.table(columns), temporary)


def _column(name: str, values: list[Any]) -> Any:
    """An Arrow array which reads back as `values`; where Parquet has no type for them, one of their JSON texts.

    Inputs of actions and arguments of calls always are texts: each has other keys, and a null there is a value.
    """
    if name == "golden_answer":
        values = [None if value is None else [_call(action) for action in value] for value in values]
    if name in MESSAGES:
        mixes = name == "prompt" or (name == "golden_response" and any(map(_holds_messages, values)))
        values = [None if value is None else _as_messages(name, value, mixes) for value in values]
    array = _typed(values)
    if array is None and name in MESSAGES:
        raise UsageError(f"Parquet has no type for the values of {name!r} together. Pass --format jsonl.")
    if array is None:
        array = _typed([None if value is None else _as_text(value) for value in values])
    return array


def _typed(values: list[Any]) -> Any:
    """The values as an Arrow array; None where Parquet doesn't give the same ones back, up to null keys."""
    import pyarrow
    import pyarrow.parquet

    if _has_many_keys(values):
        return None
    try:
        table = pyarrow.table({"column": pyarrow.array(values)})
        buffer = pyarrow.BufferOutputStream()
        pyarrow.parquet.write_table(table, buffer)
        found = pyarrow.parquet.read_table(pyarrow.BufferReader(buffer.getvalue())).column("column").to_pylist()
    except (pyarrow.ArrowException, OverflowError, RecursionError, TypeError, ValueError):
        return None
    return table.column("column") if _without_nulls(found) == _without_nulls(values) else None


def _has_many_keys(values: list[Any]) -> bool:
    """Whether the objects of a column have so many keys that a Parquet column for each would take minutes."""
    found: set[str] = set()
    waiting = [(value, "") for value in values if isinstance(value, list | dict)]
    while waiting and len(found) <= MANY_KEYS:
        value, place = waiting.pop()
        items = value.items() if isinstance(value, dict) else (("", item) for item in value)
        inner = [(item, f"{place}.{key}") for key, item in items]
        found |= {place for _, place in inner}
        waiting += [each for each in inner if isinstance(each[0], list | dict)]
    return len(found) > MANY_KEYS


def _without_nulls(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_nulls(item) for key, item in value.items() if item is not None}
    return [_without_nulls(item) for item in value] if isinstance(value, list) else value


def _as_messages(name: str, value: Any, mixes: bool) -> Any:
    """Messages with plain values in them; where a column mixes both, a text becomes one."""
    if _holds_messages(value):
        return [_with_texts(message) for message in value]
    if not mixes:
        return value
    user = name == "prompt"
    return [{"role": "user" if user else "assistant", "content": value if user else "\n".join(value)}]


def _holds_messages(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(each, dict) for each in value)


def _with_texts(message: dict[str, Any]) -> dict[str, Any]:
    """A message with the arguments of its calls as texts."""
    if not message.get("tool_calls"):
        return message
    functions = [
        {**call["function"], "arguments": _as_text(call["function"]["arguments"])} for call in message["tool_calls"]
    ]
    calls = [{**call, "function": function} for call, function in zip(message["tool_calls"], functions, strict=True)]
    return {**message, "tool_calls": calls}


def _call(action: dict[str, Any]) -> dict[str, str]:
    return {"Action": action["Action"], "Action_Input": _as_text(action["Action_Input"])}


def _as_text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
