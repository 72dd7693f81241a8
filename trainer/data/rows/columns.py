"""Which column is which: found from the columns' names, or as `--columns` says."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from trainer.data.rows.formats import GOLDENS, PROMPTS, Format, Record, format_of
from trainer.data.rows.messages import shown
from trainer.data.rows.row import BadRow
from trainer.errors import UsageError

FIELDS = ("id", "prompt", "golden_response", "golden_answer", "check", "tools", "privileged_context", "messages")
SEEN = 100  # records that tell a file's columns
NAMED = re.compile(r"""\s*(\w+)\s*=\s*(?:"([^"]*)"|'([^']*)'|([^,]*))\s*(?:,|$)""")
PLACE = re.compile(r"\{([^{}]+)\}")


@dataclass(frozen=True)
class Columns:
    """What `--columns` says: each field of ours is a column, or a text with `{column}` in it."""

    sources: dict[str, str]

    @classmethod
    def parse(cls, text: str) -> "Columns":
        """From `prompt=question,golden_response="{a} {b}"`.

        Raises:
            UsageError: it isn't like that, or names a field that there is not.
        """
        sources, place = {}, 0
        while place < len(text):
            found = NAMED.match(text, place)
            if found is None or not (source := found[2] or found[3] or (found[4] or "").strip()):
                raise UsageError(
                    f"--columns {text}: found {text[place:]!r}, expected FIELD=COLUMN, with commas between."
                )
            if found[1] not in FIELDS:
                raise UsageError(f"--columns {text}: found {found[1]!r}, expected one of {', '.join(FIELDS)}.")
            sources[found[1]] = source.replace("\\n", "\n")
            place = found.end()
        return cls(sources)

    @property
    def names(self) -> set[str]:
        """All columns that are named."""
        return {name for source in self.sources.values() for name in PLACE.findall(source) or [source]}

    def records(self, record: Record) -> Iterator[Record]:
        """The record with the fields of ours."""
        taken = {field: self._value(source, record) for field, source in self.sources.items()}
        yield {key: value for key, value in record.items() if key not in self.names} | taken

    def _value(self, source: str, record: Record) -> Any:
        places = PLACE.findall(source)
        if not places:
            return record.get(source)
        missing = [name for name in places if record.get(name) is None]
        if missing:
            raise BadRow(f"field {missing[0]!r} is missing, which --columns asks for.")
        return PLACE.sub(lambda found: _as_text(record[found[1]]), source)


def _as_text(value: Any) -> str:
    return value if isinstance(value, str) else str(value)


def chosen_format(path: str, records: Sequence[Any], columns: str | None, every_turn: bool) -> Format:
    """How the records of a file are read.

    Args:
        columns: As the user gives it; None where the names decide.

    Raises:
        UsageError: the columns fit no format, or several; shows them and what to type.
    """
    seen = seen_columns(records)
    given = Columns.parse(columns) if columns else None
    if given is not None and given.names & set(seen):
        if missing := sorted(given.names - set(seen)):
            raise UsageError(f"{path} has no column {missing[0]!r}, which --columns names; it has {', '.join(seen)}.")
        if "messages" in given.sources:
            (spoken,) = format_of(["messages"], every_turn)
            renamed = lambda record: (row for one in given.records(record) for row in spoken.records(one))  # noqa: E731
            return Format("--columns", f"messages = {given.sources['messages']}", renamed)
        meaning = ", ".join(f"{field} = {source}" for field, source in given.sources.items())
        return Format("--columns", meaning, given.records)
    found = format_of(list(seen), every_turn)
    if len(found) != 1:
        raise UsageError(_unclear(path, seen, found))
    return found[0]


def seen_columns(records: Sequence[Any]) -> dict[str, Any]:
    """The columns of the first records, each with a value."""
    seen: dict[str, Any] = {}
    for number in range(min(SEEN, len(records))):
        record = records[number]
        if isinstance(record, dict):
            for key, value in record.items():
                if value is not None:
                    seen.setdefault(key, value)
    return seen


def _unclear(path: str, seen: dict[str, Any], found: Sequence[Format]) -> str:
    if not seen:
        return f"{path} holds no objects, expected rows like {{'prompt': …, 'golden_response': …}}."
    columns = ", ".join(f"{name} ({shown(value)})" for name, value in seen.items())
    what = " or ".join(reading.meaning for reading in found)
    fits = f"which may be read as {what}" if found else "which fit no format that is known"
    return f"{path} has the columns {columns}, {fits}. Say which is which: {suggestion(list(seen))}"


def suggestion(names: Sequence[str]) -> str:
    """The flag that would make these columns readable, as far as their names tell."""
    prompt = next((name for name in PROMPTS if name in names), names[0])
    others = [name for name in names if name != prompt]
    golden = next((name for name in GOLDENS if name in others), others[-1] if others else "ANSWER")
    return f"--columns prompt={prompt},golden_response={golden}"
