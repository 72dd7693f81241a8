"""Power cuts at any moment of train and generate, on a disk that loses what was not flushed: the run goes on.

In the manner of ALICE (Pillai et al., OSDI 2014): a run is recorded, and states in which a cut may leave its folder are
made from the record. After a cut each file holds what it held at its last flush, or what was written since: whole, cut
off, as zeros, or not at all. Each folder lists what it listed at its last flush, or at any moment since. The recorder
sits in the process: all flushes, renames and removals of ours go through Python's `os`, and the folder is looked at
with each. It sees no order of writes between two of them, so each file is drawn by itself, which is harder than any
real disk. It counts as lost if the same command does not come to its end from such a state, or to other bits.
"""

import hashlib
import json
import os
import random
import shutil
import threading
from collections.abc import Iterator
from contextlib import nullcontext
from functools import partial
from pathlib import Path
from typing import Any

from campaigns.case import Case, Outcome, drawn
from campaigns.compared import differences
from campaigns.forked import code_of, start
from campaigns.kills import GENERATE, different_files, require_done, said, train_words
from campaigns.teachers.counting_teacher import CountingTeacher

CUTS = 10  # of a recorded run
STEPS = 4
Tree = dict[str, list[Any]]  # by path: the inode, and the digest of a file's content; None of a folder
Event = dict[str, Any]
KINDS = {"train, all weights": (12, 1), "train, LoRA": (4, 0), "generate": (4, 1)}


def cases(seed: int, quick: bool) -> Iterator[Case]:
    for kind, numbers in KINDS.items():
        yield from drawn(seed, kind, numbers[quick], partial(cut, kind))


def cut(kind: str, draw: random.Random, folder: Path) -> Outcome:
    """Record a run, then go on from states that cuts may leave of it."""
    is_train = kind.startswith("train")
    lost: list[str] = []
    with nullcontext() if is_train else CountingTeacher() as teacher:
        words = _words(kind, draw, folder, teacher)
        whole, store = folder / "whole", folder / "store"
        store.mkdir()
        require_done([code_of(start([*words, whole], folder / "whole-0.log", before=(watch, whole, store)))], whole)
        events = [json.loads(line) for line in (store / "events").read_text().splitlines()]
        for number in range(CUTS):
            moment = draw.randrange(1, len(events))
            run = folder / f"cut{number}"
            make(left_by_cut(events[: moment + 1], draw), store, run, draw)
            shutil.copytree(run, folder / "left", dirs_exist_ok=True)
            code = code_of(start([*words, run], folder / f"cut{number}-0.log"))
            found = [f"the exit code was {code}: {said(run)}"] if code else []
            found = found or [*(differences(run, whole) if is_train else different_files(run, whole))]
            lost += [f"cut {number} behind event {moment} of {len(events)}: {sentence}" for sentence in found]
            if found:
                (folder / "left").rename(folder / f"left-by-cut{number}")
            shutil.rmtree(folder / "left", ignore_errors=True)
            shutil.rmtree(run, ignore_errors=not found)
    return Outcome(tuple(lost), {"cuts": CUTS, "moments": len(events)})


def _words(kind: str, draw: random.Random, folder: Path, teacher: Any) -> list[object]:
    """The command, with the flag of its folder last."""
    if not kind.startswith("train"):
        flags = [word for name, value in (GENERATE | {"train_samples": 30}).items() for word in (f"--{name}", value)]
        return ["generate", "--base_url", teacher.url, *flags, "--seed", draw.randrange(1000), "--out_dir"]
    lora = ("--use_peft", "--lora_r", "4") if kind.endswith("LoRA") else ()
    return ["train", *train_words(folder, lora, draw), "--max_steps", STEPS, "--output_dir"]


# ---- the record


