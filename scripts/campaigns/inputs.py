"""Bad input of every kind: each is worked with or refused by one message, with no traceback and no hang.

Data files, configurations, recipes, documents of tools, environment variables, flags, run directories and answers of a
server, each made from a good one of which a few things are exchanged. The commands run within one process, which is a
fork of its own for each case of many inputs. Lost is an input that ends in a traceback, an exit code that the reference
doesn't have, no message, a message of more than 3,000 characters, or that takes more than 10 seconds.

One input alone, with all that it prints and its files left in FOLDER:

    scripts/campaigns/inputs.py SEED SUBJECT NUMBER FOLDER
"""

import contextlib
import faulthandler
import io
import os
import re
import resource
import shutil
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Iterator
from multiprocessing.connection import Connection
from pathlib import Path

if __name__ == "__main__":
    sys.path[:0] = [str(Path(__file__).resolve().parents[number]) for number in (1, 2)]

from campaigns.attempts import Attempt, World
from campaigns.case import Case, Outcome
from campaigns.forked import server

SECONDS, AT_MOST = 10, 40  # of work or of waiting; of both together on a busy machine
LONGEST_MESSAGE = 3_000
MEMORY = 12 << 30  # bytes of address space; torch alone takes several GiB of it
CODES = (0, 2, 3, 4)
INPUTS = {  # of each subject: in the full campaign, in the quick one, in a case
    "data": (8_000, 300, 400),
    "tools": (2_500, 100, 500),
    "recipes": (1_500, 60, 500),
    "config": (2_500, 100, 250),
    "flags": (2_500, 100, 250),
    "environment": (1_500, 60, 250),
    "runs": (1_500, 60, 100),
    "answers": (2_000, 80, 200),
}


def cases(seed: int, quick: bool) -> Iterator[Case]:
    for subject, (full, few, together) in INPUTS.items():
        wanted = few if quick else full
        for start in range(0, wanted, together):
            numbers = range(start, min(start + together, wanted))
            yield Case(subject, start, lambda folder, s=subject, n=numbers: tried(seed, s, n, folder))


def tried(seed: int, subject: str, numbers: range, folder: Path) -> Outcome:
    """What became of some inputs; where one ends its process, the next ones go on in another."""
    lost: list[str] = []
    waiting = numbers
    while waiting:
        hears, tells = server().Pipe(duplex=False)
        process = server().Process(target=work, args=(seed, subject, waiting, folder, tells))
        process.start()
        tells.close()
        begun = None
        with contextlib.suppress(EOFError):
            while True:
                begun, fault = hears.recv()
                lost += [f"{subject} {begun}: {fault}"] if fault else []
        process.join()
        if begun == waiting[-1] and process.exitcode == 0:
            break
        last = waiting[0] if begun is None else begun
        lost.append(f"{subject} {last}: ended its process with {process.exitcode}: {last_words(folder)}")
        waiting = range(last + 1, numbers.stop)
    return Outcome(lost=tuple(lost), counts={"inputs": len(numbers)})


def last_words(folder: Path) -> str:
    """Where a process stood that `faulthandler` ended."""
    said = (folder / "log").read_text(encoding="utf-8", errors="replace")
    places = re.findall(r'File ".*?((?:trainer|site-packages)/\S+)", line (\d+)', said.rpartition("Timeout")[2])
    return f"no end after {AT_MOST} s, at " + " < ".join(":".join(p) for p in places[:6]) if places else said[-300:]


def work(seed: int, subject: str, numbers: range, folder: Path, tells: Connection) -> None:
    """What the process does: one input after another, with a line before each and one more where it was lost."""
    from campaigns.forked import into

    into(folder / "log")
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    log = (folder / "log").open("a")
    world = World(folder / "world")
    for number in numbers:
        tells.send((number, None))
        faulthandler.dump_traceback_later(AT_MOST, exit=True, file=log)
        place = folder / f"{subject}-{number}"
        fault = fault_of(world.attempt(seed, subject, number, place), place)[0]
        faulthandler.cancel_dump_traceback_later()
        shutil.rmtree(place, ignore_errors=True)
        if fault:
            tells.send((number, fault))


def fault_of(attempt: Attempt, place: Path) -> tuple[str | None, str]:
    """What is wrong with the end of a command, None where nothing is; and all that it printed."""
    from trainer.__main__ import main

    out, err = io.StringIO(), io.StringIO()
    began, busy, kept = time.monotonic(), time.process_time(), kept_waiting()
    with as_it_was(place, attempt.environ), contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            code = main(attempt.words)
        except SystemExit as ended:  # of --help
            code = ended.code or 0
        except BaseException as error:
            return raised(error, attempt), out.getvalue() + err.getvalue() + traceback.format_exc()
    worked = time.process_time() - busy
    waited = time.monotonic() - began - 2 * worked - (kept_waiting() - kept)
    said = out.getvalue() + err.getvalue()
    messages = [line for line in said.splitlines() if line.startswith(("error: ", "FAIL"))]
    command = " ".join(attempt.words)[:200]
    if "Traceback (most recent call last)" in said:
        return f"printed a traceback: {command}", said
    if code not in CODES:
        return f"ended with exit code {code}: {command}: {said[-200:]!r}", said
    if code in (2, 3) and not messages:
        return f"ended with exit code {code} and no message: {command}: {said[-200:]!r}", said
    if any(len(line) > LONGEST_MESSAGE for line in messages):
        return f"a message of {max(map(len, messages)):,} characters: {messages[-1][:200]}", said
    if max(worked, waited) > SECONDS:
        return f"took {worked:.0f} s of work and {waited:.0f} s of waiting: {command}", said
    return None, said


def kept_waiting() -> float:
    """Seconds for which this thread was ready to work and the machine busy with others."""
    return int(Path("/proc/self/schedstat").read_text().split()[1]) / 1e9


def raised(error: BaseException, attempt: Attempt) -> str:
    """An exception with the innermost places of ours, by which those of a kind are told."""
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if "/trainer/" in frame.filename]
    places = [f"{frame.filename.partition('/trainer/')[2]}:{frame.lineno}" for frame in frames[-2:]]
    words = " ".join(str(error).split())[:150]
    return f"{type(error).__name__} at {' > '.join(places)}: {words} ({' '.join(attempt.words)[:120]!r})"


@contextlib.contextmanager
def as_it_was(place: Path, environ: dict[str, str | None]) -> Iterator[None]:
    """Work in a folder and an environment; both, and what commands set for their process, are afterwards as before."""
    kept, where = dict(os.environ), os.getcwd()
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    os.environ |= {name: value for name, value in environ.items() if value is not None}
    for name in (name for name, value in environ.items() if value is None):
        os.environ.pop(name, None)
    tempfile.tempdir = None
    os.chdir(place)
    try:
        yield
    finally:
        os.chdir(where)
        os.environ.clear()
        os.environ |= kept
        tempfile.tempdir = None
        for number, handler in handlers.items():
            signal.signal(number, handler)


if __name__ == "__main__":
    seed, subject, number, folder = int(sys.argv[1]), sys.argv[2], int(sys.argv[3]), Path(sys.argv[4]).resolve()
    os.environ |= {"HF_HUB_OFFLINE": "1", "TRL_EXPERIMENTAL_SILENCE": "1"}
    place = folder / f"{subject}-{number}"
    attempt = World(folder / "world").attempt(seed, subject, number, place)
    print("$", *(f"{name}={value}" for name, value in attempt.environ.items()), "python -m trainer", *attempt.words)
    found, said = fault_of(attempt, place)
    print(said, f"fault: {found}", sep="\n")
    os._exit(bool(found))
