"""Images to pull: where Compose looks for them, what is published, and what the workflow may do."""

import json
import os
import platform
import re
import subprocess
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
WORKFLOW = ROOT / ".github" / "workflows" / "images.yml"
CPU = ("docker-compose.yml", "docker/compose.cpu.yml")
ARCHITECTURE = {"x86_64": "amd64", "aarch64": "arm64"}[platform.machine()]


def publish(*words: str, path: str = "") -> subprocess.CompletedProcess[str]:
    """docker/publish, far from any registry that this machine is logged in to; programs of `path` come first."""
    environ = os.environ | {"PATH": f"{path}:{os.environ['PATH']}"}
    return subprocess.run(["docker/publish", *words], cwd=ROOT, capture_output=True, text=True, env=environ)


@pytest.mark.parametrize(
    ("variables", "trainer"),
    [
        ((), "self-distillation-trainer:cpu"),
        (("IMAGES=ghcr.io/you/",), "ghcr.io/you/self-distillation-trainer:cpu"),
        (("IMAGES=ghcr.io/you/", "IMAGES_VERSION=1.2.3"), "ghcr.io/you/self-distillation-trainer:cpu-1.2.3"),
    ],
)
def test_two_settings_say_where_the_images_are(rendered, variables, trainer):
    services = rendered(CPU, "COMPOSE_PROFILES=dashboard,serve", *variables)["services"]
    teacher = trainer.replace("trainer", "teacher")
    assert {name: service["image"] for name, service in services.items()} == {
        "trainer": trainer, "dashboard": trainer, "teacher": teacher, "student": teacher,
    }  # fmt: skip


def test_what_can_not_be_pulled_is_named_with_the_command_that_builds_it(plain_compose):
    answer = plain_compose(CPU, IMAGES="127.0.0.1:1/you/")("pull")
    assert answer.returncode != 0 and "docker compose build t" in answer.stderr


def test_published_images_carry_their_contents_and_how_they_were_made():
    answer = publish("build", "cpu", "Example.org/You", "v1.2.3", "--print")
    assert answer.returncode == 0, answer.stderr
    targets = json.loads(answer.stdout)["target"]
    assert set(targets) == {"trainer", "teacher"}
    for name, target in targets.items():
        assert target["tags"] == [f"example.org/you/self-distillation-{name}:cpu-1.2.3-{ARCHITECTURE}"]
        assert {"type=provenance,mode=max", "type=sbom,disabled=false"} == set(target["attest"])
        assert target["labels"]["org.opencontainers.image.version"] == "1.2.3"
        assert target["output"] == ["type=image,push=true"]
    assert re.fullmatch(r"[0-9a-f]{40}", targets["trainer"]["args"]["GIT_COMMIT"])


@pytest.mark.parametrize(("version", "moves"), [("v1.2.3", True), ("v1.2.3-rc1", False)])
def test_a_release_alone_moves_the_tag_without_a_version(version, moves, tmp_path):
    (tmp_path / "docker").write_text('#!/bin/sh\necho "$@"\n')
    (tmp_path / "docker").chmod(0o755)
    answer = publish("join", "cuda", "example.org/you", version, path=str(tmp_path))
    assert answer.returncode == 0, answer.stderr
    assert f"--tag example.org/you/self-distillation-trainer:cuda-{version[1:]}" in answer.stdout
    assert answer.stdout.splitlines()[0].endswith("--tag example.org/you/self-distillation-trainer:cuda") == moves


def test_the_stack_with_a_gpu_publishes_the_trainer_alone_as_its_teacher_is_stock():
    answer = publish("build", "cuda", "example.org/you", "1.2.3", "--print")
    assert list(json.loads(answer.stdout)["target"]) == ["trainer"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("build", "cpu"), "found 2 words, expected 4"),
        (("build", "gpu", "example.org/you", "1"), "found the stack 'gpu', expected cuda or cpu"),
        (("push", "cpu", "example.org/you", "1"), "found 'push', expected build or join"),
    ],
)
def test_a_wrong_word_is_answered_with_what_was_expected(words, message):
    answer = publish(*words)
    assert answer.returncode == 2 and message in answer.stderr


def test_the_workflow_builds_for_both_architectures_with_pinned_actions():
    text = WORKFLOW.read_text(encoding="utf-8")
    assert yaml.safe_load(text)["jobs"]["build"]["strategy"]["matrix"] == {
        "stack": ["cuda", "cpu"],
        "machine": ["ubuntu-24.04", "ubuntu-24.04-arm"],
    }
    used = re.findall(r"uses: (\S+)", text)
    assert used and all(re.fullmatch(r"[\w-]+/[\w-]+@[0-9a-f]{40}", action) for action in used)
