"""The served teacher over HTTP: the only module that speaks it.

Stock vLLM is expected; `/v1/chat/completions` and `/v1/models` alone also work with other OpenAI-compatible servers.
"""

import asyncio
import email.utils
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self
from urllib.parse import urlsplit

import openai
from tenacity import AsyncRetrying, RetryCallState, retry_if_exception, wait_exponential_jitter
from tqdm import tqdm

from trainer.answers import strip_thinking
from trainer.dataset import Message
from trainer.errors import TeacherError, UsageError

CONNECT_SECONDS, ANSWER_SECONDS = 10.0, 600.0
SECONDS_BETWEEN_NOTICES = 10.0
BACKOFF = wait_exponential_jitter(multiplier=0.25, max=10, jitter=0.5)
LOGPROB_STEPS = (100, 50, 20, 10, 5, 1)
NO_KEY = "none"  # the SDK demands a key; a vLLM started without one ignores it


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


class TeacherClient:
    """An async context manager for the requests to one served teacher.

    Connection errors, timeouts, 408, 429 (its Retry-After is honoured) and 5xx are tried again with growing,
    jittered pauses until `patience` seconds have passed since a request's first failure; a line on stderr says
    so. Every failure is a TeacherError.

    Args:
        base_url: As `trainer.resolve.normalize_url` gives it, without `/v1`.
        model: The name under which the teacher is served.
        api_key: Bearer key; None for a server without one.
        max_concurrency: Requests in flight at most; further ones wait their turn.
        patience: Seconds.

    Raises:
        UsageError: `base_url` is no HTTP URL, or the key can't stand in a header.
    """

    def __init__(
        self,
        base_url: str,
        model: str,
        *,
        api_key: str | None = None,
        max_concurrency: int = 16,
        patience: float = 120.0,
    ):
        if not _is_http_url(base_url):
            raise UsageError(f"the teacher's base URL is {base_url!r}; expected one like http://localhost:8000.")
        if max_concurrency < 1:
            raise UsageError(f"found a maximum concurrency of {max_concurrency}; expected 1 or more.")
        self.base_url = base_url
        self.model = model
        self.patience = patience
        self._slots = asyncio.Semaphore(max_concurrency)
        self._last_notice = float("-inf")
        self._openai = openai.AsyncOpenAI(
            base_url=f"{base_url}/v1",
            api_key=_header_safe(api_key or NO_KEY),
            max_retries=0,
            timeout=openai.Timeout(ANSWER_SECONDS, connect=CONNECT_SECONDS),
        )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._openai.close()

    async def health(self) -> None:
        """Return once `/health` answers 200."""
        await self._send("GET", f"{self.base_url}/health", kind=str)

    async def version(self) -> str | None:
        """The version of vLLM; None if the server has no `/version`."""
        try:
            answer = await self._send("GET", f"{self.base_url}/version")
        except RequestRefused as refusal:
            if refusal.status == 404:
                return None
            raise
        return answer.get("version") if isinstance(answer, dict) else None

    async def models(self) -> list[ServedModel]:
        """Everything that the server serves."""
        answer = await self._send("GET", f"{self.base_url}/v1/models")
        with _expecting("a list of models", answer, self.base_url):
            return [ServedModel(model["id"], model.get("max_model_len")) for model in answer["data"]]

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
        answer = await self._post("/chat/completions", body)
        with _expecting("a chat completion", answer, self.base_url):
            choice, usage = answer["choices"][0], answer.get("usage") or {}
            return ChatAnswer(
                # A reasoning parser leaves `content` null where the answer is all thinking.
                text=strip_thinking(choice["message"].get("content") or ""),
                finish_reason=choice.get("finish_reason"),
                prompt_tokens=usage.get("prompt_tokens", 0),
                completion_tokens=usage.get("completion_tokens", 0),
            )

    async def max_logprobs(self) -> int:
        """The largest of a few K such that the server gives the K likeliest tokens at each prompt position.

        Raises:
            RequestRefused: it gives none; holds the server's words on K = 1.
        """
        for count in LOGPROB_STEPS:
            body = {"model": self.model, "prompt": "Hello world", "max_tokens": 1, "prompt_logprobs": count}
            try:
                answer = await self._post("/completions", body)
            except RequestRefused as refusal:
                if refusal.status != 400 or count == LOGPROB_STEPS[-1]:
                    raise
                continue
            with _expecting("prompt log-probabilities", answer, self.base_url):
                if answer["choices"][0]["prompt_logprobs"] is None:
                    raise TypeError("null")
                return count
        raise AssertionError("the last step returns or raises")

    async def _post(self, path: str, body: dict[str, Any]) -> Any:
        try:
            return await self._send("POST", f"{self.base_url}/v1{path}", body)
        except RequestRefused as refusal:
            if refusal.status != 404:
                raise
            served = [model.name for model in await self.models()]
            if self.model in served:
                raise
            raise unknown_model(self.base_url, self.model, served) from refusal

    async def _send(self, method: str, url: str, body: dict[str, Any] | None = None, kind: type = object) -> Any:
        """The answer: decoded (a text where it isn't called JSON), or as it is where `kind` is str."""
        retrying = AsyncRetrying(
            retry=retry_if_exception(may_pass),
            wait=_pause,
            stop=_out_of_patience(self.patience),
            before_sleep=self._notice,
            reraise=True,
        )
        async with self._slots:
            try:
                return await retrying(self._attempt, method, url, body, kind)
            except (openai.APIError, ValueError) as error:
                raise self._explained(error) from error

    async def _attempt(self, method: str, url: str, body: dict[str, Any] | None, kind: type) -> Any:
        if method == "GET":
            return await self._openai.get(url, cast_to=kind)
        return await self._openai.post(url, body=body, cast_to=kind)

    def _notice(self, state: RetryCallState) -> None:
        if time.monotonic() - self._last_notice < SECONDS_BETWEEN_NOTICES or state.outcome is None:
            return
        self._last_notice = time.monotonic()
        found = described(state.outcome.exception())
        # Through tqdm, so that a progress bar on the terminal stays whole.
        tqdm.write(f"waiting for the teacher at {self.base_url} ({found}) …", file=sys.stderr)

    def _explained(self, error: Exception) -> TeacherError:
        found = described(error)
        if isinstance(error, openai.AuthenticationError | openai.PermissionDeniedError):
            return TeacherError(
                f"the teacher at {self.base_url} refused the key ({found}). Expected the one it was started with "
                "(`--api-key`). Set SDFT_VLLM_SERVER_API_KEY, or SDFT_API_KEY for `generate`."
            )
        if isinstance(error, openai.APIStatusError) and not may_pass(error):
            return RequestRefused(f"the teacher at {self.base_url} refused the request: {found}.", error.status_code)
        return TeacherError(
            f"no usable answer from the teacher at {self.base_url}: {found}; gave up after {self.patience:g} s "
            "(--teacher_patience). Expected a vLLM server. Start it with `docker compose up -d teacher`, without "
            "Docker with `scripts/serve_teacher --model FOLDER`, or name another: --vllm_server_base_url URL, "
            "--base_url URL for `generate`."
        )