def watch(run: Path, store: Path) -> None:
    """Write down, from now on, what a folder holds at each flush and each change of names, with all contents."""
    log = (store / "events").open("w", buffering=1)
    known: dict[tuple[int, int, int], str] = {}
    lock = threading.Lock()

    def event(flushed: str | None) -> None:
        with lock:
            log.write(json.dumps({"flushed": flushed, "tree": _tree(run, store, known)}) + "\n")

    def told(name: str) -> None:
        original = getattr(os, name)

        def call(*args: Any, **kwargs: Any) -> Any:
            path = os.readlink(f"/proc/self/fd/{args[0]}") if name == "fsync" else None
            found = original(*args, **kwargs)
            if path is None or path == str(run) or path.startswith(f"{run}/"):
                event(path and os.path.relpath(path, run))
            return found

        setattr(os, name, call)

    for name in ("fsync", "rename", "replace", "unlink", "mkdir", "rmdir"):
        told(name)


def _tree(run: Path, store: Path, known: dict[tuple[int, int, int], str]) -> Tree:
    """What a folder holds; new contents are kept under their digests."""
    tree: Tree = {}
    for path in [run, *sorted(run.rglob("*"))]:
        try:
            state = path.stat()
            digest = None
            if path.is_file():
                key = (state.st_ino, state.st_size, state.st_mtime_ns)
                if key not in known:
                    content = path.read_bytes()
                    known[key] = hashlib.sha256(content).hexdigest()
                    (store / known[key]).write_bytes(content)
                digest = known[key]
        except FileNotFoundError:  # another thread removes it
            continue
        tree[os.path.relpath(path, run)] = [state.st_ino, digest]
    return tree


# ---- what a cut leaves


def left_by_cut(events: list[Event], draw: random.Random) -> dict[str, tuple[str | None, ...] | None]:
    """A state behind some events: by path the contents that a file may have, the flushed one first; None of a folder.

    The last event happened just before the cut, so what is flushed by it is there.
    """
    last = len(events) - 1
    moment = draw.randint(0, last)  # until when changes of names came to the disk by themselves
    flushes = {event["flushed"]: number for number, event in enumerate(events) if event["flushed"]}
    state: dict[str, tuple[str | None, ...] | None] = {".": None}
    # By its inode a folder is known under its names before and after. In the first events there may be none.
    folders = [(".", events[last]["tree"].get(".", [None])[0])]
    while folders:
        folder, inode = folders.pop()
        own = [n for path, n in flushes.items() if events[n]["tree"].get(path, [0])[0] == inode]
        listed = events[max([moment, *own])]["tree"]
        home = next((path for path, (number, digest) in listed.items() if number == inode and digest is None), None)
        for path, (number, digest) in listed.items():  # of a folder that was not there yet: nothing
            if path == "." or os.path.dirname(path) != ("" if home == "." else home):
                continue
            here = os.path.normpath(os.path.join(folder, os.path.basename(path)))
            if digest is None:
                state[here] = None
                folders.append((here, number))
            else:
                state[here] = _contents(events, number)
    return state


def _contents(events: list[Event], inode: int) -> tuple[str | None, ...]:
    """What a file held at its last flush (None: nothing), and what was written to it since."""
    flushed: str | None = None
    since: list[str] = []
    for event in events:
        held = {number: (path, digest) for path, (number, digest) in event["tree"].items()}.get(inode)
        if held is None:
            continue
        if event["flushed"] == held[0]:
            flushed, since = held[1], []
        elif held[1] != flushed and held[1] not in since:
            since.append(held[1])
    return (flushed, *since)


def make(state: dict[str, tuple[str | None, ...] | None], store: Path, run: Path, draw: random.Random) -> None:
    """Write a state down; of contents that were not flushed a part, zeros, or nothing."""
    for path in sorted(state):
        contents = state[path]
        if contents is None:
            (run / path).mkdir(parents=True, exist_ok=True)
            continue
        chosen = draw.choice(contents)
        content = (store / chosen).read_bytes() if chosen else b""
        if chosen != contents[0]:
            kept = draw.choice((len(content), 0, draw.randint(0, len(content))))
            content = content[:kept] + draw.choice((b"", bytes(len(content) - kept)))
        (run / path).write_bytes(content)
