"""The guarded process that code of a model runs in. It is run as a program; code.py starts it and reads from it.

It reads a job from its standard input, gives up its rights, calls the function and sends back what it returned. What it
gives up, each for good:

- processor time, memory, open files, processes, files to write: the kernel's resource limits;
- files to read: Landlock leaves Python's library, the system's libraries and the empty working folder, where the kernel
  has it (Linux 5.13). That also takes the memory and the open files of other processes away;
- all system calls but those that computing and importing need: a filter on x86-64 and arm64, which code written in C
  can't get around either. No process, thread, socket, signal or timer; no change to a file; no 32-bit calls and no
  io_uring;
- what Python itself announces before it does it: an audit hook, for clear words, and where the kernel has none of this.

Kept sandboxes don't fit: bubblewrap and nsjail need namespaces, which a container without capabilities does not get
(tried: "No permissions to create new namespace"); sandlock 0.9 wants Linux 6.12 for all it does, and a supervisor.

`missing` says what a machine can't do. Where something fails that the machine can do, no code is run and the reason is
sent instead.
"""

import ctypes
import json
import math
import os
import resource
import signal
import struct
import sys
from functools import cache
from types import ModuleType
from typing import Any

GUARDED = b"guarded "  # comes before the returned values; nothing that code sends can come before it
MEMORY = 256 * 2**20  # bytes of address space
OPEN_FILES = 32

# What may happen to files and processes by Python's own names of events; a name that ends in a dot stands for all of
# its module. https://docs.python.org/3/library/audit_events.html
REFUSED = ("os.", "shutil.", "socket.", "subprocess.", "ctypes.", "sqlite3.", "fcntl.", "pty.", "signal.", "resource.")
HARMLESS = {"os.listdir", "os.scandir", "os.walk", "os.fwalk", "os.putenv", "os.unsetenv"}
CHANGING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND

# What may be read, beside what Python imports from: libraries that its modules are linked with, and the time zone.
READABLE = ("/lib", "/lib64", "/usr/lib", "/usr/lib64", "/usr/local/lib", "/nix/store", "/gnu/store")
READABLE += ("/etc/ld.so.cache", "/etc/localtime", "/usr/share/zoneinfo", os.devnull, "/dev/urandom")

# For each machine its number in linux/audit.h, and the numbers of the system calls that stay. Of `open`, `openat` and
# `fcntl` only what reads.
ARCHITECTURES = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}
SYSTEM_CALLS = {
    name: dict(zip(ARCHITECTURES, numbers, strict=True))
    for name, *numbers in [
        *[("read", 0, 63), ("write", 1, 64), ("close", 3, 57), ("lseek", 8, 62), ("pread64", 17, 67)],
        *[("readv", 19, 65), ("writev", 20, 66), ("dup", 32, 23), ("dup2", 33, None), ("dup3", 292, 24)],
        *[("poll", 7, None), ("ppoll", 271, 73), ("select", 23, None), ("pselect6", 270, 72)],
        *[("stat", 4, None), ("lstat", 6, None), ("fstat", 5, 80), ("newfstatat", 262, 79), ("statx", 332, 291)],
        *[("access", 21, None), ("faccessat", 269, 48), ("faccessat2", 439, 439), ("getcwd", 79, 17)],
        *[("readlink", 89, None), ("readlinkat", 267, 78), ("getdents64", 217, 61)],
        *[("mmap", 9, 222), ("munmap", 11, 215), ("mremap", 25, 216), ("mprotect", 10, 226), ("madvise", 28, 233)],
        *[("brk", 12, 214), ("futex", 202, 98), ("getrandom", 318, 278), ("sched_yield", 24, 124)],
        *[("rt_sigaction", 13, 134), ("rt_sigprocmask", 14, 135), ("rt_sigreturn", 15, 139)],
        *[("sigaltstack", 131, 132), ("restart_syscall", 219, 128), ("exit", 60, 93), ("exit_group", 231, 94)],
        *[("nanosleep", 35, 101), ("clock_nanosleep", 230, 115), ("clock_gettime", 228, 113)],
        *[("clock_getres", 229, 114), ("gettimeofday", 96, 169), ("time", 201, None), ("times", 100, 153)],
        *[("getrusage", 98, 165), ("sysinfo", 99, 179), ("uname", 63, 160), ("sched_getaffinity", 204, 123)],
        *[("getpid", 39, 172), ("getppid", 110, 173), ("gettid", 186, 178), ("getuid", 102, 174)],
        *[("geteuid", 107, 175), ("getgid", 104, 176), ("getegid", 108, 177)],
        *[("open", 2, None), ("openat", 257, 56), ("fcntl", 72, 25)],
    ]
}
FLAGS_OF = {"open": 1, "openat": 2}  # which argument they are
READING_FCNTLS = (0, 1, 2, 3, 1030)  # F_DUPFD, F_GETFD, F_SETFD, F_GETFL, F_DUPFD_CLOEXEC

LOAD, EQUAL, ANY_BIT, RETURN = 0x20, 0x15, 0x45, 0x06  # BPF: a word of seccomp_data, two jumps, the verdict
ALLOW, REFUSE, KILL = 0x7FFF0000, 0x00050000 | 1, 0x80000000  # SECCOMP_RET_…: …, ERRNO with EPERM, KILL_PROCESS
NUMBER, ARCHITECTURE, ARGUMENTS = 0, 4, 16  # where they lie in seccomp_data
NO_NEW_PRIVILEGES, SET_FILTER = 38, 22  # prctl(2)
CREATE_RULESET, ADD_RULE, RESTRICT_SELF = 444, 445, 446  # landlock(7), the same on every machine
READ_FILE, READ_FOLDER = 1 << 2, 1 << 3
FILE_RIGHTS = (13, 14, 15, 15, 16)  # how many there are, by the version of Landlock


