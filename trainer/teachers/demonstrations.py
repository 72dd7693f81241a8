"""Demonstrations by the served teacher, for rows that are trained on; each is paid for once.

`write_demonstrations` asks for all of them before training; a `DemonstrationFeed` asks while it goes on.
"""

import asyncio
import dataclasses
import hashlib
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .. import COMMAND
from ..data.actions.answers import golden_actions, parse_actions, same_inputs, same_sequence
from ..data.actions.thinking import leaks_thinking
from ..data.privileged import plain_golden
from ..data.rows.row import BadRow, Row
from ..data.showing import Showing, shown_by
from ..errors import TeacherError
from ..run.journal import Journal
from ..run.progress import Progress
from ..settings.options import Train
from .preflight import client_for
from .served.batch import row_seed, run_bounded, run_until_stopped
from .served.chat_messages import SILENT, ChatAnswer
from .served.client import TeacherClient
from .served.failures import RequestRefused
from .served.notices import say

REFUSED, TRUNCATED, EMPTY = "refused", "truncated", "empty"
WITHHELD, THINKING = "withheld by a filter", "with marks of thinking"
CONTRADICTING = "contradicting golden_answer"
MENDS = {
    WITHHELD: "Expected answers, and a filter of the server's took these: leave those rows out, or ask another server.",
    THINKING: "Expected answers alone, and these hold what the teacher thought: turn its thinking off, or start vLLM "
    "with `--reasoning-parser NAME`.",
    TRUNCATED: "Expected whole answers, and these were cut: raise --max_completion_length.",
    EMPTY: "Expected answers, and these hold nothing besides thinking: raise --max_completion_length. " + SILENT,
    CONTRADICTING: "Expected the actions of golden_answer. Look at what the teacher is shown "
    "(--teacher_prompt_template, --show_context), or learn from the rows' own text: --demonstrations golden.",
}
Request = Callable[[int], Future[str | None]]  # for the demonstration of a row; None where there is no usable one
Write = Callable[[Row], str | None]  # a row's golden response, calls included, as text for whoever reads it


@dataclass(frozen=True)
class Demonstrations:
    """A demonstration for each row, and where they come from.

    Attributes:
        texts: In the order of the rows; None for a row that has to be left out.
        written: Rows that keep what the teacher wrote.
        replaced: Rows whose written text is unusable and that fall back to their golden response.
        dropped: Rows whose written text is unusable and that have no golden response.
        reasons: How often each reason made a text unusable.
    """

    texts: list[str | None]
    written: int
    replaced: int
    dropped: int
    reasons: dict[str, int]

    @property
    def why(self) -> str:
        """The reasons with their counts."""
        return ", ".join(f"{count} {reason}" for reason, count in self.reasons.items())

    def summary(self) -> str:
        why = self.why
        return (
            f"demonstrations: {self.written} written by the teacher, {self.replaced} replaced by the golden "
            f"response, {self.dropped} dropped" + (f" ({why})" if why else "")
        )


class Demonstrator:
    """Lets the served teacher answer rows' prompts, shown the row's context or golden response where it has one.

    A text is unusable if it is empty, was cut at `--max_completion_length`, takes other actions than the row's
    `golden_answer`, or if the server refused the prompt. The golden response then takes its place; a row without one
    has nothing to learn from.

    Args:
        rows: Each prompt is asked once, with a seed of its own from `settings.seed` and its position.
        journal: Keeps the answers, so that an interrupted run doesn't ask for them again; see `open_journal`.
        temperature: 0 is greedy.
        write: Writes the demonstrations, those with calls of tools too.

    Attributes:
        answers: By row, of those asked so far; None where the server refused the prompt.
        refusal: What it said the first time that it did.
    """

    def __init__(
        self,
        client: TeacherClient,
        rows: Sequence[Row],
        settings: Train,
        journal: Journal,
        temperature: float = 0.0,
        write: Write = plain_golden,
    ):
        self.client = client
        self.showing = Showing.of(settings)
        self.rows = rows
        self.settings = settings
        self.journal = journal
        self.temperature = temperature
        self.write = write
        self.answers: dict[int, ChatAnswer | None] = {}
        self.refusal = ""
        self._found_usable = False

    async def text(self, number: int) -> str | None:
        """The demonstration of a row; None where there is no usable one.

        Raises:
            TeacherError: the teacher is gone, or of the rows that were asked so far, as many as a step's, not one
                has a usable answer.
        """
        known = self.journal.records.get(str(number))
        answer = ChatAnswer(**known) if known else await self._ask(number)
        if answer is not None and not known:
            self.journal.add(str(number), dataclasses.asdict(answer))
        self.answers[number] = answer
        self._found_usable |= reason_to_reject(answer, self.rows[number], self.write) is None
        if not self._found_usable and len(self.answers) >= min(len(self.rows), self.settings.num_prompts_per_batch):
            self.require_usable()
        return usable_text(self.rows[number], answer, self.write)

    def demonstrations(self) -> Demonstrations:
        """Those of all rows that were answered so far, by earlier runs of the journal too."""
        earlier = {int(key): ChatAnswer(**answer) for key, answer in [*self.journal.records.items()]}
        answers = earlier | dict([*self.answers.items()])
        return _choose([self.rows[number] for number in answers], list(answers.values()), self.write)

    def require_usable(self) -> None:
        """Raise TeacherError if the teacher wrote not one usable text so far."""
        found = self.demonstrations()
        if found.written == 0:
            raise TeacherError(
                f"the teacher wrote no usable demonstration for any of {len(found.texts)} rows ({found.why}). "
                f"{self._mend(found.reasons)}"
            )

    def _mend(self, reasons: dict[str, int]) -> str:
        """What to type, by the commonest reason."""
        reason = max(reasons, key=reasons.__getitem__, default="")
        if reason == REFUSED:
            return f"The first refusal: {self.refusal or 'see above'}"
        return MENDS.get(reason, f"Expected whole answers. Look at what it writes: `{COMMAND} check URL`.")

    async def _ask(self, number: int) -> ChatAnswer | None:
        """The answer; None where the server refused the prompt."""
        row, settings = self.rows[number], self.settings
        try:
            return await self.client.chat(
                shown_by(self.showing, row),
                row.tools,
                max_tokens=settings.max_completion_length,
                temperature=self.temperature,
                seed=row_seed(settings.seed, number),
                enable_thinking=settings.enable_thinking,
            )
        except RequestRefused as refusal:
            self.refusal = self.refusal or str(refusal)
            say(f"row {row.id}: {refusal}")
            return None


