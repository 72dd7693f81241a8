"""Shows from outside whether an attack got out of the process it ran in.

A witness that can't speak shows nothing, so each attack is also run in a process without any guard, where its witness
has to speak.
"""

import contextlib
import ctypes
import json
import os
import secrets
import select
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Self

from campaigns.attacks.snippets import Attack

from trainer.evaluation import code, sandbox

SECONDS = 0.5  # of processor time that an attack has
SLACK = 2.0  # seconds on top of twice that, for a busy machine
GUARDS = {
    "all": "",
    "kernel": "guarded._refuse = lambda *_: None",  # whatever Python's audit hook would have stopped before
    "none": "guarded._restrict = lambda *_: None",
}
VICTIM = "import signal; signal.signal(signal.SIGXCPU, signal.SIG_DFL); print(flush=True); signal.pause()"
NAIVE = """
import json, sys
expected, w = json.loads(sys.argv[1])
{source}
found = f(w)
told = repr(found) == repr(expected) or json.dumps(found, default=repr) == json.dumps(expected)
sys.exit(not (told or found == expected or not found != expected))
"""
KERNEL_OBJECTS = ("shm", "msg", "sem")

Known = dict[str, Any]


class Stage:
    """A context manager: what the attacks go for, in a folder of its own, and a verdict on each.

    One stage serves many attacks. The secret is drawn anew for each stage, and stands in a file, in the environment and
    the command of another process, and in the memory and among the open files of this one.
    """

    def __init__(self, folder: Path):
        self.folder = folder
        self._resources = ExitStack()
        self.secret = f"secret-{secrets.token_hex(8)}"
        self._held = ctypes.create_string_buffer(self.secret.encode())
        self.marker = f"30.{secrets.randbelow(10**9)}"  # seconds that programs of an attack sleep

    def __enter__(self) -> Self:
        for name in ("canary", "names", "modules"):
            (self.folder / name).mkdir(parents=True)
        (self.folder / "secret").write_text(self.secret)
        (self.folder / "names" / self.secret).touch()
        (self.folder / "modules" / "told_by_import.py").write_text(f"SECRET = {self.secret!r}\n")
        self._programs = {guards: self._program(guards) for guards in GUARDS}
        self._sockets = {
            name: self._resources.enter_context(made) for name, made in _listening(self.folder, self.marker)
        }
        self._file = self._resources.enter_context((self.folder / "secret").open())
        self._victim: subprocess.Popen[str] | None = None
        return self

    def __exit__(self, *error: object) -> None:
        self._end_victim()
        self._resources.close()

    def got_out(self, attack: Attack, guards: str = "all") -> bool:
        """Whether the attack's witness speaks after it ran behind `guards`."""
        self._renew()
        with _program(self._programs[guards]):
            return WITNESSES[attack.witness](self, attack, guards)

    def runs_right(self, attack: Attack, expected: Any) -> bool:
        """What the evaluation says of the attack's answer."""
        return code.runs_right(attack.source, "f", [[[self.known()], expected]], seconds=SECONDS)

    def known(self) -> Known:
        """What an attack is told."""
        assert self._victim is not None
        return {
            "secret": str(self.folder / "secret"),
            "canary": str(self.folder / "canary"),
            "names": str(self.folder / "names"),
            "modules": str(self.folder / "modules"),
            "unix": str(self.folder / "socket"),
            "abstract": self.marker,
            "port": self._sockets["port"].getsockname()[1],
            "datagrams": self._sockets["datagrams"].getsockname()[1],
            "victim": self._victim.pid,
            "fd": self._file.fileno(),
            "open": self._kept.fileno(),
            "address": ctypes.addressof(self._held),
            "length": len(self.secret),
            "marker": self.marker,
            "key": int(self.secret[-7:], 16),
            "syscall": _address("syscall") - ctypes._memmove_addr,  # pyright: ignore[reportAttributeAccessIssue]
        }

    def _program(self, guards: str) -> Path:
        """The program of the guarded process, less what `guards` leaves out."""
        path = self.folder / f"guarded_{guards}_{self.marker}.py"
        path.write_text(
            "from importlib.util import module_from_spec, spec_from_file_location\n"
            f"spec = spec_from_file_location('guarded', {sandbox.__file__!r})\n"
            "guarded = module_from_spec(spec)\n"
            "spec.loader.exec_module(guarded)\n"
            f"{GUARDS[guards]}\n"
            "guarded._serve()\n"
        )
        return path

    def _renew(self) -> None:
        """All that is attacked is as it was."""
        kept = self.folder / "canary" / "kept"
        for file in (self.folder / "canary").iterdir():
            file.rmdir() if file.is_dir() and not file.is_symlink() else file.unlink()
        kept.write_text("kept")
        kept.chmod(0o644)
        self._kept = self._resources.enter_context(kept.open())
        if self._victim is None or self._victim.poll() is not None or _state_of(self._victim.pid) != self._as_it_was:
            self._end_victim()
            command = [sys.executable, "-S", "-c", VICTIM, self.secret]
            self._victim = subprocess.Popen(command, env={"SECRET": self.secret}, stdout=subprocess.PIPE, text=True)
            assert self._victim.stdout and self._victim.stdout.readline()
            self._as_it_was = _settled(self._victim.pid)

    def _end_victim(self) -> None:
        if self._victim is not None:
            with self._victim as victim:
                victim.kill()

    # ---- witnesses

    def told(self, attack: Attack, guards: str) -> bool:
        """It returns what stands outside, so that a wrong answer becomes right."""
        return self.runs_right(attack, self.secret)

    def did(self, attack: Attack, guards: str) -> bool:
        """It says so itself."""
        return self.runs_right(attack, "out")

    def canary(self, attack: Attack, guards: str) -> bool:
        """The folder is not as it was."""
        before = _content(self.folder / "canary")
        self.runs_right(attack, "out")
        return _content(self.folder / "canary") != before

    def reached(self, attack: Attack, guards: str) -> bool:
        """Something came in at one of the sockets."""
        self.runs_right(attack, "out")
        return any([_take(each) for each in select.select([*self._sockets.values()], [], [], 0.05)[0]])

    def victim(self, attack: Attack, guards: str) -> bool:
        """The other process is gone, or has other limits, another priority or another state."""
        assert self._victim is not None
        self.runs_right(attack, "out")
        return _state_of(self._victim.pid) != self._as_it_was

    def survivor(self, attack: Attack, guards: str) -> bool:
        """A process goes on though the one that was run has ended."""
        self.runs_right(attack, "out")
        time.sleep(0.05)
        found = _with_word(self.marker)
        for process in found:
            with contextlib.suppress(ProcessLookupError):
                os.kill(process, 9)
        return bool(found)

    def kernel_objects(self, attack: Attack, guards: str) -> bool:
        """Something lies in the kernel that nobody takes away."""
        self.runs_right(attack, "out")
        return any([_removed(kind, self.known()["key"]) for kind in KERNEL_OBJECTS])

    def ends(self, attack: Attack, guards: str) -> bool:
        """It takes longer than it may. Without a guard it never ends."""
        if guards == "none":
            return self._naive(attack) is None
        started = time.monotonic()
        self.runs_right(attack, "out")
        return time.monotonic() - started > 2 * SECONDS + SLACK

    def forged(self, attack: Attack, guards: str) -> bool:
        """It is called right. Without a guard that is a test which compares in the process of the code."""
        return self._naive(attack) == 0 if guards == "none" else self.runs_right(attack, self.secret)

    def _naive(self, attack: Attack) -> int | None:
        """The exit code of code and test in one process; None if it goes on and on."""
        words = [sys.executable, "-c", NAIVE.format(source=attack.source), json.dumps([self.secret, self.known()])]
        try:
            done = subprocess.run(words, timeout=2 * SECONDS + SLACK, stderr=subprocess.DEVNULL)
        except subprocess.TimeoutExpired:
            return None
        return done.returncode


