"""What was trained, served: from a run directory to answers over HTTP, on the real engine."""

import json
import shutil
import urllib.request
from pathlib import Path

import pytest


@pytest.fixture(scope="module")
def served(smoke: Path, new_stack):
    """The stack with the exported student of smoke's run, up by itself and healthy."""
    with new_stack(STUDENT_PORT="0", COMPOSE_PROFILES="serve") as stack:
        shutil.copytree(smoke / "sdft", stack.outputs / "sdft")
        words = ("export", "outputs/sdft", "--output_dir", "outputs/model", "--dtype", "float32")
        done = stack.compose("run", "--rm", "--no-TTY", "--no-deps", "trainer", *words)
        assert done.returncode == 0, done.stdout + done.stderr
        assert "answers 8 rows of new skill as checkpoint-" in done.stdout
        started = stack.compose("up", "--detach", "--wait", "--no-build", "student")
        assert started.returncode == 0, started.stderr + stack.compose("logs", "--tail", "40", "student").stdout
        yield stack


def test_the_student_alone_is_up_and_healthy_under_its_name(served):
    assert served.compose("ps", "--services").stdout.split() == ["student"]
    assert served.state("student")["Health"]["Status"] == "healthy"
    address = served.compose("port", "student", "8000").stdout.strip()
    assert address.startswith("127.0.0.1:")
    with urllib.request.urlopen(f"http://{address}/v1/models", timeout=10) as answer:
        assert [model["id"] for model in json.load(answer)["data"]] == ["student"]


def test_its_answers_are_those_of_the_runs_checkpoint(served):
    words = ("compare", "outputs/sdft", "http://student:8000", "--max_eval_samples", "16", "--local_files_only")
    lengths = ("--max_prompt_length", "256", "--max_completion_length", "64")
    done = served.compose("run", "--rm", "--no-TTY", "--no-deps", "trainer", *words, *lengths)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "16 rows, 16 answered alike" in done.stdout


def test_it_leaves_its_files_to_the_group_and_can_not_change_the_outputs(served):
    program = "cat /proc/[0-9]*/status | grep Umask | sort | uniq -c; touch /app/outputs/file"
    tried = served.compose("exec", "--no-TTY", "student", "sh", "-c", program)
    assert "0002" in tried.stdout
    assert tried.returncode != 0 and "Read-only file system" in tried.stderr