def open_journal(path: str | Path, rows: Sequence[Row], settings: Train, temperature: float = 0.0) -> Journal:
    """The journal of the rows' demonstrations.

    Raises:
        UsageError: it can't be written.
    """
    return Journal(path, _decides(rows, settings, temperature))


def write_demonstrations(
    rows: Sequence[Row],
    settings: Train,
    journal_path: str | Path,
    *,
    temperature: float = 0.0,
    write: Write = plain_golden,
) -> Demonstrations:
    """The demonstrations of all rows, in their order, as `write` has them. Prints one line of counts.

    Raises:
        TeacherError: the teacher is gone, or not one row is left.
        Stopped: SIGINT or SIGTERM; what was answered is in the journal.
        UsageError: no teacher URL, a template without its places, an unwritable journal.
    """
    client = client_for(settings)
    with open_journal(journal_path, rows, settings, temperature) as journal:
        stopped = (
            f"stopped while the teacher wrote demonstrations; {journal.path} keeps the finished ones, "
            "the same command continues."
        )
        demonstrator = Demonstrator(client, rows, settings, journal, temperature, write)
        answers = run_until_stopped(_ask_for_all(demonstrator), stopped)
    demonstrator.require_usable()
    demonstrations = _choose(rows, answers, write)
    print(demonstrations.summary())
    return demonstrations


class DemonstrationFeed:
    """Demonstrations while training goes on: those of coming steps are asked for ahead of their need.

    To be used in one event loop.

    Args:
        ahead: Rows that are asked for, or answered, and not needed yet; at most so many are paid for in vain.
        at_once: Requests in flight.
    """

    def __init__(self, demonstrator: Demonstrator, *, ahead: int, at_once: int):
        self.demonstrator = demonstrator
        self._order: list[int] = []
        self._place: dict[int, int] = {}
        self._ahead = ahead
        self._slots = asyncio.Semaphore(at_once)
        self._tasks: dict[int, asyncio.Task[str | None]] = {}

    async def follow(self, order: Sequence[int]) -> None:
        """Begin to ask for rows in the order in which training will need them; repetitions are left out."""
        self._order = list(dict.fromkeys(order))
        self._place = {number: place for place, number in enumerate(self._order)}
        for number in self._order[: self._ahead]:
            self._begin(number)

    async def text(self, number: int) -> str | None:
        """The demonstration of a row that is needed now; None where there is no usable one."""
        begun = self._begin(number)
        place = self._place.get(number, len(self._order))
        for later in self._order[place + 1 : place + 1 + self._ahead]:
            self._begin(later)
        return await asyncio.shield(begun)

    def _begin(self, number: int) -> asyncio.Task[str | None]:
        if number not in self._tasks:
            self._tasks[number] = asyncio.create_task(self._ask(number))
            self._tasks[number].add_done_callback(lambda task: self._forget_failed(number, task))
        return self._tasks[number]

    async def _ask(self, number: int) -> str | None:
        async with self._slots:
            return await self.demonstrator.text(number)

    def _forget_failed(self, number: int, task: asyncio.Task[str | None]) -> None:
        """A row whose request failed ahead of its need is asked for again when it is needed."""
        if task.cancelled() or task.exception() is not None:
            self._tasks.pop(number, None)


