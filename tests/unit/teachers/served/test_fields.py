"""Servers that refuse a field of a request: what is left out, what is not, and what is said."""

import ast
import asyncio
import inspect
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from fake_teacher import FakeTeacher, Fault, Request, error

from trainer.teachers.preflight import say_hello
from trainer.teachers.served import client as client_module
from trainer.teachers.served.client import TeacherClient
from trainer.teachers.served.failures import RequestRefused
from trainer.teachers.served.fields import DISPENSABLE, NEEDED

QUESTION = [{"role": "user", "content": "What seed? And which max_tokens, unsupported or not?"}]
WORDS = {
    "openai": "Unsupported parameter: '{}' is not supported with this model.",
    "mistral": "{} is not supported for Mistral tokenizers.",
    "plain": "property '{}' is unsupported",
}


class Picky(FakeTeacher):
    """Refuses fields, one at a time, in some words; those that mean thinking by another name."""

    def __init__(self, *refused: str, words: str = WORDS["openai"], status: int = 400, body: Any = None):
        super().__init__(lambda body: "seven")
        self.refused, self.words, self.status, self.body = refused, words, status, body

    def answer(self, request: Request) -> tuple[int, Any, dict[str, str]]:
        for name in self.refused:
            if request.body and name in request.body:
                shown = "chat_template" if name == "chat_template_kwargs" else name
                return self.status, self.body or error(self.words.format(shown), self.status), {}
        if request.path == "/v1/chat/completions":
            return self.chat(request.body)
        return super().answer(request)


def ask(url: str, what: Callable[[TeacherClient], Awaitable[Any]]) -> Any:
    async def run() -> Any:
        async with TeacherClient(url, "glm-4.7") as client:
            return await what(client), sorted(client.left_out)

    return asyncio.run(run())


async def twice(client: TeacherClient) -> list[str]:
    said = [await client.chat(QUESTION, max_tokens=8, temperature=0.5, seed=3) for _ in range(2)]
    return [answer.text for answer in said]


@pytest.mark.parametrize("words", WORDS.values(), ids=WORDS)
@pytest.mark.parametrize("status", [400, 422])
@pytest.mark.parametrize("name", ["seed", "chat_template_kwargs"])
def test_a_field_that_work_can_do_without_is_left_out_after_the_first_refusal(name, status, words, capsys):
    with Picky(name, words=words, status=status) as teacher:
        assert ask(teacher.url, twice) == (["seven", "seven"], [name])
    assert [name in request.body for request in teacher.chats] == [True, False, False]
    said = capsys.readouterr().err
    assert said.count(f"refuses the field {name}") == 1 and DISPENSABLE[name].without in said


def test_a_field_that_only_param_names_is_left_out():
    body = {"error": {"message": "Unrecognized request argument supplied.", "param": "seed", "code": None}}
    with Picky("seed", body=body) as teacher:
        assert ask(teacher.url, twice) == (["seven", "seven"], ["seed"])


def test_max_tokens_goes_by_its_newer_name_and_the_bound_stays():
    with Picky("max_tokens") as teacher:
        assert ask(teacher.url, twice) == (["seven", "seven"], ["max_tokens"])
    assert [request.body.get("max_completion_tokens") for request in teacher.chats] == [None, 8, 8]


def test_several_fields_are_found_one_after_the_other_or_all_in_one_refusal():
    with Picky("seed", "chat_template_kwargs", "max_tokens") as teacher:
        assert ask(teacher.url, twice)[1] == ["chat_template_kwargs", "max_tokens", "seed"]
    assert len(teacher.chats) == 5
    detail = [
        {"type": "extra_forbidden", "loc": ["body", name], "msg": "Extra inputs are not permitted"}
        for name in ("seed", "chat_template_kwargs")
    ]
    with Picky("seed", "chat_template_kwargs", status=422, body={"detail": detail}) as teacher:
        assert ask(teacher.url, twice)[1] == ["chat_template_kwargs", "seed"]
    assert len(teacher.chats) == 3


