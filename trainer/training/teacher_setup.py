"""Sets up the served teacher of a training run: who it is, by which route it scores, and whether it makes sense."""

import asyncio
import dataclasses
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from transformers import AutoTokenizer, PreTrainedTokenizerBase

from ..data.rows.row import Row
from ..data.showing import Showing
from ..errors import TeacherError, UsageError
from ..run.directory import RunDirectory
from ..settings.options import Train
from ..teachers.demonstrations import Request
from ..teachers.preflight import TeacherIdentity, client_for
from ..teachers.served import sanity
from ..teachers.served.background import Line
from ..teachers.served.batch import run_until_stopped
from ..teachers.served.cache import ScoreCache
from ..teachers.served.client import TeacherClient
from ..teachers.served.identity import TokenizerComparison, compare_tokenizers, end_of_turn, signatures
from ..teachers.served.routes import ByteRoute, TokenRoute
from ..teachers.served.served import Recognition, ServedTeacher, TeacherPrompts, require_same
from ..teachers.tokens.projection import Spellings
from ..teachers.tokens.token_bytes import Vocabulary

SIGNATURE_FILE = "teacher_signature.json"
PROBED_ROWS = 16  # whose texts both tokenizers cut
SHOWN_ROWS = 4  # whose demonstrations the teacher has to recognise


