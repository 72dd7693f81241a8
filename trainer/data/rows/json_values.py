"""JSON values of a text of any size, one after the other, each as the text that it is.

An array's items are values of their own. So an array, lines, and objects spread over lines are read alike.
"""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, TextIO

WINDOW = 2**20  # characters read at once
SPACE = re.compile(r"[ \t\r\n]*")
NEAR_END = 16  # characters: an error so near to the end of the window may be of a value that goes on


@dataclass(frozen=True)
class Value:
    """The text of a value, the line where it begins, and whether it is an item of an array."""

    text: str
    line: int
    is_item: bool


def loads(text: str) -> Any:
    """The value of a text. Tabs and line breaks may stand in its strings as they are, for many a file has them so."""
    return json.loads(text, strict=False)


class NotJson(ValueError):
    """The text says what was found in which line."""


def json_values(file: TextIO) -> Iterator[Value]:
    """The values in `file`.

    Raises:
        NotJson: what is there is none, or is cut off.
    """
    scanner, lines = _Scanner(file), 0
    while mark := scanner.next_mark():
        if mark == "[":
            yield from _items(scanner)
            continue
        try:
            value = scanner.take(is_item=False)
        except NotJson:
            # Between lines that hold a value each one that doesn't is a bad row like another.
            line = scanner.rest_of_line() if lines else None
            if line is None:
                raise
            value = line
        lines += 1
        yield value


def reason_of_broken(text: str) -> str | None:
    """Why a line that was to be an object is none, for people; None for other texts."""
    if not text.startswith("{"):
        return None
    try:
        loads(text)
    except json.JSONDecodeError as error:
        return f"it is not JSON: {error.msg} at character {error.pos + 1} of {text[:60]!r}."
    except RecursionError:
        return "it is not JSON: values nested too deep."
    return None


def _items(scanner: "_Scanner") -> Iterator[Value]:
    scanner.skip()
    if scanner.next_mark() == "]":
        scanner.skip()
        return
    while True:
        yield scanner.take(is_item=True)
        mark = scanner.next_mark()
        if mark not in (",", "]"):
            raise scanner.failed(f"found {mark!r}, expected ',' or ']'" if mark else "the file ends within an array")
        scanner.skip()
        if mark == "]":
            return


class _Scanner:
    """A window that moves over the text."""

    def __init__(self, file: TextIO):
        self._file = file
        self._window = ""
        self._place = 0
        self._line = 1
        self._ended = False
        self._decode = json.JSONDecoder(strict=False).raw_decode

    def next_mark(self) -> str:
        """The next character that is no space; empty at the end."""
        while True:
            space = SPACE.match(self._window, self._place)
            assert space is not None
            self._advance(space.end())
            if self._place < len(self._window) or not self._read_on():
                return self._window[self._place : self._place + 1]

    def skip(self) -> None:
        """Go past the next character."""
        self._place += 1

    def take(self, *, is_item: bool) -> Value:
        """The next value."""
        self.next_mark()
        line, end = self._line, self._end_of_value()
        value = Value(self._window[self._place : end], line, is_item)
        self._advance(end)
        return value

    def _end_of_value(self) -> int:
        while True:
            try:
                end = self._decode(self._window, self._place)[1]
            except json.JSONDecodeError as error:
                cut_off = error.msg.startswith("Unterminated") or error.pos >= len(self._window) - NEAR_END
                if not (cut_off and self._read_on()):
                    ends = error.msg.startswith("Unterminated") or error.pos >= len(self._window.rstrip())
                    raise self.failed("the file ends within a value" if ends else error.msg, error.pos) from None
            except RecursionError:
                raise self.failed("values nested too deep") from None
            else:
                if end < len(self._window) or not self._read_on():  # a number may go on beyond the window
                    return end

    def rest_of_line(self) -> Value | None:
        """The line as a text, where an end of line and more come behind it."""
        while "\n" not in self._window[self._place :] and self._read_on():
            pass
        end = self._window.find("\n", self._place)
        if end < 0 or not (self._window[end:].strip() or self._file_goes_on()):
            return None
        value = Value(json.dumps(self._window[self._place : end].rstrip("\r")), self._line, False)
        self._advance(end)
        return value

    def _file_goes_on(self) -> bool:
        return self._read_on() and bool(self._window.strip())

    def failed(self, why: str, place: int | None = None) -> NotJson:
        """The error for what is at `place`, or next."""
        line = self._line + self._window.count("\n", self._place, self._place if place is None else place)
        return NotJson(f"line {line} is not JSON: {why}.")

    def _advance(self, place: int) -> None:
        self._line += self._window.count("\n", self._place, place)
        self._place = place

    def _read_on(self) -> bool:
        """Read at least as much as is held, so that a long value is looked through few times."""
        more = "" if self._ended else self._file.read(max(WINDOW, len(self._window) - self._place))
        self._ended = not more
        if more:
            self._window, self._place = self._window[self._place :] + more, 0
        return bool(more)