def test_requests_at_once_that_find_several_fields_one_at_a_time_all_come_through():
    async def many(client):
        return await asyncio.gather(
            *(client.chat(QUESTION, max_tokens=8, temperature=0.5, seed=number) for number in range(12))
        )

    with Picky("seed", "chat_template_kwargs", "max_tokens") as teacher:
        answers, left_out = ask(teacher.url, many)
    assert [answer.text for answer in answers] == ["seven"] * 12
    assert left_out == ["chat_template_kwargs", "max_tokens", "seed"]


def test_a_server_that_fails_of_a_field_that_it_does_not_know_gets_none():
    with Picky("chat_template_kwargs", words="got an unexpected keyword argument '{}'", status=500) as teacher:
        assert ask(teacher.url, twice)[1] == ["chat_template_kwargs"]


@pytest.mark.parametrize(("name", "why"), [("temperature", "what is learnt"), ("tools", "without them a model")])
def test_a_field_that_decides_what_is_learnt_is_never_left_out_and_the_message_says_why(name, why):
    tool = {"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}
    with (
        Picky(name) as teacher,
        pytest.raises(RequestRefused, match=f"The field {name} is not left out: .*{why}") as raised,
    ):
        ask(teacher.url, lambda client: client.chat(QUESTION, [tool], max_tokens=8, temperature=0.5, seed=3))
    assert "field model" not in str(raised.value) and len(teacher.chats) == 1


def test_a_server_of_one_temperature_alone_is_greeted_with_it_and_refuses_greedy_answers_in_words():
    class OneTemperature(Picky):
        """Takes the default, as APIs of models that reason do."""

        def answer(self, request):
            self.refused = () if (request.body or {}).get("temperature", 1) == 1 else ("temperature",)
            return super().answer(request)

    words = "Unsupported value: '{}' does not support 0 with this model. Only the default (1) value is supported."
    with OneTemperature(words=words) as teacher:
        ask(teacher.url, say_hello)
        with pytest.raises(
            RequestRefused, match=r"`generate --prompts FILE --temperature VALUE` writes demonstrations"
        ):
            ask(teacher.url, lambda client: client.chat(QUESTION, max_tokens=8, temperature=0.0, seed=3))


def test_thinking_that_was_asked_for_is_not_left_out():
    with Picky("chat_template_kwargs") as teacher, pytest.raises(RequestRefused, match="--enable_thinking asks for it"):
        ask(
            teacher.url,
            lambda client: client.chat(QUESTION, max_tokens=8, temperature=0.5, seed=3, enable_thinking=True),
        )


def test_a_value_that_is_too_large_is_no_unknown_field():
    words = "max_tokens is too large: 9000. This model's maximum context length is 4096 tokens."
    with (
        FakeTeacher(lambda body: Fault(400, error(words, 400))) as teacher,
        pytest.raises(RequestRefused, match="9000"),
    ):
        ask(teacher.url, twice)
    assert len(teacher.chats) == 1


def test_a_refusal_for_another_reason_leaves_nothing_out(capsys):
    words = "the seed of evil is no question"
    with FakeTeacher(lambda body: Fault(400, error(words, 400))) as teacher, pytest.raises(RequestRefused):
        ask(teacher.url, twice)
    assert "refuses the field" not in capsys.readouterr().err and "seed" not in teacher.chats[-1].body


def test_scores_do_without_the_sampling_that_shapes_nothing():
    with Picky("top_k", "min_p", "repetition_penalty") as teacher:
        scores, left_out = ask(teacher.url, lambda client: client.score([5, 6], [7, 8], top_k=4))
    assert left_out == ["min_p", "repetition_penalty", "top_k"] and len(scores.sampled_logps_N) == 2
    assert teacher.requests[-1].body["prompt_logprobs"] == 4


def test_the_table_knows_every_field_that_is_sent():
    sent = set(client_module.NO_SAMPLING)
    for node in ast.walk(ast.parse(inspect.getsource(client_module.TeacherClient))):
        if isinstance(node, ast.Dict) and any(
            isinstance(key, ast.Constant) and key.value == "model" for key in node.keys
        ):
            sent |= {key.value for key in node.keys if isinstance(key, ast.Constant)}
    assert {"model", "messages", "seed", "prompt_logprobs", "tokens"} <= sent
    assert sent <= DISPENSABLE.keys() | NEEDED.keys()
    assert not DISPENSABLE.keys() & NEEDED.keys()