class TeacherSetup:
    """Sets up the served teacher that scores rollouts.

    Args:
        tokenizer: The student's.
        end_ids: The student's end-of-turn tokens, its own first.
        request: Asks for a row's demonstration; None where it has none.
    """

    def __init__(
        self,
        line: Line,
        settings: Train,
        identity: TeacherIdentity,
        rows: Sequence[Row],
        tokenizer: PreTrainedTokenizerBase,
        end_ids: list[int],
        request: Request,
    ):
        self.line = line
        self.settings = settings
        self.identity = identity
        self.rows = rows
        self.tokenizer = tokenizer
        self.end_ids = end_ids
        self.request = request

    def open(self, directory: RunDirectory) -> tuple[ServedTeacher, TeacherIdentity]:
        """The teacher, ready to be asked, and who it turned out to be.

        Raises:
            TeacherError: it can't score prompts, is not the one that the run began with, or talks nonsense.
            Stopped: SIGINT or SIGTERM.
        """

        async def opened() -> tuple[ServedTeacher, TeacherIdentity]:
            return await asyncio.wrap_future(self.line.background.submit(self._open(directory)))

        return run_until_stopped(opened(), "stopped before the teacher was known. The same command goes on from here.")

    async def _open(self, directory: RunDirectory) -> tuple[ServedTeacher, TeacherIdentity]:
        client, settings = self.line.client, self.settings
        comparison = await self._compare()
        print(f"tokenizer route: {comparison.route} ({comparison.evidence})", flush=True)
        measure = partial(
            signatures, await self._servers(), settings.teacher_top_k, enable_thinking=settings.enable_thinking
        )
        signature_N, *others = await measure()
        for other_N in others:
            require_same(signature_N, other_N, client)
        self._require_former(directory, signature_N)
        teacher = ServedTeacher(
            self.line.background,
            client,
            self._prompts(),
            await self._route(comparison),
            Recognition(client, measure, signature_N),
            sanity.Watch(len(self.tokenizer)),
            top_k=settings.teacher_top_k,
            max_model_len=self.identity.max_model_len,
            cache=await self._cache(signature_N),
        )
        await teacher.prompts.require_room()
        await self._require_sense(teacher)
        identity = dataclasses.replace(
            self.identity, tokenizer_route=comparison.route, tokenizer_evidence=comparison.evidence
        )
        return teacher, identity

    async def _servers(self) -> list[TeacherClient]:
        """A client for each replica, that does not wait for it."""
        urls = self.line.client.base_url.servers
        if len(urls) == 1:
            return [self.line.client]
        alone = [dataclasses.replace(self.settings, vllm_server_base_url=url, teacher_patience=0) for url in urls]
        return [await self.line.background.entered(client_for(settings)) for settings in alone]

    async def _compare(self) -> TokenizerComparison:
        texts = [message["content"] for row in self.rows[:PROBED_ROWS] for message in row.prompt if message["content"]]
        texts += [row.golden_response for row in self.rows[:PROBED_ROWS] if row.golden_response]
        forced = self.settings.tokenizer_route == "byte"
        return await compare_tokenizers(self.line.client, self.tokenizer, texts, force_bytes=forced)

    def _require_former(self, directory: RunDirectory, signature_N: np.ndarray) -> None:
        """A resumed run goes on with the teacher that it began with."""
        former = directory.read_json(SIGNATURE_FILE, list)
        if former is not None:
            require_same(np.array(former, dtype=np.float32), signature_N, self.line.client)
        else:
            directory.write_json(SIGNATURE_FILE, [round(float(logp), 5) for logp in signature_N])

    async def _cache(self, signature_N: np.ndarray) -> ScoreCache | None:
        """The cache of `--teacher_cache`, closed when the last request has ended; None for `off`."""
        settings = self.settings
        if settings.teacher_cache == "off":
            return None
        beside = Path(settings.output_dir).parent / "teacher_cache"
        folder = beside if settings.teacher_cache == "auto" else Path(settings.teacher_cache)
        cache = ScoreCache(folder, settings.vllm_server_model, signature_N, sanity.SAME)
        self.line.background.on_exit(cache.close)
        return cache

    def _prompts(self) -> TeacherPrompts:
        settings, window = self.settings, self.identity.max_model_len
        return TeacherPrompts(
            self.line.client,
            self.rows,
            lambda number: asyncio.wrap_future(self.request(number)),
            room=None if window is None else window - settings.max_completion_length - 1,
            showing=Showing.of(settings),
            enable_thinking=settings.enable_thinking,
        )

    async def _route(self, comparison: TokenizerComparison) -> Callable[[Any], TokenRoute | ByteRoute]:
        if comparison.route == "token":
            return TokenRoute
        settings, client = self.settings, self.line.client
        assert comparison.spelling is not None
        end_id = await end_of_turn(client, comparison.spelling, enable_thinking=settings.enable_thinking)
        student = Vocabulary(self.tokenizer, self.end_ids)
        return partial(
            ByteRoute,
            client=client,
            student=student,
            spelling=comparison.spelling,
            end_id=end_id,
            spellings=Spellings(self.tokenizer, student) if settings.byte_route == "dense" else None,
            vocabulary=load_vocabulary(settings, end_id),
            cleaned_up=comparison.cleaned_up,
        )

    async def _require_sense(self, teacher: ServedTeacher) -> None:
        """The first demonstrations, shown to the teacher, have to be texts that it finds likely."""
        shown = [row for row in self.rows if row.golden_response][:SHOWN_ROWS]
        found = [
            logps for logps in await asyncio.gather(*(self._recognised(teacher, row) for row in shown)) if len(logps)
        ]
        complaint = sanity.absurd_complaint(np.concatenate(found), len(self.tokenizer)) if found else None
        if complaint:
            raise TeacherError(f"the teacher at {self.line.client.base_url} is of no use: {complaint}.")

    async def _recognised(self, teacher: ServedTeacher, row: Row) -> np.ndarray:
        """Log-probabilities [N] of a golden response behind the prompt that shows it; none where both don't fit."""
        prompt, _ = await teacher.prompts.rendered(row, row.golden_response)
        response = (await self.line.client.tokenize(row.golden_response or "")).ids
        window = self.identity.max_model_len
        if not response or (window is not None and len(prompt) + len(response) >= window):
            return np.zeros(0, dtype=np.float32)
        return (await teacher.scores(prompt, response, False)).sampled_logps_N


def load_vocabulary(settings: Train, end_id: int) -> Vocabulary | None:
    """The vocabulary of `--teacher_tokenizer`, None where it is not given.

    Raises:
        UsageError: there is no such tokenizer.
    """
    if settings.teacher_tokenizer is None:
        return None
    try:
        tokenizer = AutoTokenizer.from_pretrained(
            settings.teacher_tokenizer, local_files_only=settings.local_files_only
        )
    except (OSError, ValueError, KeyError) as error:
        raise UsageError(f"no tokenizer at --teacher_tokenizer {settings.teacher_tokenizer!r}: {error}") from error
    return Vocabulary(tokenizer, [end_id])
