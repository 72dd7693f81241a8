import asyncio
import email.utils
import json
import socket
import time
from collections.abc import Awaitable, Callable
from typing import Any

import numpy as np
import pytest
from fake_teacher import FakeTeacher, Fault, Request, error, scattered
from tenacity import wait_none

from trainer.errors import TeacherError, UsageError
from trainer.teachers.served import replicas as replicas_module
from trainer.teachers.served import retries as retries_module
from trainer.teachers.served import transport as transport_module
from trainer.teachers.served.chat_messages import ChatAnswer
from trainer.teachers.served.client import TeacherClient, Tokenized
from trainer.teachers.served.failures import Failure, RequestRefused, ServerRefused
from trainer.teachers.served.model_list import ServedModel, is_meant
from trainer.teachers.served.replicas import Replica, Replicas, used
from trainer.teachers.tokens.token_scores import TokenScores

QUESTION = [{"role": "user", "content": "What is 3 plus 4?"}]


@pytest.fixture(autouse=True)
def no_backoff(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retries_module, "BACKOFF", wait_none())


def ask(url: str, what: Callable[[TeacherClient], Awaitable[Any]], model: str = "glm-4.7", **settings: Any) -> Any:
    async def run() -> Any:
        async with TeacherClient(url, model, **settings) as client:
            return await what(client)

    return asyncio.run(run())


def chat(client: TeacherClient) -> Awaitable[ChatAnswer]:
    return client.chat(QUESTION, max_tokens=8, temperature=0.5, seed=3, enable_thinking=False)


def score(client: TeacherClient) -> Awaitable[TokenScores]:
    return client.score([5, 6], [7, 8, 9], top_k=4)


def tokenize(client: TeacherClient) -> Awaitable[Tokenized]:
    return client.tokenize("hi")


# By either library, so that both are seen to fail alike.
REQUESTS = pytest.mark.parametrize("request_of", [chat, score, tokenize])


def dead_url() -> str:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return f"http://127.0.0.1:{server.getsockname()[1]}"


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
    monkeypatch.setattr(retries_module, "BACKOFF", lambda state: 0.1)
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


THOUGHT = {"type": "thinking", "thinking": [{"type": "text", "text": "2 + 3"}]}


@pytest.mark.parametrize(
    ("changed", "text", "tokens"),
    [
        ({"content": [{"type": "text", "text": "fi"}, {"type": "text", "text": "ve"}]}, "five", 2),
        ({"content": [THOUGHT, {"type": "text", "text": "five"}]}, "five", 2),
        ({"content": []}, "", 2),
        ({"usage": {"prompt_tokens": "3", "completion_tokens": "x"}}, "five", 0),
        ({"usage": None}, "five", 0),
        ({"usage": []}, "five", 0),
    ],
    ids=["parts", "thoughts as a part", "no part", "odd usage", "no usage", "usage of another kind"],
)  # fmt: skip
def test_an_answer_in_parts_or_with_odd_counts_is_read(changed, text, tokens):
    message = {"role": "assistant", "content": changed.get("content", "five")}
    answer = {"choices": [{"message": message, "finish_reason": "stop"}], "usage": {"completion_tokens": 2}}
    answer |= {name: value for name, value in changed.items() if name == "usage"}
    with FakeTeacher() as teacher:
        teacher.faults = [Fault(200, json.dumps(answer))]
        found = ask(teacher.url, chat)
    assert (found.text, found.completion_tokens) == (text, tokens)


def test_a_thought_that_is_never_closed_behind_other_words_counts_as_cut():
    with FakeTeacher(lambda body: "The tag <think> opens a block. 42") as teacher:
        answer = ask(teacher.url, chat)
    assert answer.is_cut and answer.text == "The tag "


