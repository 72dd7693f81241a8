"""One real vLLM on loopback, serving the tiny teacher to the whole session."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="session")
def teacher_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The base URL of a healthy vLLM that serves data/tiny_world/teacher as glm-4.7.

    TEACHER_PYTHON names the interpreter to start it with; TEACHER_URL names one that already runs, which saves
    the minute of starting while writing tests.
    """
    if url := os.environ.get("TEACHER_URL"):
        yield url
        return
    log = tmp_path_factory.mktemp("teacher") / "vllm.log"
    command = [
        sys.executable,
        ROOT / "scripts/serve_teacher",
        "--model",
        ROOT / "data/tiny_world/teacher",
        "--port",
        "0",
    ]
    command += ["--log", log, "--python", os.environ.get("TEACHER_PYTHON", ROOT / ".venv-teacher/bin/python")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        try:
            assert server.stdout is not None
            word, _, url = server.stdout.readline().strip().partition(" ")
            if word != "ready":
                pytest.fail(f"the teacher did not become healthy; its log is {log}", pytrace=False)
            yield url
        finally:
            server.terminate()
