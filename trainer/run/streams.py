"""Words in and out: names of files in any locale, and output that no closed pipe, full disk or lost terminal ends."""

import io
import os
import sys
from typing import Any


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
            stream.reconfigure(errors="replace")


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
    return io.TextIOWrapper(buffer, stream.encoding, "replace", line_buffering=lines, write_through=through)