@pytest.mark.parametrize("code", [503, "overloaded", None])
def test_an_error_that_is_sent_as_an_answer_is_one(code):
    overloaded = json.dumps({"error": {"message": "model is overloaded", "code": code}})
    with FakeTeacher(lambda body: "five") as teacher:
        teacher.faults = [Fault(200, overloaded)] * 2
        assert ask(teacher.url, chat).text == "five"
    with FakeTeacher() as teacher, pytest.raises(ServerRefused, match="404 no such model"):
        teacher.faults = [Fault(200, json.dumps({"error": {"message": "no such model", "code": 404}}))]
        ask(teacher.url, chat)


def test_a_server_whose_context_is_full_is_asked_for_less_at_once():
    full = Fault(500, error("Context size has been exceeded.", 500))
    running = [0]

    def narrow(body):
        running[0] += 1
        time.sleep(0.02)
        many, running[0] = running[0] > 2, running[0] - 1
        return full if many else "five"

    async def many(client: TeacherClient) -> list[ChatAnswer]:
        return await asyncio.gather(*(chat(client) for _ in range(16)))

    with FakeTeacher(narrow) as teacher:
        assert {answer.text for answer in ask(teacher.url, many, adapts=True, patience=20)} == {"five"}
    with (
        FakeTeacher(lambda body: full) as teacher,
        pytest.raises(TeacherError, match=r"500 Context size.*llama.cpp: `-c`"),
    ):
        ask(teacher.url, chat, patience=0.5)


def test_a_stream_that_nobody_asked_for_ends_at_once_and_an_empty_answer_is_told():
    stream = Fault(200, 'data: {"choices": []}\n\ndata: [DONE]\n\n', {"content-type": "text/event-stream"})
    with FakeTeacher(lambda body: stream) as teacher:
        with pytest.raises(TeacherError, match="a stream of events, and none was asked for"):
            ask(teacher.url, chat)
        assert len(teacher.requests) == 1
    nothing = pytest.raises(TeacherError, match="an empty answer; gave up after")
    with FakeTeacher(lambda body: Fault(200, "")) as teacher, nothing:
        ask(teacher.url, chat, patience=0.5)


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


# ---- scores and tokens


def test_score_sends_exactly_the_request_that_vllm_documents():
    with FakeTeacher(api_key="secret") as teacher:
        ask(teacher.url, score, api_key="secret")
    body = {
        "model": "glm-4.7",
        "prompt": [5, 6, 7, 8, 9],
        "prompt_logprobs": 4,
        "max_tokens": 1,
        "temperature": 1.0,
        "top_p": 1.0,
        "top_k": 0,
        "min_p": 0.0,
        "repetition_penalty": 1.0,
        "presence_penalty": 0.0,
        "frequency_penalty": 0.0,
    }
    assert teacher.requests == [Request("POST", "/v1/completions", "Bearer secret", body)]


def test_score_tells_what_the_server_says_of_the_completions_tokens_alone():
    with FakeTeacher() as teacher:
        scores = ask(teacher.url, score)
        with_texts = ask(teacher.url, lambda client: client.score([5, 6], [7, 8, 9], top_k=4, with_texts=True))
    expected = scattered([5, 6, 7, 8, 9], 4)[2:]
    np.testing.assert_array_equal(scores.token_ids_NK, [list(row)[:4] for row in expected])
    np.testing.assert_array_equal(scores.logps_NK, np.float32([list(row.values())[:4] for row in expected]))
    own = [row[token] for row, token in zip(expected, [7, 8, 9], strict=True)]
    np.testing.assert_array_equal(scores.sampled_logps_N, np.float32(own))
    assert scores.decoded == {}
    assert with_texts.decoded == {token: f"<0x{token:02X}>" for row in expected for token in row}


