"""The served teacher over HTTP: the only module that speaks it.

Stock vLLM is expected; `/v1/chat/completions` and `/v1/models` alone also work with other OpenAI-compatible servers.
The OpenAI SDK carries what is asked rarely, aiohttp what is asked often: answers, scores and tokens.
"""

import sys
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from types import TracebackType
from typing import Any, Self, TypeVar

import aiohttp
import msgspec
import openai
from tenacity import AsyncRetrying, retry_if_exception, wait_exponential_jitter
from tqdm import tqdm

from trainer.data.answers import strip_thinking
from trainer.data.dataset import Message
from trainer.errors import TeacherError, UsageError
from trainer.teachers.served import failures
from trainer.teachers.served.address import NO_KEY, header_safe, is_http_url, proxy_of
from trainer.teachers.served.failures import Failure
from trainer.teachers.served.pace import Pace
from trainer.teachers.served.replicas import Attempts, Replica, Replicas
from trainer.teachers.served.scores import decode_scores
from trainer.teachers.tokens.token_scores import TokenScores

T = TypeVar("T")
Exchange = Callable[[str], Awaitable[T]]  # one request to the server of this base URL; raises Failure

CONNECT_SECONDS, ANSWER_SECONDS = 10.0, 600.0
IDLE_SECONDS = 4.0  # less than the 5 after which vLLM closes an idle connection, perhaps under the next request
READ_BUFFER = 2**20  # bytes; scores are of that order, and each refill of a smaller buffer costs
SECONDS_BETWEEN_NOTICES = 10.0
BACKOFF = wait_exponential_jitter(multiplier=0.25, max=10, jitter=0.5)
TOO_BUSY = (429, 503)
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


class RequestRefused(TeacherError):
    """The server understood the request and declined it (a 4xx that waiting can't change); `status` says how."""

    def __init__(self, message: str, status: int):
        super().__init__(message)
        self.status = status


@dataclass(frozen=True)
class ServedModel:
    """A name that the server answers to, and its context window in tokens (None where the server doesn't say)."""

    name: str
    max_model_len: int | None


@dataclass(frozen=True)
class ChatAnswer:
    """What the teacher said.

    Attributes:
        text: The answer without its thinking; "" where there is nothing else.
        finish_reason: "stop", or "length" where `max_tokens` cut it.
        prompt_tokens: Tokens of the rendered prompt; 0 where the server doesn't say.
        completion_tokens: Tokens written, thinking included; 0 where the server doesn't say.
    """

    text: str
    finish_reason: str | None
    prompt_tokens: int
    completion_tokens: int


@dataclass(frozen=True)
class Tokenized:
    """What the teacher's tokenizer makes of a text; `strings` are its own names of the tokens, not their texts."""

    ids: list[int]
    strings: list[str]


class _Tokens(msgspec.Struct):
    tokens: list[int]
    token_strs: list[str]


class _Text(msgspec.Struct):
    prompt: str


class _Said(msgspec.Struct):
    content: str | None = None  # a reasoning parser leaves it null where the answer is all thinking


class _Choice(msgspec.Struct):
    message: _Said
    finish_reason: str | None = None


class _Usage(msgspec.Struct):
    prompt_tokens: int = 0
    completion_tokens: int | None = 0


class _Completion(msgspec.Struct):
    choices: list[_Choice]
    usage: _Usage | None = None


