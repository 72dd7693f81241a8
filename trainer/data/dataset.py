"""Rows of a data file of any common format: read once, checked, the same for every user of them.

Our own format is `{"prompt": str | messages, "golden_response": [str, …]}`, optionally with `"golden_answer"`
(`[{"Action": str, "Action_Input": str | object}]`), `"check"`, `"tools"`, `"privileged_context"`, `"id"` and further
keys, which are carried through. Others are told by their columns, see `trainer.data.rows.formats`.
"""

import dataclasses
import hashlib
import json
import random
import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import Any, TypeVar, overload

import numpy as np

from ..errors import UsageError
from ..run.shares import in_shares
from .groups import Alike
from .privileged import read_context
from .rows.columns import asking_column, chosen_format, suggestion, unread_columns
from .rows.formats import Format, require_text_alone, with_system
from .rows.json_values import reason_of_broken
from .rows.kept import keep_array, kept_array
from .rows.own_format import parse_row, require_whole
from .rows.records import Records, read_records
from .rows.row import BadRow, Row, Tool
from .rows.tool_files import load_tools

T = TypeVar("T")
DEFAULT_TRAIN_DATA = ("data/tooluse_data/train_data.json", "data/tooluse_data/sample_train.json")
MOST_REASONS = 5
CHECKED_AS = 2  # counts up when other rows are good


@dataclass(frozen=True)
class Reading:
    """How rows are read.

    Attributes:
        columns: Which column is which, as `--columns` says; None where their names tell.
        turns: Of a conversation `each` answer of the assistant becomes a row, or the `last` one.
        tools: For rows that name none.
        context: What the teacher is shown of rows that have no privileged context; None: their golden response.
        skip_bad_rows: Drop bad rows and say how many, instead of ending at the first.
        examples: So many other rows are shown to the teacher of a row.
        shows_own: Whether it is also shown the row's own demonstration.
    """

    columns: str | None = None
    turns: str = "each"
    tools: tuple[Tool, ...] = ()
    context: str | None = None
    skip_bad_rows: bool = False
    examples: int = 0
    shows_own: bool = True

    @classmethod
    def of(cls, settings: Any) -> "Reading":
        """As the settings of a subcommand say.

        Raises:
            UsageError: the file of tools or of the context can't be read, or holds none.
        """
        tools = load_tools(settings.tools) if settings.tools else ()
        context = read_context(settings.context) if settings.context else None
        shows_own = settings.demonstrations_of == "own"
        examples = settings.demonstrations_shown - shows_own
        return cls(settings.columns, settings.turns, tools, context, settings.skip_bad_rows, examples, shows_own)


