"""docker/slurm/train.sbatch on a real Slurm cluster: two nodes, which are one container."""

import json
import os
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
IMAGE = "self-distillation-slurm:test"
TRAIN = (
    "--fsdp", "true", "--use_cpu", "true", "--local_files_only", "--model_name_or_path", "data/tiny_world/student",
    "--train_data_path", "data/train_data.json", "--output_dir", "outputs/sdft", "--save_steps", "1",
    "--max_prompt_length", "256", "--max_completion_length", "64", "--learning_rate", "5e-4",
)  # fmt: skip
STEPS = 24  # so many that a fast machine is signalled before it is done


def docker(*arguments: str, **options: Any) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["docker", *arguments], capture_output=True, text=True, cwd=ROOT, **options)


@dataclass(frozen=True)
class Cluster:
    """A running cluster; `docker/slurm/train.sbatch` is submitted from /app, as from a checkout."""

    container: str

    def run(self, *command: str, user: str = "1000") -> str:
        """What a command prints that is typed there."""
        given = ("--env", "OMP_NUM_THREADS=1", "--env", "HF_HUB_OFFLINE=1", "--workdir", "/app", "--user", user)
        answer = docker("exec", *given, self.container, *command)
        assert answer.returncode == 0, f"{command}: {answer.stdout}{answer.stderr}"
        return answer.stdout

    def submit(self, *options: str, epochs: int = 3) -> str:
        """The number of a new job, whose log is outputs/job-NUMBER.log."""
        options = ("--parsable", "--nodes", "2", "--output", "outputs/job-%j.log", *options)
        train = (*TRAIN, "--num_train_epochs", f"{epochs}")
        return self.run("sbatch", *options, "docker/slurm/train.sbatch", *train).strip()

    def facts(self, job: str) -> dict[str, str]:
        """What Slurm says of a job: JobState, Restarts, ExitCode, …"""
        words = self.run("scontrol", "--oneliner", "show", "job", job).split()
        return dict(word.split("=", 1) for word in words if "=" in word)

    def log(self, job: str) -> str:
        return self.run("sh", "-c", f"cat outputs/job-{job}.log 2>/dev/null || true")

    def metrics(self) -> list[int]:
        """The steps that the run has recorded."""
        lines = self.run("sh", "-c", "cat outputs/sdft/metrics.jsonl 2>/dev/null || true").splitlines()
        return [json.loads(line)["step"] for line in lines]

    def summary(self) -> dict:
        return json.loads(self.run("cat", "outputs/sdft/summary.json"))

    def wait_until(self, happened: Callable[[], bool], job: str, seconds: float = 240) -> None:
        deadline = time.monotonic() + seconds
        while not happened():
            is_lost = time.monotonic() > deadline or self.facts(job)["JobState"] == "FAILED"
            assert not is_lost or happened(), f"{self.facts(job)}\n{self.log(job)[-4000:]}"
            time.sleep(0.5)

    def wait_for_state(self, job: str, *states: str) -> None:
        self.wait_until(lambda: self.facts(job)["JobState"] in states, job)


@pytest.fixture(scope="module")
def image(smoke) -> str:
    """Debian's Slurm beside the trainer that `smoke` built."""
    built = docker("build", "--tag", IMAGE, "tests/docker/slurm")
    assert built.returncode == 0, built.stderr[-4000:]
    return IMAGE


@pytest.fixture
def cluster(image: str, tmp_path: Path) -> Iterator[Cluster]:
    data = tmp_path / "data"
    shutil.copytree(ROOT / "data" / "tiny_world", data / "tiny_world")
    rows = json.loads((data / "tiny_world" / "train_data.json").read_text())[: 32 * STEPS // 3]
    (data / "train_data.json").write_text(json.dumps(rows))  # 3 epochs
    name = f"self-distillation-slurm-{os.getpid()}"
    given = ("--hostname", "cluster", "--add-host", "node1:127.0.0.1", "--add-host", "node2:127.0.0.1")
    started = docker("run", "--detach", "--init", "--name", name, *given, image)
    assert started.returncode == 0, started.stderr
    try:
        found = Cluster(name)
        for folder in (data, ROOT / "docker"):
            assert docker("cp", str(folder), f"{name}:/app/").returncode == 0
        found.run("chown", "-R", "1000:1000", "/app/data", "/app/docker", user="0")
        deadline = time.monotonic() + 60
        while "idle" not in docker("exec", name, "sinfo", "--noheader", "--states", "idle").stdout:
            assert time.monotonic() < deadline, docker("logs", name).stderr
            time.sleep(0.5)
        yield found
    finally:
        docker("rm", "--force", "--volumes", name)


def test_a_job_out_of_time_saves_and_goes_into_the_queue_again_where_it_finishes(cluster: Cluster):
    job = cluster.submit()
    cluster.wait_until(lambda: len(cluster.metrics()) >= 2, job)
    cluster.run("scancel", "--signal=USR1", "--batch", job)  # what `#SBATCH --signal` sends before the limit
    cluster.wait_until(lambda: cluster.facts(job)["Restarts"] == "1", job)
    stopped = cluster.metrics()[-1]
    assert stopped < STEPS and cluster.summary()["status"] == "stopped"
    assert f"error: stopped at step {stopped} of {STEPS}; the same command goes on." in cluster.log(job)
    cluster.wait_for_state(job, "PENDING")
    cluster.run("scontrol", "update", f"JobId={job}", "StartTime=now", user="0")  # Slurm itself waits two minutes
    cluster.wait_for_state(job, "COMPLETED", "FAILED")
    assert f"going on from outputs/sdft/checkpoint-{stopped}\n" in cluster.log(job), cluster.facts(job)
    assert cluster.facts(job)["ExitCode"] == "0:0", cluster.log(job)[-4000:]
    assert cluster.metrics() == [*range(1, STEPS + 1)] and cluster.summary()["status"] == "finished"


def test_a_job_that_is_told_to_end_saves_and_the_same_command_goes_on(cluster: Cluster):
    job = cluster.submit()
    cluster.wait_until(lambda: len(cluster.metrics()) >= 2, job)
    cluster.run("scancel", "--signal=TERM", job)
    cluster.wait_for_state(job, "FAILED")
    stopped = cluster.metrics()[-1]
    assert stopped < STEPS and cluster.summary()["status"] == "stopped"
    again = cluster.submit()
    cluster.wait_for_state(again, "COMPLETED", "FAILED")
    assert f"going on from outputs/sdft/checkpoint-{stopped}\n" in cluster.log(again)
    assert cluster.metrics() == [*range(1, STEPS + 1)] and cluster.summary()["status"] == "finished"


def test_slurm_signals_the_job_in_time_before_its_limit(cluster: Cluster):
    job = cluster.submit("--time", "1", "--signal", "B:USR1@30", epochs=1000)
    cluster.wait_until(lambda: cluster.facts(job)["Restarts"] == "1", job)
    assert f"job {job} is almost out of time: the training saves a checkpoint" in cluster.log(job)
