"""The stack without a GPU on the real engine: what it leaves behind, how it stops, how it fails."""

import json
import math
import os
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

KEY = "key-of-this-test"
TRAINER_IMAGE = "self-distillation-trainer:cpu"
TEACHER_IMAGE = "self-distillation-teacher:cpu"


def docker(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["docker", *arguments], capture_output=True, text=True)


def wait_for(what: str, condition, seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"{what} did not happen within {seconds} s"
        time.sleep(0.2)


@pytest.fixture(scope="module")
def keyed(new_stack):
    """A running teacher that asks for a key, and a trainer that knows it and trains for a long time."""
    with new_stack("SDFT_NUM_TRAIN_EPOCHS=20", "SDFT_MAX_EVAL_SAMPLES=4", VLLM_API_KEY=KEY) as stack:
        answer = stack.compose("up", "--detach", "--wait", "--no-build", "teacher")
        assert answer.returncode == 0, answer.stderr
        yield stack


def test_up_trains_the_tiny_pair_to_the_end_with_a_falling_loss(smoke: Path):
    run = smoke / "sdft"
    assert json.loads((run / "summary.json").read_text())["status"] == "finished"
    losses = [json.loads(line)["loss"] for line in (run / "metrics.jsonl").read_text().splitlines()]
    third = len(losses) // 3
    assert all(map(math.isfinite, losses)) and sum(losses[-third:]) < sum(losses[:third])


def test_generate_writes_rows_in_the_data_format(smoke: Path):
    for name, count in (("train_data.json", 12), ("eval_data.json", 4)):
        rows = json.loads((smoke / "generated" / name).read_text())
        assert len(rows) == count
        assert all(row["prompt"] and "".join(row["golden_response"]) for row in rows)


def test_outputs_belong_to_the_user_who_called(smoke: Path):
    owners = {path.stat().st_uid for path in [smoke, *smoke.rglob("*")]}
    assert owners == {os.getuid()}


def test_any_user_id_can_use_the_caches_and_compile_kernels_and_vllm_is_not_there(smoke: Path):
    program = """
import getpass, importlib.util, os, pathlib, shutil, sysconfig
for name in ("HOME", "HF_HOME", "TRITON_CACHE_DIR", "TORCHINDUCTOR_CACHE_DIR"):
    folder = pathlib.Path(os.environ[name])
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "probe").touch()
assert getpass.getuser() == "trainer"
assert shutil.which("cc"), "no C compiler"
assert (pathlib.Path(sysconfig.get_paths()["include"]) / "Python.h").exists(), "no Python headers"
assert importlib.util.find_spec("vllm") is None, "vllm is installed"
assert os.getuid() == 12345
"""
    answer = docker("run", "--rm", "--user", "12345:12345", "--entrypoint", "python", TRAINER_IMAGE, "-c", program)
    assert answer.returncode == 0, answer.stderr


def test_the_image_runs_as_a_user_without_privileges_by_default(smoke: Path):
    assert docker("run", "--rm", "--entrypoint", "id", TRAINER_IMAGE, "-u").stdout.strip() == "1000"


def test_the_exit_code_of_a_wrong_call_comes_through_compose(new_stack):
    with new_stack() as stack:
        answer = stack.compose("run", "--rm", "--no-TTY", "--no-deps", "trainer", "trian")
    assert answer.returncode == 2
    assert "trian" in answer.stderr


def test_vllm_knows_every_flag_and_parser_of_the_teacher_files(smoke: Path):
    program = """
import pathlib
from vllm.entrypoints.launchers.cli_args import make_arg_parser, validate_parsed_serve_args
from vllm.reasoning import ReasoningParserManager
from vllm.tool_parsers import ToolParserManager
from vllm.utils.argparse_utils import FlexibleArgumentParser
files = sorted(pathlib.Path("/etc/teacher").glob("*.yaml"))
assert len(files) == 3, files
for file in files:
    found = make_arg_parser(FlexibleArgumentParser()).parse_args(["--model", "any", "--config", str(file)])
    validate_parsed_serve_args(found)
    if found.reasoning_parser:
        ReasoningParserManager.get_reasoning_parser(found.reasoning_parser)
        ToolParserManager.get_tool_parser(found.tool_call_parser)
"""
    files = f"{Path(__file__).resolve().parents[2] / 'teacher'}:/etc/teacher:ro"
    answer = docker("run", "--rm", "--volume", files, "--entrypoint", "python", TEACHER_IMAGE, "-c", program)
    assert answer.returncode == 0, answer.stderr


def test_a_teacher_that_exits_before_it_is_healthy_fails_the_start_at_once(new_stack):
    with new_stack() as stack:
        (stack.data / "tiny_world" / "teacher" / "config.json").unlink()
        started = time.monotonic()
        answer = stack.compose("up", "--detach", "--no-build")
        assert answer.returncode != 0
        assert "dependency failed to start" in answer.stderr
        assert time.monotonic() - started < 120
        assert stack.state("trainer")["Status"] == "created"


def test_the_trainer_sends_the_key_and_a_stranger_gets_a_401(keyed):
    answer = keyed.compose("run", "--rm", "--no-TTY", "trainer", "check")
    assert answer.returncode == 0, answer.stdout + answer.stderr
    address = keyed.compose("port", "teacher", "8000").stdout.strip()
    with pytest.raises(urllib.error.HTTPError) as refused:
        urllib.request.urlopen(f"http://{address}/v1/models", timeout=10)
    assert refused.value.code == 401
    container = keyed.compose("ps", "--quiet", "teacher").stdout.strip()
    assert KEY not in docker("top", container, "-ef").stdout


def test_stopping_the_trainer_saves_a_checkpoint_and_ends_with_code_4(keyed):
    run = keyed.outputs / "sdft"
    assert keyed.compose("up", "--detach", "--no-build").returncode == 0
    metrics = run / "metrics.jsonl"
    wait_for("the second step", lambda: metrics.exists() and len(metrics.read_text().splitlines()) >= 2, 240)
    assert keyed.compose("stop", "trainer").returncode == 0
    assert keyed.state("trainer")["ExitCode"] == 4
    assert json.loads((run / "summary.json").read_text())["status"] == "stopped"
    assert list(run.glob("checkpoint-*/model.safetensors"))


@pytest.mark.parametrize(("status", "healthy"), [(200, True), (204, False), (302, False), (401, False), (503, False)])
def test_the_health_check_accepts_a_plain_200_only(rendered, status: int, healthy: bool):
    class Answer(BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(status if self.path == "/health" else 200)
            self.send_header("Location", "/elsewhere")
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_):
            pass

    server = HTTPServer(("127.0.0.1", 0), Answer)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    command, python, flag, program = rendered(("docker-compose.yml",))["services"]["teacher"]["healthcheck"]["test"]
    assert (command, python, flag) == ("CMD", "python3", "-c")
    here = program.replace("8000", str(server.server_port))
    answer = subprocess.run([sys.executable, "-c", here], env={"http_proxy": "http://127.0.0.1:9"}, timeout=30)
    server.shutdown()
    assert (answer.returncode == 0) is healthy
