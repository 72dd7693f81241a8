"""The base URL of a server: what of it may be shown, and what is secret."""

import re
from typing import Self

from ..errors import UsageError

VERSION = re.compile(r"v\d+[a-z0-9]*", re.IGNORECASE)  # a segment of a path, as in `/v1` or `/api/paas/v4`
# What people copy together with the base; longest first, because `/completions` ends `/chat/completions`.
ENDPOINTS = (
    "/chat/completions",
    "/completions",
    "/embeddings",
    "/responses",
    "/models",
    "/detokenize",
    "/tokenize",
    "/health",
    "/version",
)
LOGIN = re.compile(
    r"://(?!NAME:PASSWORD@)\S*@"
)  # to the last @ of a word: a password may hold anything, and half of one is a secret too
LOGIN_OF_ONE = re.compile(r"://.*@", re.DOTALL)  # where there is one URL and nothing else
SECRET_PARAMETER = re.compile(
    r"([?&;][\w.-]*(?:key|token|secret|password|signature|sig|auth)[\w.-]*=)[^&;#\s'\"]+", re.I
)
SECRET_NAME = re.compile(r"(^|_)(key|token|secret|password|credentials?)$", re.IGNORECASE)


class ServerUrl(str):
    """Base URLs of the servers of one teacher, with commas between them, as they may be shown and written.

    As a text it holds neither names and passwords nor query strings (`?api_key=…`), so nothing that prints, dumps or
    formats it can tell them.

    Args:
        full: The URLs with their secrets.

    Attributes:
        full: The same; only for whoever connects.
    """

    full: str

    def __new__(cls, full: str) -> Self:
        url = super().__new__(cls, ",".join(map(_public, full.split(","))))
        url.full = full
        return url

    @property
    def servers(self) -> "list[ServerUrl]":
        """Each server by itself."""
        return [ServerUrl(url) for url in self.full.split(",")]


def read_urls(text: str) -> ServerUrl:
    """The servers that a user's text names.

    `localhost:8000`, `http://localhost:8000/`, `http://localhost:8000/v1` and `…/v1/chat/completions` all mean the same
    server; `…/api/paas/v4` keeps its version, and `…/chat/completions` without any says where the API begins.

    Raises:
        UsageError: a name or password has characters that a URL can't hold there; shows neither.
    """
    urls = [*filter(None, map(str.strip, text.split(",")))]
    for url in urls[1:]:
        if "@" in url and "://" not in url:
            raise _unescaped(text)
    return ServerUrl(",".join(map(_normalized, urls)))


def without_secrets(text: str) -> str:
    """`text` with names, passwords and keys of the URLs in it replaced by stars."""
    return SECRET_PARAMETER.sub(r"\1***", LOGIN.sub("://***@", text))


def shown_word(value: object) -> str:
    """A value that a user gave as a message quotes it: all of it may be one URL."""
    return without_secrets(LOGIN_OF_ONE.sub("://***@", repr(value)))


def is_secret_name(name: str) -> bool:
    """Whether a setting that isn't ours, such as `hub_token`, holds a secret by its name."""
    return bool(SECRET_NAME.search(name))


def path_of_version(path: str) -> str | None:
    """`path` up to its last version segment, without it: `/api/paas` of `/api/paas/v4`; None where it has none."""
    parts = path.split("/")
    places = [place for place, part in enumerate(parts) if VERSION.fullmatch(part)]
    return "/".join(parts[: places[-1]]) if places else None


def _normalized(url: str) -> str:
    scheme, _, rest = (url if "://" in url else f"http://{url}").partition("://")
    authority, slash, tail = rest.partition("/")
    if ("@" not in authority and "@" in tail.partition("?")[0]) or re.search("[?#].*@", authority):
        raise _unescaped(url)
    host = re.split(r"[?#]", authority)[0] if "@" not in authority else authority
    if host != authority:  # http://host?api_key=…
        slash, tail = "/", authority[len(host) :] + slash + tail
    path, mark, query = (slash + tail).partition("#")[0].partition("?")
    return f"{scheme.lower()}://{host}{_without_endpoint(path.rstrip('/'))}{mark}{query}"


def _without_endpoint(path: str) -> str:
    """The path of the base: without `/v1`, and without an endpoint where the rest still says where the API begins."""
    end = next((end for end in ENDPOINTS if path.endswith(end)), "")
    base = path.removesuffix(end).rstrip("/")
    if end in ("/chat/completions", "/completions", "/models") and path_of_version(base) is None:
        return path
    older = base.removesuffix("/v1").rstrip("/")
    return base if path_of_version(older) is not None else older


def _public(url: str) -> str:
    return LOGIN_OF_ONE.sub("://", url).partition("?")[0].partition("#")[0]


def _unescaped(url: str) -> UsageError:
    return UsageError(
        f"found a URL with an @ behind its host: {shown_word(url if '://' in url else f'http://{url}')}. Expected "
        "http://NAME:PASSWORD@HOST:PORT; in a name or password write / as %2F, ? as %3F, # as %23, @ as %40 and a "
        "comma as %2C."
    )