def unknown_model(base_url: str, model: str, served: list[str]) -> TeacherError:
    """The error for a name that the server doesn't know."""
    return TeacherError(
        f"the teacher at {base_url} does not serve {model!r}; it serves {', '.join(served) or 'nothing'}. "
        "Pass --vllm_server_model NAME (--model NAME for `generate`), or start vLLM with "
        f"`--served-model-name {model}`."
    )


def may_pass(error: BaseException) -> bool:
    """Whether the same request may succeed later. A ValueError is a body that broke off or isn't JSON."""
    if isinstance(error, openai.APIStatusError):
        return error.status_code in (408, 429) or error.status_code >= 500
    return isinstance(error, openai.APIConnectionError | ValueError)


def described(error: BaseException | None) -> str:
    """What was found, in the words of the server or of the operating system."""
    if isinstance(error, openai.APIStatusError):
        words = error.body.get("message", error.body) if isinstance(error.body, dict) else error.body
        return f"{error.status_code} {str(words or error.response.reason_phrase).strip()[:500]}"
    if isinstance(error, openai.APITimeoutError):
        return "no answer in time"
    if isinstance(error, ValueError):
        return "an answer that is no whole JSON"
    while error is not None and (error.__cause__ or error.__context__):
        error = error.__cause__ or error.__context__
    return str(error) or type(error).__name__


def retry_after(error: BaseException | None) -> float:
    """Seconds that the server asked to wait; 0 where it did not."""
    text = error.response.headers.get("retry-after", "") if isinstance(error, openai.APIStatusError) else ""
    try:
        return max(0.0, float(text))
    except ValueError:
        pass
    try:
        return max(0.0, email.utils.parsedate_to_datetime(text).timestamp() - time.time())
    except (TypeError, ValueError):
        return 0.0


@contextmanager
def _expecting(what: str, answer: Any, base_url: str) -> Iterator[None]:
    """Turns the reading of an answer that lacks what vLLM's have into an error that shows it."""
    try:
        yield
    except (AttributeError, KeyError, IndexError, TypeError) as error:
        raise TeacherError(
            f"the server at {base_url} answered {str(answer)[:200]!r}, expected {what} as vLLM gives it. "
            "Is it a vLLM server? Pass the URL of one."
        ) from error


def _pause(state: RetryCallState) -> float:
    return max(BACKOFF(state), retry_after(state.outcome.exception() if state.outcome else None))


def _out_of_patience(seconds: float) -> Callable[[RetryCallState], bool]:
    """Whether the next try would begin later than `seconds` after the first failure.

    Counted from the failure, because an answer may take longer to write than a user waits for a dead server.
    """
    failures: list[float] = []

    def stop(state: RetryCallState) -> bool:
        failures.append(time.monotonic())
        return failures[-1] + state.upcoming_sleep - failures[0] > seconds

    return stop


def _is_http_url(text: str) -> bool:
    try:
        parts = urlsplit(text)
        return parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:  # a port that is no number, or half an IPv6 address
        return False


def _header_safe(key: str) -> str:
    """`key` without surrounding whitespace (key files end in a newline); never shown in an error."""
    stripped = key.strip()
    if not stripped.isascii() or not stripped.isprintable():
        raise UsageError(
            "the teacher's API key has line breaks or other characters that an HTTP header can't hold. "
            "Set SDFT_VLLM_SERVER_API_KEY (SDFT_API_KEY for `generate`) to the key alone."
        )
    return stripped or NO_KEY
