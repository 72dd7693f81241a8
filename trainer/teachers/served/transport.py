"""One request to one server. A request that brings no usable answer ends in a `Failure`."""

import dataclasses
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import AsyncExitStack
from types import TracebackType
from typing import Any, Self, TypeVar
from urllib.parse import unquote, urljoin, urlsplit

import aiohttp

from ...errors import UsageError
from . import failures
from .address import CONNECT_SECONDS, SOCKS, Address, Proxy, tls_context
from .failures import Asked
from .notices import say_once

T = TypeVar("T")
Got = tuple[int, str | None, Mapping[str, str], bytes]  # status, reason, headers, body

ANSWER_SECONDS = 600.0  # for the whole of it, so that one which comes byte by byte is given up, too
GLANCE_SECONDS = 30.0  # for what a server says of itself
LARGEST_ANSWER = 2**24  # bytes; what some requests need beyond that they say
IDLE_SECONDS = 4.0  # less than the 5 after which vLLM closes an idle connection, perhaps under the next request
READ_BUFFER = 2**20  # bytes; scores are of that order, and each refill of a smaller buffer costs
BYTE_ORDER_MARK = b"\xef\xbb\xbf"
REDIRECTS, HOPS = (301, 302, 307, 308), 5


class Transport:
    """An async context manager that holds the connections to servers.

    Raises:
        UsageError: a certificate file can't be read, or a SOCKS proxy is named and its library is missing.
    """

    def __init__(self, addresses: Iterable[Address]):
        self._addresses = list(addresses)
        needs_tls = any(each.is_tls or (each.proxy and each.proxy.url.startswith("https:")) for each in self._addresses)
        self._tls = tls_context() if needs_tls else None
        self._sessions: dict[Proxy | None, aiohttp.ClientSession] = {}
        self._resources = AsyncExitStack()
        self._moved: dict[str, str] = {}
        self._elsewhere: dict[Address, bool] = {}  # by the servers whose place of the API is known
        self.clocks_ahead: dict[Address, float] = {}  # seconds by which a server's clock is ahead of this machine's
        self._errors: tuple[type[Exception], ...] = (aiohttp.ClientError, OSError, TimeoutError)

    async def __aenter__(self) -> Self:
        for proxy in {address.proxy for address in self._addresses}:
            self._sessions[proxy] = await self._resources.enter_async_context(self._session(proxy))
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._resources.aclose()

    async def send(
        self,
        method: str,
        address: Address,
        path: str,
        data: bytes | None,
        read: Callable[[bytes], T],
        most: int = LARGEST_ANSWER,
    ) -> T:
        """What `read` makes of the answer's bytes; it may raise one of `failures.UNREADABLE` for a broken one.

        Args:
            most: Bytes that an answer may have, unpacked; of a longer one no more is read, and it counts as broken.
        """
        asked = Asked(method, path, address, self._elsewhere.get(address, False))
        try:
            got = await self._exchange(asked, data, most)
            if path.startswith("/v1/") and address not in self._elsewhere:
                asked, got = await self._settled(asked, data, got, most)
        except self._errors as error:
            raise failures.of_connection(error, asked) from error
        status, reason, headers, answer = got
        self._compare_clocks(asked.address, headers)
        if status < 400:
            status = failures.status_within(answer) or status
        if status >= 400:
            raise failures.of_answer(asked, status, reason, headers, answer)
        try:
            return read(answer.removeprefix(BYTE_ORDER_MARK))
        except failures.UNREADABLE as error:
            raise failures.page_instead(asked, answer, status) or failures.broken(asked, answer, headers) from error

    def _compare_clocks(self, address: Address, headers: Mapping[str, str]) -> None:
        told = failures.seconds_of(headers.get("date", ""))
        if told is not None and "age" not in headers:  # an answer that was kept somewhere tells when it was made
            self.clocks_ahead.setdefault(address, told - time.time())

    async def _settled(self, asked: Asked, data: bytes | None, got: Got, most: int) -> tuple[Asked, Got]:
        """The answer, from the other place where the API may be if there is nothing at the first."""
        if got[0] < 400:
            self._elsewhere[asked.address] = False
        if got[0] not in failures.NO_SUCH_PLACE:
            return asked, got
        other = dataclasses.replace(asked, elsewhere=True)
        found = await self._exchange(other, data, most)
        if found[0] in failures.NO_SUCH_PLACE or failures.is_page(found[3]):
            return asked, got
        self._elsewhere[asked.address] = True
        return other, found

    async def _exchange(self, asked: Asked, data: bytes | None, most: int) -> Got:
        """The answer behind all redirects, which keep the method; other hosts get no login and no key."""
        address = asked.address
        target = asked.target
        url = self._moved.get(target, target)
        for _ in range(HOPS):
            headers = {"Content-Type": "application/json", **(address.headers if _is_same(url, address) else {})}
            session = self._sessions[address.proxy]
            options: dict[str, Any] = {"headers": headers, "allow_redirects": False}
            if asked.method == "GET":  # what a server is; only answers of the model take long
                options["timeout"] = aiohttp.ClientTimeout(total=GLANCE_SECONDS, sock_connect=CONNECT_SECONDS)
            sent = session.request(asked.method, url, data=data, **options)
            async with sent as response:
                answer = await _read(response, most, asked)
            if response.status not in REDIRECTS:
                if 300 <= response.status < 400:
                    raise failures.leads_nowhere(asked, response.status, response.headers.get("location", ""))
                return response.status, response.reason, response.headers, answer
            url = self._behind(url, target, response, asked)
        raise failures.leads_nowhere(asked, response.status, _place(url))

    def _behind(self, url: str, target: str, response: aiohttp.ClientResponse, asked: Asked) -> str:
        """Where a redirect leads. A lasting one is known from then on."""
        told = response.headers.get("location", "")
        try:
            location = urljoin(url, told)
            place = _place(location)
        except ValueError as error:
            raise failures.leads_nowhere(asked, response.status, told) from error
        if response.status in (301, 308):
            self._moved[target] = location
        server = place.removesuffix(asked.path) if place.endswith(asked.path) else _place(urljoin(location, "/"))
        say_once(f"the teacher at {asked.address.url} redirects to {server}; pass that server's URL to save the detour")
        return location

    def _session(self, proxy: Proxy | None) -> aiohttp.ClientSession:
        connecting: dict[str, Any] = {"limit": 0, "keepalive_timeout": IDLE_SECONDS, "ssl": self._tls or True}
        by_socks = proxy is not None and proxy.is_socks
        return aiohttp.ClientSession(
            connector=self._socks(proxy, connecting) if proxy and by_socks else aiohttp.TCPConnector(**connecting),
            timeout=aiohttp.ClientTimeout(total=ANSWER_SECONDS, sock_connect=CONNECT_SECONDS),
            read_bufsize=READ_BUFFER,
            proxy=None if proxy is None or by_socks else proxy.url,
        )

    def _socks(self, proxy: Proxy, connecting: dict[str, Any]) -> aiohttp.TCPConnector:
        """Connects by a SOCKS proxy, which also looks up the names of hosts where its version can."""
        try:
            import aiohttp_socks  # pyright: ignore[reportMissingImports]  # only who has such a proxy needs it
        except ImportError as error:
            raise UsageError(
                f"the proxy {proxy} needs a package that is not installed. Type `pip install aiohttp-socks`, or let "
                "the server be reached without the proxy: NO_PROXY=HOST."
            ) from error
        self._errors += (
            aiohttp_socks.ProxyConnectionError,
            aiohttp_socks.ProxyError,
            aiohttp_socks.ProxyTimeoutError,
        )
        parts = urlsplit(proxy.url)
        return aiohttp_socks.ProxyConnector(
            proxy_type=aiohttp_socks.ProxyType[SOCKS[parts.scheme].upper()],
            host=parts.hostname or "",
            port=parts.port or 1080,
            username=unquote(parts.username) if parts.username else None,
            password=unquote(parts.password) if parts.password else None,
            rdns=parts.scheme != "socks4",
            **connecting,
        )


async def _read(response: aiohttp.ClientResponse, most: int, asked: Asked) -> bytes:
    """The body; of a refusal that is too long its beginning, which says enough."""
    pieces: list[bytes] = []
    size = 0
    async for piece in response.content.iter_any():
        pieces.append(piece)
        size += len(piece)
        if size > most:
            response.close()
            if response.status < 400:
                raise failures.too_large(asked, most)
            break
    return b"".join(pieces)


def _is_same(url: str, address: Address) -> bool:
    """Whether a URL is on the server itself: there, or on its host by TLS instead of without."""
    there, here = urlsplit(url), urlsplit(address.origin)
    if there.hostname != here.hostname:
        return False
    return (there.scheme, there.port) == (here.scheme, here.port) or (there.scheme, here.scheme) == ("https", "http")


def _place(url: str) -> str:
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"
