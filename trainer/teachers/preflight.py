"""Who is the teacher: is it there, does it serve the model, has it room? Asked before anything expensive."""

import asyncio
from dataclasses import dataclass

from .. import COMMAND
from ..data.rows.row import Message
from ..errors import TeacherError, UsageError
from ..settings.options import Check, Train
from .served.batch import run_until_stopped
from .served.chat_messages import ChatAnswer
from .served.client import TeacherClient
from .served.model_list import ServedModel, is_meant, unknown_model
from .served.notices import say

LONG = 20  # seconds


@dataclass(frozen=True)
class TeacherIdentity:
    """Who answers there: as it goes into `environment.json` and `summary.json`.

    Attributes:
        engine_version: vLLM's; None for another server.
        max_model_len: Context window in tokens; None where the server doesn't say.
        tokenizer_route: How it scores the student's tokens, `token` or `byte`; None where it scores none.
        tokenizer_evidence: Why that is the route.
    """

    base_url: str
    model: str
    engine_version: str | None
    max_model_len: int | None
    tokenizer_route: str | None = None
    tokenizer_evidence: str | None = None


def require_teacher(settings: Train | Check) -> TeacherIdentity:
    """The teacher behind `settings`, once it is healthy, serves the model and has room for prompt and completion.

    Raises:
        TeacherError: it is unreachable or unfit; says how to mend that.
        UsageError: no teacher URL.
    """

    async def ask() -> TeacherIdentity:
        async with client_for(settings) as client:
            identity = await identify(client)
        complaint = context_complaint(identity.max_model_len, settings)
        if complaint:
            raise TeacherError(f"the teacher at {identity.base_url}: {complaint}")
        return identity

    return run_until_stopped(ask(), "stopped before the teacher was checked; nothing was begun.")


def client_for(settings: Train | Check) -> TeacherClient:
    """A client for the teacher that `settings` names.

    Raises:
        UsageError: they name none.
    """
    if not settings.vllm_server_base_url:
        raise UsageError(
            f"no teacher is named. Pass its base URL, e.g. `{COMMAND} check http://localhost:8000`, "
            "or set SDFT_VLLM_SERVER_BASE_URL."
        )
    return TeacherClient(
        settings.vllm_server_base_url,
        settings.vllm_server_model,
        api_key=settings.vllm_server_api_key,
        max_concurrency=settings.vllm_server_max_concurrency,
        patience=settings.teacher_patience,
    )


async def identify(client: TeacherClient) -> TeacherIdentity:
    """Wait for health, where the server tells it, and look the model up.

    Raises:
        TeacherError: unreachable, or the model isn't served (lists what is).
    """
    await client.health()
    version = await client.version()
    served = await client.models()
    model = await unlisted(client) if served is None else find_model(client, served)
    return TeacherIdentity(str(client.base_url), client.model, version, model.max_model_len)


async def unlisted(client: TeacherClient) -> ServedModel:
    """The model of a server without a list of models, once it answers to its name.

    Raises:
        TeacherError: it doesn't.
    """
    await say_hello(client)
    return ServedModel(client.model, None)


async def say_hello(client: TeacherClient, *, enable_thinking: bool = False) -> ChatAnswer:
    """A short answer, which shows that the model can be asked, and which fields of a request its server takes.

    Some models are served with a temperature of 1 and no other.
    """
    greeting: list[Message] = [{"role": "user", "content": "Say hello."}]
    asked = client.chat(greeting, max_tokens=16, temperature=1.0, seed=0, enable_thinking=enable_thinking)
    answered = asyncio.ensure_future(asked)
    try:
        _, waiting = await asyncio.wait([answered], timeout=LONG)
        if waiting:
            say(f"the teacher at {client.base_url} has said nothing for {LONG} s, as one that loads a model.")
        return await answered
    finally:
        answered.cancel()


def find_model(client: TeacherClient, served: list[ServedModel]) -> ServedModel:
    """The served model that `client` asks for; TeacherError if there is none of that name."""
    for model in sorted(served, key=lambda model: model.name != client.model):
        if is_meant(model.name, client.model):
            return model
    raise unknown_model(client.base_url, client.model, [model.name for model in served])


def context_complaint(max_model_len: int | None, settings: Train | Check) -> str | None:
    """What is wrong with a context window of `max_model_len` tokens and how to mend it; None if it suffices."""
    wanted = settings.max_prompt_length + settings.max_completion_length
    if max_model_len is None or max_model_len >= wanted:
        return None
    return (
        f"its context has {max_model_len} tokens, expected {wanted} (--max_prompt_length "
        f"{settings.max_prompt_length} + --max_completion_length {settings.max_completion_length}). "
        f"Lower one of them, or start vLLM with `--max-model-len {wanted}`."
    )
