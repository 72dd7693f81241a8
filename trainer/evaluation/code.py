"""Whether code that a model wrote is right: it runs on tests, in a guarded process of its own (sandbox.py).

The expected values never enter that process, and it can't read them from files or from the memory of others. What
comes back over the pipe is the list of returned values, so printing, exiting or writing to the pipe can't make a wrong
answer right.
"""

import contextlib
import json
import math
import os
import re
import select
import signal
import subprocess
import sys
import tempfile
import textwrap
import time
from pathlib import Path
from typing import Any

from ..errors import UsageError
from ..teachers.served.notices import say_once
from . import sandbox

FENCED = re.compile(
    r"^[ \t]*(?P<fence>```+|~~~+)[^\n]*\n(?P<code>.*?)(?:^[ \t]*(?P=fence)|\Z)", re.DOTALL | re.MULTILINE
)
PROGRAM = Path(sandbox.__file__)
TOLERANCE = 1e-6  # of floats, relative or absolute
MOST_RESULT = 2**20  # bytes


def runs_right(answer: str, name: str, tests: list, *, seconds: float = 5.0) -> bool:
    """Whether the function `name` of `answer` returns what is expected in every test.

    Values are compared by type and value: 1, 1.0 and True are three things, a tuple is no list; floats agree within
    1e-6. Code that raises, exits, hangs or breaks a limit is wrong. Sets come out in the same order every time.

    Args:
        answer: Python source, or a text with the source in a fenced block.
        tests: Pairs `[arguments, expected]`, `arguments` being a list of positional ones, all of JSON's types.
        seconds: Processor time for all tests together, the start of the process included; on the clock it may take
            twice as long, so that a busy machine changes no verdict.

    Raises:
        UsageError: the process can't be guarded, though the machine has what that needs.
    """
    for what in sandbox.missing():
        say_once(f"code of answers runs without {what}; for models that you don't trust, evaluate in a container")
    found = _call_guarded(source_of(answer, name), name, [arguments for arguments, _ in tests], seconds)
    return _same(found, [expected for _, expected in tests])


def source_of(answer: str, name: str) -> str:
    """The first fenced block that defines `name`, else the first fenced block, else the whole answer."""
    blocks = [textwrap.dedent(match["code"]) for match in FENCED.finditer(answer)]
    defining = re.compile(rf"^def {re.escape(name)}\b", re.MULTILINE)
    return next(filter(defining.search, blocks), blocks[0] if blocks else answer)


def _same(found: Any, expected: Any) -> bool:
    if type(found) is not type(expected):
        return False
    if isinstance(expected, float):
        return math.isclose(found, expected, rel_tol=TOLERANCE, abs_tol=TOLERANCE)
    if isinstance(expected, list):
        return len(found) == len(expected) and all(map(_same, found, expected))
    if isinstance(expected, dict):
        return found.keys() == expected.keys() and all(_same(found[key], expected[key]) for key in expected)
    return found == expected


def _call_guarded(source: str, name: str, calls: list, seconds: float) -> list | None:
    """What the function returned for each of the calls; None where it didn't get so far."""
    job = json.dumps({"source": source, "name": name, "calls": calls, "seconds": seconds}).encode()
    with tempfile.TemporaryDirectory() as folder, tempfile.TemporaryFile() as stdin:
        stdin.write(job)
        stdin.seek(0)
        process = subprocess.Popen(
            # -P -s -S is what -I -S does, save that it leaves the hash seed to be fixed.
            [sys.executable, "-P", "-s", "-S", "-B", str(PROGRAM)],
            env={"PYTHONHASHSEED": "0"},
            cwd=folder,
            stdin=stdin,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        with process:
            try:
                line = _first_line(process.stdout, time.monotonic() + 2 * seconds)
            finally:
                os.killpg(process.pid, signal.SIGKILL)  # before it is waited for: until then the id is its own
    if line and not line.startswith(sandbox.GUARDED):
        raise UsageError(
            f"code of a model can't be guarded here: {line.decode(errors='replace').strip()}. Expected a system that "
            "lets a process give up its rights. Leave out the rows with a check of kind 'code', or evaluate on another "
            "machine."
        )
    return _decoded(line.removeprefix(sandbox.GUARDED))


def _first_line(pipe: Any, deadline: float) -> bytes:
    """What comes until the first line end, the end of the pipe, the deadline or the size limit."""
    received, poll = b"", select.poll()
    poll.register(pipe, select.POLLIN)
    while not received.endswith(b"\n") and len(received) <= MOST_RESULT:
        if not poll.poll(max(0.0, deadline - time.monotonic()) * 1000):
            return b""
        chunk = os.read(pipe.fileno(), 65536)
        if not chunk:
            return b""
        received += chunk
    return received


def _decoded(line: bytes) -> list | None:
    with contextlib.suppress(ValueError, RecursionError):
        found = json.loads(line)
        return found if isinstance(found, list) else None
    return None
