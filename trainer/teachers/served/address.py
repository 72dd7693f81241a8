"""How a server is reached: its URL, login, key, proxy and certificates, resolved once for every request.

The environment is read as curl, requests and Go read it: `HTTP_PROXY`, `HTTPS_PROXY`, `ALL_PROXY`, `NO_PROXY` (names,
suffixes, `*.suffix`, addresses, CIDR), `SSL_CERT_FILE`, `SSL_CERT_DIR`, `REQUESTS_CA_BUNDLE`, `CURL_CA_BUNDLE`.
"""

import base64
import ipaddress
import os
import re
import socket
import ssl
import time
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any
from urllib.parse import SplitResult, unquote, urlsplit
from urllib.request import getproxies, proxy_bypass

from ...errors import UsageError
from ...run.machine import CERTIFICATES
from ...settings.server_url import ServerUrl, path_of_version, shown_word

SCHEMES = ("http", "https")
SOCKS = {"socks": "socks5", "socks5": "socks5", "socks5h": "socks5", "socks4": "socks4", "socks4a": "socks4"}
CONNECT_SECONDS, DAY = 10.0, 86400.0
SHORTEST_SECRET = 6  # characters; a shorter one such as "none" would black out words of messages
EXAMPLE = "expected one like http://localhost:8000"


@dataclass(frozen=True)
class Proxy:
    """A proxy that the environment names.

    Attributes:
        url: With its login; only for whoever connects.
        variable: That names it.
    """

    url: str = field(repr=False)
    variable: str

    @property
    def is_socks(self) -> bool:
        return urlsplit(self.url).scheme in SOCKS

    def __str__(self) -> str:
        parts = urlsplit(self.url)
        return f"{parts.scheme}://{_host_of(parts)} ({self.variable})"


@dataclass(frozen=True)
class Address:
    """One server.

    Args:
        url: Its base URL, perhaps with a login and a query string, which go with every request.
        api_key: Bearer key; None for a server without one.

    Raises:
        UsageError: the URL or the proxy's is none, the key can't stand in a header, or there are a login and a key.
    """

    url: ServerUrl
    api_key: str | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        if not is_http_url(self.url.full):
            raise UsageError(f"the teacher's base URL is {shown_word(self.url.full)}; {EXAMPLE}{_hint(self.url.full)}.")
        _ = self.headers, self.proxy  # what is wrong with them is told now

    @cached_property
    def _parts(self) -> SplitResult:
        return urlsplit(self.url.full)

    @cached_property
    def origin(self) -> str:
        """Scheme, host and port."""
        return f"{self._parts.scheme}://{_host_of(self._parts)}"

    @cached_property
    def host(self) -> str:
        """Its name or address, without the port."""
        return self._parts.hostname or ""

    @cached_property
    def port(self) -> int:
        return self._parts.port or (443 if self.is_tls else 80)

    @cached_property
    def has_login(self) -> bool:
        """Whether its URL holds a name and a password."""
        return self._parts.username is not None

    @cached_property
    def is_tls(self) -> bool:
        return self._parts.scheme == "https"

    @cached_property
    def proxy(self) -> Proxy | None:
        """The proxy for its requests; None where they go straight there."""
        return proxy_of(self.url)

    @cached_property
    def headers(self) -> dict[str, str]:
        """What tells the server who asks."""
        key = header_safe(self.api_key or "")
        if not self.has_login:
            return {"Authorization": f"Bearer {key}"} if key else {}
        if key:
            raise UsageError(
                f"found a name and password in the URL of the teacher at {self.url} and an API key; expected one of "
                "them, because a request has one Authorization header. Leave the login out of the URL, or unset the "
                "key."
            )
        login = f"{unquote(self._parts.username or '')}:{unquote(self._parts.password or '')}"
        return {"Authorization": f"Basic {base64.b64encode(login.encode()).decode()}"}

    @cached_property
    def secrets(self) -> tuple[str, ...]:
        """Texts that no message may hold, though a server may say them."""
        values = [pair.partition("=")[2] for pair in self._parts.query.split("&")]
        parts = [self._parts.password, self.api_key and self.api_key.strip(), *values]
        proxy = urlsplit(self.proxy.url).password if self.proxy else None
        found = [*filter(None, [*parts, proxy]), *(value.split()[1] for value in self.headers.values())]
        return tuple(text for each in found for text in {each, unquote(each)} if len(text) >= SHORTEST_SECRET)

    def path(self, path: str, *, elsewhere: bool = False) -> str:
        """Where `/v1/…` of OpenAI's API, or a path of vLLM's own, is on this server.

        Args:
            elsewhere: Where its API may be instead: with `/v1` where the URL says its version, and else without.
        """
        base = self._parts.path.rstrip("/")
        end = next((end for end in ("/chat/completions", "/completions", "/models") if base.endswith(end)), None)
        if end is not None:
            base = base.removesuffix(end)
        before_version = path_of_version(base)
        if not path.startswith("/v1/"):
            return (base if before_version is None else before_version) + path
        has_version = end is not None or before_version is not None
        return base + (path.removeprefix("/v1") if has_version != elsewhere else path)

    def target(self, path: str, *, elsewhere: bool = False) -> str:
        """The whole URL of a request to `path`, its query string included."""
        return (
            self.origin + self.path(path, elsewhere=elsewhere) + (f"?{self._parts.query}" if self._parts.query else "")
        )


