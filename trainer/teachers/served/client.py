"""What is asked of the served teacher, and what its answers must hold.

Stock vLLM or SGLang is expected for scores; any OpenAI-compatible server does for chat, and `/v1/chat/completions` is
all that it must have. What it lacks of the rest is found out by asking.
"""

import asyncio
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass
from functools import partial
from types import TracebackType
from typing import Any, Self, TypeVar

import msgspec

from ...data.rows.row import Message, Tool
from ...errors import UsageError
from ...settings.server_url import ServerUrl
from ..tokens.token_scores import TokenScores
from . import failures, sglang
from .address import Proxy, addresses_of, days_left
from .chat_messages import ChatAnswer, Completion, answer_of, openai_messages
from .failures import Failure, RequestRefused, ServerRefused, expecting, unexpected
from .fields import Dispensable, Fields
from .model_list import ServedModel, lists, missing_where_it_fails, read_models, served_by_all, unknown_model
from .notices import say_once
from .pace import Pace
from .retries import Exchange, PatientRequests
from .scores import NoPromptScores, decode_scores
from .transport import LARGEST_ANSWER, Transport

T = TypeVar("T")

TOO_BUSY = (429, 503)
BYTES_OF_ENTRY = 256  # of one likely token at one position, as JSON, at most
LOGPROB_STEPS = (100, 50, 20, 10, 5, 1)
# Named one by one, so that a server's generation_config.json changes nothing.
NO_SAMPLING = {
    "max_tokens": 1,
    "temperature": 1.0,
    "top_p": 1.0,
    "top_k": 0,
    "min_p": 0.0,
    "repetition_penalty": 1.0,
    "presence_penalty": 0.0,
    "frequency_penalty": 0.0,
}


@dataclass(frozen=True)
class Tokenized:
    """What the teacher's tokenizer makes of a text; `strings` are its own names of the tokens, not their texts."""

    ids: list[int]
    strings: list[str]


class _Tokens(msgspec.Struct):
    tokens: list[int]
    token_strs: list[str] | None = None


class _Text(msgspec.Struct):
    prompt: str