def test_tokenize_render_and_detokenize_send_the_requests_that_vllm_documents():
    async def all_three(client: TeacherClient) -> tuple[Any, ...]:
        return (
            await client.tokenize("hé"),
            await client.render(QUESTION, enable_thinking=True, add_generation_prompt=False),
            await client.detokenize([104, 105]),
        )

    with FakeTeacher() as teacher:
        tokens, rendered, text = ask(teacher.url, all_three, api_key="secret")
    assert tokens == Tokenized([104, 0xC3, 0xA9], ["<0x68>", "<0xC3>", "<0xA9>"])
    assert bytes(rendered.ids).decode() == "<user>What is 3 plus 4?\n"
    assert text == "hi"
    strings = {"model": "glm-4.7", "return_token_strs": True}
    bodies = [
        strings | {"prompt": "hé", "add_special_tokens": False},
        strings
        | {"messages": QUESTION, "add_generation_prompt": False, "chat_template_kwargs": {"enable_thinking": True}},
        {"model": "glm-4.7", "tokens": [104, 105]},
    ]
    paths = ["/tokenize", "/tokenize", "/detokenize"]
    expected = [Request("POST", path, "Bearer secret", body) for path, body in zip(paths, bodies, strict=True)]
    assert teacher.requests == expected


def test_a_tokenizer_of_another_server_is_told_apart_from_vllms():
    with FakeTeacher() as teacher:
        teacher.faults = [Fault(200, {"ids": [1]})]
        with pytest.raises(TeacherError, match=r"answered .*ids.* expected tokens and their names as in vLLM"):
            ask(teacher.url, tokenize)


def test_a_tokenizer_that_finds_no_text_in_a_request_is_none_of_vllms():
    with FakeTeacher() as teacher:
        teacher.faults = [Fault(200, {"tokens": []})]
        with pytest.raises(TeacherError, match=r"answered no tokens, expected tokens and their names as in vLLM"):
            ask(teacher.url, tokenize)


@pytest.mark.parametrize(("failures", "listed"), [(2, True), (3, False)])
def test_a_list_of_models_that_only_ever_fails_counts_as_missing(failures: int, listed: bool):
    with FakeTeacher() as teacher:
        teacher.faults = [Fault(500)] * failures
        found = ask(teacher.url, lambda client: client.models())
    assert (found is not None) is listed


@REQUESTS
def test_faults_that_may_pass_are_tried_again_whatever_carries_the_request(
    request_of: Callable[[TeacherClient], Awaitable[Any]], capsys: pytest.CaptureFixture[str]
):
    async def counted(client: TeacherClient) -> tuple[Any, int, int]:
        return await request_of(client), client.retries, client.outages

    with FakeTeacher() as teacher:
        expected = ask(teacher.url, request_of)
        teacher.requests.clear()
        teacher.faults = [
            Fault(503, error("overloaded", 503)),
            Fault(429),
            Fault(408),
            Fault(500, "boom"),
            Fault(200, '{"choices": ['),
            Fault(200, {"choices": "x" * 1000}, cut=True),
        ]
        answer, retries, outages = ask(teacher.url, counted)
    assert str(answer) == str(expected)
    assert (len(teacher.requests), retries, outages) == (7, 6, 4)
    assert f"waiting for the teacher at {teacher.url} (503 overloaded)" in capsys.readouterr().err


@REQUESTS
def test_a_busy_teacher_is_no_outage(request_of: Callable[[TeacherClient], Awaitable[Any]]):
    async def counted(client: TeacherClient) -> tuple[int, int]:
        await request_of(client)
        return client.retries, client.outages

    with FakeTeacher() as teacher:
        teacher.faults = [Fault(429), Fault(408)]
        assert ask(teacher.url, counted) == (2, 0)


@REQUESTS
def test_a_refusal_has_the_servers_own_words_and_comes_at_once(
    request_of: Callable[[TeacherClient], Awaitable[Any]],
):
    with FakeTeacher() as teacher:
        teacher.faults = [Fault(400, error("This model's maximum context length is 4 tokens.", 400))]
        with pytest.raises(RequestRefused, match=r"400 This model's maximum context length is 4 tokens\.") as raised:
            ask(teacher.url, request_of)
    assert raised.value.status == 400
    assert len(teacher.requests) == 1


