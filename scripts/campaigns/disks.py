"""Disks that are full, read-only or out of inodes, quotas and too little memory: one message, and nothing damaged.

A run meets the lack at a random moment, is expected to end with a message of one line that says what is lacking, and
goes on by the same command when there is enough. It counts as lost if it ends in a traceback, without a message or
with another exit code than 1 or 2, if it does not end at all, or if it comes to other bits or rows than a run that
lacked nothing.
"""

import random
import resource
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from functools import partial
from pathlib import Path
from typing import Any

from campaigns.case import Case, Outcome, drawn
from campaigns.compared import differences, half_written
from campaigns.forked import code_of, start
from campaigns.kills import GENERATE, different_files, require_done, train_words
from campaigns.teachers.counting_teacher import CountingTeacher

STEPS = 4
TRAIN_BYTES, GENERATE_BYTES = 26 << 20, 700 << 10  # that a run has on the disk at most, about
TRAIN_INODES, GENERATE_INODES = 70, 8
MEMORY = (200 << 20, 2 << 30)  # bytes that a process may take beside those that it has when it starts
PLENTY = "remount,size=1g,nr_inodes=100k"
KINDS = {  # in the full campaign, in the quick one
    "full disk, train": (30, 1),
    "full disk, generate": (20, 1),
    "no inodes, train": (5, 1),
    "no inodes, generate": (5, 0),
    "read-only in mid-run, train": (5, 1),
    "read-only in mid-run, generate": (5, 0),
    "largest file, train": (10, 1),
    "largest file, generate": (5, 0),
    "memory, train": (10, 1),
    "memory, generate": (5, 0),
}


def cases(seed: int, quick: bool) -> Iterator[Case]:
    for kind, numbers in KINDS.items():
        yield from drawn(seed, kind, numbers[quick], partial(lacking, kind))


def lacking(kind: str, draw: random.Random, folder: Path) -> Outcome:
    """A run that lacks nothing, one that lacks something, and the same again with enough of it."""
    lack, _, command = kind.partition(", ")
    is_train = command == "train"
    with nullcontext() if is_train else CountingTeacher() as teacher:
        words = _words(draw, folder, teacher)
        whole = folder / "whole"
        began = time.monotonic()
        require_done([code_of(start([*words, whole], folder / "whole-0.log"))], whole)
        lasts = time.monotonic() - began
        disk, log = folder / "disk", folder / "lacking-0.log"
        disk.mkdir()
        with mounted(disk, _options(lack, is_train, draw)) as is_mounted:
            if not is_mounted:
                return Outcome(skipped="mounting a file system is not permitted here")
            run = disk / "run"
            process = start([*words, run], log, before=_limit(lack, is_train, draw))
            if lack == "read-only in mid-run":
                process.join(draw.uniform(0.2, lasts))
                make_read_only(disk)
            code = code_of(process, 120)
            lost = [*wrong_end(code, log.read_text(encoding="utf-8", errors="replace"))]
            make_writable(disk)
            lost += half_written(run) if run.is_dir() else ()
            again = code_of(start([*words, run], folder / "again-0.log"))
            if again:
                said = (folder / "again-0.log").read_text(encoding="utf-8", errors="replace")
                lost.append(f"it does not go on: exit code {again}: {said[-300:]}")
            else:
                lost += differences(run, whole) if is_train else different_files(run, whole)
    return Outcome(tuple(lost), {"ended by the lack": int(code != 0), "came to the end": int(code == 0)})


def _words(draw: random.Random, folder: Path, teacher: Any) -> list[object]:
    """The command, with the flag of its folder last."""
    if teacher is None:
        return ["train", *train_words(folder, (), draw), "--max_steps", STEPS, "--output_dir"]
    flags = [word for name, value in GENERATE.items() for word in (f"--{name}", value)]
    return ["generate", "--base_url", teacher.url, *flags, "--seed", draw.randrange(1000), "--out_dir"]


def _options(lack: str, is_train: bool, draw: random.Random) -> str:
    """Of the file system on which a run finds too little."""
    size = draw.randint(4096, TRAIN_BYTES if is_train else GENERATE_BYTES)
    inodes = draw.randint(2, TRAIN_INODES if is_train else GENERATE_INODES)
    return {"full disk": f"size={size}", "no inodes": f"size=1g,nr_inodes={inodes}"}.get(lack, "size=1g")


def _limit(lack: str, is_train: bool, draw: random.Random) -> tuple:
    """What the process that lacks something does first."""
    if lack == "largest file":
        return limit_files, draw.randint(100, (3 << 20) if is_train else GENERATE_BYTES // 2)
    return (limit_memory, draw.randint(*MEMORY)) if lack == "memory" else ()


def limit_files(size: int) -> None:
    """Let no file of this process become larger; Python ignores the signal and gets an error."""
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))


def limit_memory(more: int) -> None:
    """Let this process take so many bytes of addresses more than it has."""
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    limit = pages * resource.getpagesize() + more
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))


@contextmanager
def mounted(folder: Path, options: str) -> Iterator[bool]:
    """A file system of its own in memory at a folder; whether that is permitted."""
    words = ["mount", "-t", "tmpfs", "-o", options, "none", folder]
    if subprocess.run(words, capture_output=True, check=False).returncode:
        yield False
        return
    try:
        yield True
    finally:
        subprocess.run(["umount", "--lazy", folder], check=True)


def make_read_only(disk: Path) -> None:
    """As a kernel does with a broken disk. tmpfs refuses it while files are open to be written, so it is tried again.

    The lock of a run is open as long as it lasts. Where the file system stays busy the folder is made immutable by a
    read-only mount of the same over it, which is what every path leads to from then on.
    """
    if subprocess.run(["mount", "-o", "remount,ro", disk], capture_output=True, check=False).returncode:
        subprocess.run(["mount", "--bind", disk, disk], check=True)
        subprocess.run(["mount", "-o", "remount,bind,ro", disk], check=True)


def make_writable(disk: Path) -> None:
    """With room for everything, and without the mount over it."""
    while (
        subprocess.run(["findmnt", "-n", "-o", "OPTIONS", disk], capture_output=True, text=True).stdout.count("\n") > 1
    ):
        subprocess.run(["umount", "--lazy", disk], check=True)
    subprocess.run(["mount", "-o", f"{PLENTY},rw", disk], check=True, capture_output=True)


def wrong_end(code: int | None, said: str) -> Iterator[str]:
    """What is wrong with the end of a run that lacked something, a sentence each."""
    if code is None:
        yield f"no end after 120 s: {said[-300:]}"
    if "Traceback" in said:
        yield f"a traceback: {said[-500:]}"
    elif code not in (0, 1, 2):
        yield f"exit code {code}: {said[-300:]}"
    elif code and not any(line.startswith("error: ") for line in said.splitlines()):
        yield f"exit code {code} without a message: {said[-300:]}"