class Rows(Sequence[Row]):
    """The rows of a data file, each read from it when it is looked at.

    Args:
        places: int64 [R, 2], of each row its record and which of the record's rows it is.
        alike: Finds each row's examples; None where it has none.
    """

    def __init__(
        self, records: Records, form: Format, reading: Reading, places: np.ndarray, alike: Alike | None = None
    ):
        self.records = records
        self.form = form
        self.reading = reading
        self.places = places
        self.alike = alike
        if alike is None and (reading.examples or not reading.shows_own):
            numbers = range(len(places))
            self.alike = Alike((self._place(number), self._at(*self._place(number))) for number in numbers)

    def __len__(self) -> int:
        return len(self.places)

    @overload
    def __getitem__(self, index: int) -> Row: ...
    @overload
    def __getitem__(self, index: slice) -> list[Row]: ...
    def __getitem__(self, index: int | slice) -> Row | list[Row]:
        if isinstance(index, slice):
            return [self[number] for number in range(*index.indices(len(self)))]
        place = self._place(index)
        row = self._at(*place)
        if self.alike is None:
            return row
        examples = [self._at(*other) for other in self.alike.examples_for(place, row, self.reading.examples)]
        return dataclasses.replace(row, examples=tuple(examples), shows_own=self.reading.shows_own)

    def _place(self, index: int) -> tuple[int, int]:
        record, turn = map(int, self.places[index])
        return record, turn

    def _at(self, record: int, turn: int) -> Row:
        found = rows_of_record(self.records[record], record + 1, self.form, self.reading)
        return next(row for number, row in enumerate(found) if number == turn)

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 of all that decides what the rows are."""
        decides = [self.records.digests, self.form.name, self.form.meaning, dataclasses.asdict(self.reading)]
        digest = hashlib.sha256(json.dumps(decides, sort_keys=True, default=str).encode())
        digest.update(self.places.tobytes())
        return digest.hexdigest()

    def only(self, numbers: Sequence[int]) -> "Rows":
        """Some of the rows, in this order."""
        return Rows(self.records, self.form, self.reading, self.places[np.asarray(numbers, np.int64)], self.alike)


def load_rows(
    path: str,
    *,
    needs_golden: bool = True,
    skip_bad_rows: bool = False,
    reading: Reading | None = None,
    say: Callable[[str], None] = print,
) -> Rows:
    """The rows of `path`, whatever they are kept in; see `data.rows.places`. Says what was taken for what.

    Args:
        needs_golden: Whether a row without a golden response is bad.
        skip_bad_rows: As `Reading.skip_bad_rows`, where no reading is given.
        say: Gets the lines for the user.

    Raises:
        UsageError: the file is missing, unreadable or empty, or a row is bad (names file, row and field).
    """
    reading = reading or Reading(skip_bad_rows=skip_bad_rows)
    records = read_records(path)
    form = chosen_format(path, records, reading.columns, reading.turns == "each")
    places, reasons = _checked(path, records, form, reading, needs_golden)
    if len(places):
        say(told(path, len(records), len(places), form))
        for line in more_told(path, records, form):
            say(line)
    if reasons:
        say(_dropped(path, reasons, len(records)))
    if not len(places):
        raise UsageError(f"{path} has no {'good ' if reasons else ''}rows; expected at least one.")
    return Rows(records, form, reading, places)


def told(path: str, records: int, rows: int, form: Format) -> str:
    """What was taken for what, in a line."""
    of = "" if records == rows else f" from {records:,} records"
    what = "" if form.name == "ours" else f" as {form.name}"
    return f"{path}: {rows:,} row{'s' if rows > 1 else ''}{of}{what}: {form.meaning}"


def more_told(path: str, records: Records, form: Format) -> Iterator[str]:
    """Lines on what else was read, and on columns that say something and that no model reads."""
    for part in records.parts:
        if part.place.answers is not None:
            yield f"{part.place.name}: ground_truth of each id from {part.place.answers}"
    unread = [name for name in unread_columns(records) if name not in form.meaning]
    if unread:
        asks = asking_column(records)
        way = f'--columns prompt="{{{unread[0]}}}\\n\\n{{{asks}}}" puts it there' if asks else "put it there"
        yield f"{path}: no model reads the column {', '.join(unread)}; where it belongs to the prompt, {way}"


def _checked(
    path: str, records: Records, form: Format, reading: Reading, needs_golden: bool
) -> tuple[np.ndarray, dict[int, str]]:
    """The place of each good row, int64 [R, 2], and of bad records by number what is wrong with them."""
    decides = [CHECKED_AS, records.digests, form.name, form.meaning, dataclasses.asdict(reading), needs_golden]
    key = json.dumps(decides, sort_keys=True, default=str)
    if (known := kept_array(key)) is not None:
        return known, {}
    shares = in_shares(len(records), partial(_check_share, records, form, reading, needs_golden), "reading")
    reasons = {number: reason for _, some in shares for number, reason in some.items()}
    if reasons and not reading.skip_bad_rows:
        first = min(reasons)
        hint = _hint(reasons[first], records, first, form)
        raise UsageError(f"{path}, row {first + 1}: {reasons[first]}{hint}")
    places = np.concatenate([some for some, _ in shares])
    if not reasons and len(shares) > 1:
        keep_array(key, places)
    return places, reasons


def _check_share(
    records: Records, form: Format, reading: Reading, needs_golden: bool, start: int, end: int
) -> tuple[np.ndarray, dict[int, str]]:
    places, reasons = [], {}
    for number in range(start, end):
        try:
            rows = list(rows_of_record(records[number], number + 1, form, reading))
            for row in rows:
                require_whole(row, needs_golden=needs_golden)
        except BadRow as error:
            reasons[number] = str(error)
            if not reading.skip_bad_rows:
                break
        else:
            places += [(number, turn) for turn in range(len(rows))]
    return np.array(places, np.int64).reshape(-1, 2), reasons


def _hint(error: str, records: Records, number: int, form: Format) -> str:
    record = records[number]
    others = {name: record[name] for name in record if name != "prompt"} if isinstance(record, dict) else {}
    if form.name == "ours" and "'golden_response' is missing" in error and others:
        return f" If a column holds it, name it: {suggestion({'prompt': '', **others})}. Or pass --skip_bad_rows."
    return " Mend the row, or pass --skip_bad_rows."


def _dropped(path: str, reasons: dict[int, str], records: int) -> str:
    """How many records were dropped, and why: reasons that differ in what was found count as one."""
    kinds = Counter(re.sub(r" is \S.*?, expected", " is wrong, expected", reason) for reason in reasons.values())
    first = ", ".join(str(number + 1) for number in list(reasons)[:5]) + (", …" if len(reasons) > 5 else "")
    lines = [f"  {count:>6}  {reason}" for reason, count in kinds.most_common(MOST_REASONS)]
    return "\n".join([f"{path}: dropped {len(reasons)} bad of {records} rows (rows {first})", *lines])


def rows_of_record(record: Any, number: int, form: Format, reading: Reading) -> Iterator[Row]:
    """The rows that a record of some format holds; most hold one.

    Raises:
        BadRow: says which field is wrong, what it holds and what was expected.
    """
    if isinstance(record, str) and (broken := reason_of_broken(record)):
        raise BadRow(broken)
    if not isinstance(record, dict):
        raise BadRow(f"found a {type(record).__name__}, expected an object with 'prompt' and 'golden_response'.")
    given = {key: value for key, value in record.items() if value is not None}
    require_text_alone(given)
    for ours in form.records(given):
        row = parse_row(with_system(ours), number, tools=reading.tools)
        if row.privileged_context is None and reading.context is not None:
            row = dataclasses.replace(row, privileged_context=reading.context)
        yield row


def load_eval_rows(
    path: str,
    *,
    at_most: int | None = None,
    needs_golden: bool = False,
    skip_bad_rows: bool = False,
    reading: Reading | None = None,
    say: Callable[[str], None] = print,
) -> list[Row]:
    """The rows of `path` that are to be scored, see `drawn`, under ids by which answers are told from each other.

    An id that is a number, a position as a rule, gets a digest of the prompt: other files have the same numbers.

    Raises:
        UsageError: as `load_rows`, or two rows have the same id.
    """
    rows = load_rows(path, needs_golden=needs_golden, skip_bad_rows=skip_bad_rows, reading=reading, say=say)
    named = [_identified(row) for row in rows]
    id, count = Counter(row.id for row in named).most_common(1)[0]
    if count > 1:
        raise UsageError(f"{path} has {count} rows with the id {id!r}; expected different ones, or none at all.")
    return drawn(named, at_most)


def load_eval_files(
    eval_data_path: str | None, prior_data_path: str | None, *, at_most: int | None, reading: Reading
) -> dict[str, list[Row]]:
    """`load_eval_rows` of the files that are given, by what they measure; prior skills are told without a context."""
    files = {
        "new_skill": (eval_data_path, reading),
        "prior_skills": (prior_data_path, dataclasses.replace(reading, context=None, examples=0, shows_own=True)),
    }
    return {
        title: load_eval_rows(path, at_most=at_most, reading=way)
        for title, (path, way) in files.items()
        if path is not None
    }


def _identified(row: Row) -> Row:
    if not row.id.replace(".", "").isdecimal():
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
