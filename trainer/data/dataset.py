"""Rows of a data file: read in any of four formats, validated once, the same for every user of them.

A row is `{"prompt": str | messages, "golden_response": [str, …]}`, optionally with `"golden_answer"`
(`[{"Action": str, "Action_Input": str | object}]`), `"id"` and further keys, which are carried through.
"""

import dataclasses
import hashlib
import json
import random
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypeVar

from trainer.data.rows import BadRow, Message, Row
from trainer.errors import UsageError

T = TypeVar("T")
DEFAULT_TRAIN_DATA = ("data/tooluse_data/train_data.json", "data/tooluse_data/sample_train.json")
ROLES = ("system", "user", "assistant", "tool")


def load_rows(path: str, *, needs_golden: bool = True, skip_bad_rows: bool = False) -> list[Row]:
    """The rows of `path`: a JSON array, JSONL, Parquet, or a folder written by `datasets.save_to_disk`.

    Args:
        needs_golden: Whether a row without `golden_response` is bad.
        skip_bad_rows: Drop bad rows and say how many, instead of ending at the first.

    Raises:
        UsageError: the file is missing, unreadable or empty, or a row is bad (names file, row and field).
    """
    rows, bad = [], []
    for number, record in enumerate(read_records(path), start=1):
        try:
            rows.append(parse_row(record, number, needs_golden=needs_golden))
        except BadRow as error:
            if not skip_bad_rows:
                raise UsageError(f"{path}, row {number}: {error} Mend the row, or pass --skip_bad_rows.") from None
            bad.append(number)
    if bad:
        shown = ", ".join(map(str, bad[:5])) + (", …" if len(bad) > 5 else "")
        print(f"{path}: dropped {len(bad)} bad of {len(bad) + len(rows)} rows (rows {shown})")
    if not rows:
        raise UsageError(f"{path} has no {'good ' if bad else ''}rows; expected at least one.")
    return rows


def load_eval_rows(path: str, *, at_most: int | None = None, skip_bad_rows: bool = False) -> list[Row]:
    """The rows of `path` that are to be scored, see `drawn`, under ids by which answers are told from each other.

    An id that is a number, a position as a rule, gets a digest of the prompt: other files have the same numbers.

    Raises:
        UsageError: as `load_rows`, or two rows have the same id.
    """
    rows = [_identified(row) for row in load_rows(path, skip_bad_rows=skip_bad_rows)]
    id, count = Counter(row.id for row in rows).most_common(1)[0]
    if count > 1:
        raise UsageError(f"{path} has {count} rows with the id {id!r}; expected different ones, or none at all.")
    return drawn(rows, at_most)


def load_eval_files(
    eval_data_path: str | None, prior_data_path: str | None, *, at_most: int | None, skip_bad_rows: bool
) -> dict[str, list[Row]]:
    """`load_eval_rows` of the files that are given, by what they measure."""
    files = {"new_skill": eval_data_path, "prior_skills": prior_data_path}
    return {
        title: load_eval_rows(path, at_most=at_most, skip_bad_rows=skip_bad_rows)
        for title, path in files.items()
        if path is not None
    }


def _identified(row: Row) -> Row:
    if not row.id.isdecimal():
        return row
    digest = hashlib.sha256(json.dumps(row.prompt).encode()).hexdigest()
    return dataclasses.replace(row, id=f"{row.id}-{digest[:8]}")


def drawn(items: Sequence[T], at_most: int | None) -> list[T]:
    """At most so many, in their order, the same ones each time; those of a smaller number are among them.

    Drawn at random, because files are often sorted, and the first rows would all be of one kind.
    """
    order = random.Random(0).sample(range(len(items)), len(items))
    return [items[number] for number in sorted(order[:at_most])]


def default_train_data() -> str:
    """The training file used when none is named.

    Raises:
        UsageError: neither of the two default files exists.
    """
    for path in DEFAULT_TRAIN_DATA:
        if Path(path).is_file():
            return path
    raise UsageError(f"no training data: none of {', '.join(DEFAULT_TRAIN_DATA)} exists. Pass --train_data_path FILE.")


def read_records(path: str) -> list[Any]:
    """The raw records of a data file, whatever its format."""
    source = Path(path)
    if not source.exists():
        raise UsageError(f"no data at {path}. Pass the path of a JSON, JSONL or Parquet file, or a dataset folder.")
    try:
        if source.is_dir():
            return _read_saved_dataset(source)
        if source.suffix == ".parquet":
            return _read_parquet(source)
        text = source.read_text(encoding="utf-8")
        return _parse_lines(text) if source.suffix == ".jsonl" else _parse_array(text)
    except (OSError, ValueError) as error:
        raise UsageError(f"can't read {path}: {error}") from error


