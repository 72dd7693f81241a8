"""The records of data files, whatever they are kept in, exact as they are there and decoded when looked at.

Parquet, Arrow and saved datasets are mapped into memory by `datasets`. Of a text each record is kept as the JSON text
that it is, in an Arrow file of the datasets cache whose name is a digest of the content: `datasets`' own reader of
JSON infers one type a column, and changes numbers, nulls and texts to fit it.
"""

import hashlib
import itertools
import json
import lzma
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import datasets
import datasets.config
import pyarrow
import pyarrow.parquet
from datasets.exceptions import DatasetGenerationError
from datasets.utils.logging import disable_progress_bar

from ...errors import UsageError
from .bfcl import with_possible_answers
from .formats import format_of
from .json_values import NotJson, Value, loads
from .kept import cache, kept_table
from .places import Place, places
from .table_values import as_json
from .texts import NotRows, text_records

KEPT_AS = 2  # counts up when kept records change their form
BATCH = 10_000  # records written at once
TABLE = pyarrow.schema([("json", pyarrow.large_string()), ("line", pyarrow.int64())])

disable_progress_bar()


class Part:
    """The records of one file, or of one saved dataset.

    Attributes:
        digest: SHA-256 of what was read; of several files of their digests.
    """

    def __init__(self, place: Place, table: datasets.Dataset, digest: str):
        self.place = place
        self.digest = digest
        self.table = table.with_format("arrow")  # decoded here: `datasets` decodes JSON in a way that changes numbers

    def __len__(self) -> int:
        return len(self.table)

    def __getitem__(self, number: int) -> Any:
        found: Any = self.table[number]
        return as_json(self.table.features, found.to_pylist()[0])


class TextPart(Part):
    """Records that are kept as JSON texts."""

    def __init__(self, place: Place, table: datasets.Dataset, digest: str):
        super().__init__(place, table, digest)
        self._texts: Any = table.data.column("json")

    def __getitem__(self, number: int) -> Any:
        return loads(self._texts[number].as_py())


class Records(Sequence[Any]):
    """The records of several files, one after the other."""

    def __init__(self, parts: Sequence[Part]):
        self.parts = parts
        self._starts = list(itertools.accumulate(map(len, parts), initial=0))

    def __len__(self) -> int:
        return self._starts[-1]

    def __getitem__(self, number: Any) -> Any:
        if not 0 <= number < len(self):
            raise IndexError(number)
        part = bisect_right(self._starts, number) - 1
        return self.parts[part][number - self._starts[part]]

    @property
    def digests(self) -> dict[str, str]:
        """SHA-256 by file."""
        return {part.place.name: part.digest for part in self.parts}


def read_records(spec: str) -> Records:
    """The records at a path, or of a dataset of the hub; see `trainer.data.rows.places.places`.

    Raises:
        UsageError: nothing is there, or what is there can't be read or holds no record.
    """
    records = Records([_part(place) for place in places(spec)])
    if not len(records):
        raise UsageError(f"{spec} has no rows; expected at least one.")
    return records


def _part(place: Place) -> Part:
    opened = {"saved": _saved, "parquet": _parquet, "arrow": _arrow, "text": _text}
    try:
        digests = [digest_of(file) for file in place.files]
        digest = digests[0] if len(digests) == 1 else hashlib.sha256("".join(digests).encode()).hexdigest()
        return (TextPart if place.kind == "text" else Part)(place, opened[place.kind](place, digest), digest)
    except (NotRows, NotJson) as error:
        raise UsageError(f"can't read {place.name}: {error}") from error
    except (EOFError, lzma.LZMAError, pyarrow.ArrowInvalid) as error:
        raise UsageError(f"{place.name} is damaged, or not whole: {reason(error)}. Download it again.") from error
    except UnicodeDecodeError as error:
        raise UsageError(
            f"{place.name} is no UTF-8: found the byte {error.object[error.start]:#x}. Type `iconv -f latin1 -t utf-8 "
            f"{place.name} > NEW`, and pass NEW."
        ) from error
    except (OSError, ValueError, DatasetGenerationError) as error:
        raise UsageError(f"can't read {place.name}: {reason(error)}.") from error