@contextmanager
def open_feed(
    client: TeacherClient, rows: Sequence[Row], settings: Train, journal: Path, write: Write = plain_golden
) -> Iterator[DemonstrationFeed]:
    """A feed with its journal: two steps ahead, and as far as keeps the client busy."""
    with open_journal(journal, rows, settings) as kept:
        at_once = settings.vllm_server_max_concurrency
        ahead = 2 * settings.num_prompts_per_batch + at_once
        if settings.objective == "served":  # rollouts are to be scored meanwhile
            at_once = max(1, at_once // 2)
        yield DemonstrationFeed(Demonstrator(client, rows, settings, kept, write=write), ahead=ahead, at_once=at_once)


def answered(texts: Sequence[str | None]) -> Request:
    """Demonstrations that are all known."""

    def request(number: int) -> Future[str | None]:
        future: Future[str | None] = Future()
        future.set_result(texts[number])
        return future

    return request


def _decides(rows: Sequence[Row], settings: Train, temperature: float) -> dict[str, Any]:
    texts = [_asked(row) for row in rows]
    return {
        "rows": hashlib.sha256(repr(texts).encode()).hexdigest(),
        "model": settings.vllm_server_model,
        "teacher_prompt_template": settings.teacher_prompt_template,
        "max_completion_length": settings.max_completion_length,
        "enable_thinking": settings.enable_thinking,
        "seed": settings.seed,
        "temperature": temperature,
        **({"show_context": settings.show_context} if settings.show_context != "template" else {}),
        **({"ask_again": settings.ask_again} if settings.ask_again else {}),
    }


def _asked(row: Row) -> tuple[Any, ...]:
    """What of a row the teacher is asked; what a row has not is left out, as it was before rows could have it."""
    more = (row.tools, row.golden_calls, row.privileged_context)
    others = (row.shows_own, *map(_asked, row.examples)) if row.examples else ()
    return (row.prompt, row.golden_response, *(more if any(more) else ()), *others)


async def _ask_for_all(demonstrator: Demonstrator) -> list[ChatAnswer | None]:
    """Each row's answer; None where the server refused the prompt."""
    rows, at_once = len(demonstrator.rows), demonstrator.settings.vllm_server_max_concurrency
    async with demonstrator.client:
        with Progress(rows, "demonstrations") as progress:

            async def ask(number: int) -> None:
                await demonstrator.text(number)
                progress.advance()

            await run_bounded(ask, range(rows), lambda: at_once)
    return [demonstrator.answers[number] for number in range(rows)]


def usable_text(row: Row, answer: ChatAnswer | None, write: Write = plain_golden) -> str | None:
    """The answer, or where it is unusable the row's golden response, if there is one, as `write` has it."""
    if answer is None or reason_to_reject(answer, row, write) is not None:
        return write(row)
    return write(_answered_by(answer, row)) if answer.tool_calls else answer.text.strip()


def _answered_by(answer: ChatAnswer, row: Row) -> Row:
    """The row with the answer as its demonstration."""
    return dataclasses.replace(row, golden_response=answer.text.strip() or None, golden_calls=answer.tool_calls)


def _choose(rows: Sequence[Row], answers: list[ChatAnswer | None], write: Write) -> Demonstrations:
    texts, reasons, replaced = [], {}, 0
    for row, answer in zip(rows, answers, strict=True):
        texts.append(usable_text(row, answer, write))
        if reason := reason_to_reject(answer, row, write):
            reasons[reason] = reasons.get(reason, 0) + 1
            replaced += row.has_demonstration
    dropped = texts.count(None)
    return Demonstrations(texts, len(rows) - replaced - dropped, replaced, dropped, reasons)


def reason_to_reject(answer: ChatAnswer | None, row: Row, write: Write = plain_golden) -> str | None:
    """Why an answer to `row` must not be learnt from; None for a good one, and `answer` None for a refused prompt."""
    if answer is None:
        return REFUSED
    if answer.is_withheld:
        return WITHHELD
    if answer.is_cut:
        return TRUNCATED
    if leaks_thinking(answer.text, " ".join(str(message.get("content")) for message in row.prompt)):
        return THINKING
    if not answer.text.strip() and not answer.tool_calls:
        return EMPTY
    if answer.tool_calls and (reason := _reason_against_calls(answer, row, write)):
        return reason
    if row.golden_answer is not None:
        found, golden = parse_actions(answer.with_calls, row.tools), golden_actions(row.golden_answer)
        if not (same_sequence(found, golden) and same_inputs(found, golden)):
            return CONTRADICTING
    return None


def _reason_against_calls(answer: ChatAnswer, row: Row, write: Write) -> str | None:
    if any(not isinstance(call["arguments"], dict) for call in answer.tool_calls):
        return "with arguments that are no object"
    try:
        write(_answered_by(answer, row))
    except BadRow:
        return "with calls that the student's chat template can't write"
    return None
