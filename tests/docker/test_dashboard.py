"""The dashboard: what its service may do, and that it shows a training while it is under way."""

import json
import os
import time
import urllib.error
import urllib.request
from typing import Any

import pytest

FILES = pytest.mark.parametrize(
    "files", [("docker-compose.yml",), ("docker-compose.yml", "docker/compose.cpu.yml")], ids=["gpu", "cpu"]
)


@FILES
def test_without_its_profile_there_is_no_dashboard(rendered, files):
    assert set(rendered(files)["services"]) == {"teacher", "trainer"}


@FILES
def test_the_dashboard_is_on_the_loopback_interface_and_can_change_nothing(rendered, files):
    services = rendered(files, "COMPOSE_PROFILES=dashboard", "TRAINER_UID=1234", "DASHBOARD_PORT=7007")["services"]
    dashboard = services["dashboard"]
    assert [(p["host_ip"], p["published"], p["target"]) for p in dashboard["ports"]] == [("127.0.0.1", "7007", 6006)]
    assert [(mount["target"], mount["read_only"]) for mount in dashboard["volumes"]] == [("/app/outputs", True)]
    assert dashboard["read_only"] and dashboard["user"] == "1234:1000"
    assert dashboard["image"] == services["trainer"]["image"]
    assert "deploy" not in dashboard and "environment" not in dashboard
    for name in ("security_opt", "cap_drop", "logging", "restart", "init"):
        assert dashboard[name] == services["trainer"][name], name


def curves(address: str) -> dict[str, Any]:
    """The names of all curves by run, none while the dashboard does not answer."""
    try:
        with urllib.request.urlopen(f"http://{address}/data/plugin/scalars/tags", timeout=10) as answer:
            return json.load(answer)
    except (urllib.error.URLError, OSError):
        return {}


def test_the_dashboard_shows_the_loss_while_the_trainer_trains(new_stack):
    settings = ("SDFT_NUM_TRAIN_EPOCHS=100", "SDFT_MAX_EVAL_SAMPLES=4")
    with new_stack(*settings, COMPOSE_PROFILES="dashboard", DASHBOARD_PORT="0") as stack:
        answer = stack.compose("up", "--detach", "--no-build")
        assert answer.returncode == 0, answer.stderr
        address = stack.compose("port", "dashboard", "6006").stdout.strip()
        deadline = time.monotonic() + 240
        while "train/loss" not in curves(address).get("sdft/tensorboard", {}):
            assert time.monotonic() < deadline, stack.compose("logs", "--tail", "20").stdout
            time.sleep(1)
        assert stack.state("trainer")["Status"] == "running"
        assert stack.state("dashboard")["Health"]["Status"] == "healthy"
        tried = stack.compose("exec", "--no-TTY", "dashboard", "sh", "-c", "id -u; touch /app/outputs/file")
        assert tried.stdout.strip() == str(os.getuid())
        assert "Read-only file system" in tried.stderr
