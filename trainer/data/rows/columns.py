"""Which column is which: found from the columns' names, or as `--columns` says."""

import dataclasses
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ...errors import UsageError
from .formats import GOLDENS, PROMPTS, Format, Record, format_of, system_column, with_system
from .messages import shown
from .own_format import parse_row
from .row import BadRow

FIELDS = ("id", "prompt", "golden_response", "golden_answer", "check", "tools", "privileged_context", "messages")
SEEN = 100  # records that tell a file's columns
MOST_COLUMNS = 12  # shown in a message
NAMED = re.compile(r"""\s*(\w+)\s*=\s*(?:"([^"]*)"|'([^']*)'|([^,]*))\s*(?:,|$)""")
PLACE = re.compile(r"\{([^{}]+)\}")
UNREAD = ("context", "passage", "document", "documents", "article", "story", "paragraph", "knowledge")  # that say much
OF_PROMPTS = (*PROMPTS, "text", "q", "ctx", "sentence", "article", "document", "dialogue", "request", "user")
OF_GOLDENS = (*GOLDENS, "summary", "highlights", "a", "ans", "label", "reference", "code", "assistant")
NO_TEXT = re.compile(r"(^|_)(id|idx|index|uuid|hash|source|lang|language|url|split|type|date|created)$", re.IGNORECASE)


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
        return PLACE.sub(lambda found: _as_text(found[1], record[found[1]]), source)


def _as_text(name: str, value: Any) -> str:
    if isinstance(value, list | dict):
        raise BadRow(f"field {name!r} is {shown(value)}, and --columns has it within a text; expected a text.")
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
        meaning = meaning.replace("\n", "\\n")
        return Format("--columns", meaning, given.records)
    found = format_of(list(seen), every_turn)
    if len(found) > 1 and _say_the_same(records, found):
        found = found[:1]
    if len(found) != 1:
        raise UsageError(_unclear(path, records, seen, found))
    system = system_column(list(seen))
    if system is None or system in found[0].meaning or found[0].name.startswith("Glaive"):
        return found[0]
    return dataclasses.replace(found[0], meaning=f"{found[0].meaning}, system = {system}")


def _say_the_same(records: Sequence[Any], found: Sequence[Format]) -> bool:
    """Whether the first records give the same rows in each reading, as where a question is told twice."""
    for number in range(min(SEEN, len(records))):
        record = records[number]
        if isinstance(record, dict):
            given = {key: value for key, value in record.items() if value is not None}
            readings = [_rows_told(form, given) for form in found]
            if any(each != readings[0] for each in readings):
                return False
    return True


def _rows_told(form: Format, record: Record) -> Any:
    try:
        rows = [parse_row(with_system(ours), 1) for ours in form.records(record)]
    except BadRow as error:
        return str(error)
    return [(row.prompt, row.golden_response, row.golden_calls, row.tools) for row in rows]


def unread_columns(records: Sequence[Any]) -> list[str]:
    """Columns of the first records whose texts say something that an answer may depend on."""
    seen = seen_columns(records)
    return [name for name in UNREAD if isinstance(seen.get(name), str | list) and seen[name]]


def asking_column(records: Sequence[Any]) -> str | None:
    """The column whose text seems to be what is asked."""
    seen = seen_columns(records)
    return next((name for name in PROMPTS if isinstance(seen.get(name), str)), None)


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


def _first(records: Sequence[Any]) -> list[Any]:
    return [records[number] for number in range(min(SEEN, len(records)))]


def _unclear(path: str, records: Sequence[Any], seen: dict[str, Any], found: Sequence[Format]) -> str:
    if not seen:
        empty = sorted({str(key) for record in _first(records) if isinstance(record, dict) for key in record})
        if empty:
            return f"{path} has the columns {', '.join(empty)}, and no value in them, expected rows with a prompt."
        return f"{path} holds no objects, expected rows like {{'prompt': …, 'golden_response': …}}."
    columns = ", ".join(f"{name} ({shown(value)})" for name, value in [*seen.items()][:MOST_COLUMNS])
    if len(seen) > MOST_COLUMNS:
        columns += f" and {len(seen) - MOST_COLUMNS} more"
    what = " or ".join(reading.meaning for reading in found)
    fits = f"which may be read as {what}" if found else "which fit no format that is known"
    if {"message_id", "parent_id", "text"} <= set(seen):
        tree = "each of which is one message of a tree"
        return f"{path} has the columns {columns}, {tree}. Pass the file that has the trees whole (…trees.jsonl.gz)."
    return f"{path} has the columns {columns}, {fits}. Say which is which: {suggestion(seen)}"


def suggestion(seen: Mapping[str, Any]) -> str:
    """The flag that would make these columns readable, as far as their names and values tell."""
    texts = [name for name, value in seen.items() if isinstance(value, str) and not NO_TEXT.search(name)]
    names = texts if len(texts) > 1 else list(seen)
    prompt = next((name for name in OF_PROMPTS if name in names), names[0])
    others = [name for name in names if name != prompt] or [name for name in seen if name != prompt]
    if not others:
        return f"--columns {_quoted('prompt', prompt)}"
    golden = next((name for name in OF_GOLDENS if name in others), others[-1])
    return f"--columns {_quoted('prompt', prompt)},{_quoted('golden_response', golden)}"


def _quoted(field: str, column: str) -> str:
    return f"{field}={column}" if re.fullmatch(r"[\w.-]+", column) else f"'{field}=\"{column}\"'"
