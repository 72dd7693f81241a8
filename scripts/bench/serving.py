"""Servers that benchmarks measure against: a scripted one in a process of its own, and a vLLM on the CPU."""

import multiprocessing
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
TINY_TEACHER = ROOT / "data" / "tiny_world" / "teacher"


@contextmanager
def scripted(serve: Callable[..., None], *args: Any) -> Iterator[str]:
    """The base URL of `serve(*args, connection)`, which sends its port through the connection and is killed at last."""
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=serve, args=(*args, theirs), daemon=True)
    process.start()
    try:
        yield f"http://127.0.0.1:{ours.recv()}"
    finally:
        process.kill()
        process.join()


@contextmanager
def vllm(url: str | None, model: Path = TINY_TEACHER, *more: str) -> Iterator[str]:
    """The base URL of a vLLM that serves a model: `url`, or one of our own for a while, with `more` flags."""
    if url:
        yield url
        return
    python = os.environ.get("TEACHER_PYTHON") or str(ROOT / ".venv-teacher" / "bin" / "python")
    if not Path(python).is_file():
        subprocess.run([ROOT / "scripts" / "setup", "teacher"], check=True)
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, ROOT / "scripts" / "serve_teacher", "--model", model, "--port", "0"]
        command += ["--log", f"{folder}/vllm.log", "--python", python, *more]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
            try:
                word, _, found = server.stdout.readline().strip().partition(" ")
                if word != "ready":
                    sys.exit("the benchmark's teacher did not become healthy; the reason stands above.")
                yield found
            finally:
                server.terminate()