class TeacherClient:
    """An async context manager for the requests to one served teacher, which may be served by several replicas.

    How they are tried again is told at `PatientRequests`. Every failure is a TeacherError.

    Args:
        base_url: As `settings.server_url.read_urls` gives it, without `/v1`; of replicas, with commas between them.
        model: The name under which the teacher is served.
        api_key: Bearer key; None for a server without one.
        max_concurrency: Requests in flight at most, to all replicas together; further ones wait their turn.
        adapts: Have only as many in flight as pay; see `teachers.served.pace.Pace`. Answers of `chat` show it.
        patience: Seconds.

    Raises:
        UsageError: `base_url` holds what is no HTTP URL, or the key can't stand in a header.
    """

    def __init__(
        self,
        base_url: str,
        model: str,
        *,
        api_key: str | None = None,
        max_concurrency: int = 16,
        adapts: bool = False,
        patience: float = 120.0,
    ):
        self._addresses = addresses_of(base_url, api_key)
        if max_concurrency < 1:
            raise UsageError(f"found a maximum concurrency of {max_concurrency}; expected 1 or more.")
        self.base_url = base_url if isinstance(base_url, ServerUrl) else ServerUrl(base_url)
        self.model = model
        self._sglang: bool | None = None  # unknown until a server that is no vLLM is to score
        self._calls_stay_text = False  # where the server reads no calls in answers, it is still shown the tools
        self.pace = Pace(max_concurrency, adapts=adapts)
        self._fields = Fields(self.base_url)
        self._transport = Transport(self._addresses.values())
        self._ask = PatientRequests([*self._addresses], self.pace, patience)

    @property
    def left_out(self) -> dict[str, Dispensable]:
        """Fields of requests that the server was seen to refuse."""
        return self._fields.left_out

    @property
    def retries(self) -> int:
        """Tries beyond the first of a request, all requests together; only grows."""
        return self._ask.retries

    @property
    def outages(self) -> int:
        """Tries that met a connection failure, a broken answer or a 5xx, counted when they fail; only grows.

        Where it has grown, a teacher may have been restarted, with another model perhaps.
        """
        return self._ask.outages

    @property
    def disturbances(self) -> int:
        """Outages, and replicas that answered again after one; only grows."""
        return self._ask.disturbances

    @property
    def absences(self) -> int:
        """How often a replica answered that may have been restarted unseen before; only grows."""
        return self._ask.absences

    @property
    def proxies(self) -> list[Proxy]:
        """The proxies that its requests go by."""
        return [address.proxy for address in self._addresses.values() if address.proxy is not None]

    @property
    def clock_ahead(self) -> float | None:
        """Seconds by which a server's clock is ahead of this machine's, the most of them; None where none told."""
        return max(self._transport.clocks_ahead.values(), key=abs, default=None)

    async def days_of_certificate(self) -> float | None:
        """Days until the first of the servers' certificates runs out; None where there are none, or a proxy is between.

        Raises:
            UsageError: the certificates to trust can't be read.
        """
        asked = [asyncio.to_thread(days_left, address) for address in self._addresses.values()]
        known = [days for days in await asyncio.gather(*asked) if days is not None]
        return min(known, default=None)

    async def __aenter__(self) -> Self:
        await self._transport.__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._transport.__aexit__(kind, error, trace)

    async def health(self) -> bool:
        """Whether `/health` of at least one replica answers 200; waits for that. False: the server has none for us.

        Some let only their keeper ask it. Whether the key is right, the model's own answers show.
        """
        try:
            await self._ask.of_one(lambda url: self._get(url, "/health", bytes))
        except ServerRefused:
            return False
        return True

    async def version(self) -> str | None:
        """The version of vLLM, or the different ones with commas between; None if a server has no `/version`."""
        try:
            answers = await self._ask.of_all(lambda url: self._get(url, "/version", failures.json_or_text))
        except ServerRefused:  # whatever it says: nothing but a name depends on it
            return None
        versions = [answer.get("version") if isinstance(answer, dict) else None for answer in answers.values()]
        if None in versions:
            return None
        self._sglang = False
        return ", ".join(dict.fromkeys(map(str, versions)))

    async def is_sglang(self) -> bool:
        """Whether the server is SGLang, which tells log-probabilities of a prompt by an API of its own; asked once."""
        if self._sglang is None:
            new, old = sglang.DESCRIPTIONS
            self._sglang = await self._describes_model(new) or await self._describes_model(old)
        return self._sglang

    async def _describes_model(self, path: str) -> bool:
        try:
            answer = await self._ask.of_one(lambda url: self._get(url, path, failures.json_or_text))
        except ServerRefused:
            return False
        return isinstance(answer, dict) and "model_path" in answer

    async def models(self) -> list[ServedModel] | None:
        """Everything that the server serves; with replicas, what all of those that answer serve.

        None: it has no list, or none for this key.

        Raises:
            TeacherError: a replica doesn't serve the model that another one does.
        """
        try:
            served = await self._lists()
        except ServerRefused:
            return None
        names = {url: [model.name for model in models] for url, models in served.items()}
        if not any(names.values()):  # a server that loads what is asked for
            return None
        if any(lists(found, self.model) for found in names.values()):
            self._require_model(names)
        return served_by_all([*served.values()])

    async def _lists(self) -> dict[str, list[ServedModel]]:
        async def models_of(url: str) -> list[ServedModel]:
            answer = await self._get(url, "/v1/models", msgspec.json.decode)
            return read_models(answer, url, self._addresses[url].secrets)

        return await self._ask.of_all(missing_where_it_fails(models_of))

    async def chat(
        self,
        messages: list[Message],
        tools: list[Tool] | None = None,
        *,
        max_tokens: int,
        temperature: float,
        seed: int,
        enable_thinking: bool = False,
    ) -> ChatAnswer:
        """The teacher's answer to `messages`, of at most `max_tokens` tokens.

        Args:
            tools: What the answer may call.

        Raises:
            RequestRefused: e.g. the prompt is longer than the context.
        """
        body: dict[str, Any] = {
            "model": self.model,
            "messages": openai_messages(messages),
            "max_tokens": max_tokens,
            "temperature": temperature,
            "seed": seed,
            "chat_template_kwargs": {"enable_thinking": enable_thinking},
        }
        return await self._chat_with(body, tools or [])

    async def _chat_with(self, body: dict[str, Any], tools: list[Tool]) -> ChatAnswer:
        """The answer to a request with tools; a server that reads no calls in answers gives them as text."""
        if tools:
            body |= {"tools": tools, **({"tool_choice": "none"} if self._calls_stay_text else {})}
        try:
            return await self._fields.fitted(body, self._chat_once)
        except RequestRefused as refusal:
            if not tools or "tool_choice" in body or "tool-choice" not in str(refusal):
                raise
            if not self._calls_stay_text:
                say_once(
                    f"the server at {self.base_url} reads no tool calls: they stay as the model writes them. Start "
                    "vLLM with `--enable-auto-tool-choice --tool-call-parser NAME` to have them read."
                )
            self._calls_stay_text = True
            return await self._chat_with(body, tools)

    async def _chat_once(self, body: dict[str, Any]) -> ChatAnswer:
        data = msgspec.json.encode(body)
        return await self._ask_model(lambda url: self._chat(url, data))

    async def _chat(self, url: str, data: bytes) -> ChatAnswer:
        """One try, which the pace learns from."""
        began = time.monotonic()
        read = self._reader(Completion, "a chat completion")
        try:
            completion = await self._post(url, "/v1/chat/completions", data, read)
        except Failure as failure:
            if failure.status in TOO_BUSY:
                self.pace.pushed_back(began)
            raise
        with self._expecting("a chat completion", completion):
            answer = answer_of(completion)
        self.pace.answered(time.monotonic() - began, answer.completion_tokens)
        return answer

    async def max_logprobs(self) -> int:
        """The largest of a few K such that the server gives the K likeliest tokens at each prompt position.

        Raises:
            RequestRefused: it gives none; holds the server's words on K = 1.
            TeacherError: the answer holds none.
        """
        if self._sglang:
            ids = (await self.tokenize("Hello world, and hello again")).ids
            await self.score(ids[:1], ids[1:], top_k=LOGPROB_STEPS[0])
            return LOGPROB_STEPS[0]
        for count in LOGPROB_STEPS:
            body = {"model": self.model, "prompt": "Hello world", "max_tokens": 1, "prompt_logprobs": count}
            try:
                answer = await self._post_body("/v1/completions", body, msgspec.json.decode)
            except RequestRefused as refusal:
                if refusal.status != 400 or count == LOGPROB_STEPS[-1]:
                    raise
                continue
            with self._expecting("prompt log-probabilities", answer):
                if answer["choices"][0].get("prompt_logprobs") is None:
                    raise unexpected("a text without them", "prompt log-probabilities", self.base_url)
                return count
        raise AssertionError("the last step returns or raises")

    async def score(
        self, prompt_ids: Sequence[int], completion_ids: Sequence[int], *, top_k: int, with_texts: bool = False
    ) -> TokenScores:
        """What the teacher says of each token of a completion, given a prompt of at least one token.

        The context must have room for one token more than both: vLLM can't score without writing one.

        Args:
            prompt_ids, completion_ids: Of the teacher's own tokenizer; no server can tell another's.
            top_k: Likeliest tokens to tell at each position.
            with_texts: Also fill `TokenScores.decoded`, which takes longer.

        Raises:
            RequestRefused: e.g. both are longer than the context, or `top_k` is over the server's --max-logprobs.
            TeacherError: the answer lacks a value or holds one that is no log-probability.
        """
        expected = {"completion_ids": completion_ids, "prompt_length": len(prompt_ids), "top_k": top_k}
        expected |= {"with_texts": with_texts}
        most = LARGEST_ANSWER + BYTES_OF_ENTRY * (len(prompt_ids) + len(completion_ids)) * (top_k + 1)
        if not self._sglang:
            ids = [*prompt_ids, *completion_ids]
            body = {"model": self.model, "prompt": ids, "prompt_logprobs": top_k, **NO_SAMPLING}
            try:
                return await self._post_body("/v1/completions", body, partial(decode_scores, **expected), most)
            except NoPromptScores:
                if not await self.is_sglang():
                    raise
        body = sglang.question(prompt_ids, completion_ids, top_k, with_texts)
        return await self._post_body(sglang.PATH, body, partial(sglang.decode_scores, **expected), most)

    async def tokenize(self, text: str, *, add_special_tokens: bool = False) -> Tokenized:
        """The tokens of a text."""
        body = {"prompt": text, "add_special_tokens": add_special_tokens}
        return await self._tokenize(body)

    async def render(
        self,
        messages: list[Message],
        tools: list[Tool] | None = None,
        *,
        enable_thinking: bool = False,
        add_generation_prompt: bool = True,
    ) -> Tokenized:
        """The tokens of a conversation in the teacher's own chat template, which is shown the tools."""
        body = {
            "messages": openai_messages(messages),
            **({"tools": tools} if tools else {}),
            "add_generation_prompt": add_generation_prompt,
            "chat_template_kwargs": {"enable_thinking": enable_thinking},
        }
        return await self._tokenize(body)

    async def detokenize(self, ids: Sequence[int]) -> str:
        """The text of tokens."""
        read = self._reader(_Text, "a text")
        return (await self._post_body("/detokenize", {"model": self.model, "tokens": list(ids)}, read)).prompt

    async def _tokenize(self, body: dict[str, Any]) -> Tokenized:
        body = {"model": self.model, "return_token_strs": True, **body}
        answer = await self._post_body("/tokenize", body, self._reader(_Tokens, "tokens and their names"))
        if not answer.tokens and body.get("prompt") != "":  # llama.cpp reads other fields, and finds no text
            raise unexpected("no tokens", "tokens and their names", self.base_url)
        return Tokenized(answer.tokens, answer.token_strs or [])

    def _reader(self, kind: type[T], what: str) -> Callable[[bytes], T]:
        def read(answer: bytes) -> T:
            with self._expecting(what, answer[:2000].decode(errors="replace")):
                return msgspec.json.decode(answer, type=kind)

        return read

    def _expecting(self, what: str, answer: Any) -> AbstractContextManager[None]:
        secrets = {secret for address in self._addresses.values() for secret in address.secrets}
        return expecting(what, answer, self.base_url, secrets)

    async def _post_body(
        self, path: str, body: dict[str, Any], read: Callable[[bytes], T], most: int = LARGEST_ANSWER
    ) -> T:
        """The answer to a body, which loses the fields that the server refuses and can do without."""

        async def send(fitted: dict[str, Any]) -> T:
            data = msgspec.json.encode(fitted)
            return await self._ask_model(lambda url: self._post(url, path, data, read, most))

        return await self._fields.fitted(body, send)

    async def _get(self, url: str, path: str, read: Callable[[bytes], T]) -> T:
        return await self._transport.send("GET", self._addresses[url], path, None, read)

    async def _post(
        self, url: str, path: str, data: bytes, read: Callable[[bytes], T], most: int = LARGEST_ANSWER
    ) -> T:
        return await self._transport.send("POST", self._addresses[url], path, data, read, most)

    async def _ask_model(self, exchange: Exchange[T]) -> T:
        """The answer to a request that names the model."""
        try:
            return await self._ask.of_one(exchange)
        except ServerRefused as refusal:
            if refusal.status == 404:
                await self._require_own_model()
            raise

    async def _require_own_model(self) -> None:
        """Raise TeacherError where a server's list lacks the model; one without a list says nothing of it."""
        with suppress(ServerRefused):
            served = await self._lists()
            self._require_model({url: [model.name for model in models] for url, models in served.items()})

    def _require_model(self, served: dict[str, list[str]]) -> None:
        for url, names in served.items():
            if not lists(names, self.model):
                raise unknown_model(url, self.model, names)