def missing() -> list[str]:
    """What guards no code on this machine, a short text each."""
    found = [] if _has_filter() else ["a filter of system calls (seccomp, on x86-64 or arm64)"]
    return found + ([] if _landlock_version() else ["protection of what lies in files (Landlock, Linux 5.13)"])


def _serve() -> None:
    """Does one job and sends the returned values as one line; sends none where the code fails."""
    job = json.load(sys.stdin.buffer)
    pipe = os.dup(1)
    nothing = os.open(os.devnull, os.O_RDWR)
    for stream in (0, 1, 2):
        os.dup2(nothing, stream)
    encode, send = json.JSONEncoder().encode, os.write
    try:
        _restrict(job["seconds"])
    except (OSError, ValueError) as error:
        send(pipe, f"{error}\n".encode())
        return
    send(pipe, GUARDED)
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
    if sys.platform == "linux":
        _call("prctl", NO_NEW_PRIVILEGES, 1, 0, 0, 0)  # which both need where a process has no privileges
    if _landlock_version():
        _confine_reading([*READABLE, *sys.path, os.path.join(sys.base_prefix, "lib"), os.getcwd()])
    if _has_filter():
        _filter_system_calls()
    sys.addaudithook(_refuse)


def _refuse(event: str, arguments: tuple) -> None:
    changes = event == "open" and arguments[2] & CHANGING
    if changes or (event.startswith(REFUSED) and event not in HARMLESS):
        raise PermissionError(f"{event} is refused here")


# ---- files


@cache
def _landlock_version() -> int:
    """0 where there is none, or where a container's engine keeps it away."""
    if sys.platform != "linux":
        return 0
    asks_for_version = 1
    return max(0, _call("syscall", CREATE_RULESET, None, 0, asks_for_version, may_fail=True))


def _confine_reading(places: list[str]) -> None:
    """From here on files are read below `places` only, as far as they exist, and none is changed, run or made."""
    rights = (1 << FILE_RIGHTS[min(_landlock_version(), len(FILE_RIGHTS)) - 1]) - 1
    ruleset = _call("syscall", CREATE_RULESET, struct.pack("Q", rights), 8, 0)
    for place in filter(os.path.exists, places):
        descriptor = os.open(place, os.O_PATH | os.O_CLOEXEC)
        allowed = READ_FILE | (READ_FOLDER if os.path.isdir(place) else 0)
        _call("syscall", ADD_RULE, ruleset, 1, struct.pack("=Qi", allowed, descriptor), 0)
        os.close(descriptor)
    _call("syscall", RESTRICT_SELF, ruleset, 0)
    os.close(ruleset)


# ---- system calls


def _has_filter() -> bool:
    return os.uname().machine in ARCHITECTURES and os.path.exists("/proc/sys/kernel/seccomp/actions_avail")


def _filter_system_calls() -> None:
    """Has the kernel refuse all others with "not permitted", from here on. See seccomp(2)."""
    steps = _steps(os.uname().machine)
    program = ctypes.create_string_buffer(b"".join(struct.pack("HBBI", *step) for step in steps))
    _call("prctl", SET_FILTER, 2, struct.pack("HxxxxxxQ", len(steps), ctypes.addressof(program)))


def _steps(machine: str) -> list[tuple[int, int, int, int]]:
    """The filter: operation, steps to skip where it is true, where it is false, value."""
    verdict = [(RETURN, 0, 0, ALLOW)]
    steps = [(LOAD, 0, 0, ARCHITECTURE), (EQUAL, 1, 0, ARCHITECTURES[machine]), (RETURN, 0, 0, KILL)]
    steps += [(LOAD, 0, 0, NUMBER)]
    for name, numbers in SYSTEM_CALLS.items():
        if name in FLAGS_OF:
            then = [_argument(FLAGS_OF[name]), (ANY_BIT, 0, 1, CHANGING), (RETURN, 0, 0, REFUSE), *verdict]
        elif name == "fcntl":
            then = [_argument(1), *[step for c in READING_FCNTLS for step in ((EQUAL, 0, 1, c), *verdict)]]
            then += [(RETURN, 0, 0, REFUSE)]
        else:
            then = verdict
        if (number := numbers[machine]) is not None:
            steps += [(EQUAL, 0, len(then), number), *then]
    return [*steps, (RETURN, 0, 0, REFUSE)]


def _argument(place: int) -> tuple[int, int, int, int]:
    """Loads the lower half of an argument, which is all that the kernel looks at where it is a C int."""
    return (LOAD, 0, 0, ARGUMENTS + 8 * place)


def _call(name: str, *arguments: int | bytes | None, may_fail: bool = False) -> int:
    """Call a function of the C library; OSError where it says that it failed."""
    function = getattr(ctypes.CDLL(None, use_errno=True), name)
    found = function(*(ctypes.c_ulong(each) if isinstance(each, int) else each for each in arguments))
    if found < 0 and not may_fail:
        raise OSError(ctypes.get_errno(), f"{name} {arguments[0]}: {os.strerror(ctypes.get_errno())}")
    return found


if __name__ == "__main__":
    _serve()
