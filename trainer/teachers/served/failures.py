"""What a try to reach the teacher can end in: what was found, why, what mends it, and whether waiting does."""

import email.utils
import enum
import html
import re
import socket
import ssl
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import aiohttp
import msgspec
from aiohttp.http_exceptions import BadHttpMessage, BadStatusLine, ContentEncodingError

from ... import COMMAND
from ...errors import TeacherError
from .address import Address

BROKEN = "an answer that is no whole JSON"
UNREADABLE = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)  # reading JSON ends in: broken, or too deep
# Words with which servers say 500, and the status that says what they mean.
MEANT = {"got an unexpected keyword argument": 400, "context size has been exceeded": 503}
# Codes and types of errors in OpenAI's words, and the status that goes with them.
SAID = {
    "invalid_api_key|authentication|unauthorized": 401, "insufficient_quota": 402, "permission": 403,
    "model_not_found|not_found_error": 404, "rate_limit": 429, "invalid_request_error": 400,
}  # fmt: skip
ERROR_BEGINS = 200  # bytes within which an answer that is an error says so
NO_SUCH_PLACE = (404, 405, 410, 501)
TITLE = re.compile(r"<title[^>]*>(.*?)</title>", re.IGNORECASE | re.DOTALL)
BYTES = re.compile(r"b(['\"])(.*)\1")  # what aiohttp's parser shows of an answer that it can't read
PAGE = re.compile(r"\s*(<!doctype html|<html|<head|<body)", re.IGNORECASE)
RATE = re.compile(r"(retry|try again) (in|after)|per[_ ]?(second|minute|hour|day)", re.IGNORECASE)
# Codes and words of a 429 that says "pay", where others say "slower".
QUOTA = re.compile(
    r"insufficient[_ ](quota|balance|credit|fund)|exceeded your current quota|billing|credit balance|out of credits|"
    r"余额|欠费|quota_exceeded|payment required",
    re.IGNORECASE,
)
OTHER_URL = "--vllm_server_base_url URL, --base_url URL for `generate`, --served URL (or --judge URL) for `eval`"
START = (
    "Expected a vLLM server. Start it with `docker compose up -d teacher`, without Docker with "
    f"`scripts/serve_teacher --model FOLDER`, or name another: {OTHER_URL}."
)
KEY = (
    "Expected the key that it was started with (`--api-key`). Set SDFT_VLLM_SERVER_API_KEY, SDFT_API_KEY for "
    "`generate`, or SDFT_JUDGE_API_KEY for `eval --judge`; a server that asks for name and password wants http://NAME:PASSWORD@HOST:PORT."
)
LOGIN = (
    "The URL holds a name and a password. Expected those that the server knows: http://NAME:PASSWORD@HOST:PORT, with / "
    "as %2F and @ as %40 in them."
)
WRONG_PLACE = (
    "Pass the URL up to the part before /v1; where the server's API begins elsewhere, pass the whole address of its "
    f"/chat/completions: {OTHER_URL}."
)
PAY = "The account has no quota left, which no waiting brings back. Top it up, or use another key or server."
SMALLER = "Shorten the prompts, or raise the limit of what stands before the server (nginx: client_max_body_size)."
FULL = (
    "The requests that the server answers at once don't fit its context together. Start it with a longer one "
    "(llama.cpp: `-c`), or ask for less at once: --vllm_server_max_concurrency 1."
)
TLS_INSTEAD = "If the server speaks TLS, pass its URL with https://."
SLOW = (
    "The server takes longer than that. Look at its log; ask for less at once (a smaller "
    "--vllm_server_max_concurrency), or for shorter answers."
)


class Healing(enum.Enum):
    """Whether the same request may succeed later: `ONCE_KNOWN` where the server has answered before."""

    PERHAPS = enum.auto()
    ONCE_KNOWN = enum.auto()
    NEVER = enum.auto()


