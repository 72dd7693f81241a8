"""The environment check: stands alone, and knows which torch build runs on which GPU."""

import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[3] / "scripts" / "check_env.py"
SPEC = importlib.util.spec_from_file_location("check_env", SCRIPT)
check_env = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(check_env)


@pytest.mark.parametrize(
    ("capability", "built_for", "runs"),
    [
        ((12, 1), ["sm_80", "sm_90"], False),
        ((12, 1), ["sm_90", "sm_120"], True),
        ((12, 1), ["sm_90", "sm_120a"], False),
        ((12, 1), ["sm_121a"], True),
        ((12, 1), ["sm_90", "compute_90"], True),
        ((9, 0), ["sm_90a"], True),
        ((9, 0), ["sm_80"], False),
        ((8, 9), ["sm_80"], True),
        ((8, 0), ["sm_86"], False),
    ],
)
def test_kernels_are_missing_exactly_where_cuda_says_so(capability, built_for, runs):
    wrong = check_env.missing_kernels("GPU", capability, built_for)
    assert (wrong is None) is runs


def test_a_gb10_without_kernels_is_told_so_by_name():
    wrong = check_env.missing_kernels("NVIDIA GB10", (12, 1), ["sm_80", "sm_90"])
    assert "NVIDIA GB10 is sm_121" in wrong and "CUDA 13" in wrong


def test_it_runs_alone_and_says_what_it_found():
    done = subprocess.run([sys.executable, SCRIPT], capture_output=True, text=True, check=False)
    assert done.returncode in (0, 2)
    for subject in ("python", "nvidia driver", "torch", "built for CUDA"):
        assert any(line.startswith(subject) for line in done.stdout.splitlines())


def test_a_missing_torch_is_a_problem_with_its_mend():
    code = f"import sys, runpy; sys.modules['torch'] = None; runpy.run_path({str(SCRIPT)!r}, run_name='__main__')"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "torch can't be imported" in done.stdout and "scripts/setup" in done.stdout


def told(*words, **variables):
    plain = {"PATH": "/usr/bin:/bin"}
    return subprocess.run(
        [sys.executable, SCRIPT, *map(str, words)], env=plain | variables, capture_output=True, text=True
    )


def test_proxies_are_told_without_their_logins_and_what_they_would_do_to_a_teacher_here(tmp_path):
    said = told(tmp_path, ALL_PROXY="socks5://ann:s3cret@h:1", HTTPS_PROXY="http://p:3").stdout
    assert "socks5://***@h:1" in said and "s3cret" not in said
    assert "Set NO_PROXY=localhost,127.0.0.1,teacher." in said
    assert "NO_PROXY" not in told(tmp_path, ALL_PROXY="http://h:1", NO_PROXY="127.0.0.1").stdout


def test_certificates_that_are_not_there_are_a_problem(tmp_path):
    done = told(tmp_path, SSL_CERT_FILE=str(tmp_path / "ca.pem"))
    assert done.returncode == 2 and "ca.pem, which is not there" in done.stdout


def test_a_folder_that_takes_no_files_is_a_problem():
    done = told("/proc/nowhere")
    assert done.returncode == 2 and "/proc can't be written to" in done.stdout


def test_a_narrow_terminal_is_worth_a_note(tmp_path):
    assert "the terminal shows iso8859-1" in told(tmp_path, PYTHONIOENCODING="iso-8859-1").stdout


def test_a_file_system_without_locks_and_flushing_is_worth_a_note(tmp_path, monkeypatch, capsys):
    def missing(*_):
        raise OSError(check_env.errno.ENOSYS, "no")

    monkeypatch.setattr(check_env.fcntl, "flock", missing)
    monkeypatch.setattr(check_env.os, "fsync", missing)
    report = check_env.Report([], [])
    check_env.describe_place(report, str(tmp_path / "runs"))
    assert "no locks" in report.problems[0] and "can't flush" in report.problems[1] and report.code() == 0