def reason(error: BaseException) -> str:
    """The words of the deepest cause, in a line."""
    while error.__cause__ is not None:
        error = error.__cause__
    return (" ".join(str(error).split()) or type(error).__name__).rstrip(".")


def _saved(place: Place, digest: str) -> Any:
    return datasets.load_from_disk(str(place.path))


def _parquet(place: Place, digest: str) -> Any:
    if not pyarrow.parquet.read_metadata(place.path).num_rows:  # which datasets takes for a batch of size 0
        return datasets.Dataset.from_dict({})
    return datasets.Dataset.from_parquet(str(place.path), cache_dir=str(cache()))


def _arrow(place: Place, digest: str) -> Any:
    return datasets.load_dataset("arrow", data_files=str(place.path), split="train", cache_dir=str(cache()))


def _text(place: Place, digest: str) -> datasets.Dataset:
    key = f"{KEPT_AS}/{digest}/{place.key}/{place.path.suffixes}"
    return kept_table(key, lambda file: _write(_values(place), file))


def _values(place: Place) -> Iterator[Value]:
    rows = _rows_within(place, text_records(place.path))
    return rows if place.answers is None else with_possible_answers(rows, place.answers)


def _write(values: Iterator[Value], path: str) -> None:
    with pyarrow.OSFile(path, "wb") as file, pyarrow.ipc.new_stream(file, TABLE) as writer:
        writer.write_batch(pyarrow.record_batch([[], []], schema=TABLE))
        while batch := list(itertools.islice(values, BATCH)):
            columns = [[value.text for value in batch], [value.line for value in batch]]
            writer.write_batch(pyarrow.record_batch(columns, schema=TABLE))


def _rows_within(place: Place, values: Iterator[Value]) -> Iterator[Value]:
    """The values, or where a file is one object that wraps rows, those rows."""
    ahead = list(itertools.islice(values, 2))
    if len(ahead) == 1 and not ahead[0].is_item:
        for row in _unwrapped(loads(ahead[0].text), place.key):
            yield Value(json.dumps(row), ahead[0].line, True)
        return
    yield from itertools.chain(ahead, values)


def _unwrapped(content: Any, key: str | None) -> list[Any]:
    """The rows of a file that is one JSON object: under a key, by column as pandas writes, or itself the only one."""
    if not isinstance(content, dict):
        return [content]
    if columns := _by_column(content):
        return columns
    lists = [name for name, item in content.items() if _are_rows(item)]
    if key in lists:
        return content[key]
    if not lists or _is_row(content):
        return [content]
    if len(lists) > 1:
        raise NotRows(f"it holds rows under {', '.join(map(repr, lists))}. Name one of them: PATH#{lists[0]}.")
    return content[lists[0]]


def _by_column(content: dict[str, Any]) -> list[Any]:
    """The rows of an object as `pandas.DataFrame.to_json` writes it; none where it is not one."""
    if set(content) == {"columns", "index", "data"}:
        return [dict(zip(content["columns"], row, strict=True)) for row in content["data"]]
    items = list(content.values())
    if not items or not all(isinstance(item, dict) and item for item in items):
        return []
    if all(name.isdecimal() for name in content):
        return items
    if all(number.isdecimal() for item in items for number in item):
        return [{name: item[number] for name, item in content.items() if number in item} for number in items[0]]
    return []


def _are_rows(item: Any) -> bool:
    return isinstance(item, list) and bool(item) and all(isinstance(row, dict) for row in item)


def _is_row(content: dict[str, Any]) -> bool:
    """Whether an object is a row that happens to hold a list of objects, as a conversation or tools are."""
    return bool(format_of(list(content), every_turn=True))


def digest_of(path: Path) -> str:
    """SHA-256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