def _read_saved_dataset(folder: Path) -> list[Any]:
    import datasets

    loaded = datasets.load_from_disk(str(folder))
    if isinstance(loaded, datasets.DatasetDict):
        splits = ", ".join(map(str, loaded))
        raise ValueError(f"it holds the splits {splits}; expected one. Name the folder of one split.")
    return [_without_nulls(record) for record in loaded.to_list()]


def _read_parquet(source: Path) -> list[Any]:
    import pyarrow.parquet

    return [_without_nulls(record) for record in pyarrow.parquet.read_table(source).to_pylist()]


def _without_nulls(value: Any) -> Any:
    """Columnar formats fill keys that a record lacks with nulls; JSON records simply lack them."""
    if isinstance(value, dict):
        return {key: _without_nulls(item) for key, item in value.items() if item is not None}
    return [_without_nulls(item) for item in value] if isinstance(value, list) else value


def _parse_array(text: str) -> list[Any]:
    content = json.loads(text)
    if not isinstance(content, list):
        raise ValueError(f"found a JSON {type(content).__name__}, expected an array of rows.")
    return content


def _parse_lines(text: str) -> list[Any]:
    records = []
    for number, line in enumerate(text.split("\n"), start=1):  # splitlines() would also cut at U+2028 within a text
        if line.strip():
            try:
                records.append(json.loads(line))
            except ValueError as error:
                raise ValueError(f"line {number} is not JSON: {error}") from error
    return records


def parse_row(record: Any, number: int, *, needs_golden: bool) -> Row:
    """One record as a `Row`.

    Raises:
        BadRow: says which field is wrong, what it holds and what was expected.
    """
    if not isinstance(record, dict):
        raise BadRow(f"found a {type(record).__name__}, expected an object with 'prompt' and 'golden_response'.")
    rest = dict(record)
    prompt = _parse_prompt(rest.pop("prompt", None))
    golden_response = _parse_golden_response(rest.pop("golden_response", None))
    if golden_response is None and needs_golden:
        raise BadRow("field 'golden_response' is missing, expected a list of lines.")
    golden_answer = _parse_golden_answer(rest.pop("golden_answer", None))
    return Row(str(rest.pop("id", number)), prompt, golden_response, golden_answer, rest)


def _parse_prompt(value: Any) -> list[Message]:
    if value is None:
        raise BadRow("field 'prompt' is missing, expected a text or a list of messages.")
    messages = [{"role": "user", "content": value}] if isinstance(value, str) else value
    if not isinstance(messages, list) or not messages or not all(map(_is_message, messages)):
        raise BadRow(
            f"field 'prompt' is {_shortened(value)}, expected a text or a list of "
            "{'role': …, 'content': text} messages."
        )
    if messages[-1]["role"] != "user":
        raise BadRow(f"the last message of 'prompt' is of role {messages[-1]['role']!r}, expected 'user'.")
    if not messages[-1]["content"].strip():
        raise BadRow("field 'prompt' is empty, expected a text.")
    return messages


def _is_message(value: Any) -> bool:
    return isinstance(value, dict) and value.get("role") in ROLES and isinstance(value.get("content"), str)


def _parse_golden_response(value: Any) -> str | None:
    if value is None:
        return None
    lines = [value] if isinstance(value, str) else value
    if not isinstance(lines, list) or not all(isinstance(line, str) for line in lines):
        raise BadRow(f"field 'golden_response' is {_shortened(value)}, expected a list of texts.")
    text = "\n".join(lines)
    if not text.strip():
        raise BadRow("field 'golden_response' is empty, expected a list of lines.")
    return text


def _parse_golden_answer(value: Any) -> list[dict[str, Any]] | None:
    if value is None:
        return None
    if not isinstance(value, list) or not all(_is_action(item) for item in value):
        raise BadRow(
            f"field 'golden_answer' is {_shortened(value)}, expected a list of "
            "{'Action': text, 'Action_Input': text or object}."
        )
    return value


def _is_action(value: Any) -> bool:
    return isinstance(value, dict) and isinstance(value.get("Action"), str) and "Action_Input" in value


def _shortened(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False, default=str)
    return text if len(text) <= 60 else text[:57] + "…"