@dataclass(frozen=True)
class Asked:
    """A request as messages name it; `elsewhere` as `Address.path` has it."""

    method: str
    path: str
    address: Address
    elsewhere: bool = False

    @property
    def target(self) -> str:
        """The whole URL, secrets included."""
        return self.address.target(self.path, elsewhere=self.elsewhere)

    def __str__(self) -> str:
        proxy = self.address.proxy
        path = self.address.path(self.path, elsewhere=self.elsewhere)
        return f"{self.method} {path}" + (f" by the proxy {proxy}" if proxy else "")


class Failure(Exception):
    """A try that brought no usable answer.

    Attributes:
        words: What was found, in the words of the server or of the operating system.
        status: The HTTP status of the answer; None where none came, or not the whole.
        retry_after: Seconds that the server asked to wait; 0 where it did not.
        advice: The cause and what to type, in whole sentences; "" where there is nothing to say.
        asked: What was asked.
    """

    def __init__(
        self,
        words: str,
        status: int | None = None,
        retry_after: float = 0.0,
        *,
        advice: str = "",
        healing: Healing = Healing.PERHAPS,
        asked: Asked | None = None,
    ):
        super().__init__(words)
        self.words = words
        self.status = status
        self.retry_after = retry_after
        self.advice = advice
        self.healing = healing
        self.asked = asked

    @property
    def may_pass(self) -> bool:
        """Whether the same request may succeed later."""
        return self.healing is not Healing.NEVER and (self.is_outage or self.status in (408, 425, 429))

    @property
    def is_outage(self) -> bool:
        """Whether the server itself failed, rather than declining this request."""
        return self.status is None or self.status >= 500

    def __str__(self) -> str:
        """What was asked, and what was found."""
        return f"{self.asked}: {self.words}" if self.asked else self.words


class ServerRefused(TeacherError):
    """The server declines, whatever the prompt: no such endpoint, no right to it, no quota; `status` says how."""

    def __init__(self, message: str, status: int):
        super().__init__(message)
        self.status = status


class RequestRefused(ServerRefused):
    """The server understood the request and declined this one (a 4xx that waiting can't change)."""


def of_answer(asked: Asked, status: int, reason: str | None, headers: Mapping[str, str], answer: bytes) -> Failure:
    """The failure that an answer with this status is."""
    body = json_or_text(answer)
    error = body.get("error", body) if isinstance(body, dict) else body
    words = error.get("message") or error.get("detail") or error if isinstance(error, dict) else error
    text = _scrubbed(str(words or reason or "").strip(), asked.address)
    param = error.get("param") if isinstance(error, dict) else None
    if isinstance(param, str) and param not in text:
        text = f"{text} (param: {_scrubbed(param, asked.address)})"
    shown = f"{status} {_without_markup(text)[:500]}".strip()
    if status == 500:
        status = next((meant for words, meant in MEANT.items() if words in text.lower()), status)
    advice, healing = _of_status(status, f"{body} {text}", asked)
    after = _seconds(headers.get("retry-after", ""), headers)
    return Failure(shown, status, after, advice=advice, healing=healing, asked=asked)


def status_within(answer: bytes) -> int | None:
    """The status of an error that a server sends as an answer, with 200 before it; None where it is none."""
    if b'"error"' not in answer[:ERROR_BEGINS]:
        return None
    body = json_or_text(answer)
    if not isinstance(body, dict) or not body.get("error") or "choices" in body:
        return None
    error = body["error"] if isinstance(body["error"], dict) else {}
    code = error.get("code")
    if type(code) is int and 400 <= code < 600:
        return code
    told = f"{code} {error.get('type')}"
    return next((status for words, status in SAID.items() if re.search(words, told)), 502)


