import errno
import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from certificates import over_tls
from fake_teacher import FakeTeacher, Fault, Request, error

from trainer.commands.check import run
from trainer.errors import TeacherError, UsageError
from trainer.run import machine
from trainer.settings.options import Train
from trainer.settings.resolve import resolve
from trainer.teachers import preflight
from trainer.teachers.preflight import TeacherIdentity, require_teacher
from trainer.training import needs


def check(*argv: str) -> int:
    return run(resolve("check", list(argv), {}))


def lines(capsys: pytest.CaptureFixture[str]) -> dict[str, tuple[str, str]]:
    """The printed findings: subject -> (mark, text)."""
    found = (line.split("  ", 1) for line in capsys.readouterr().out.splitlines())
    parts = [(mark.strip(), rest.strip().split("  ", 1)) for mark, rest in found]
    return {subject: (mark, text.strip()) for mark, (subject, text) in parts}


def test_a_teacher_that_takes_long_to_say_hello_is_waited_for_and_that_is_told(monkeypatch, capsys):
    monkeypatch.setattr(preflight, "LONG", 0.05)

    class Slow(FakeTeacher):
        def answer(self, request: Request) -> tuple[int, Any, dict[str, str]]:
            if request.path == "/v1/chat/completions":
                time.sleep(0.3)
            return super().answer(request)

    with Slow() as teacher:
        assert check(teacher.url) == 0
        assert f"{teacher.url} has said nothing for 0.05 s" in capsys.readouterr().err


def test_a_fit_teacher_passes_every_check(capsys: pytest.CaptureFixture[str]):
    with FakeTeacher() as teacher:
        assert check(teacher.url) == 0
    found = lines(capsys)
    found.pop("machine", None)
    assert [(subject, mark) for subject, (mark, _) in found.items()] == [
        ("environment", "note"),
        ("teacher reachable", "ok"),
        ("model served", "ok"),
        ("context", "ok"),
        ("chat", "ok"),
        ("tokens", "ok"),
        ("log-probabilities", "ok"),
        ("fit for", "ok"),
        ("student", "note"),
    ]
    assert found["teacher reachable"][1] == f"{teacher.url} is healthy, vLLM 0.32.0"
    assert found["log-probabilities"][1].startswith("the 20 likeliest tokens")


def test_thinking_aloud_is_noted_with_what_it_was_reported_to_cost(capsys: pytest.CaptureFixture[str]):
    with FakeTeacher() as teacher:
        assert check(teacher.url, "--enable_thinking", "true") == 0
    mark, text = lines(capsys)["thinking"]
    assert mark == "note" and "--enable_thinking with --objective sdft" in text and "up to 17 %" in text


@pytest.mark.parametrize(("reply", "mark"), [("", "note"), (("", "length"), "ok"), ("Hello.", "ok")])
def test_a_teacher_whose_answer_holds_no_text_is_noted(reply, mark, capsys: pytest.CaptureFixture[str]):
    with FakeTeacher(lambda body: reply) as teacher:
        assert check(teacher.url) == 0
    found, text = lines(capsys)["chat"]
    assert found == mark and ("there is nothing to learn from" in text) == (mark == "note")


def test_an_unreachable_teacher_fails_with_the_way_to_start_one(capsys: pytest.CaptureFixture[str]):
    with FakeTeacher() as teacher:
        gone = teacher.url
    assert check(gone, "--teacher_patience", "0") == 3
    mark, text = lines(capsys)["teacher reachable"]
    assert mark == "FAIL"
    assert "docker compose up -d teacher" in text


def test_an_unhealthy_teacher_fails(capsys: pytest.CaptureFixture[str]):
    with FakeTeacher() as teacher:
        teacher.faults = [Fault(503, "engine dead")]
        assert check(teacher.url, "--teacher_patience", "0") == 3
    assert "503 engine dead" in lines(capsys)["teacher reachable"][1]


def test_a_wrong_model_name_fails_and_lists_what_is_served(capsys: pytest.CaptureFixture[str]):
    with FakeTeacher(served=["glm-4.7", "qwen"]) as teacher:
        assert check(teacher.url, "--vllm_server_model", "gpt") == 3
    mark, text = lines(capsys)["model served"]
    assert mark == "FAIL"
    assert "serves glm-4.7, qwen" in text


