"""What the docker tests share: the engine they need, Compose on the real files, and one run of scripts/smoke."""

import json
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
CPU = ("docker-compose.yml", "docker/compose.cpu.yml")

Compose = Callable[..., subprocess.CompletedProcess[str]]


def docker(*arguments: str, **options: Any) -> subprocess.CompletedProcess[str]:
    """Run the docker client and return what it printed."""
    return subprocess.run(["docker", *arguments], capture_output=True, text=True, cwd=ROOT, **options)


def missing_engine() -> str | None:
    """Why the docker tests can't run here, None where they can."""
    if shutil.which("docker") is None:
        return "there is no docker client; type scripts/install_engine"
    if docker("compose", "version").returncode:
        return "docker has no Compose plugin; type scripts/install_engine"
    if docker("info").returncode:
        return "no Docker engine answers; type scripts/install_engine"
    return None


@pytest.fixture(scope="session", autouse=True)
def engine() -> None:
    """Skip where there is no engine; in CI that is a failure."""
    reason = missing_engine()
    if reason and os.environ.get("CI") == "true":
        pytest.fail(f"CI runs the docker tests, and {reason}")
    if reason:
        pytest.skip(reason)


def compose_with(files: tuple[str, ...], variables: dict[str, str], env_file: Path | str = "/dev/null") -> Compose:
    """Compose on `files` with nothing but `variables` set: neither a .env nor the shell's variables reach it."""
    kept = {key: os.environ[key] for key in ("PATH", "HOME") if key in os.environ}
    chosen = [word for name in files for word in ("--file", name)]

    def run(*arguments: str, **options: Any) -> subprocess.CompletedProcess[str]:
        command = ("compose", "--ansi", "never", "--env-file", str(env_file), *chosen, *arguments)
        return docker(*command, env=kept | variables, **options)

    return run


@pytest.fixture
def plain_compose() -> Callable[..., Compose]:
    """Compose on the given files with no setting but those named."""
    return lambda files, **settings: compose_with(files, settings)


@pytest.fixture
def rendered(tmp_path: Path) -> Callable[..., dict[str, Any]]:
    """The configuration that Compose makes of the files and the lines of a .env."""

    def render(files: tuple[str, ...], *lines: str) -> dict[str, Any]:
        env_file = tmp_path / "env"
        env_file.write_text("\n".join(lines))
        answer = compose_with(files, {}, env_file)("config", "--format", "json")
        assert answer.returncode == 0, answer.stderr
        return json.loads(answer.stdout)

    return render


@pytest.fixture(scope="session")
def smoke(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The outputs of one run of scripts/smoke, which also leaves both CPU images behind; all folders are private."""
    outputs = tmp_path_factory.mktemp("smoke")
    command = ["scripts/smoke", "--keep", str(outputs)]
    run = subprocess.run(command, cwd=ROOT, text=True, capture_output=True, umask=0o077)
    assert run.returncode == 0, (
        f"scripts/smoke ended with {run.returncode}:\n{run.stdout[-8000:]}\n{run.stderr[-4000:]}"
    )
    return outputs


@dataclass(frozen=True)
class Stack:
    """A CPU stack of its own: Compose on it, and the folders mounted as data/ and outputs/."""

    compose: Compose
    data: Path
    outputs: Path

    def state(self, service: str) -> dict[str, Any]:
        """What the engine says of a service's container: Status, ExitCode, …"""
        container = self.compose("ps", "--all", "--quiet", service).stdout.strip()
        return json.loads(docker("inspect", container).stdout)[0]["State"]


@pytest.fixture(scope="session")
def new_stack(smoke: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[..., AbstractContextManager[Stack]]:
    """Makes a `Stack` on the images that `smoke` built, with variables of .env; taken down when it is left."""

    @contextmanager
    def make(*settings: str, files: tuple[str, ...] = CPU, **variables: str) -> Iterator[Stack]:
        folder = tmp_path_factory.mktemp("stack")
        shutil.copytree(ROOT / "data" / "tiny_world", folder / "data" / "tiny_world")
        (folder / "outputs").mkdir()
        (folder / "trainer.env").write_text("\n".join(settings))
        compose = compose_with(
            files,
            {
                "COMPOSE_PROJECT_NAME": f"self-distillation-test-{os.getpid()}-{folder.name}",
                "DATA_DIR": str(folder / "data"),
                "OUTPUTS_DIR": str(folder / "outputs"),
                "TRAINER_ENV_FILE": str(folder / "trainer.env"),
                "TRAINER_UID": str(os.getuid()),
                "TRAINER_GID": str(os.getgid()),
                "TEACHER_PORT": "0",
                **variables,
            },
        )
        try:
            yield Stack(compose, folder / "data", folder / "outputs")
        finally:
            compose("down", "--volumes", "--remove-orphans", "--timeout", "10")

    return make