def _of_status(status: int, told: str, asked: Asked) -> tuple[str, Healing]:
    proxy = asked.address.proxy
    past = f" If the proxy {proxy} made this answer, set NO_PROXY to the server's host." if proxy else ""
    if status == 402 or (status in (403, 429) and QUOTA.search(told) and not RATE.search(told)):
        return PAY, Healing.NEVER
    if status in (401, 403):
        return (LOGIN if asked.address.has_login else KEY) + past, Healing.NEVER
    if status == 407:
        return _login_for(asked), Healing.NEVER
    if status in NO_SUCH_PLACE:
        return WRONG_PLACE + past, Healing.NEVER
    if status == 413:
        return SMALLER, Healing.NEVER
    if status == 429:
        return "Ask for less at once (a smaller --vllm_server_max_concurrency), or wait longer: --teacher_patience.", (
            Healing.PERHAPS
        )
    if status == 503 and "context size" in told.lower():
        return FULL, Healing.PERHAPS
    if status in (502, 503, 504) and proxy:
        return f"Look whether the server runs.{past}", Healing.PERHAPS
    return (f"Look at the server's log (`docker compose logs teacher`). {START}" if status >= 500 else ""), (
        Healing.PERHAPS
    )


def is_page(answer: bytes) -> bool:
    """Whether an answer is a web page."""
    return PAGE.match(answer[:2000].decode(errors="replace")) is not None


def page_instead(asked: Asked, answer: bytes, status: int) -> Failure | None:
    """The failure that a web page in the place of an answer is; None where it is none."""
    if not is_page(answer):
        return None
    found = _scrubbed(_without_markup(answer[:2000].decode(errors="replace")), asked.address)
    proxy = f", or the proxy {asked.address.proxy}" if asked.address.proxy else ""
    advice = f"A website{proxy} or a login page answers there, no API. {WRONG_PLACE}"
    return Failure(f"{status} with {found}, expected JSON", advice=advice, healing=Healing.NEVER, asked=asked)


def leads_nowhere(asked: Asked, status: int, location: str) -> Failure:
    """The failure of a redirect without an answer at its end, or of another status below 400 in its place."""
    words = f"{status}, which leads to {_scrubbed(location, asked.address) or 'no place'} and no answer"
    return Failure(words, advice=WRONG_PLACE, healing=Healing.NEVER, asked=asked)


def broken(asked: Asked, answer: bytes, headers: Mapping[str, str]) -> Failure:
    """The failure that an answer which ends in its middle is, or before its begin, or that comes as a stream."""
    if headers.get("content-type", "").startswith("text/event-stream"):
        words, advice = "a stream of events, and none was asked for", "Pass a server that answers whole by default."
        return Failure(words, advice=advice, healing=Healing.NEVER, asked=asked)
    return Failure(BROKEN if answer.strip() else "an empty answer", advice=START, asked=asked)


def too_large(asked: Asked, most: int) -> Failure:
    """The failure that an answer of more than `most` bytes is, of which the rest was not read."""
    words = f"an answer of more than {most >> 20} MiB, which none to this request needs"
    return Failure(words, advice=f"What answers there is no such server, or it is broken. {START}", asked=asked)


def of_connection(error: BaseException, asked: Asked) -> Failure:
    """The failure of a connection that was refused, reset, closed too early, or silent for too long."""
    address = asked.address
    words = _scrubbed(str(_deepest(error)) or type(_deepest(error)).__name__, address)
    for kinds, explain in CAUSES:
        cause = _among(error, kinds)
        if cause is not None:
            found = explain(cause, words, asked)
            if found is not None:
                return found
    return Failure(words, advice=START, asked=asked)


def _of_certificate(error: Any, words: str, asked: Asked) -> Failure:
    said = f"the certificate of {asked.address.origin} is not trusted: {error.verify_message}"
    if error.verify_code in (9, 10):
        advice = "Look at this machine's clock (`date`), then let the server get a certificate that is valid now."
    elif error.verify_code in (62, 64):
        advice = "Pass the URL with the name that the certificate is made out to."
    else:
        advice = (
            "A private or self-signed certificate is trusted when SSL_CERT_FILE names its authority's file in PEM "
            f"format: `SSL_CERT_FILE=ca.pem {COMMAND} check URL`; in Docker the file has to be mounted too."
        )
    return Failure(said, advice=advice, healing=Healing.NEVER, asked=asked)


def _of_address(error: Any, words: str, asked: Asked) -> Failure:
    """Of a host such as `0.0`, which is neither a name nor a whole address."""
    advice = "Pass the URL with the server's name, or its whole address, such as http://127.0.0.1:8000."
    return Failure(f"no address of a server: {words}", advice=advice, healing=Healing.NEVER, asked=asked)


