"""Words in and out: names of files in any locale, and output that no closed pipe, full disk or lost terminal ends.

What a model, a server or a file says is shown and steers no terminal: stdout lets through only colours, and whatever
goes to stderr beside the displays there passes `printable`.
"""

import codecs
import io
import os
import re
import sys
from typing import Any

# C0 without tab and ends of lines, C1, and what turns the direction of text around.
STEERING = r"(?:[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]|\r(?!\n))"
COLOUR = r"\x1b\[(?:[012]?|(?:[12];)?3[0-7])m"
UNPRINTABLE = re.compile(STEERING)
UNPRINTABLE_BESIDE_COLOURS = re.compile(rf"(?!{COLOUR}){STEERING}")


def printable(text: str) -> str:
    """A text with a replacement character for each one that would steer a terminal."""
    return UNPRINTABLE.sub("\N{REPLACEMENT CHARACTER}", text)


# What terminals of fewer characters are shown in place of the signs that we print.
STAND_INS = str.maketrans("█▒·─–−—×’•“”", '#=.----x\'*""') | {ord("→"): "->", ord("…"): "..."}


def _stand_in(error: UnicodeError) -> tuple[str | bytes, int]:
    """An error handler of codecs: what an encoding lacks is shown by what it has."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    return error.object[error.start : error.end].translate(STAND_INS).encode(error.encoding, "replace"), error.end


codecs.register_error("stand_in", _stand_in)


class Printable(io.TextIOWrapper):
    """Text for people: nothing in it steers their terminal but colours."""

    def write(self, text: str, /) -> int:
        super().write(UNPRINTABLE_BESIDE_COLOURS.sub("\N{REPLACEMENT CHARACTER}", text))
        return len(text)


class Lasting(io.FileIO):
    """A stream of bytes that drops what can't be written, and says so once on stderr.

    Args:
        descriptor: Of the open file; it stays open.
        name: `stdout` or `stderr`.
    """

    def __init__(self, descriptor: int, name: str):
        super().__init__(descriptor, "w", closefd=False)
        self._stream = name
        self._is_lost = False

    def write(self, data: Any, /) -> int:
        """The number of bytes, written or dropped."""
        try:
            return super().write(data)
        except OSError as error:
            if not self._is_lost:
                self._is_lost = True
                self._tell(error)
            return memoryview(data).nbytes

    def _tell(self, error: OSError) -> None:
        if self._stream == "stdout" and sys.stderr is not None:
            print(f"warning: stdout takes nothing more ({error.strerror}); the command goes on", file=sys.stderr)


def make_lasting() -> None:
    """Let stdout and stderr last, and replace what their encoding lacks; those that are captured stay as they are."""
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None:  # closed by who started this: what is printed goes nowhere
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))  # noqa: SIM115
        elif not isinstance(stream, io.TextIOWrapper):
            continue
        elif stream is getattr(sys, f"__{name}__"):
            setattr(sys, name, _lasting(stream, name))
        else:
            stream.reconfigure(errors="stand_in")


def in_utf8() -> None:
    """Begin this program again in Python's UTF-8 mode where names of files would be read otherwise.

    Libraries that are not Python's take names of files for UTF-8 in any locale. The terminal keeps its encoding.
    """
    if sys.getfilesystemencoding().lower().replace("-", "") == "utf8":
        return
    shown = sys.stdout.encoding if sys.stdout else "utf-8"
    environ = {"PYTHONIOENCODING": f"{shown}:replace", **os.environ, "PYTHONUTF8": "1"}
    os.execve(sys.executable, [sys.executable, *sys.orig_argv[1:]], environ)


def _lasting(stream: io.TextIOWrapper, name: str) -> io.TextIOWrapper:
    stream.flush()
    raw = Lasting(stream.fileno(), name)
    buffer: Any = raw if isinstance(stream.buffer, io.RawIOBase) else io.BufferedWriter(raw)  # a raw one with `-u`
    lines, through = stream.line_buffering, stream.write_through
    kind = Printable if name == "stdout" else io.TextIOWrapper  # displays are drawn on stderr
    return kind(buffer, stream.encoding, "stand_in", line_buffering=lines, write_through=through)
