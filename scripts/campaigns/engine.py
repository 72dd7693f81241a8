"""The trainer's container is killed by its engine, or the whole engine is, at random moments: the same bits at the end.

The CPU image trains the tiny world into a folder of the host, and the same container is started again after each kill.
It is `docker kill` that ends it; or every process of an engine of the campaign's own dies at one moment, as when a
machine fails, and the engine starts again with what is on its disk. One run is made where the users of the container
are other ones outside, as administrators set up engines. What counts as lost stands in kills.py.
"""

import os
import random
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from campaigns.case import Case, Outcome, drawn
from campaigns.compared import differences, half_written
from campaigns.kills import KILLS, WORLD, train_words

IMAGE = "self-distillation-trainer:cpu"
USER, GROUP = os.getuid() or 1000, os.getgid() or 1000  # root's container trains as another, as in docker-compose.yml
OTHERS = 200_000  # who root of a container is outside, where its users are other ones there
PATIENCE = 120  # seconds for an engine to answer


@dataclass
class Engine:
    """An engine that answers; `host` is None for the one of this machine."""

    host: str | None = None

    def docker(self, *words: object, seconds: float | None = None) -> str:
        """What a `docker` command prints, on both streams.

        Raises:
            RuntimeError: It failed.
            subprocess.TimeoutExpired: It was not done in so many seconds.
        """
        there = ["--host", self.host] if self.host else []
        command = ["docker", *there, *map(str, words)]
        done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=seconds)
        if done.returncode:
            raise RuntimeError(f"{' '.join(command)}: {done.stdout.strip()}")
        return done.stdout.strip()

    def kill(self, container: str) -> None:
        self.docker("stop", "--signal", "KILL", container)  # which is content with one that has just ended


class PrivateEngine(Engine):
    """An engine in namespaces of its own: it leaves this machine's networks alone, and dies with all its containers.

    Args:
        first: Who of this machine the containers' root is; the users behind are theirs, too.
    """

    def __init__(self, place: Path, first: int = 0):
        super().__init__(f"unix://{place}/state/docker.sock")
        self.place, self.first = place, first
        place.chmod(0o711)  # whoever root is there passes through
        (place / "users").write_text(f"daemon:{first}:65536\n")

    def start(self) -> None:
        """Start it; the folder of its state is empty, as /run is when a machine starts."""
        state = self.place / "state"
        shutil.rmtree(state, ignore_errors=True)
        state.mkdir()
        command = ["unshare", "--net", "--pid", "--fork", "--kill-child", "--mount-proc"]
        if self.first:
            command += [
                "sh",
                "-c",
                f'for f in uid gid; do mount --bind {self.place}/users /etc/sub$f; done; exec "$@"',
                "-",
            ]
        command += ["dockerd", "--bridge", "none", *(["--userns-remap", "daemon"] if self.first else [])]
        command += ["--iptables=false", "--ip6tables=false", "--host", f"{self.host}", "--pidfile", f"{state}/pid"]
        command += ["--exec-root", f"{state}/run", "--data-root", f"{self.place}/data"]
        with (self.place / "log").open("ab") as log:
            self.process = subprocess.Popen(command, stdout=log, stderr=log)
        deadline = time.monotonic() + PATIENCE
        while True:
            try:
                self.docker("info")
                return
            except RuntimeError:
                if self.process.poll() is not None or time.monotonic() > deadline:
                    raise
                time.sleep(0.2)

    def stop(self) -> None:
        """Let all its processes die: with the first one of a namespace of processes the kernel kills the others."""
        self.process.kill()
        self.process.wait()

    def kill(self, container: str) -> None:
        self.stop()
        self.start()


@contextmanager
def private_engine(first: int = 0) -> Iterator[Engine]:
    """An engine that has the image."""
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as place:
        engine = PrivateEngine(Path(place), first)
        try:
            engine.start()
            saved = subprocess.Popen(["docker", "save", IMAGE], stdout=subprocess.PIPE)
            subprocess.run(["docker", "--host", f"{engine.host}", "load", "--quiet"], stdin=saved.stdout, check=True)
            yield engine
        finally:
            engine.stop()


OF_THIS_MACHINE: Callable[[], AbstractContextManager[Engine]] = partial(nullcontext, Engine())


def cases(seed: int, quick: bool) -> Iterator[Case]:
    """None in the quick campaign: they need an engine with the image."""
    if not quick:
        yield from drawn(seed, "a container is killed", 4, partial(train_killed, OF_THIS_MACHINE))
        yield from drawn(seed, "the engine is killed", 2, partial(train_killed, private_engine))
        yield from drawn(seed, "users are other ones outside", 1, train_remapped)