def _of_tls(error: Any, words: str, asked: Asked) -> Failure:
    proxy = asked.address.proxy
    if proxy is not None and proxy.url.startswith("https:") and not asked.address.is_tls:
        advice = f"Probably the proxy speaks no TLS: {proxy.variable}=http://HOST:PORT."
        return Failure(f"no TLS with the proxy {proxy}", advice=advice, healing=Healing.NEVER, asked=asked)
    host = asked.address.origin.partition("://")[2]
    advice = f"Probably it speaks no TLS on this port: pass http://{host}."
    if proxy is not None and proxy.url.startswith("https:"):
        advice += f" Or the proxy speaks none: {proxy.variable}=http://HOST:PORT."
    said = f"no TLS with {asked.address.origin}: {error.reason or words}"
    return Failure(said, advice=advice, healing=Healing.NEVER, asked=asked)


def _of_name(error: Any, words: str, asked: Asked) -> Failure | None:
    proxy = asked.address.proxy
    if proxy is not None:
        return _of_proxy(error, f"its name is not known ({error.strerror})", asked)
    host = asked.address.host
    advice = (
        f"Is it spelled right? `getent hosts {host}` looks it up. In a container `localhost` is the "
        "container itself, and the name of a service is known while its container runs: `docker compose up -d teacher`."
    )
    healing = Healing.PERHAPS if error.errno == socket.EAI_AGAIN else Healing.ONCE_KNOWN
    return Failure(f"the name of {host} is not known ({error.strerror})", advice=advice, healing=healing, asked=asked)


def _of_proxy(error: Any, words: str, asked: Asked) -> Failure | None:
    proxy = asked.address.proxy
    if proxy is None:
        return None
    status = getattr(error, "status", None)
    if status == 407:
        return Failure(f"the proxy answers 407 {words}", advice=_login_for(asked), healing=Healing.NEVER, asked=asked)
    host = asked.address.host
    advice = f"Start the proxy or mend {proxy.variable}; or let {host} be reached without it: NO_PROXY={host}."
    healing = Healing.PERHAPS if status is not None and status >= 500 else Healing.ONCE_KNOWN
    return Failure(f"the proxy gives no connection: {words}", advice=advice, healing=healing, asked=asked)


def _of_timeout(error: Any, words: str, asked: Asked) -> Failure:
    if isinstance(error, aiohttp.ConnectionTimeoutError):
        advice = f"A firewall, or nothing at {asked.address.origin}. {START}"
        return Failure("no connection in time", advice=advice, asked=asked)
    return Failure("no answer in time", advice=SLOW, asked=asked)


def _of_no_http(error: Any, words: str, asked: Asked) -> Failure | None:
    """Of a server that speaks something else, such as a database, or of HTTP that is none in places."""
    kind = error.message.splitlines()[0].rstrip(":")
    if isinstance(error, ContentEncodingError) and "install" in kind:  # packed as aiohttp could read with more packages
        advice = "Let the server, or what stands before it, send what it is asked for: gzip, deflate, or as it is."
        words = f"an answer packed in a way that was not asked for ({error.message.partition(': ')[2].split('.')[0]})"
        return Failure(words, advice=advice, healing=Healing.NEVER, asked=asked)
    shown = BYTES.search(error.message)
    begins = _scrubbed(shown[2], asked.address)[:60] if shown else ""
    if not isinstance(error, BadStatusLine) or begins.startswith("HTTP/"):
        at = f" at '{begins}'" if begins else ""
        return Failure(f"an answer that is no valid HTTP: {kind}{at}", advice=START, asked=asked)
    speaks_tls = begins.startswith((r"\x15\x03", r"\x16\x03"))  # how an alert of TLS begins, and a handshake
    cause = TLS_INSTEAD if speaks_tls else f"A server of another kind has port {asked.address.port}. {START}"
    words = f"no HTTP, but an answer that begins with '{begins}'"
    return Failure(words, advice=cause, healing=Healing.ONCE_KNOWN, asked=asked)