class TeacherClient:
    """An async context manager for the requests to one served teacher, which may be served by several replicas.

    A connection error, a timeout, a body that is no whole JSON, 408, 429 (its Retry-After is honoured) and 5xx are
    tried again. While another replica is ready the request moves there at once, and the one that failed is left
    alone for a while, longer each time. Where none is, tries come with growing, jittered pauses until `patience`
    seconds have passed since the first of them; a line on stderr says so. Every failure is a TeacherError.

    Args:
        base_url: As `settings.resolve.normalize_url` gives it, without `/v1`; of replicas, with commas between them.
        model: The name under which the teacher is served.
        api_key: Bearer key; None for a server without one.
        max_concurrency: Requests in flight at most, to all replicas together; further ones wait their turn.
        adapts: Have only as many in flight as pay; see `teachers.served.pace.Pace`. Answers of `chat` show it.
        patience: Seconds.

    Attributes:
        retries: Tries beyond the first of a request, all requests together; only grows.
        outages: Tries that met a connection failure, a broken answer or a 5xx, counted when they fail; only grows.
            Where it has grown, a teacher may have been restarted, with another model perhaps.

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
        urls = base_url.split(",")
        for url in urls:
            if not is_http_url(url):
                raise UsageError(f"the teacher's base URL is {url!r}; expected one like http://localhost:8000.")
        if max_concurrency < 1:
            raise UsageError(f"found a maximum concurrency of {max_concurrency}; expected 1 or more.")
        self.base_url = base_url
        self.model = model
        self.patience = patience
        self.retries = 0
        self.outages = 0
        self._replicas = Replicas(Replica(url) for url in urls)
        self._proxies = {url: proxy_of(url) for url in urls}
        self.pace = Pace(max_concurrency, adapts=adapts)
        self._last_notices: dict[bool, float] = {}
        self._key = header_safe(api_key or NO_KEY)
        self._openai = openai.AsyncOpenAI(
            base_url=f"{urls[0]}/v1",
            api_key=self._key,
            max_retries=0,
            timeout=openai.Timeout(ANSWER_SECONDS, connect=CONNECT_SECONDS),
        )
        self._session: aiohttp.ClientSession | None = None

    @property
    def disturbances(self) -> int:
        """Outages, and replicas that answered again after one; only grows."""
        return self.outages + sum(replica.returns for replica in self._replicas)

    async def __aenter__(self) -> Self:
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0, keepalive_timeout=IDLE_SECONDS),
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_SECONDS, sock_read=ANSWER_SECONDS),
            headers={"Authorization": f"Bearer {self._key}", "Content-Type": "application/json"},
            read_bufsize=READ_BUFFER,
        )
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._session is not None:
            await self._session.close()
        await self._openai.close()

    async def health(self) -> None:
        """Return once `/health` of at least one replica answers 200."""
        await self._send(lambda url: self._by_sdk("GET", f"{url}/health", kind=str))

    async def version(self) -> str | None:
        """The version of vLLM, or the different ones with commas between; None if a server has no `/version`."""
        try:
            answers = await self._ask_all(lambda url: self._by_sdk("GET", f"{url}/version"))
        except RequestRefused as refusal:
            if refusal.status == 404:
                return None
            raise
        versions = [answer.get("version") if isinstance(answer, dict) else None for answer in answers.values()]
        return None if None in versions else ", ".join(dict.fromkeys(map(str, versions)))

    async def models(self) -> list[ServedModel]:
        """Everything that the server serves; with replicas, what all of those that answer serve.

        Raises:
            TeacherError: a replica doesn't serve the model that another one does.
        """
        served = await self._ask_all(self._models_of)
        names = {url: [model.name for model in models] for url, models in served.items()}
        if any(self.model in found for found in names.values()):
            self._require_model(names)
        first, *others = served.values()
        return [_in_common(model, others) for model in first if all(model.name in found for found in names.values())]

    async def chat(
        self,
        messages: list[Message],
        *,
        max_tokens: int,
        temperature: float,
        seed: int,
        enable_thinking: bool = False,
    ) -> ChatAnswer:
        """The teacher's answer to `messages`, of at most `max_tokens` tokens.

        Raises:
            RequestRefused: e.g. the prompt is longer than the context.
        """
        body = {
            "model": self.model,
            "messages": messages,
            "max_tokens": max_tokens,
            "temperature": temperature,
            "seed": seed,
            "chat_template_kwargs": {"enable_thinking": enable_thinking},
        }
        data = msgspec.json.encode(body)
        return await self._ask_model(lambda url: self._chat(url, data))

    async def _chat(self, url: str, data: bytes) -> ChatAnswer:
        """One try, which the pace learns from."""
        began = time.monotonic()
        read = self._reader(_Completion, "a chat completion")
        try:
            completion = await self._by_aiohttp(url, "/v1/chat/completions", data, read)
        except Failure as failure:
            if failure.status in TOO_BUSY:
                self.pace.pushed_back(began)
            raise
        with _expecting("a chat completion", completion, self.base_url):
            choice, usage = completion.choices[0], completion.usage or _Usage()
        written = usage.completion_tokens or 0
        self.pace.answered(time.monotonic() - began, written)
        text = strip_thinking(choice.message.content or "")
        return ChatAnswer(text, choice.finish_reason, usage.prompt_tokens, written)

    async def max_logprobs(self) -> int:
        """The largest of a few K such that the server gives the K likeliest tokens at each prompt position.

        Raises:
            RequestRefused: it gives none; holds the server's words on K = 1.
        """
        for count in LOGPROB_STEPS:
            body = {"model": self.model, "prompt": "Hello world", "max_tokens": 1, "prompt_logprobs": count}
            try:
                answer = await self._post("/v1/completions", body)
            except RequestRefused as refusal:
                if refusal.status != 400 or count == LOGPROB_STEPS[-1]:
                    raise
                continue
            with _expecting("prompt log-probabilities", answer, self.base_url):
                if answer["choices"][0]["prompt_logprobs"] is None:
                    raise TypeError("null")
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
        body = {"model": self.model, "prompt": [*prompt_ids, *completion_ids], "prompt_logprobs": top_k, **NO_SAMPLING}
        expected = {"completion_ids": completion_ids, "prompt_length": len(prompt_ids), "top_k": top_k}
        read = partial(decode_scores, **expected, with_texts=with_texts)
        return await self._post_bare("/v1/completions", body, read)

    async def tokenize(self, text: str, *, add_special_tokens: bool = False) -> Tokenized:
        """The tokens of a text."""
        body = {"prompt": text, "add_special_tokens": add_special_tokens}
        return await self._tokenize(body)

    async def render(
        self, messages: list[Message], *, enable_thinking: bool = False, add_generation_prompt: bool = True
    ) -> Tokenized:
        """The tokens of a conversation in the teacher's own chat template."""
        kwargs = {"enable_thinking": enable_thinking}
        body = {"messages": messages, "add_generation_prompt": add_generation_prompt, "chat_template_kwargs": kwargs}
        return await self._tokenize(body)

    async def detokenize(self, ids: Sequence[int]) -> str:
        """The text of tokens."""
        read = self._reader(_Text, "a text")
        return (await self._post_bare("/detokenize", {"model": self.model, "tokens": list(ids)}, read)).prompt

    async def _tokenize(self, body: dict[str, Any]) -> Tokenized:
        body = {"model": self.model, "return_token_strs": True, **body}
        answer = await self._post_bare("/tokenize", body, self._reader(_Tokens, "tokens and their names"))
        return Tokenized(answer.tokens, answer.token_strs)

    def _reader(self, kind: type[T], what: str) -> Callable[[bytes], T]:
        def read(answer: bytes) -> T:
            with _expecting(what, answer[:200].decode(errors="replace"), self.base_url):
                return msgspec.json.decode(answer, type=kind)

        return read

    # ---- requests, whatever carries them

    async def _post(self, path: str, body: dict[str, Any]) -> Any:
        return await self._ask_model(lambda url: self._by_sdk("POST", url + path, body))

    async def _post_bare(self, path: str, body: dict[str, Any], read: Callable[[bytes], T]) -> T:
        data = msgspec.json.encode(body)
        return await self._ask_model(lambda url: self._by_aiohttp(url, path, data, read))

    async def _ask_model(self, exchange: Exchange[T]) -> T:
        """The answer to a request that names the model."""
        try:
            return await self._send(exchange)
        except RequestRefused as refusal:
            if refusal.status == 404:
                served = await self._ask_all(self._models_of)
                self._require_model({url: [model.name for model in models] for url, models in served.items()})
            raise

    def _require_model(self, served: dict[str, list[str]]) -> None:
        for url, names in served.items():
            if self.model not in names:
                raise unknown_model(url, self.model, names)

    async def _models_of(self, url: str) -> list[ServedModel]:
        answer = await self._by_sdk("GET", f"{url}/v1/models")
        with _expecting("a list of models", answer, url):
            return [ServedModel(model["id"], model.get("max_model_len")) for model in answer["data"]]

    async def _send(self, exchange: Exchange[T]) -> T:
        """The answer of one replica."""
        attempts = Attempts(self._replicas, self.patience, lambda state: BACKOFF(state))
        return await self._persist(attempts, partial(attempts.once, exchange))

    async def _ask_all(self, exchange: Exchange[T]) -> dict[str, T]:
        """The answers, by base URL, of all replicas that can be reached; of one at least."""
        attempts = Attempts(self._replicas, self.patience, lambda state: BACKOFF(state))
        return await self._persist(attempts, partial(attempts.of_all, exchange))

    async def _persist(self, attempts: Attempts, attempt: Callable[[], Awaitable[T]]) -> T:
        async with self.pace.slot():
            try:
                return await attempt()
            except Failure as failure:
                first = failure
            try:
                return await self._retry(attempts, attempt, first)
            except Failure as failure:
                raise self._explained(failure, attempts.failed_at) from failure

    async def _retry(self, attempts: Attempts, attempt: Callable[[], Awaitable[T]], first: Failure) -> T:
        """What follows a first try that failed; most requests get their answer without this machinery."""
        failed: list[Failure] = [first]

        async def again() -> T:
            if failed:
                raise failed.pop()
            return await attempt()

        retrying = AsyncRetrying(
            retry=retry_if_exception(lambda error: isinstance(error, Failure) and error.may_pass),
            wait=attempts.pause,
            stop=attempts.are_enough,
            before_sleep=lambda state: self._notice(attempts),
            reraise=True,
        )
        return await retrying(again)

    async def _by_sdk(self, method: str, url: str, body: dict[str, Any] | None = None, kind: type = object) -> Any:
        """The answer: decoded (a text where it isn't called JSON), or as it is where `kind` is str."""
        try:
            if method == "GET":
                return await self._openai.get(url, cast_to=kind)
            return await self._openai.post(url, body=body, cast_to=kind)
        except (openai.APIError, ValueError) as error:
            raise failures.of_sdk(error) from error

    async def _by_aiohttp(self, url: str, path: str, data: bytes, read: Callable[[bytes], T]) -> T:
        """What `read` makes of the answer's bytes."""
        assert self._session is not None, "use the client as an async context manager"
        try:
            async with self._session.post(url + path, data=data, proxy=self._proxies[url]) as response:
                answer = await response.read()
        except (aiohttp.ClientError, OSError, TimeoutError) as error:
            raise failures.of_connection(error, timed_out=isinstance(error, TimeoutError)) from error
        if response.status >= 400:
            body = failures.json_or_text(answer)
            raise failures.of_status(response.status, response.reason, response.headers, body)
        try:
            return read(answer)
        except msgspec.DecodeError as error:
            raise Failure(failures.BROKEN) from error

    # ---- what the user sees of failures

    def _notice(self, attempts: Attempts) -> None:
        self.retries += 1
        self.outages += attempts.failure is not None and attempts.failure.is_outage
        now = time.monotonic()
        if now - self._last_notices.get(attempts.moves, float("-inf")) < SECONDS_BETWEEN_NOTICES:
            return
        self._last_notices[attempts.moves] = now
        found = attempts.failure.words if attempts.failure else ""
        if attempts.moves:
            line = f"the teacher at {attempts.failed_at} gets a rest ({found}); the others answer its requests"
        else:
            line = f"waiting for the teacher at {self.base_url} ({found}) …"
        tqdm.write(line, file=sys.stderr)  # not print, which would tear a progress bar

    def _explained(self, failure: Failure, url: str) -> TeacherError:
        if failure.status in (401, 403):
            return TeacherError(
                f"the teacher at {url} refused the key ({failure.words}). Expected the one it was started with "
                "(`--api-key`). Set SDFT_VLLM_SERVER_API_KEY, or SDFT_API_KEY for `generate`."
            )
        if failure.status is not None and not failure.may_pass:
            return RequestRefused(f"the teacher at {url} refused the request: {failure.words}.", failure.status)
        return TeacherError(
            f"no usable answer from the teacher at {self.base_url}: {failure.words}; gave up after {self.patience:g} s "
            "(--teacher_patience). Expected a vLLM server. Start it with `docker compose up -d teacher`, without "
            "Docker with `scripts/serve_teacher --model FOLDER`, or name another: --vllm_server_base_url URL, "
            "--base_url URL for `generate`, --served URL for `eval`."
        )


def unknown_model(base_url: str, model: str, served: list[str]) -> TeacherError:
    """The error for a name that the server doesn't know."""
    return TeacherError(
        f"the teacher at {base_url} does not serve {model!r}; it serves {', '.join(served) or 'nothing'}. "
        "Pass --vllm_server_model NAME (--model NAME for `generate`), or start vLLM with "
        f"`--served-model-name {model}`."
    )


@contextmanager
def _expecting(what: str, answer: Any, base_url: str) -> Iterator[None]:
    """Turns the reading of an answer that lacks what vLLM's have into an error that shows it."""
    try:
        yield
    except (AttributeError, KeyError, IndexError, TypeError, msgspec.ValidationError) as error:
        raise TeacherError(
            f"the server at {base_url} answered {str(answer)[:200]!r}, expected {what} as vLLM gives it. "
            "Is it a vLLM server? Pass the URL of one."
        ) from error


def _in_common(model: ServedModel, others: list[list[ServedModel]]) -> ServedModel:
    """The model with the smallest context window that any replica says it has."""
    same = [model, *(other for models in others for other in models if other.name == model.name)]
    windows = [replica.max_model_len for replica in same if replica.max_model_len is not None]
    return ServedModel(model.name, min(windows, default=None))
