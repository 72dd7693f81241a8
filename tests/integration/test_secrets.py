"""No command shows or writes a secret, whether it succeeds or fails."""

import base64
import contextlib
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from fake_teacher import FakeTeacher, Fault, Request, error

from trainer.__main__ import main

PASSWORD, KEY, QUERY_KEY, PROXY_PASSWORD, HUB_TOKEN = (
    "pl4nt3d-pw",
    "sk-pl4nt3d-key",
    "pl4nt3d-q",
    "pl4nt3d-px",
    "hf_pl4",
)
SECRETS = (PASSWORD, KEY, QUERY_KEY, PROXY_PASSWORD, base64.b64encode(f"ann:{PASSWORD}".encode()).decode())
ROOT = Path(__file__).parents[2]


class LoquaciousTeacher(FakeTeacher):
    """Wants the login and the query string, and repeats in its refusals what it was sent."""

    def answer(self, request: Request):
        path, _, query = request.path.partition("?")
        if query != f"api_key={QUERY_KEY}" or not self.knows(request):
            return 401, error(f"{request.authorization} with {query} (password {PASSWORD}) is not welcome", 401), {}
        return super().answer(Request(request.method, path, request.authorization, request.body))

    def knows(self, request: Request) -> bool:
        logins = (f"Basic {SECRETS[-1]}", f"Bearer {KEY}")
        return request.authorization in logins


# One process for all: importing torch under these settings is what takes time.
PROGRAM = (
    "import json, sys; from trainer.__main__ import main; sys.exit(max(main(words) for words in json.load(sys.stdin)))"
)


def run(*commands: list[str], **environ: str) -> tuple[int, str]:
    """The highest exit code and both streams of commands, under settings by which Python says more of what is wrong."""
    known = {name: os.environ[name] for name in ("PATH", "HOME", "HF_HUB_OFFLINE", "PYTHONPATH") if name in os.environ}
    debug = {"PYTHONASYNCIODEBUG": "1", "PYTHONFAULTHANDLER": "1"}
    done = subprocess.run(
        [sys.executable, "-X", "dev", "-c", PROGRAM],
        input=json.dumps(commands),
        capture_output=True,
        text=True,
        cwd=ROOT,
        env=known | debug | environ,
    )
    return done.returncode, done.stdout + done.stderr


def found_in(folder: Path, said: str) -> list[str]:
    """Where a secret is."""
    files = {str(file): file.read_bytes().decode(errors="replace") for file in folder.rglob("*") if file.is_file()}
    files["what was printed"] = said
    return [f"{secret} in {name}" for name, text in files.items() for secret in SECRETS if secret in text]


@pytest.fixture
def rows(tmp_path: Path) -> str:
    file = tmp_path / "rows.json"
    file.write_text(json.dumps([{"prompt": f"Say {n}.", "golden_response": [f"{n}"]} for n in range(4)]))
    return str(file)


def commands(url: str, tmp_path: Path, rows: str, student: str) -> list[list[str]]:
    sizes = ["--max_prompt_length", "64", "--max_completion_length", "8"]
    model = ["--model_name_or_path", student, "--local_files_only"]
    trained = [*model, *sizes, "--train_data_path", rows, "--num_prompts_per_batch", "2", "--max_steps", "1"]
    return [
        ["check", url],
        ["train", url, *trained, "--objective", "seqkd", "--output_dir", str(tmp_path / "run")],
        ["generate", "--base_url", url, "--prompts", rows, "--out_dir", str(tmp_path / "made"), "--train_samples", "2",
         "--eval_samples", "1"],
        ["eval", "--served", url, "--eval_data_path", rows, "--output_file", str(tmp_path / "scores.json")],
        ["compare", student, url, "--local_files_only", "--eval_data_path", rows, "--max_completion_length", "8"],
        ["check", url, "--headroom", "1", *model, *sizes, "--eval_data_path", rows, "--output_file",
         str(tmp_path / "headroom.json")],
        ["eval", *model, *sizes, "--judge", url, "--eval_data_path", rows],
    ]  # fmt: skip


def with_login(url: str) -> str:
    return f"{url.replace('http://', f'http://ann:{PASSWORD}@')}/v1?api_key={QUERY_KEY}"


def test_no_secret_is_shown_or_written_by_commands_that_succeed(tmp_path, rows, student_path):
    with LoquaciousTeacher() as teacher:
        code, said = run(*commands(with_login(teacher.url), tmp_path, rows, student_path))
    assert code == 0, said
    planted = {"SDFT_VLLM_SERVER_API_KEY": KEY, "HTTPS_PROXY": f"http://eve:{PROXY_PASSWORD}@127.0.0.1:9"}
    folder = str(tmp_path / "run")
    code, told = run(["report", folder], ["export", folder, "--output_dir", str(tmp_path / "model")], **planted)
    assert code == 0, told
    assert found_in(tmp_path, said + told) == []
    assert (tmp_path / "model" / "README.md").exists()
    assert (tmp_path / "run" / "summary.json").exists()


def test_a_key_of_the_environment_is_shown_and_written_nowhere(tmp_path, rows, student_path):
    keys = {"SDFT_VLLM_SERVER_API_KEY": KEY, "SDFT_API_KEY": KEY, "SDFT_JUDGE_API_KEY": KEY}
    with LoquaciousTeacher() as teacher:
        code, said = run(*commands(f"{teacher.url}?api_key={QUERY_KEY}", tmp_path, rows, student_path), **keys)
    assert code == 0, said
    assert found_in(tmp_path, said) == []


@pytest.mark.parametrize(
    "trouble", ["refused", "unauthorized", "certificate", "proxy", "error 500", "bad url", "two keys"]
)
def test_no_secret_is_shown_or_written_by_commands_that_fail(trouble, tmp_path, rows, student_path, monkeypatch, capfd):
    environ, faults = {}, []
    with contextlib.ExitStack() as open_servers:
        teacher = open_servers.enter_context(LoquaciousTeacher())
        url = with_login(teacher.url)
        if trouble == "refused":
            url = url.replace(teacher.url.rpartition(":")[2], "9")
        elif trouble == "unauthorized":
            url = url.replace("ann:", "bob:")
        elif trouble == "certificate":
            url = url.replace("http://", "https://")
        elif trouble == "proxy":
            environ = {"HTTP_PROXY": f"http://eve:{PROXY_PASSWORD}@127.0.0.1:9"}
        elif trouble == "error 500":
            # More than are asked for: a request of the command before may arrive late and take one.
            faults = [Fault(500, f"{SECRETS[-1]} {PASSWORD} {QUERY_KEY}")] * 99
        elif trouble == "bad url":
            url = f"http://ann:{PASSWORD}/x@127.0.0.1:1"
        else:
            environ = {"SDFT_VLLM_SERVER_API_KEY": KEY, "SDFT_API_KEY": KEY, "SDFT_JUDGE_API_KEY": KEY}
        for name, value in environ.items():
            monkeypatch.setenv(name, value)
        for words in commands(url, tmp_path, rows, student_path):
            teacher.faults = [*faults]
            assert main([*words, "--teacher_patience", "0"]) in (2, 3), words[0]
    said = "".join(capfd.readouterr())
    assert found_in(tmp_path, said) == []


def test_a_url_in_a_wrong_place_is_quoted_without_its_secrets(tmp_path):
    url = with_login("http://127.0.0.1:9")
    for words in (
        ["check", url, url],
        ["eval", url],
        ["check", url, "--vllm_server_base_url", url],
        ["check", "x", url, url],
    ):
        code, told = run(words)
        assert code == 2 and "://***@" in told
        assert found_in(tmp_path, told) == []
