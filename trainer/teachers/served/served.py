"""The served teacher as the training loop sees it: asked about a rollout now, answering while other things go on."""

import asyncio
import contextlib
import sys
import time
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import Future
from typing import Any

import numpy as np
from tqdm import tqdm

from ...data.rows.row import Row
from ...data.showing import Showing, shown_by
from ...errors import TeacherError
from ..tokens.token_scores import TokenScores
from . import sanity
from .background import Background
from .cache import ScoreCache
from .client import TeacherClient
from .replicas import RESTART_SECONDS
from .routes import ByteRoute, ChunkScores, TokenRoute, TooLong

View = TokenScores | ChunkScores
CUT = 0.9  # of a demonstration's length: what is kept at least of it in each attempt to make it fit


class TeacherPrompts:
    """Rows' prompts as the served teacher reads them: in its own chat template, with the demonstration if there is one.

    Args:
        demonstration: Gives a row's demonstration; None where it has none.
        room: Tokens that a prompt may have; None where the teacher doesn't say how long its context is.
        showing: How a prompt is shown with a demonstration.

    Attributes:
        cuts: Rows whose demonstration lost its end, so that it fits.
    """

    def __init__(
        self,
        client: TeacherClient,
        rows: Sequence[Row],
        demonstration: Callable[[int], Awaitable[str | None]],
        *,
        room: int | None,
        showing: Showing,
        enable_thinking: bool,
    ):
        self.client = client
        self.rows = rows
        self.demonstration = demonstration
        self.room = room
        self.showing = showing
        self.enable_thinking = enable_thinking
        self.cuts = 0
        self._rendered: dict[int, asyncio.Task[list[int]]] = {}

    async def ids(self, number: int) -> list[int]:
        """The prompt of a row with its demonstration, in the teacher's tokens; see `rendered`."""
        known = self._rendered.get(number)
        if known is None or (known.done() and (known.cancelled() or known.exception() is not None)):
            known = self._rendered[number] = asyncio.create_task(self._demonstrated(number))
        return await asyncio.shield(known)

    async def _demonstrated(self, number: int) -> list[int]:
        text = await self.demonstration(number)
        ids, was_cut = await self.rendered(self.rows[number], text)
        self.cuts += was_cut
        return ids

    async def require_room(self) -> None:
        """Raise TeacherError unless each row's prompt fits the teacher's context without a demonstration.

        Raises:
            UsageError: a row can't be shown in this way.
        """
        for row in self.rows:
            shown_by(self.showing, row)
        if self.room is not None:
            await asyncio.gather(*(self.rendered(row, None) for row in self.rows))

    async def rendered(self, row: Row, text: str | None) -> tuple[list[int], bool]:
        """A row's prompt with a demonstration, of which the end is left out as far as it has to be, and whether it was.

        Raises:
            TeacherError: the prompt does not fit the teacher's context, even without a demonstration.
        """
        shown = text or ""
        while True:
            messages = shown_by(self.showing, row, shown) if shown or row.examples else row.prompt
            rendered = await self.client.render(messages, row.tools, enable_thinking=self.enable_thinking)
            if self.room is None or len(rendered.ids) <= self.room:
                return rendered.ids, shown != (text or "")
            if not shown:
                raise TeacherError(
                    f"row {row.id}: its prompt has {len(rendered.ids)} tokens in the teacher's template; the teacher's "
                    f"context leaves room for {self.room}. Shorten the prompt, lower --max_completion_length, or start "
                    "vLLM with a larger `--max-model-len`."
                )
            shown = shown[: int(len(shown) * min(CUT, self.room / len(rendered.ids)))]


class Recognition:
    """Notices when another model answers under the teacher's name.

    Args:
        measure: Lets every server of the teacher score the fixed text; see `teachers.served.identity.signatures`.
        signature_N: What the run's teacher gave it.
    """

    def __init__(
        self, client: TeacherClient, measure: Callable[[], Awaitable[list[np.ndarray]]], signature_N: np.ndarray
    ):
        self.client = client
        self.measure = measure
        self.signature_N = signature_N
        self._settled = client.disturbances
        self._absences = client.absences
        self._suspected = False
        self._answered_at = time.monotonic()
        self._lock = asyncio.Lock()

    async def check(self) -> None:
        """If the teacher may have been exchanged before it gave the present answer, see whether it is the same.

        It may have been where a request failed since the last look, though others were answered: that counts as soon as
        it fails. Or where it, or one of its replicas, was not asked for so long that it may have been restarted unseen.

        Raises:
            TeacherError: it is another one.
        """
        now = time.monotonic()
        self._suspected |= now - self._answered_at > RESTART_SECONDS or self.client.absences > self._absences
        self._answered_at, self._absences = now, self.client.absences
        disturbances = self.client.disturbances
        async with self._lock:
            if self._settled >= disturbances and not self._suspected:
                return
            disturbances = self.client.disturbances
            for found_N in await self.measure():
                require_same(self.signature_N, found_N, self.client)
            if disturbances > self._settled:
                tqdm.write("the teacher answers again, and is the same", file=sys.stderr)
            self._settled, self._suspected = disturbances, False