@REQUESTS
def test_a_silent_teacher_is_given_up(
    request_of: Callable[[TeacherClient], Awaitable[Any]], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(transport_module, "ANSWER_SECONDS", 0.05)
    with socket.create_server(("127.0.0.1", 0)) as server:
        url = f"http://127.0.0.1:{server.getsockname()[1]}"
        with pytest.raises(TeacherError, match="no answer in time; gave up after 0 s"):
            ask(url, request_of, patience=0)


@REQUESTS
def test_an_unknown_model_lists_what_is_served_whatever_carries_the_request(
    request_of: Callable[[TeacherClient], Awaitable[Any]],
):
    expected = pytest.raises(TeacherError, match=r"does not serve 'gpt'; it serves glm-4\.7")
    with FakeTeacher() as teacher, expected:
        ask(teacher.url, request_of, model="gpt", max_concurrency=1)


@pytest.mark.parametrize("ahead", [-3600, 3600])
def test_a_retry_after_that_is_a_date_is_one_of_the_servers_clock(ahead):
    date = email.utils.formatdate(time.time() + ahead + 3, usegmt=True)
    with FakeTeacher(lambda body: "seven", clock_ahead=ahead) as teacher:
        teacher.faults = [Fault(429, headers={"retry-after": date})]
        began = time.monotonic()
        assert ask(teacher.url, chat, patience=30).text == "seven"
    assert 1 < time.monotonic() - began < 15


def test_a_retry_after_that_is_a_date_is_honoured():
    with FakeTeacher() as teacher:
        teacher.faults = [Fault(429, headers={"retry-after": email.utils.formatdate(time.time() + 60, usegmt=True)})]
        with pytest.raises(TeacherError, match="gave up after 30 s"):
            ask(teacher.url, score, patience=30)
    assert len(teacher.requests) == 1


def test_a_missing_log_probability_is_an_error_at_once():
    def without_own(ids: list[int], top_k: int) -> list[dict[int, float]]:
        return [{token: row[token] for token in row if token != own} for row, own in
                zip(scattered(ids, top_k), ids, strict=True)]  # fmt: skip

    expected = pytest.raises(TeacherError, match="no log-probability for token 7 at position 2")
    with FakeTeacher(score=without_own) as teacher, expected:
        ask(teacher.url, score)
    assert len(teacher.requests) == 1


def test_a_proxy_that_the_environment_names_carries_every_request(monkeypatch: pytest.MonkeyPatch):
    def tried(urls: str) -> None:
        for request_of in (chat, score):
            with pytest.raises(TeacherError):
                ask(urls, request_of, patience=0)

    with FakeTeacher() as proxy:
        monkeypatch.setenv("http_proxy", proxy.url)
        monkeypatch.setenv("no_proxy", "127.0.0.1")
        proxy.faults = [Fault(400), Fault(400)]
        tried("http://teacher.invalid:8000")
        tried(dead_url())
    paths = [request.path for request in proxy.requests]
    assert paths == [f"http://teacher.invalid:8000/v1/{end}" for end in ("chat/completions", "completions")]


# ---- replicas


def test_requests_go_to_the_replica_with_the_fewest_in_flight():
    def slow(ids: list[int], top_k: int) -> list[dict[int, float]]:
        time.sleep(0.15)
        return scattered(ids, top_k)

    async def many(client: TeacherClient) -> None:
        await asyncio.gather(*(score(client) for _ in range(8)))

    with FakeTeacher(score=slow) as first, FakeTeacher(score=slow) as second:
        ask(f"{first.url},{second.url}", many)
    assert (len(first.requests), len(second.requests)) == (4, 4)


def test_a_dead_replica_costs_no_request_no_patience_and_few_tries(capsys: pytest.CaptureFixture[str]):
    async def many(client: TeacherClient) -> tuple[int, int]:
        await asyncio.gather(*(score(client) for _ in range(10)))
        for _ in range(10):
            await score(client)
        return client.retries, client.outages

    dead = dead_url()
    with FakeTeacher() as alive:
        retries, outages = ask(f"{dead},{alive.url}", many, patience=0)
    assert len(alive.requests) == 20
    assert retries == outages <= 10
    lines = capsys.readouterr().err.splitlines()
    assert [line for line in lines if "teacher" in line] == [lines[0]]
    assert lines[0].startswith(f"the teacher at {dead} gets a rest (")


def test_a_replica_that_recovers_is_used_again(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(replicas_module, "FIRST_REST_SECONDS", 0.05)

    async def pairs(client: TeacherClient) -> None:
        for _ in range(2):
            await asyncio.gather(score(client), score(client))
            await asyncio.sleep(0.06)
            await score(client)

    with FakeTeacher() as first, FakeTeacher() as second:
        first.faults = [Fault(503)]
        ask(f"{first.url},{second.url}", pairs)
    assert len(first.requests) == 4
    assert len(second.requests) == 3


def test_a_failing_replica_rests_longer_each_time_and_is_tried_by_one_request_at_a_time():
    failing, other = Replica("http://a"), Replica("http://b", in_flight=5)
    both = Replicas([failing, other])
    assert both.pick() is failing
    rests = []
    for failures in (1, 2, 3, 10):
        failing.failures = failures
        failing.rests_until = 0.0
        assert both.pick() is failing
        assert both.pick() is other
        rests.append(failing.rests_until - time.monotonic())
    assert rests == pytest.approx([1, 2, 4, 30], abs=0.5)


def test_failures_of_requests_that_were_under_way_together_count_once_and_an_answer_ends_the_rest():
    replica = Replica("http://a")

    def fail() -> None:
        with pytest.raises(Failure), used(replica):
            raise Failure("refused")

    with pytest.raises(Failure), used(replica):
        fail()
        raise Failure("refused")
    assert (replica.failures, replica.in_flight) == (1, 0)
    fail()
    assert replica.failures == 2
    assert replica.rests_until > time.monotonic()
    with used(replica):
        pass
    assert replica.failures == 0
    assert replica.rests_until < time.monotonic()


def test_only_when_all_replicas_are_down_does_the_patience_run(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.setattr(retries_module, "BACKOFF", lambda state: 0.1)
    both = f"{dead_url()},{dead_url()}"
    began = time.monotonic()
    with pytest.raises(TeacherError, match=r"gave up after 0\.5 s") as raised:
        ask(both, score, patience=0.5)
    assert 0.3 < time.monotonic() - began < 5
    assert f"no usable answer from the teacher at {both}" in str(raised.value)
    assert f"waiting for the teacher at {both} (" in capsys.readouterr().err


def test_a_request_that_every_replica_answers_with_500_ends_after_the_patience():
    def boom(body: dict[str, Any]) -> Fault:
        return Fault(500, "boom")

    async def with_others(client: TeacherClient) -> None:
        others = asyncio.create_task(keep_scoring(client))
        try:
            await chat(client)
        finally:
            others.cancel()

    async def keep_scoring(client: TeacherClient) -> None:
        while True:
            await score(client)

    expected = pytest.raises(TeacherError, match=r"500 boom; gave up after 0\.2 s")
    with FakeTeacher(boom) as first, FakeTeacher(boom) as second, expected:
        ask(f"{first.url},{second.url}", with_others, patience=0.2)


def test_one_healthy_replica_is_a_healthy_teacher():
    async def look(client: TeacherClient) -> tuple[Any, Any]:
        await client.health()
        return await client.version(), await client.models()

    with FakeTeacher() as alive:
        assert ask(f"{dead_url()},{alive.url}", look, patience=0) == ("0.32.0", [ServedModel("glm-4.7", 4096)])


def test_the_models_of_replicas_are_those_that_all_serve_with_the_smallest_window():
    with FakeTeacher(served=["a", "glm-4.7"]) as first, FakeTeacher(served=["glm-4.7"], max_model_len=512) as second:
        assert ask(f"{first.url},{second.url}", TeacherClient.models) == [ServedModel("glm-4.7", 512)]


@pytest.mark.parametrize("request_of", [TeacherClient.models, score])
def test_a_replica_of_another_model_is_named(request_of: Callable[[TeacherClient], Awaitable[Any]]):
    with FakeTeacher() as first, FakeTeacher(served=["qwen"]) as second:
        with pytest.raises(TeacherError, match=r"does not serve 'glm-4\.7'; it serves qwen") as raised:
            ask(f"{second.url},{first.url}", request_of)
        assert f"the teacher at {second.url} does not" in str(raised.value)


TOOL = {"type": "function", "function": {"name": "f", "description": "d", "parameters": {"type": "object"}}}
CALLED = {"role": "assistant", "content": None, "tool_calls": [{"function": {"name": "f", "arguments": {"x": "é"}}}]}


def called(*arguments: str) -> dict[str, Any]:
    calls = [{"id": "1", "type": "function", "function": {"name": "f", "arguments": each}} for each in arguments]
    return {"role": "assistant", "content": None, "tool_calls": calls}


def chat_with_tools(client: TeacherClient) -> Awaitable[ChatAnswer]:
    return client.chat(QUESTION, [TOOL], max_tokens=8, temperature=0.5, seed=3)


def test_tools_are_sent_and_the_calls_of_the_answer_read():
    with FakeTeacher(lambda body: called('{"x": 1}', "", '{"x": ')) as teacher:
        answer = ask(teacher.url, chat_with_tools)
        ask(teacher.url, lambda client: client.render(QUESTION, [TOOL]))
    assert [request.body["tools"] for request in teacher.requests] == [[TOOL]] * 2
    arguments = [{"x": 1}, {}, '{"x": ']
    assert answer.tool_calls == [{"name": "f", "arguments": each} for each in arguments] and answer.text == ""
    assert answer.with_calls.split("\n")[0] == '<tool_call>{"name": "f", "arguments": {"x": 1}}</tool_call>'


def test_messages_are_sent_with_arguments_as_text_and_results_that_name_their_call():
    messages = [*QUESTION, CALLED, {"role": "tool", "content": "4"}]
    with FakeTeacher() as teacher:
        ask(teacher.url, lambda client: client.chat(messages, max_tokens=8, temperature=0.0, seed=1))
    _, calling, result = teacher.chats[0].body["messages"]
    [call] = calling["tool_calls"]
    assert call["type"] == "function" and call["function"] == {"name": "f", "arguments": '{"x": "é"}'}
    assert result["tool_call_id"] == call["id"] and "tools" not in teacher.chats[0].body


def test_a_server_that_reads_no_calls_is_still_shown_the_tools_and_asked_once_too_often(capsys):
    words = '"auto" tool choice requires --enable-auto-tool-choice and --tool-call-parser to be set'

    def reply(body: dict[str, Any]) -> Any:
        return "<tool_call>…" if body.get("tool_choice") == "none" else Fault(400, error(words, 400))

    async def twice(client: TeacherClient) -> list[ChatAnswer]:
        return [await chat_with_tools(client) for _ in range(2)]

    with FakeTeacher(reply) as teacher:
        answers = ask(teacher.url, twice)
    assert [answer.text for answer in answers] == ["<tool_call>…"] * 2
    assert [request.body.get("tool_choice") for request in teacher.chats] == [None, "none", "none"]
    assert all(request.body["tools"] == [TOOL] for request in teacher.chats)
    assert capsys.readouterr().err.count("reads no tool calls") == 1


@pytest.mark.parametrize("body", ["[" * 100_000, {"data": [{"id": True}]}])
def test_a_list_of_models_that_is_nested_too_deeply_or_names_no_text_is_refused(body):
    with FakeTeacher() as teacher:
        teacher.answer = lambda request: (200, body, {})
        with pytest.raises(TeacherError, match=r"(answered|no whole JSON)"):
            ask(teacher.url, lambda client: client.models(), patience=0)


@pytest.mark.parametrize(
    ("listed", "name"),
    [("m", "m"), ("models/m", "m"), ("m:latest", "m"), ("openai/*", "openai/gpt"), ("org/m", "org/m:provider")],
)
def test_a_name_that_the_list_means_in_other_words_is_served(listed, name):
    assert is_meant(listed, name) and not is_meant(listed, "another") and not is_meant("other", name)
