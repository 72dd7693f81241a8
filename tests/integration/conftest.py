"""One real vLLM on loopback, serving the tiny teacher to the whole session, and runs that start fast."""

import json
import multiprocessing
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import pytest
from running import ENVIRONMENT, PRELOADED, SERVED, WORLD, Training, healthy, train

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="session")
def serve() -> Callable[..., AbstractContextManager[subprocess.Popen[str]]]:
    """Lets scripts/serve_teacher serve a model as glm-4.7 on a port (0: a free one), with a log file.

    It prints `ready URL` when vLLM is healthy. TEACHER_PYTHON names the interpreter to start that with; further
    arguments are vLLM's.
    """

    @contextmanager
    def serving(
        port: int, log: Path, *for_vllm: str, model: Path = WORLD / "teacher"
    ) -> Iterator[subprocess.Popen[str]]:
        command = [sys.executable, ROOT / "scripts/serve_teacher", "--model", model, "--port", str(port), *for_vllm]
        command += ["--log", log, "--python", os.environ.get("TEACHER_PYTHON", ROOT / ".venv-teacher/bin/python")]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
            try:
                yield server
            finally:
                server.terminate()

    return serving


@pytest.fixture(scope="session")
def teacher_url(serve, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The base URL of a healthy vLLM that serves data/tiny_world/teacher as glm-4.7.

    TEACHER_URL names one that already runs, which saves the minute of starting while writing tests.
    """
    if url := os.environ.get("TEACHER_URL"):
        yield url
        return
    log = tmp_path_factory.mktemp("teacher") / "vllm.log"
    with serve(0, log) as server:
        yield healthy(server, log)


@pytest.fixture(scope="session")
def start() -> Iterator[Callable[..., Training]]:
    """Starts `train URL` into a folder, with the tiny student and objective `served` unless told otherwise."""
    begun: list[Training] = []
    with pytest.MonkeyPatch.context() as patch:
        for name, value in ENVIRONMENT.items():
            patch.setenv(name, value)
        server = multiprocessing.get_context("forkserver")
        server.set_forkserver_preload(PRELOADED)

        def begin(url: str, run: Path, *arguments: object) -> Training:
            log = run.with_name(f"{run.name}-{len(begun)}.log")
            words = [str(word) for word in (url, *SERVED, *arguments, "--output_dir", run)]
            process = server.Process(target=train, args=(words, log))
            process.start()
            begun.append(Training(process, run, log))
            return begun[-1]

        yield begin
        for training in begun:
            training.process.kill()


@pytest.fixture(scope="session")
def finish(start) -> Callable[..., Training]:
    """The same, but waits for the end, which has to be a good one."""

    def finished(url: str, run: Path, *arguments: object) -> Training:
        training = start(url, run, *arguments)
        assert training.code() == 0, training.said
        return training

    return finished


@pytest.fixture(scope="session")
def rows(tmp_path_factory) -> Path:
    """48 training rows: 6 steps an epoch."""
    path = tmp_path_factory.mktemp("data") / "rows.json"
    path.write_text(json.dumps(json.loads((WORLD / "train_data.json").read_text())[:48]))
    return path


@pytest.fixture
def small_disk(tmp_path) -> Iterator[tuple[Path, Callable[[str], None]]]:
    """A file system of its own, 14 MB, and what resizes it."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=14m", "none", folder]
    if shutil.which("mount") is None or subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("mounting a tmpfs is not permitted here")
    try:
        yield folder, lambda size: subprocess.run(["mount", "-o", f"remount,size={size}", folder], check=True)
    finally:
        subprocess.run(["umount", folder], check=True)
