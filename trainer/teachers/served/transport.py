"""One request to one server: the OpenAI SDK carries what is asked rarely, aiohttp what is asked often.

Whatever carries it, a request that brings no usable answer ends in a `Failure`.
"""

from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Any, Self, TypeVar

import aiohttp
import msgspec
import openai

from trainer.teachers.served import failures
from trainer.teachers.served.address import NO_KEY, header_safe, proxy_of
from trainer.teachers.served.failures import Failure

T = TypeVar("T")

CONNECT_SECONDS, ANSWER_SECONDS = 10.0, 600.0
IDLE_SECONDS = 4.0  # less than the 5 after which vLLM closes an idle connection, perhaps under the next request
READ_BUFFER = 2**20  # bytes; scores are of that order, and each refill of a smaller buffer costs


class Transport:
    """An async context manager that holds the connections to the servers of these base URLs.

    Raises:
        UsageError: the key can't stand in a header.
    """

    def __init__(self, urls: Sequence[str], api_key: str | None):
        self._key = header_safe(api_key or NO_KEY)
        self._proxies = {url: proxy_of(url) for url in urls}
        self._openai = openai.AsyncOpenAI(
            base_url=f"{urls[0]}/v1",
            api_key=self._key,
            max_retries=0,
            timeout=openai.Timeout(ANSWER_SECONDS, connect=CONNECT_SECONDS),
        )
        self._session: aiohttp.ClientSession | None = None

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

    async def get(self, url: str, kind: type = object) -> Any:
        """The answer by the SDK: decoded (a text where it isn't called JSON), or as it is where `kind` is str."""
        try:
            return await self._openai.get(url, cast_to=kind)
        except (openai.APIError, ValueError) as error:
            raise failures.of_sdk(error) from error

    async def post(self, url: str, body: dict[str, Any]) -> Any:
        """The decoded answer by the SDK."""
        try:
            return await self._openai.post(url, body=body, cast_to=object)
        except (openai.APIError, ValueError) as error:
            raise failures.of_sdk(error) from error

    async def post_bytes(self, url: str, path: str, data: bytes, read: Callable[[bytes], T]) -> T:
        """What `read` makes of the answer's bytes, by aiohttp."""
        assert self._session is not None, "use it as an async context manager"
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
