"""Text files as they lie about: compressed, in one encoding or another, JSON or a table."""

import bz2
import codecs
import csv
import gzip
import io
import json
import lzma
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any

import pyarrow

from .json_values import Value, json_values

ENCODINGS = {codecs.BOM_UTF8: "utf-8-sig", codecs.BOM_UTF16_LE: "utf-16", codecs.BOM_UTF16_BE: "utf-16"}
DELIMITERS = {".csv": ",;\t", ".tsv": "\t"}  # by the file's suffix; a table's header says which of them it has
LONGEST_CELL = 2**30  # characters


def _open_zstd(path: Path) -> Any:
    stream: Any = pyarrow.input_stream(str(path), compression="zstd")
    return io.BufferedReader(stream)


OPENED: dict[bytes, Callable[[Path], Any]] = {  # for reading bytes, by the first ones
    b"\x1f\x8b": gzip.open,
    b"BZh": bz2.open,
    b"\xfd7zXZ\x00": lzma.open,
    b"\x28\xb5\x2f\xfd": _open_zstd,
}


class NotRows(ValueError):
    """What was found instead of rows."""


def open_text(path: Path) -> io.TextIOWrapper:
    """The text of a file, decompressed and decoded by what its first bytes say; UTF-8 unless they say otherwise."""
    with _open_bytes(path) as file:
        start = file.read(3)
    encoding = next((name for mark, name in ENCODINGS.items() if start.startswith(mark)), "utf-8")
    return io.TextIOWrapper(_open_bytes(path), encoding=encoding, newline="")


def _open_bytes(path: Path) -> IO[bytes]:
    with path.open("rb") as file:
        head = file.read(6)
    return next((opened(path) for mark, opened in OPENED.items() if head.startswith(mark)), None) or path.open("rb")


def text_records(path: Path) -> Iterator[Value]:
    """The records of a text file, each as the text of a JSON value.

    Raises:
        NotRows, NotJson: there are none (says what is there).
        OSError, EOFError, UnicodeDecodeError, lzma.LZMAError: it can't be read, or not to its end.
    """
    with open_text(path) as file:
        start = file.read(4096).lstrip()
    if start.startswith("version https://git-lfs"):
        raise NotRows("it is a pointer of git-lfs and not the data. Fetch them: `git lfs pull`.")
    if start.startswith("<"):
        raise NotRows(f"it is a web page, {start[:40]!r}. Download the file itself.")
    if start.startswith("PK\x03\x04"):
        raise NotRows("it is a ZIP archive. Unpack it, and pass what is in it.")
    suffix = next((suffix for suffix in path.suffixes if suffix in DELIMITERS), None)
    if suffix is not None:
        yield from _table(path, DELIMITERS[suffix], start)
        return
    if start and start[0] not in "[{":
        raise NotRows(
            f"it holds neither JSON nor a table: it begins with {start[:40]!r}. Expected rows as "
            "JSON, or a table in a file whose name ends in .csv or .tsv."
        )
    with open_text(path) as file:
        yield from json_values(file)


def _table(path: Path, delimiters: str, start: str) -> Iterator[Value]:
    """Every cell is a text: `007` is no number, and `None` may be a word."""
    header = start.splitlines()[0] if start else ""
    csv.field_size_limit(LONGEST_CELL)
    with open_text(path) as file:
        reader = csv.DictReader(file, delimiter=max(delimiters, key=header.count), strict=True)
        names = reader.fieldnames or []
        if len(set(names)) < len(names):
            raise NotRows(f"two of its columns have one name; its header is {header[:100]!r}.")
        try:
            for record in reader:
                if None in record or None in record.values():
                    raise NotRows(f"line {reader.line_num} has not as many cells as the header, {len(names)}.")
                yield Value(json.dumps(record), reader.line_num, True)
        except csv.Error as error:
            raise NotRows(f"line {reader.line_num} is no line of a table: {error}.") from error
