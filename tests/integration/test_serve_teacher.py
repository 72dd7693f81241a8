"""`scripts/serve_teacher` leaves no process behind; its vLLM is played by a script that is harder to end."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

SCRIPT = Path(__file__).resolve().parents[2] / "scripts/serve_teacher"
STUBBORN = f"""#!{sys.executable}
import http.server, os, pathlib, signal, subprocess, sys
here = pathlib.Path(sys.argv[0]).parent
if "--fail" in sys.argv:
    sys.exit("out of memory, says the log")
child = subprocess.Popen(["sleep", "300"])
(here / "pids").write_text(f"{{os.getpid()}} {{child.pid}}")
class Healthy(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.end_headers()
port = int(sys.argv[sys.argv.index("--port") + 1])
http.server.HTTPServer(("127.0.0.1", port), Healthy).serve_forever()
"""


@pytest.fixture
def arguments(tmp_path: Path) -> list[str]:
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "config.json").write_text("{}")
    interpreter = tmp_path / "python"
    interpreter.write_text(STUBBORN)
    interpreter.chmod(0o755)
    common = ["--model", str(tmp_path / "model"), "--port", "0", "--python", str(interpreter)]
    return [sys.executable, str(SCRIPT), *common, "--log", str(tmp_path / "log")]


def gone(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] == "Z"
    except FileNotFoundError:
        return True


def all_gone_soon(folder: Path) -> bool:
    pids = [int(pid) for pid in (folder / "pids").read_text().split()]
    deadline = time.monotonic() + 15
    while time.monotonic() < deadline and not all(map(gone, pids)):
        time.sleep(0.05)
    return all(map(gone, pids))


@pytest.mark.skipif(not Path("/proc").is_dir(), reason="needs /proc")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_no_process_stays_behind_after_a_signal(arguments: list[str], tmp_path: Path, number: signal.Signals):
    with subprocess.Popen(arguments, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        assert server.stdout.readline().startswith("ready http://127.0.0.1:")
        server.send_signal(number)
    assert server.returncode == (-number if number == signal.SIGKILL else 128 + number)
    assert all_gone_soon(tmp_path)


@pytest.mark.skipif(not Path("/proc").is_dir(), reason="needs /proc")
def test_no_process_stays_behind_when_the_starter_dies(arguments: list[str], tmp_path: Path):
    starter = "import subprocess, sys, time; subprocess.Popen(sys.argv[1:]); time.sleep(300)"
    with subprocess.Popen([sys.executable, "-c", starter, *arguments], stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        assert parent.stdout.readline().startswith("ready")
        os.kill(parent.pid, signal.SIGKILL)
    assert all_gone_soon(tmp_path)


def test_a_server_that_ends_before_it_is_healthy_shows_its_last_words_and_fails(arguments: list[str]):
    done = subprocess.run([*arguments, "--fail"], capture_output=True, text=True, timeout=60)
    assert done.returncode == 1
    assert done.stdout == ""
    assert "out of memory, says the log" in done.stderr
    assert "before it was healthy" in done.stderr


def test_a_folder_without_a_model_is_refused_before_anything_starts(tmp_path: Path):
    done = subprocess.run([sys.executable, SCRIPT, "--model", tmp_path], capture_output=True, text=True, timeout=60)
    assert done.returncode == 2
    assert "found no config.json" in done.stderr