def test_a_wrong_key_fails_where_the_models_are_asked_for(capsys: pytest.CaptureFixture[str]):
    with FakeTeacher(api_key="right") as teacher:
        assert check(teacher.url) == 3
    mark, text = lines(capsys)["model served"]
    assert (mark, "SDFT_VLLM_SERVER_API_KEY" in text) == ("FAIL", True)


def test_a_short_context_fails_with_the_numbers_and_the_flag(capsys: pytest.CaptureFixture[str]):
    with FakeTeacher(max_model_len=1500) as teacher:
        assert check(teacher.url) == 3
    mark, text = lines(capsys)["context"]
    assert mark == "FAIL"
    assert "1500 tokens, expected 2048" in text and "--max-model-len 2048" in text


def test_a_server_that_does_not_say_its_context_gets_a_note(capsys: pytest.CaptureFixture[str]):
    with FakeTeacher(max_model_len=None) as teacher:
        assert check(teacher.url) == 0
    assert lines(capsys)["context"][0] == "note"


def test_a_chat_that_fails_fails_with_the_servers_words(capsys: pytest.CaptureFixture[str]):
    with FakeTeacher(lambda body: Fault(400, error("no chat template", 400))) as teacher:
        assert check(teacher.url) == 3
    mark, text = lines(capsys)["chat"]
    assert (mark, "no chat template" in text) == ("FAIL", True)


def test_a_teacher_without_log_probabilities_is_fit_and_gets_a_note(capsys: pytest.CaptureFixture[str]):
    with FakeTeacher(max_logprobs=0) as teacher:
        assert check(teacher.url) == 0
    assert lines(capsys)["log-probabilities"][0] == "note"


def test_what_a_server_lacks_is_told_with_what_that_rules_out(capsys: pytest.CaptureFixture[str]):
    class Chatting(FakeTeacher):
        def answer(self, request: Request) -> tuple[int, Any, dict[str, str]]:
            if request.path != "/v1/chat/completions":
                return 404, "404 page not found", {}
            if "seed" in request.body:
                return 400, error("Unknown field: seed", 400), {}
            return self.chat(request.body)

    with Chatting(lambda body: "hello") as teacher:
        assert check(teacher.url) == 0
        found = lines(capsys)
    assert found["teacher reachable"] == ("ok", f"{teacher.url} answers and has no /health, no vLLM version")
    assert found["model served"] == ("ok", "glm-4.7 answers; no list of models is to be had")
    assert found["field seed"] == ("note", "refused: answers differ from run to run")
    assert found["tokens"][1].endswith("`--objective served` needs them. The server has no /tokenize.")
    assert found["fit for"][0] == "note" and found["fit for"][1].endswith("not for --objective served")


@pytest.mark.parametrize("status", [400, 401, 403, 422])
def test_a_key_that_may_only_chat_is_enough_to_chat(status: int, capsys: pytest.CaptureFixture[str]):
    class Chatting(FakeTeacher):
        def answer(self, request: Request) -> tuple[int, Any, dict[str, str]]:
            if request.path != "/v1/chat/completions":
                return status, error("You have insufficient permissions for this operation.", status), {}
            return self.chat(request.body)

    with Chatting(lambda body: "hello") as teacher:
        assert check(teacher.url) == 0
        found = lines(capsys)
    assert found["model served"] == ("ok", "glm-4.7 answers; no list of models is to be had")


