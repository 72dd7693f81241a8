"""What a try to reach the teacher can end in: one family of errors, whichever library carried the request."""

import email.utils
import time
from collections.abc import Mapping
from typing import Any

import msgspec
import openai

from trainer.errors import TeacherError

BROKEN = "an answer that is no whole JSON"


class Failure(Exception):
    """A try that brought no usable answer.

    Attributes:
        words: What was found, in the words of the server or of the operating system.
        status: The HTTP status of the answer; None where none came, or not the whole.
        retry_after: Seconds that the server asked to wait; 0 where it did not.
    """

    def __init__(self, words: str, status: int | None = None, retry_after: float = 0.0):
        super().__init__(words)
        self.words = words
        self.status = status
        self.retry_after = retry_after

    @property
    def may_pass(self) -> bool:
        """Whether the same request may succeed later."""
        return self.is_outage or self.status in (408, 429)

    @property
    def is_outage(self) -> bool:
        """Whether the server itself failed, rather than declining this request."""
        return self.status is None or self.status >= 500


class RequestRefused(TeacherError):
    """The server understood the request and declined it (a 4xx that waiting can't change); `status` says how."""

    def __init__(self, message: str, status: int):
        super().__init__(message)
        self.status = status


def of_status(status: int, reason: str | None, headers: Mapping[str, str], body: Any) -> Failure:
    """The failure that an answer with this status is; `body` is its JSON, or its text where it is none."""
    error = body.get("error", body) if isinstance(body, dict) else body
    words = error.get("message", error) if isinstance(error, dict) else error
    shown = f"{status} {str(words or reason or '').strip()[:500]}"
    return Failure(shown, status, _seconds(headers.get("retry-after", "")))


def of_sdk(error: Exception) -> Failure:
    """The failure behind an error of the OpenAI SDK, or behind its ValueError for a body that is no whole JSON."""
    if isinstance(error, openai.APIStatusError):
        response = error.response
        return of_status(error.status_code, response.reason_phrase, response.headers, error.body)
    if isinstance(error, openai.APITimeoutError | openai.APIConnectionError):
        return of_connection(error, timed_out=isinstance(error, openai.APITimeoutError))
    return Failure(BROKEN)


def of_connection(error: Exception, timed_out: bool) -> Failure:
    """The failure of a connection that was refused, reset, closed too early, or silent for too long."""
    if timed_out:
        return Failure("no answer in time")
    deepest: BaseException = error
    while cause := deepest.__cause__ or deepest.__context__:
        deepest = cause
    return Failure(str(deepest) or type(deepest).__name__)


def json_or_text(body: bytes) -> Any:
    """What an answer says, be it JSON or not."""
    try:
        return msgspec.json.decode(body)
    except msgspec.DecodeError:
        return body.decode(errors="replace")


def _seconds(retry_after: str) -> float:
    """The header's value from now on: it holds seconds or a date; 0 where it holds neither."""
    try:
        return max(0.0, float(retry_after))
    except ValueError:
        pass
    try:
        return max(0.0, email.utils.parsedate_to_datetime(retry_after).timestamp() - time.time())
    except (TypeError, ValueError):
        return 0.0
