"""From a clone to a student that chats: the README's lines, typed one after another on the real engine."""

import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
TYPED = re.search(r"## With a GPU\n\n```sh gpu\n(.*?)```", (ROOT / "README.md").read_text(encoding="utf-8"), re.DOTALL)
CPU = "COMPOSE_FILE=docker-compose.yml:docker/compose.cpu.yml\n"  # as the README says for a laptop
HERE = f"TRAINER_UID={os.getuid()}\nTRAINER_GID={os.getgid()}\nTEACHER_PORT=0\nSTUDENT_PORT=0\n"


@dataclass(frozen=True)
class Newcomer:
    """Who types lines in a clone, with a home of their own."""

    clone: Path

    @property
    def _options(self) -> dict[str, Any]:
        variables = {
            "PATH": os.environ["PATH"],
            "HOME": str(self.clone.parent),
            "COMPOSE_PROJECT_NAME": f"self-distillation-test-{os.getpid()}-newcomer",
        }
        return {"cwd": self.clone, "env": variables, "text": True}

    def types(self, line: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(["bash", "-c", line], capture_output=True, **self._options)

    @contextmanager
    def watches(self, line: str) -> Iterator[subprocess.Popen[str]]:
        """A line that goes on until Ctrl-C."""
        with (self.clone / "log").open("w") as log:
            running = subprocess.Popen(shlex.split(line), stdout=log, stderr=log, **self._options)
            try:
                yield running
            finally:
                running.send_signal(signal.SIGINT)
                running.wait(120)

    def until(self, service: str, reached: str, running: subprocess.Popen[str]) -> None:
        """Wait for a state of a service's container."""
        deadline = time.monotonic() + 420
        while reached not in self.types(f"docker compose ps --all --format '{{{{.Status}}}}' {service}").stdout:
            assert running.poll() is None and time.monotonic() < deadline, (self.clone / "log").read_text()[-4000:]
            time.sleep(0.5)


@pytest.fixture(scope="module")
def lines() -> list[str]:
    """What the README says to type on a GPU, without its comments."""
    assert TYPED is not None
    return [line.split("  #")[0].strip() for line in TYPED[1].splitlines()]


@pytest.fixture(scope="module")
def newcomer(smoke: Path, tmp_path_factory: pytest.TempPathFactory, lines: list[str]) -> Iterator[Newcomer]:
    """In a clone, with .env; on the images that `smoke` built."""
    clone = tmp_path_factory.mktemp("home") / "self-distillation"
    listed = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"]
    for name in subprocess.run(listed, cwd=ROOT, capture_output=True, text=True, check=True).stdout.split("\0"):
        if (ROOT / name).is_file():
            (clone / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, clone / name)
    someone = Newcomer(clone)
    done = someone.types(lines[0])
    assert done.returncode == 0, done.stderr
    with (clone / ".env").open("a") as env_file:
        env_file.write(CPU + HERE + "SDFT_MAX_EVAL_SAMPLES=48\n")
    try:
        yield someone
    finally:
        someone.types("docker compose --profile serve down --volumes --remove-orphans --timeout 10")


@pytest.fixture(scope="module")
def exported(newcomer: Newcomer, lines: list[str]) -> str:
    """What is printed when the student that was trained by `docker compose up` is exported."""
    assert lines[2] == "docker compose up" and " trainer export " in lines[3]
    with newcomer.watches(lines[2]) as running:
        newcomer.until("trainer", "Exited (0)", running)
    done = newcomer.types(lines[3])
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def served(newcomer: Newcomer, lines: list[str], exported: str) -> Iterator[str]:
    """The URL at which `docker compose up student` serves it, alone."""
    assert lines[4] == "docker compose --profile serve up student"
    newcomer.types("docker compose down")
    with newcomer.watches(lines[4]) as running:
        newcomer.until("student", "(healthy)", running)
        yield f"http://{newcomer.types('docker compose port student 8000').stdout.strip()}"


def test_the_export_answers_as_the_checkpoint_did(exported):
    assert "answers 8 rows of new skill as checkpoint-" in exported


def test_the_student_is_alone_on_loopback_under_its_name_and_chats(newcomer, served):
    assert newcomer.types("docker compose ps --services").stdout.split() == ["student"]
    assert served.startswith("http://127.0.0.1:")
    asked = json.dumps({"model": "student", "messages": [{"role": "user", "content": "Hello"}], "max_tokens": 16})
    request = urllib.request.Request(
        f"{served}/v1/chat/completions", asked.encode(), {"Content-Type": "application/json"}
    )
    with urllib.request.urlopen(request, timeout=60) as answer:
        assert json.load(answer)["choices"][0]["message"]["content"]


def test_its_answers_are_those_of_the_runs_checkpoint(newcomer, served):
    done = newcomer.types(
        "docker compose run --rm --no-TTY --no-deps trainer compare outputs/sdft http://student:8000"
        " --max_eval_samples 16 --local_files_only --max_prompt_length 256 --max_completion_length 64"
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "16 rows, 16 answered alike" in done.stdout


def test_it_leaves_its_files_to_the_group_and_can_not_change_the_outputs(newcomer, served):
    program = "cat /proc/[0-9]*/status | grep Umask | sort | uniq -c; touch /app/outputs/file"
    tried = newcomer.types(f"docker compose exec --no-TTY student sh -c '{program}'")
    assert "0002" in tried.stdout
    assert tried.returncode != 0 and "Read-only file system" in tried.stderr


def test_the_chat_has_teacher_and_both_students(newcomer, lines):
    """Its image is a registry's; what Compose makes of the line is looked at."""
    line = lines[5]
    assert line == "docker compose --profile chat up chat"
    made = json.loads(newcomer.types("docker compose --profile chat config --format json").stdout)["services"]
    assert set(made["chat"]["depends_on"]) == {"teacher", "student", "student-before"}
    assert made["chat"]["ports"][0]["host_ip"] == "127.0.0.1"