def require_same(signature_N: np.ndarray, found_N: np.ndarray, client: TeacherClient) -> None:
    """Raise TeacherError unless two scorings of the fixed text are by the same weights."""
    apart = sanity.distance(signature_N, found_N)
    if apart > sanity.SAME:
        raise TeacherError(
            f"the teacher at {client.base_url} is not the one that this run began with: it scores a fixed text "
            f"{apart:.2f} nats a token apart from then, expected at most {sanity.SAME}. Serve the former model as "
            f"{client.model!r}, or begin another run: --output_dir FOLDER."
        )


class ServedTeacher:
    """Asks for the teacher's view of rollouts; requests are known by what they ask, so that asking twice is free.

    Args:
        background: Where the requests run.
        route_of: Makes the route, given the function by which it asks for scores.
        watch: Looks at every answer.
        top_k: Likeliest tokens that are asked for at each position.
        max_model_len: The teacher's context in tokens; None where it doesn't say.
        cache: Of earlier answers.
    """

    def __init__(
        self,
        background: Background,
        client: TeacherClient,
        prompts: TeacherPrompts,
        route_of: Callable[[Any], TokenRoute | ByteRoute],
        recognition: Recognition,
        watch: sanity.Watch,
        *,
        top_k: int,
        max_model_len: int | None,
        cache: ScoreCache | None,
    ):
        self.background = background
        self.client = client
        self.prompts = prompts
        self.route = route_of(self.scores)
        self.recognition = recognition
        self.watch = watch
        self.top_k = top_k
        self.max_model_len = max_model_len
        self.cache = cache
        self._requests: dict[tuple[int, tuple[int, ...]], Future[View]] = {}

    def request(self, row: int, completion_ids: list[int]) -> Future[View]:
        """The teacher's view of a completion of a row's prompt, begun now where it was not before."""
        key = (row, tuple(completion_ids))
        if key not in self._requests:
            self._requests[key] = self.background.submit(self._view(row, completion_ids))
        return self._requests[key]

    def expect(self, row: int) -> None:
        """Get ready to be asked about a row."""
        self.background.submit(self._ready(row))

    def forget(self) -> None:
        """Forget the requests of the step before."""
        self._requests.clear()

    async def _ready(self, row: int) -> None:
        with contextlib.suppress(TeacherError):  # it is raised where the row's rollout needs it
            await self.prompts.ids(row)

    async def _view(self, row: int, completion_ids: list[int]) -> View:
        return await self.route.view(await self.prompts.ids(row), completion_ids)

    async def scores(self, prompt_ids: Sequence[int], completion_ids: Sequence[int], with_texts: bool) -> TokenScores:
        """The teacher's scores of its own tokens, from the cache where they are known.

        Raises:
            TeacherError: the teacher is gone, another one, or talks nonsense; or its context is too short.
        """
        key = self.cache.key(prompt_ids, completion_ids, self.top_k, with_texts) if self.cache else b""
        known = self.cache.get(key) if self.cache else None
        if known is not None:
            self.watch.look(known)
            return known
        self._require_room(len(prompt_ids) + len(completion_ids))
        scores = await self.client.score(prompt_ids, completion_ids, top_k=self.top_k, with_texts=with_texts)
        await self.recognition.check()
        self.watch.look(scores)
        if self.cache:
            self.cache.put(key, scores)
        return scores

    def _require_room(self, tokens: int) -> None:
        if self.max_model_len is not None and tokens >= self.max_model_len:
            raise TooLong(
                f"a prompt and its completion have {tokens} tokens of the teacher's, and its context "
                f"{self.max_model_len}, one of which it writes itself. Lower --max_prompt_length or "
                f"--max_completion_length, or start vLLM with `--max-model-len {tokens + 1}` or more."
            )