Witness = Callable[[Stage, Attack, str], bool]
WITNESSES: dict[str, Witness] = {
    each.__name__: each
    for each in (
        *(Stage.told, Stage.did, Stage.canary, Stage.reached, Stage.victim, Stage.survivor),
        *(Stage.kernel_objects, Stage.ends, Stage.forged),
    )
}


@contextlib.contextmanager
def _program(path: Path) -> Iterator[None]:
    """The evaluation runs `path` as its guarded process."""
    kept, code.PROGRAM = code.PROGRAM, path
    try:
        yield
    finally:
        code.PROGRAM = kept


def _address(function: str) -> int:
    return ctypes.cast(getattr(ctypes.CDLL(None), function), ctypes.c_void_p).value or 0


def _listening(folder: Path, abstract: str) -> Iterator[tuple[str, socket.socket]]:
    for name, family, kind, address in [
        ("port", socket.AF_INET, socket.SOCK_STREAM, ("127.0.0.1", 0)),
        ("datagrams", socket.AF_INET, socket.SOCK_DGRAM, ("127.0.0.1", 0)),
        ("unix", socket.AF_UNIX, socket.SOCK_STREAM, str(folder / "socket")),
        ("abstract", socket.AF_UNIX, socket.SOCK_STREAM, "\0" + abstract),
    ]:
        made = socket.socket(family, kind)
        made.bind(address)
        if kind == socket.SOCK_STREAM:
            made.listen()
        yield name, made


