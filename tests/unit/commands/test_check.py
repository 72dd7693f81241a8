from typing import Any

import pytest
from fake_teacher import FakeTeacher, Fault, Request, error

from trainer.commands.check import run
from trainer.errors import TeacherError, UsageError
from trainer.settings.options import Train
from trainer.settings.resolve import resolve
from trainer.teachers.preflight import TeacherIdentity, require_teacher


def check(*argv: str) -> int:
    return run(resolve("check", list(argv), {}))


def lines(capsys: pytest.CaptureFixture[str]) -> dict[str, tuple[str, str]]:
    """The printed findings: subject -> (mark, text)."""
    found = (line.split("  ", 1) for line in capsys.readouterr().out.splitlines())
    parts = [(mark.strip(), rest.strip().split("  ", 1)) for mark, rest in found]
    return {subject: (mark, text.strip()) for mark, (subject, text) in parts}


def test_a_fit_teacher_passes_every_check(capsys: pytest.CaptureFixture[str]):
    with FakeTeacher() as teacher:
        assert check(teacher.url) == 0
    found = lines(capsys)
    assert [(subject, mark) for subject, (mark, _) in found.items()] == [
        ("environment", "note"),
        ("teacher reachable", "ok"),
        ("model served", "ok"),
        ("context", "ok"),
        ("chat", "ok"),
        ("tokens", "ok"),
        ("log-probabilities", "ok"),
        ("fit for", "ok"),
    ]
    assert found["teacher reachable"][1] == f"{teacher.url} is healthy, vLLM 0.32.0"
    assert found["log-probabilities"][1].startswith("the 20 likeliest tokens")


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
    assert found["model served"] == ("ok", "glm-4.7 answers; there is no /v1/models")
    assert found["field seed"] == ("note", "refused: answers differ from run to run")
    assert found["tokens"][1].endswith("`--objective served` needs them. The server has no /tokenize.")
    assert found["fit for"][0] == "note" and found["fit for"][1].endswith("not for --objective served")


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
