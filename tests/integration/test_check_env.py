"""The environment check: stands alone, and knows which torch build runs on which GPU."""

import contextlib
import importlib.util
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from certificates import certificate

SCRIPT = Path(__file__).parents[2] / "scripts" / "check_env.py"
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


def test_a_file_without_certificates_is_a_problem(tmp_path):
    (tmp_path / "ca.pem").write_text("-----BEGIN")
    done = told(tmp_path, REQUESTS_CA_BUNDLE=str(tmp_path / "ca.pem"))
    assert done.returncode == 2 and "ca.pem, which holds no certificates" in done.stdout


def test_certificates_that_have_all_run_out_are_a_problem(tmp_path):
    _, file = certificate(tmp_path, "DNS:ca.example", first_day=-9, last_day=-1)
    done = told(tmp_path, CURL_CA_BUNDLE=str(file))
    assert done.returncode == 2 and f"every certificate of CURL_CA_BUNDLE={file} has run out" in done.stdout


def test_certificates_that_are_valid_are_no_problem(tmp_path):
    assert "PROBLEM" not in told(tmp_path, SSL_CERT_FILE=str(certificate(tmp_path, "DNS:ca.example")[1])).stdout


def test_a_folder_that_takes_no_files_is_a_problem():
    done = told("/proc/nowhere")
    assert done.returncode == 2 and "/proc can't be written to" in done.stdout


def test_a_narrow_terminal_is_worth_a_note(tmp_path):
    assert "the terminal shows iso8859-1" in told(tmp_path, PYTHONIOENCODING="iso-8859-1").stdout


@contextlib.contextmanager
def listening(host="127.0.0.1"):
    with socket.create_server((host, 0)) as server:
        yield server.getsockname()[1]


@pytest.fixture
def stack(tmp_path, monkeypatch):
    """A folder with a docker-compose.yml that publishes two ports, and what is found of them."""
    for variable in ("TEACHER_PORT", "STUDENT_PORT", "DASHBOARD_PORT", "CHAT_PORT"):
        monkeypatch.delenv(variable, raising=False)

    def found(teacher, student=0, settings=""):
        (tmp_path / "docker-compose.yml").write_text(
            f"- 127.0.0.1:${{TEACHER_PORT:-{teacher}}}:8000\n- 127.0.0.1:${{STUDENT_PORT:-{student}}}:8000\n"
        )
        (tmp_path / ".env").write_text(settings)
        report = check_env.Report()
        check_env.describe_ports(report, str(tmp_path))
        return report

    return found


@pytest.mark.parametrize("host", ["127.0.0.1", "0.0.0.0"])
def test_a_port_that_a_program_has_is_told_with_the_program_and_the_setting(stack, host):
    with listening(host) as port:
        report = stack(port)
        name = Path("/proc/self/comm").read_text().strip()
        assert report.notes == [
            f"port {port} is taken by {name} (process {os.getpid()}): `docker compose up` can't have it. Stop that, or "
            "set TEACHER_PORT to another port in .env (0: Docker picks a free one)."
        ]
        assert report.code() == 0
    assert stack(port).notes == []


def test_the_environment_file_and_the_shell_say_which_ports_count(stack, monkeypatch):
    with listening() as taken, listening() as other:
        assert stack(taken, settings="TEACHER_PORT=0\n").notes == []
        assert f"port {taken} " in stack(0, settings=f"export STUDENT_PORT = '{taken}'  # mine\n").notes[0]
        monkeypatch.setenv("STUDENT_PORT", str(other))
        assert f"port {other} " in stack(0, settings=f"STUDENT_PORT={taken}").notes[0]


def test_connections_that_have_ended_leave_a_port_free(stack):
    with listening() as port:
        pass
    with socket.create_server(("127.0.0.1", port)) as server, socket.create_connection(("127.0.0.1", port)) as there:
        here, _ = server.accept()
        here.close()
        there.close()
    assert stack(port).notes == []


@pytest.mark.parametrize(("settings", "said"), [
    ("TEACHER_PORT=8001\nSTUDENT_PORT=8001", "TEACHER_PORT and STUDENT_PORT are both 8001"),
    ("TEACHER_PORT=80000", "TEACHER_PORT is '80000', expected a port from 0 to 65535"),
    ("TEACHER_PORT=teacher", "TEACHER_PORT is 'teacher'"),
])  # fmt: skip
def test_ports_that_can_not_be_are_problems(stack, settings, said):
    report = stack(0, settings=settings)
    assert said in report.problems[0][0] and report.code() == 2


def test_the_ports_of_the_real_stack_are_looked_at():
    report = check_env.Report()
    check_env.describe_ports(report)
    assert all(variable in dict(report.lines)["ports"] for variable in ("TEACHER_PORT", "STUDENT_PORT", "CHAT_PORT"))


def test_a_machine_without_compose_file_publishes_no_port(tmp_path):
    report = check_env.Report()
    check_env.describe_ports(report, str(tmp_path))
    assert report.lines == []