def _take(waiting: socket.socket) -> bool:
    """Take what came in, so that it speaks once."""
    if waiting.type == socket.SOCK_DGRAM:
        return bool(waiting.recv(99))
    waiting.accept()[0].close()
    return True


def _content(folder: Path) -> dict[str, tuple]:
    """Names, kinds, rights, times and contents of what lies there."""
    found = {}
    for path in folder.iterdir():
        told = path.lstat()
        content = path.read_bytes() if path.is_file() and not path.is_symlink() else b""
        found[path.name] = (told.st_mode, told.st_nlink, told.st_mtime_ns, content)
    return found


def _state_of(process: int) -> tuple[str, ...]:
    """What another process could change of one: whether it lives, its priority and scheduling, limits, processors."""
    place = Path(f"/proc/{process}")
    try:
        fields = (place / "stat").read_text().rpartition(")")[2].split()
        allowed = [line for line in (place / "status").read_text().splitlines() if "Cpus_allowed:" in line]
        return (fields[0], fields[15], fields[16], fields[38], (place / "limits").read_text(), *allowed)
    except (FileNotFoundError, ProcessLookupError):
        return ("gone",)


def _settled(process: int) -> tuple[str, ...]:
    while (found := _state_of(process))[0] == "R":
        time.sleep(0.01)
    return found


def _with_word(word: str) -> list[int]:
    """Processes, zombies left out, in whose command a text stands."""
    found = []
    for place in Path("/proc").iterdir():
        with contextlib.suppress(OSError):
            if place.name.isdigit() and word.encode() in (place / "cmdline").read_bytes():
                found.append(int(place.name))
    return found


def _removed(kind: str, key: int) -> bool:
    """Whether an object of System V with that key was there."""
    table = Path(f"/proc/sysvipc/{kind}")
    if not table.exists():
        return False
    library = ctypes.CDLL(None)
    remove = {"shm": library.shmctl, "msg": library.msgctl, "sem": library.semctl}[kind]
    for fields in map(str.split, table.read_text().splitlines()[1:]):
        if int(fields[0]) == key:
            remove(int(fields[1]), *((0, 0) if kind == "sem" else (0, None)))
            return True
    return False