def _of_disconnect(error: Any, words: str, asked: Asked) -> Failure:
    tls = "" if asked.address.is_tls else f" {TLS_INSTEAD}"
    return Failure(words, advice=f"{START}{tls}", asked=asked)


# By the kind of an error or of one behind it, the more telling first. SOCKS errors are known by name, because their
# library is only needed by who has such a proxy.
CAUSES: tuple[tuple[Any, Any], ...] = (
    ((ssl.SSLCertVerificationError,), _of_certificate),
    ((ssl.SSLError,), _of_tls),
    ((socket.gaierror,), _of_name),
    ((aiohttp.InvalidURL,), _of_address),
    ((aiohttp.ClientProxyConnectionError, aiohttp.ClientHttpProxyError), _of_proxy),
    (("ProxyConnectionError", "ProxyError", "ProxyTimeoutError"), _of_proxy),
    ((TimeoutError,), _of_timeout),
    ((BadHttpMessage,), _of_no_http),
    ((aiohttp.ServerDisconnectedError, aiohttp.ClientResponseError, ConnectionResetError), _of_disconnect),
)


def _login_for(asked: Asked) -> str:
    proxy = asked.address.proxy
    name, host = proxy.variable if proxy else "HTTPS_PROXY", asked.address.host
    return f"The proxy wants a login: {name}=http://NAME:PASSWORD@HOST:PORT. Or go past it: NO_PROXY={host}."


def _among(error: BaseException, kinds: tuple[Any, ...]) -> BaseException | None:
    """The deepest of the errors that led to this one which is of one of these kinds: it says most."""
    found, chain = None, error
    while chain is not None:
        names = [kind.__name__ for kind in type(chain).__mro__]
        if any(kind in names if isinstance(kind, str) else isinstance(chain, kind) for kind in kinds):
            found = chain
        chain = chain.__cause__ or chain.__context__
    return found


def _deepest(error: BaseException) -> BaseException:
    while cause := error.__cause__ or error.__context__:
        error = cause
    return error


def json_or_text(body: bytes) -> Any:
    """What an answer says, be it JSON or not."""
    try:
        return msgspec.json.decode(body)
    except UNREADABLE:
        return body.decode(errors="replace")


def _without_markup(text: str) -> str:
    """A web page by its title; other text as it is."""
    if not PAGE.match(text):
        return text
    title = TITLE.search(text)
    return f"the web page {html.unescape(title[1]).strip()!r}" if title else "a web page"


def _scrubbed(text: str, address: Address) -> str:
    return scrubbed(text, address.secrets)


def scrubbed(text: str, secrets: Iterable[str]) -> str:
    """What a server said, without the secrets that it was told."""
    for secret in secrets:
        text = text.replace(secret, "***")
    return text


def _seconds(retry_after: str, headers: Mapping[str, str]) -> float:
    """The header's value from now on: it holds seconds, or a date by the server's clock; 0 where it holds neither."""
    try:
        return max(0.0, float(retry_after))
    except ValueError:
        then = seconds_of(retry_after)
    return 0.0 if then is None else max(0.0, then - (seconds_of(headers.get("date", "")) or time.time()))


def seconds_of(date: str) -> float | None:
    """A date of HTTP in seconds since 1970; None where it is none."""
    try:
        return email.utils.parsedate_to_datetime(date).timestamp()
    except (TypeError, ValueError, OverflowError):
        return None


@contextmanager
def expecting(what: str, answer: Any, base_url: str, secrets: Iterable[str]) -> Iterator[None]:
    """Turns the reading of an answer that lacks what vLLM's have into an error that shows it, without the secrets."""
    try:
        yield
    except (AttributeError, KeyError, IndexError, TypeError, msgspec.ValidationError) as error:
        raise unexpected(repr(scrubbed(str(answer), secrets)[:200]), what, base_url) from error


def unexpected(found: str, what: str, base_url: str) -> TeacherError:
    """The error for an answer that is whole, and is not what vLLM answers."""
    return TeacherError(
        f"the server at {base_url} answered {found}, expected {what} as in vLLM's answers. "
        "Is it a vLLM server? Pass the URL of one."
    )