def missing(engine: Callable[[], AbstractContextManager[Engine]]) -> str | None:
    """Why it can't be tried here, None where it can."""
    if shutil.which("docker") is None or subprocess.run(["docker", "info"], capture_output=True).returncode:
        return "no Docker engine answers; type scripts/install_engine"
    if subprocess.run(["docker", "image", "inspect", IMAGE], capture_output=True).returncode:
        return f"there is no image {IMAGE}; type scripts/smoke"
    if engine is private_engine and (os.getuid() or shutil.which("dockerd") is None):
        return "an engine of its own needs root and dockerd"
    return None


def train_killed(engine_of: Callable[[], AbstractContextManager[Engine]], draw: random.Random, folder: Path) -> Outcome:
    """A run left alone, then runs of the same command that are killed, each until it is done, for so many kills."""
    if reason := missing(engine_of):
        return Outcome(skipped=reason)
    words = train_words(folder, (), draw)
    os.chown(folder, USER, GROUP)
    whole, lost = folder / "whole", []
    kills = runs = 0
    with engine_of() as engine:
        began = time.monotonic()
        with container(engine, words, whole) as name:
            engine.docker("start", name)
            require_done(engine, name)
        lasts = time.monotonic() - began
        while kills < KILLS and not lost:
            run, runs = folder / f"killed{runs}", runs + 1
            with container(engine, words, run) as name:
                here, lost = killed_until_done(engine, name, run, lasts, KILLS - kills, draw)
            kills, lost = kills + here, lost or [*differences(run, whole)]
    return Outcome(tuple(lost), {"kills": kills, "runs": runs})


def train_remapped(draw: random.Random, folder: Path) -> Outcome:
    """A run where the container's users are others outside (`userns-remap`): refused until the folder is theirs."""
    if reason := missing(private_engine):
        return Outcome(skipped=reason)
    words, whole, run = train_words(folder, (), draw), folder / "whole", folder / "remapped"
    os.chown(folder, USER, GROUP)
    with container(Engine(), words, whole) as name:
        Engine().docker("start", name)
        require_done(Engine(), name)
    with private_engine(OTHERS) as engine:
        with container(engine, words, run) as name:
            engine.docker("start", name)
            code, said = engine.docker("wait", name), engine.docker("logs", "--tail", "3", name)
        os.chown(folder, OTHERS + USER, OTHERS + GROUP)
        with container(engine, words, run) as name:
            engine.docker("start", name)
            require_done(engine, name)
    refused = code == "2" and f"sudo chown -R {OTHERS + USER} {run}" in said
    return Outcome((*(() if refused else (f"exit code {code}: {said}",)), *differences(run, whole)), {"runs": 2})


@contextmanager
def container(engine: Engine, words: list[object], run: Path) -> Iterator[str]:
    """The name of a container that is not started yet, of a `train` into `run`; it is removed at the end."""
    name = f"campaign-{os.getpid()}-{run.name}"
    folders = ["--volume", f"{WORLD}:{WORLD}:ro", "--volume", f"{run.parent}:{run.parent}"]
    guards = ["--init", "--network", "none", "--cap-drop", "ALL", "--read-only"]
    guards += ["--tmpfs", "/tmp:exec", "--tmpfs", "/cache:mode=1777"]
    settings = ["--env", "HF_HUB_OFFLINE=1", "--env", "OMP_NUM_THREADS=1", "--user", f"{USER}:{GROUP}"]
    engine.docker("create", "--name", name, *folders, *guards, *settings, IMAGE, "train", *words, "--output_dir", run)
    try:
        yield name
    finally:
        engine.docker("rm", "--force", "--volumes", name)


def killed_until_done(
    engine: Engine, name: str, run: Path, lasts: float, at_most: int, draw: random.Random
) -> tuple[int, list[str]]:
    """Start a container again and again, killing it; how many kills it took, and what was lost."""
    for kills in range(at_most):
        engine.docker("start", name)
        try:
            engine.docker("wait", name, seconds=draw.uniform(0.1, lasts))
        except subprocess.TimeoutExpired:
            engine.kill(name)
        else:
            require_done(engine, name)
            return kills, []
        if lost := [*half_written(run)]:
            return kills + 1, lost
    engine.docker("start", name)
    require_done(engine, name)
    return at_most, []


def require_done(engine: Engine, name: str) -> None:
    """Wait for the end of a container; RuntimeError unless its exit code is 0."""
    if (code := engine.docker("wait", name)) != "0":
        raise RuntimeError(f"{name} ended with exit code {code}: {engine.docker('logs', '--tail', '20', name)}")