def addresses_of(base_url: str, api_key: str | None) -> dict[str, Address]:
    """The servers of one teacher by their URLs as they are shown; UsageError as `Address`."""
    url = base_url if isinstance(base_url, ServerUrl) else ServerUrl(base_url)
    return {str(server): Address(server, api_key) for server in url.servers}


def proxy_of(url: ServerUrl) -> Proxy | None:
    """The proxy that the environment names for a URL.

    Raises:
        UsageError: it is of a kind that can't be used.
    """
    parts, proxies = urlsplit(url.full), getproxies()
    kind = parts.scheme if proxies.get(parts.scheme) else "all"
    found = proxies.get(kind)
    if not found or is_bypassed(parts.hostname or "", _host_of(parts), proxies.get("no", "")):
        return None
    variable = next((name for name in (f"{kind}_proxy", f"{kind}_proxy".upper()) if os.environ.get(name)), "the system")
    full = found if "://" in found else f"http://{found}"
    proxy = Proxy(full, variable)
    if not _has_host(full) or urlsplit(full).scheme not in {"http", "https", *SOCKS}:
        raise UsageError(
            f"{variable} names the proxy {shown_word(full)}; expected one like http://HOST:PORT or "
            f"socks5://HOST:PORT. Mend it, or let {parts.hostname} go past it: NO_PROXY={parts.hostname}."
        )
    return proxy


def is_bypassed(host: str, host_and_port: str, no_proxy: str) -> bool:
    """Whether `NO_PROXY` lets a host go without the proxy; also by `*.suffix`, and an address by its network."""
    entries = [entry.strip() for entry in no_proxy.split(",")]
    if proxy_bypass(host_and_port) or proxy_bypass(host):
        return True
    if any(entry.startswith("*.") and host.lower().endswith(entry[1:].lower()) for entry in entries):
        return True
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return False
    return any(address in network for entry in entries if (network := _network(entry)) is not None)


def tls_context() -> ssl.SSLContext:
    """Trusts what the system trusts, or the variables of `CERTIFICATES` name.

    Raises:
        UsageError: one of them names no file with certificates.
    """
    context = ssl.create_default_context()
    for variable in CERTIFICATES:
        name = os.environ.get(variable)
        if not name:
            continue
        try:
            is_folder = Path(name).is_dir()
            context.load_verify_locations(**({"capath": name} if is_folder else {"cafile": name}))
        except OSError as error:  # an SSLError is one, where the file holds no certificate
            raise UsageError(
                f"{variable} names {name}, and no certificates can be read from it ({error.strerror or error}). "
                f"Expected a file in PEM format. Mend {variable}, or unset it."
            ) from error
    return context


def days_left(address: Address) -> float | None:
    """Days until the certificate of a server runs out; None without one, without the server, or behind a proxy."""
    if not address.is_tls or address.proxy is not None:
        return None
    try:
        with (
            socket.create_connection((address.host, address.port), timeout=CONNECT_SECONDS) as connection,
            tls_context().wrap_socket(connection, server_hostname=address.host) as secured,
        ):
            told: Any = secured.getpeercert()
    except OSError:  # the requests tell why
        return None
    return (ssl.cert_time_to_seconds(told["notAfter"]) - time.time()) / DAY


def is_http_url(text: str) -> bool:
    """Whether a text is the URL of a server, a port that makes sense included."""
    return text.partition("://")[0] in SCHEMES and _has_host(text) and urlsplit(text).hostname not in SCHEMES


def _hint(text: str) -> str:
    """What is wrong with a text that is no URL of a server, where it is something that people type."""
    if text[:1] in "'\"" or text[-1:] in "'\"":
        return ", without quotation marks"
    if text.count("@") > 1 or "/" in text.partition("://")[2].rpartition("@")[0]:
        return ", in whose name and password / is written %2F, @ is %40 and : is %3A"
    if re.search(r":\d{5,}", text):
        return "; ports end at 65535"
    if re.match(r"(https?://)?https?[:/]", text.removeprefix("http://")):  # read_urls put an http:// before it
        return ", with :// behind http"
    return ""


def header_safe(key: str) -> str:
    """`key` without surrounding whitespace (key files end in a newline); never shown in an error.

    Raises:
        UsageError: it holds what no header can.
    """
    stripped = key.strip()
    if not stripped.isascii() or not stripped.isprintable():
        raise UsageError(
            "the teacher's API key has line breaks or other characters that an HTTP header can't hold. "
            "Set SDFT_VLLM_SERVER_API_KEY (SDFT_API_KEY for `generate`, SDFT_JUDGE_API_KEY for a judge) to the key "
            "alone."
        )
    return stripped


def _has_host(text: str) -> bool:
    try:
        parts = urlsplit(text)
        (parts.hostname or "").encode("idna")
        return bool(parts.hostname) and parts.port != 0
    except ValueError:  # a port that is no number, half an IPv6 address, a name that no host can have
        return False


def _host_of(parts: SplitResult) -> str:
    return parts.netloc.rpartition("@")[2]


def _network(entry: str) -> ipaddress.IPv4Network | ipaddress.IPv6Network | None:
    try:
        return ipaddress.ip_network(entry, strict=False)
    except ValueError:
        return None