@pytest.fixture
def trusting(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Serves by TLS, with a certificate that is trusted here."""

    @contextmanager
    def served(names: str, **days: float) -> Iterator[str]:
        with over_tls(FakeTeacher(), tmp_path, names, **days) as (url, certificate):
            monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
            yield url

    return served


def test_a_certificate_that_runs_out_soon_is_told_before_it_ends_a_run(trusting, capsys):
    with trusting("IP:127.0.0.1", last_day=2.5) as url:
        assert check(url) == 0
    assert lines(capsys)["certificate"] == (
        "note",
        "the server's runs out in 2.5 days, and ends a run that lasts longer",
    )


def test_a_certificate_that_lasts_is_not_talked_of(trusting, capsys):
    with trusting("IP:127.0.0.1") as url:
        assert check(url) == 0
    assert "certificate" not in lines(capsys)


@pytest.mark.parametrize(("names", "days", "said"), [
    ("IP:127.0.0.1", {"first_day": -9, "last_day": -1}, "certificate has expired. Look at this machine's clock"),
    ("IP:127.0.0.1", {"first_day": 1}, "certificate is not yet valid. Look at this machine's clock"),
    ("DNS:other.example", {}, "Pass the URL with the name that the certificate is made out to"),
])  # fmt: skip
def test_a_certificate_that_is_refused_fails_at_once_with_its_cause(trusting, capsys, names, days, said):
    with trusting(names, **days) as url:
        assert check(url) == 3
    mark, text = lines(capsys)["teacher reachable"]
    assert mark == "FAIL" and said in text and "gave up" not in text


def test_a_certificate_of_nobody_we_know_fails_with_the_variable_to_set(tmp_path, capsys):
    with over_tls(FakeTeacher(), tmp_path, "IP:127.0.0.1") as (url, _):
        assert check(url) == 3
    assert "SSL_CERT_FILE" in lines(capsys)["teacher reachable"][1]


@pytest.mark.parametrize(("ahead", "said"), [
    (3 * 3600, r"this machine's is (2:59:5\d|3:00:0\d) behind the teacher's: certificates"),
    (-400 * 86400, r"this machine's is (399 days, 23:59:5\d|400 days, 0:00:0\d) ahead of the teacher's: certificates"),
])  # fmt: skip
def test_a_clock_that_differs_from_the_teachers_is_told(capsys, ahead, said):
    with FakeTeacher(clock_ahead=ahead) as teacher:
        assert check(teacher.url) == 0
    mark, text = lines(capsys)["clock"]
    assert mark == "note" and re.match(said, text)


def test_a_proxy_that_is_asked_is_told(capsys, monkeypatch):
    with FakeTeacher() as proxy:  # asked by it, each URL is one of a server elsewhere
        proxy.answer = whole_urls(proxy.answer)
        monkeypatch.setenv("http_proxy", proxy.url)
        assert check("http://teacher.invalid:8000") == 0
    mark, text = lines(capsys)["proxy"]
    assert mark == "note" and text.startswith(f"requests go by {proxy.url} (http_proxy)")


def whole_urls(answer: Callable[[Request], Any]) -> Callable[[Request], Any]:
    return lambda asked: answer(Request(asked.method, urlsplit(asked.path).path, asked.authorization, asked.body))


def test_what_of_the_machine_would_hurt_is_told_too(capsys, monkeypatch):
    monkeypatch.setattr(machine.fcntl, "flock", failing)
    with FakeTeacher() as teacher:
        assert check(teacher.url) == 0
    found = capsys.readouterr().out.splitlines()  # a full disk is told beside it
    assert any(re.match(r"note +machine .*has no locks: start one `train` at a time", line) for line in found)


def failing(*_: Any) -> None:
    raise OSError(errno.ENOLCK, "No locks available")


def test_the_student_is_told_with_whether_there_is_memory_to_train_it(capsys, monkeypatch, student_path):
    with FakeTeacher() as teacher:
        assert check(teacher.url, "--model_name_or_path", student_path) == 0
        text = f"{student_path}, 0.7 million parameters; there is memory to train it"
        assert lines(capsys)["student"] == ("ok", text)
        monkeypatch.setattr(needs, "device_memory", lambda device: 2**20)
        assert check(teacher.url, "--model_name_or_path", student_path) == 0
    mark, text = lines(capsys)["student"]
    assert mark == "note" and "has 0.000977. Pass --use_peft" in text


def test_no_url_is_a_usage_error_that_shows_one():
    with pytest.raises(UsageError, match="check http://localhost:8000") as raised:
        check()
    assert raised.value.exit_code == 2


def train(url: str, **settings: Any) -> Train:
    return Train(vllm_server_base_url=url, teacher_patience=0.0, **settings)


def test_train_learns_who_its_teacher_is():
    with FakeTeacher() as teacher:
        assert require_teacher(train(teacher.url)) == TeacherIdentity(teacher.url, "glm-4.7", "0.32.0", 4096)


def test_train_refuses_a_teacher_that_is_gone_of_another_name_or_too_short():
    with FakeTeacher(max_model_len=1500) as teacher:
        with pytest.raises(TeacherError, match="does not serve 'gpt'"):
            require_teacher(train(teacher.url, vllm_server_model="gpt"))
        with pytest.raises(TeacherError, match="expected 2048"):
            require_teacher(train(teacher.url))
    with pytest.raises(TeacherError, match="docker compose up"):
        require_teacher(train(teacher.url))
