"""Whether code that a model wrote is right: it runs on tests, in a guarded process of its own.

This file is both sides. Imported, it starts the process and compares. Run as a program, it is that process: it reads
a job from its standard input, restricts itself, calls the function and sends back what it returned.

The expected values never enter the process. What comes back over the pipe is the list of returned values, so printing,
exiting or writing to the pipe can't make a wrong answer right.

What the guard stops: endless loops, a flood of memory or output, processes, threads, signals, sockets, and changes to
files. It does so with the kernel's resource limits, with an audit hook, and, on x86-64 and arm64 where the kernel
has it, with a system call filter that also binds root and code written in C. It is a guard against a model's
accidents, not against an attacker: the code runs as the same user and may read the files this user may read. For
models that you don't trust run the whole evaluation in a container.
"""

import contextlib
import json
import math
import os
import re
import resource
import select
import signal
import struct
import subprocess
import sys
import tempfile
import textwrap
import time
from types import ModuleType
from typing import Any

FENCED = re.compile(
    r"^[ \t]*(?P<fence>```+|~~~+)[^\n]*\n(?P<code>.*?)(?:^[ \t]*(?P=fence)|\Z)", re.DOTALL | re.MULTILINE
)
TOLERANCE = 1e-6  # of floats, relative or absolute
MEMORY = 256 * 2**20  # bytes of address space
OPEN_FILES = 32
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
    """
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
            [sys.executable, "-P", "-s", "-S", "-B", os.path.abspath(__file__)],
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
    return _decoded(line)


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


# ---- inside the guarded process

# What may happen to files and processes by Python's own names of events; a name that ends in a dot stands for all of
# its module. https://docs.python.org/3/library/audit_events.html
REFUSED = ("os.", "shutil.", "socket.", "subprocess.", "ctypes.", "sqlite3.", "fcntl.", "pty.", "signal.", "resource.")
HARMLESS = {"os.listdir", "os.scandir", "os.walk", "os.fwalk", "os.putenv", "os.unsetenv"}
CHANGING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND

# What the kernel is to refuse too, as not every way there has an event: to start processes and threads, to open
# sockets, to send signals, to make pipes and devices in the file system. For each machine its number in linux/audit.h
# and, where it has them, clone, fork, vfork, clone3, execve, execveat, socket, kill, mknod, mknodat.
SYSTEM_CALLS = {
    "x86_64": (0xC000003E, (56, 57, 58, 435, 59, 322, 41, 62, 133, 259)),
    "aarch64": (0xC00000B7, (220, 435, 221, 281, 198, 129, 33)),
}


def _serve() -> None:
    """Does one job and sends the returned values as one line; sends nothing where the code fails."""
    job = json.load(sys.stdin.buffer)
    pipe = os.dup(1)
    nothing = os.open(os.devnull, os.O_RDWR)
    for stream in (0, 1, 2):
        os.dup2(nothing, stream)
    encode, send = json.JSONEncoder().encode, os.write
    _restrict(job["seconds"])
    function = _defined(job["source"])[job["name"]]
    values = [function(*arguments) for arguments in job["calls"]]
    _require_plain(values)
    line = memoryview(encode(values).encode() + b"\n")
    while line:
        line = line[send(pipe, line) :]


def _defined(source: str) -> dict[str, Any]:
    """What the source defines, run as a module of its own, as dataclasses and the like look theirs up."""
    module = sys.modules["answer"] = ModuleType("answer")
    exec(compile(source, "answer.py", "exec", dont_inherit=True), module.__dict__)
    return module.__dict__


def _require_plain(value: Any) -> None:
    """JSON would write a tuple as a list and the number 1 as the key "1"."""
    if type(value) is list:
        for item in value:
            _require_plain(item)
    elif type(value) is dict:
        _require_plain(list(value.values()))
        if not all(type(key) is str for key in value):
            raise TypeError("JSON has no such key")
    elif value is not None and type(value) not in (bool, int, float, str):
        raise TypeError("JSON has no such value")


def _restrict(seconds: float) -> None:
    signal.alarm(math.ceil(2 * seconds) + 1)  # ends it also where whoever started it is gone
    limits = {
        resource.RLIMIT_CPU: math.ceil(seconds),
        resource.RLIMIT_AS: MEMORY,
        resource.RLIMIT_NOFILE: OPEN_FILES,
        resource.RLIMIT_FSIZE: 0,
        resource.RLIMIT_CORE: 0,
        resource.RLIMIT_NPROC: 0,  # does not bind root; the filter does
    }
    for kind, most in limits.items():
        hard = resource.getrlimit(kind)[1]
        lowest = most if hard == resource.RLIM_INFINITY else min(most, hard)
        resource.setrlimit(kind, (lowest, lowest))
    _filter_system_calls()
    sys.addaudithook(_refuse)


def _refuse(event: str, arguments: tuple) -> None:
    changes = event == "open" and arguments[2] & CHANGING
    if changes or (event.startswith(REFUSED) and event not in HARMLESS):
        raise PermissionError(f"{event} is refused here")


def _filter_system_calls() -> None:
    """Has the kernel refuse them with "not permitted", from here on; does nothing where it can't (see seccomp(2))."""
    architecture, numbers = SYSTEM_CALLS.get(os.uname().machine, (0, ()))
    load, jump_if_equal, give_back = 0x20, 0x15, 0x06
    allow, refuse = 0x7FFF0000, 0x00050000 | 1  # SECCOMP_RET_ALLOW; SECCOMP_RET_ERRNO with EPERM
    steps = [(load, 0, 0, 4), (jump_if_equal, 0, len(numbers) + 1, architecture), (load, 0, 0, 0)]
    steps += [(jump_if_equal, len(numbers) - place, 0, number) for place, number in enumerate(numbers)]
    steps += [(give_back, 0, 0, allow), (give_back, 0, 0, refuse)]
    with contextlib.suppress(ImportError, OSError, AttributeError):
        import ctypes

        program = ctypes.create_string_buffer(b"".join(struct.pack("HBBI", *step) for step in steps))
        described = struct.pack("HxxxxxxQ", len(steps), ctypes.addressof(program))
        prctl = ctypes.CDLL(None).prctl
        prctl(38, *map(ctypes.c_ulong, (1, 0, 0, 0)))  # PR_SET_NO_NEW_PRIVS, which a filter without privileges needs
        prctl(22, ctypes.c_ulong(2), described)  # PR_SET_SECCOMP, SECCOMP_MODE_FILTER


if __name__ == "__main__":
    _serve()
