import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from fake_teacher import FakeTeacher, Fault, Request, error
from tenacity import wait_none

from trainer.errors import TeacherError, UsageError
from trainer.teachers import client as client_module
from trainer.teachers.client import ChatAnswer, RequestRefused, ServedModel, TeacherClient

QUESTION = [{"role": "user", "content": "What is 3 plus 4?"}]


@pytest.fixture(autouse=True)
def no_backoff(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client_module, "BACKOFF", wait_none())


def ask(url: str, what: Callable[[TeacherClient], Awaitable[Any]], model: str = "glm-4.7", **settings: Any) -> Any:
    async def run() -> Any:
        async with TeacherClient(url, model, **settings) as client:
            return await what(client)

    return asyncio.run(run())


def chat(client: TeacherClient) -> Awaitable[ChatAnswer]:
    return client.chat(QUESTION, max_tokens=8, temperature=0.5, seed=3, enable_thinking=False)


def test_chat_sends_exactly_the_request_that_vllm_documents():
    with FakeTeacher(lambda body: "seven") as teacher:
        answer = ask(teacher.url, chat, api_key="secret\n")
    assert answer == ChatAnswer("seven", "stop", 11, 5)
    body = {
        "model": "glm-4.7",
        "messages": QUESTION,
        "max_tokens": 8,
        "temperature": 0.5,
        "seed": 3,
        "chat_template_kwargs": {"enable_thinking": False},
    }
    assert teacher.requests == [Request("POST", "/v1/chat/completions", "Bearer secret", body)]


def test_health_version_and_models_are_read_from_their_endpoints():
    with FakeTeacher(served=["glm-4.7", "other"], max_model_len=2048) as teacher:

        async def look(client: TeacherClient) -> tuple[Any, Any]:
            await client.health()
            return await client.version(), await client.models()

        assert ask(teacher.url, look) == ("0.32.0", [ServedModel("glm-4.7", 2048), ServedModel("other", 2048)])


def test_a_server_without_a_version_has_the_version_none():
    with FakeTeacher() as teacher:
        teacher.faults = [Fault(404, {"detail": "Not Found"})]
        assert ask(teacher.url, TeacherClient.version) is None


def test_a_null_content_is_the_empty_text():
    with FakeTeacher(lambda body: None) as teacher:
        assert ask(teacher.url, chat).text == ""


def test_thinking_is_stripped_from_an_answer():
    with FakeTeacher(lambda body: "<think>hm</think>\nseven") as teacher:
        assert ask(teacher.url, chat).text == "seven"


def test_503_429_408_and_a_broken_body_are_tried_again_until_they_pass(capsys: pytest.CaptureFixture[str]):
    with FakeTeacher(lambda body: "seven") as teacher:
        teacher.faults = [Fault(503, "overloaded"), Fault(429), Fault(408), Fault(500), Fault(200, '{"choices": [')]
        assert ask(teacher.url, chat).text == "seven"
    assert len(teacher.requests) == 6
    assert f"waiting for the teacher at {teacher.url} (503 overloaded)" in capsys.readouterr().err


def test_retry_after_is_honoured():
    with FakeTeacher(lambda body: "seven") as teacher:
        teacher.faults = [Fault(429, headers={"retry-after": "0.6"})]
        began = time.monotonic()
        assert ask(teacher.url, chat).text == "seven"
    assert time.monotonic() - began >= 0.6


def test_a_retry_after_beyond_the_patience_ends_at_once():
    with FakeTeacher() as teacher:
        teacher.faults = [Fault(429, headers={"retry-after": "3600"})]
        with pytest.raises(TeacherError, match="429"):
            ask(teacher.url, chat, patience=5)


def test_a_teacher_that_refuses_connections_is_given_up_after_the_patience(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.setattr(client_module, "BACKOFF", lambda state: 0.1)
    with FakeTeacher() as teacher:
        gone = teacher.url
    began = time.monotonic()
    with pytest.raises(TeacherError, match=r"gave up after 0\.5 s .*docker compose up.*--base_url") as raised:
        ask(gone, chat, patience=0.5)
    assert 0.3 < time.monotonic() - began < 5
    assert raised.value.exit_code == 3
    assert capsys.readouterr().err.count(f"waiting for the teacher at {gone}") == 1


def test_a_wrong_key_fails_at_once_names_the_variables_and_shows_no_key():
    with FakeTeacher(api_key="right") as teacher, pytest.raises(TeacherError) as raised:
        ask(teacher.url, chat, api_key="wrong-key")
    assert "SDFT_VLLM_SERVER_API_KEY" in str(raised.value)
    assert "SDFT_API_KEY" in str(raised.value)
    assert "401" in str(raised.value)
    assert "wrong-key" not in str(raised.value)
    assert len(teacher.requests) == 1


def test_a_key_that_no_header_can_hold_is_refused_without_being_shown():
    with pytest.raises(UsageError) as raised:
        TeacherClient("http://localhost:8000", "glm-4.7", api_key="line one\nline two")
    assert "line one" not in str(raised.value)


def test_an_unknown_model_lists_what_is_served():
    expected = pytest.raises(TeacherError, match=r"does not serve 'gpt'; it serves glm-4\.7, qwen")
    with FakeTeacher(served=["glm-4.7", "qwen"]) as teacher, expected:
        ask(teacher.url, chat, model="gpt")


def test_another_4xx_fails_at_once_with_the_servers_own_words():
    expected = pytest.raises(RequestRefused, match="400 max_tokens is too large")
    with FakeTeacher(lambda body: Fault(400, error("max_tokens is too large", 400))) as teacher, expected:
        ask(teacher.url, chat)
    assert len(teacher.requests) == 1


@pytest.mark.parametrize("content_type", ["text/html", "application/json"])
def test_a_server_that_is_no_vllm_is_told_apart_from_one(content_type: str):
    with FakeTeacher() as teacher:
        teacher.faults = [Fault(200, '"<html>hello</html>"', {"content-type": content_type})]
        with pytest.raises(TeacherError, match="expected a list of models"):
            ask(teacher.url, TeacherClient.models)


@pytest.mark.parametrize("url", ["", "ftp://host", "http://", "localhost:8000", "http://localhost:80x0", "http://[::1"])
def test_a_base_url_that_is_no_http_url_is_a_usage_error(url: str):
    with pytest.raises(UsageError, match="expected one like http://localhost:8000"):
        TeacherClient(url, "glm-4.7")


def test_no_more_requests_are_in_flight_than_allowed():
    running, most = [], []

    def slow(body: dict[str, Any]) -> str:
        running.append(1)
        most.append(len(running))
        time.sleep(0.02)
        running.pop()
        return "seven"

    async def many(client: TeacherClient) -> None:
        await asyncio.gather(*(chat(client) for _ in range(20)))

    with FakeTeacher(slow) as teacher:
        ask(teacher.url, many, max_concurrency=3)
    assert max(most) == 3
    assert len(teacher.chats) == 20


@pytest.mark.parametrize(("cap", "found"), [(1000, 100), (20, 20), (7, 5), (1, 1)])
def test_the_logprob_probe_finds_the_largest_step_that_the_server_admits(cap: int, found: int):
    with FakeTeacher(max_logprobs=cap) as teacher:
        assert ask(teacher.url, TeacherClient.max_logprobs) == found


def test_the_logprob_probe_raises_the_servers_words_where_it_admits_none():
    with FakeTeacher(max_logprobs=0) as teacher, pytest.raises(RequestRefused, match="greater than max allowed: 0"):
        ask(teacher.url, TeacherClient.max_logprobs)
