"""What a container may write and reach, and who sees the keys: on the real engine, with the stack air-gapped."""

import json
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

CPU = ("docker-compose.yml", "docker/compose.cpu.yml")
AIRGAPPED, SECRETS = "docker/compose.airgapped.yml", "docker/compose.secrets.yml"
FILES = (*CPU, AIRGAPPED, SECRETS)
KEY = "a-key-from-a-file-0123456789"
CAPABILITIES = {"teacher": ["DAC_OVERRIDE"], "student": ["DAC_OVERRIDE"], "student-before": ["DAC_OVERRIDE"]}
VLLM = "python -m vllm.entrypoints.openai.api_server --model"
WRITE = """
import json, sys
found = {}
for path in sys.argv[1:]:
    try:
        open(path + "/probe", "w").close()
        found[path] = "written"
    except OSError as error:
        found[path] = error.strerror
print(json.dumps(found))
"""
REACH = """
import socket, sys
for place in sys.argv[1:]:
    host, _, port = place.rpartition(":")
    try:
        socket.create_connection((host, int(port)), 5).close()
        print(place, "reached")
    except OSError as error:
        print(place, "not reached", error.errno)
"""


def docker(*arguments: str) -> str:
    return subprocess.run(["docker", *arguments], capture_output=True, text=True, check=True).stdout


@pytest.fixture(scope="module")
def sealed(new_stack, tmp_path_factory) -> Iterator[Any]:
    """The teacher healthy, on a network that leads nowhere, with its key from a file."""
    secrets = tmp_path_factory.mktemp("secrets")
    (secrets / "vllm_api_key").write_text(KEY + "\n")
    (secrets / "hf_token").touch()
    with new_stack(files=FILES, SECRETS_DIR=str(secrets), VLLM_COMMAND=VLLM) as stack:
        started = stack.compose("up", "--detach", "--wait", "--no-build", "teacher")
        assert started.returncode == 0, started.stderr + stack.compose("logs", "--tail", "40", "teacher").stdout
        yield stack


def within(stack: Any, service: str, program: str, *words: str) -> str:
    """What a program prints in a service's container."""
    python = ("-c", program, *words)
    if service == "teacher":
        done = stack.compose("exec", "--no-TTY", "teacher", "python", *python)
    else:
        done = stack.compose("run", "--rm", "--no-TTY", "--no-deps", "--entrypoint", "python", service, *python)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.parametrize("files", [CPU[:1], CPU, FILES], ids=["gpu", "cpu", "sealed"])
def test_root_file_systems_are_read_only_and_capabilities_are_a_named_few(rendered, files):
    services = rendered(files, "COMPOSE_PROFILES=chat,dashboard,serve")["services"]
    assert [name for name, service in services.items() if not service.get("read_only")] == ["chat"]
    assert {name: service["cap_add"] for name, service in services.items() if "cap_add" in service} == CAPABILITIES
    assert not any(service.get("privileged") or service.get("network_mode") for service in services.values())


def test_no_mount_shows_the_trainers_data_and_outputs_to_the_teacher(rendered):
    services = rendered(CPU[:1], "COMPOSE_PROFILES=chat,dashboard,serve")["services"]
    seen = {mount["target"] for mount in services["teacher"]["volumes"]}
    assert seen == {"/etc/teacher", "/root/.cache", "/root/.cache/huggingface"}
    for name in ("student", "student-before", "dashboard"):
        for mount in services[name]["volumes"]:
            assert mount.get("read_only") or not mount["target"].startswith("/app"), (name, mount)


def test_a_compromised_teacher_writes_only_where_it_forgets(sealed):
    places = ["/", "/app", "/etc/teacher", "/models/teacher", "/opt/venv", "/usr/bin", "/tmp", "/root"]
    found = json.loads(within(sealed, "teacher", WRITE, *places))
    assert {place for place, what in found.items() if what == "written"} == {"/tmp", "/root"}
    container = sealed.compose("ps", "--quiet", "teacher").stdout.strip()
    mounts = json.loads(docker("inspect", container))[0]["Mounts"]
    assert [mount["Destination"] for mount in mounts if mount["RW"]] == []


def test_the_trainer_writes_only_its_named_places(sealed):
    places = [
        "/",
        "/app",
        "/app/trainer",
        "/opt/venv",
        "/usr/bin",
        "/etc",
        "/app/data",
        "/app/outputs",
        "/cache",
        "/tmp",
    ]
    found = json.loads(within(sealed, "trainer", WRITE, *places))
    written = {place for place, what in found.items() if what == "written"}
    assert written == {"/app/data", "/app/outputs", "/cache", "/tmp"}


def test_no_process_of_the_trainer_has_a_capability_and_none_can_gain_one(sealed):
    status = within(sealed, "trainer", "print(open('/proc/self/status').read())")
    assert [int(value, 16) for value in re.findall(r"Cap\w+:\t(\w+)", status)] == [0] * 5
    assert "NoNewPrivs:\t1" in status and "Seccomp:\t2" in status


@pytest.mark.parametrize("service", ["teacher", "trainer"])
def test_an_air_gapped_container_reaches_the_other_one_and_nothing_else(sealed, service):
    gateway = json.loads(docker("network", "inspect", "bridge"))[0]["IPAM"]["Config"][0]["Gateway"]
    told = within(sealed, service, REACH, "teacher:8000", f"{gateway}:1", "1.1.1.1:53").splitlines()
    unreachable = "not reached 101"
    assert told == ["teacher:8000 reached", f"{gateway}:1 {unreachable}", f"1.1.1.1:53 {unreachable}"]


def test_without_the_overlay_the_gateway_is_reached_so_that_the_test_above_can_fail(new_stack):
    gateway = json.loads(docker("network", "inspect", "bridge"))[0]["IPAM"]["Config"][0]["Gateway"]
    with new_stack() as stack:
        assert "not reached 101" not in within(stack, "trainer", REACH, f"{gateway}:1")


def test_air_gapped_the_trainer_learns_and_nothing_is_published(sealed):
    words = ("check", "http://teacher:8000")
    done = sealed.compose("run", "--rm", "--no-TTY", "trainer", *words)
    assert done.returncode == 0, done.stdout + done.stderr
    quick = ("--objective", "served", "--max_steps", "2", "--num_prompts_per_batch", "4", "--max_eval_samples", "8")
    done = sealed.compose("run", "--rm", "--no-TTY", "trainer", "train", *quick, "--output_dir", "outputs/sealed")
    assert done.returncode == 0, done.stdout + done.stderr
    assert json.loads((sealed.outputs / "sealed" / "summary.json").read_text())["status"] == "finished"
    container = sealed.compose("ps", "--quiet", "teacher").stdout.strip()
    assert not any(json.loads(docker("inspect", container))[0]["NetworkSettings"]["Ports"].values())


def test_keys_from_files_are_needed_and_shown_by_nothing(sealed):
    ask = "import urllib.request as u; print(u.urlopen('http://teacher:8000/v1/models').status)"
    refused = sealed.compose("run", "--rm", "--no-TTY", "--no-deps", "--entrypoint", "python", "trainer", "-c", ask)
    assert refused.returncode != 0 and "401" in refused.stderr
    container = sealed.compose("ps", "--quiet", "teacher").stdout.strip()
    shown = docker("inspect", container) + docker("top", container, "-ef")
    shown += sealed.compose("config").stdout + sealed.compose("logs", "teacher").stdout
    assert KEY not in shown
    assert not [
        path for path in Path(sealed.outputs).rglob("*") if path.is_file() and KEY.encode() in path.read_bytes()
    ]
