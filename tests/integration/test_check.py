"""`check` against a real vLLM."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def check(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "trainer", "check", *arguments]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120)


def test_a_real_vllm_passes_every_check(teacher_url: str):
    done = check(teacher_url, "--max_prompt_length", "256", "--max_completion_length", "128")
    assert done.returncode == 0, done.stdout + done.stderr
    marks = {line[6:24].strip(): line.split()[0] for line in done.stdout.splitlines()}
    subjects = ("teacher reachable", "model served", "context", "chat", "log-probabilities")
    assert [marks[subject] for subject in subjects] == ["ok"] * 5
    assert "vLLM 0." in done.stdout


def test_a_wrong_model_name_lists_what_is_served_and_exits_with_3(teacher_url: str):
    done = check(teacher_url, "--vllm_server_model", "gpt-4")
    assert done.returncode == 3
    assert "FAIL  model served" in done.stdout
    assert "does not serve 'gpt-4'; it serves glm-4.7" in done.stdout


def test_more_tokens_than_the_context_has_exit_with_3_and_name_the_flags(teacher_url: str):
    done = check(teacher_url, "--max_prompt_length", "1000000")
    assert done.returncode == 3
    assert "--max_prompt_length 1000000 + --max_completion_length 1024" in done.stdout


def test_a_url_where_nothing_listens_exits_with_3():
    done = check("http://127.0.0.1:9", "--teacher_patience", "1")
    assert done.returncode == 3
    assert "waiting for the teacher at http://127.0.0.1:9" in done.stderr
    assert "scripts/serve_teacher" in done.stdout
