"""Texts by the served teacher, many at once: bounded, visible, interruptible, and paid for once.

`write_demonstrations` is what `train --demonstrations teacher` calls; the parts below it also serve `generate`.
"""

import asyncio
import dataclasses
import hashlib
import signal
import sys
import time
from collections.abc import Callable, Coroutine, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self, TypeVar

from tqdm import tqdm

from trainer.answers import golden_actions, parse_actions, same_inputs, same_sequence
from trainer.config import Train
from trainer.dataset import Message, Row
from trainer.errors import Stopped, TeacherError, UsageError
from trainer.journal import Journal
from trainer.prompts import check_template, with_demonstration
from trainer.teachers.client import ChatAnswer, RequestRefused, TeacherClient

T = TypeVar("T")
REFUSED = "refused"


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

    def summary(self) -> str:
        why = ", ".join(f"{count} {reason}" for reason, count in self.reasons.items())
        return (
            f"demonstrations: {self.written} written by the teacher, {self.replaced} replaced by the golden "
            f"response, {self.dropped} dropped" + (f" ({why})" if why else "")
        )


def write_demonstrations(
    rows: list[Row], settings: Train, journal_path: str | Path, *, temperature: float = 0.0
) -> Demonstrations:
    """Let the served teacher answer each row's prompt, shown the golden response where the row has one.

    A text is unusable if it is empty, was cut at `--max_completion_length`, takes other actions than the row's
    `golden_answer`, or if the server refused the prompt. The golden response then takes its place. A row without
    one has nothing to learn from and is left out; both are counted. Prints one line of counts.

    Args:
        rows: Each prompt is asked once, with a seed of its own from `settings.seed` and its position.
        journal_path: Answers are kept there, so that an interrupted run doesn't ask for them again.
        temperature: 0 is greedy.

    Raises:
        TeacherError: the teacher is gone, or not one row is left.
        Stopped: SIGINT or SIGTERM; what was answered is in the journal.
        UsageError: no teacher URL, a template without its places, an unwritable journal.
    """
    if settings.vllm_server_base_url is None:
        raise UsageError(
            "the teacher writes the demonstrations, and no teacher is named. Pass its URL, e.g. "
            "`python -m trainer train http://localhost:8000`, or --demonstrations golden."
        )
    check_template(settings.teacher_prompt_template)
    with Journal(journal_path, _decides(rows, settings, temperature)) as journal:
        stopped = (
            f"stopped while the teacher wrote demonstrations; {journal.path} keeps the finished ones, "
            "the same command continues."
        )
        answers = run_until_stopped(_ask_for_all(rows, settings, journal, temperature), stopped)
    demonstrations = _choose(rows, answers)
    print(demonstrations.summary())
    if demonstrations.dropped == len(rows):
        raise TeacherError(
            f"the teacher wrote no usable demonstration for any of {len(rows)} rows ({demonstrations.reasons}). "
            "Expected whole answers. Raise --max_completion_length, or try `python -m trainer check URL`."
        )
    return demonstrations


def _decides(rows: list[Row], settings: Train, temperature: float) -> dict[str, Any]:
    texts = [(row.prompt, row.golden_response) for row in rows]
    return {
        "rows": hashlib.sha256(repr(texts).encode()).hexdigest(),
        "model": settings.vllm_server_model,
        "teacher_prompt_template": settings.teacher_prompt_template,
        "max_completion_length": settings.max_completion_length,
        "enable_thinking": settings.enable_thinking,
        "seed": settings.seed,
        "temperature": temperature,
    }


async def _ask_for_all(
    rows: list[Row], settings: Train, journal: Journal, temperature: float
) -> list[ChatAnswer | None]:
    """Each row's answer; None where the server refused the prompt."""
    assert settings.vllm_server_base_url is not None
    answers: list[ChatAnswer | None] = [None] * len(rows)
    client = TeacherClient(
        settings.vllm_server_base_url,
        settings.vllm_server_model,
        api_key=settings.vllm_server_api_key,
        max_concurrency=settings.vllm_server_max_concurrency,
        patience=settings.teacher_patience,
    )
    async with client:
        with Progress(len(rows), "demonstrations") as progress:

            async def ask(number: int) -> None:
                known = journal.records.get(str(number))
                answer = (
                    ChatAnswer(**known) if known else await _ask(client, rows[number], number, settings, temperature)
                )
                if answer is not None and not known:
                    journal.add(str(number), dataclasses.asdict(answer))
                answers[number] = answer
                progress.advance()

            await run_bounded(ask, range(len(rows)), lambda: settings.vllm_server_max_concurrency)
    return answers


async def _ask(client: TeacherClient, row: Row, number: int, settings: Train, temperature: float) -> ChatAnswer | None:
    try:
        return await client.chat(
            shown_prompt(row, settings.teacher_prompt_template),
            max_tokens=settings.max_completion_length,
            temperature=temperature,
            seed=row_seed(settings.seed, number),
            enable_thinking=settings.enable_thinking,
        )
    except RequestRefused as refusal:
        tqdm.write(f"row {row.id}: {refusal}", file=sys.stderr)
        return None


def shown_prompt(row: Row, template: str) -> list[Message]:
    """The row's prompt, with its golden response as demonstration where it has one."""
    if row.golden_response is None:
        return row.prompt
    return with_demonstration(row.prompt, row.golden_response, template)


def _choose(rows: list[Row], answers: list[ChatAnswer | None]) -> Demonstrations:
    texts, reasons, replaced = [], {}, 0
    for row, answer in zip(rows, answers, strict=True):
        reason = reason_to_reject(answer, row)
        if reason is None and answer is not None:
            texts.append(answer.text.strip())
            continue
        reasons[reason] = reasons.get(reason, 0) + 1
        replaced += row.golden_response is not None
        texts.append(row.golden_response)
    dropped = texts.count(None)
    return Demonstrations(texts, len(rows) - replaced - dropped, replaced, dropped, reasons)


def reason_to_reject(answer: ChatAnswer | None, row: Row) -> str | None:
    """Why an answer to `row` must not be learnt from; None for a good one, and `answer` None for a refused prompt."""
    if answer is None:
        return REFUSED
    if answer.finish_reason == "length":
        return "truncated"
    if not answer.text.strip():
        return "empty"
    if row.golden_answer is not None:
        found, golden = parse_actions(answer.text), golden_actions(row.golden_answer)
        if not (same_sequence(found, golden) and same_inputs(found, golden)):
            return "contradicting golden_answer"
    return None


def row_seed(seed: int, number: int, stage: str = "answer") -> int:
    """A sampling seed (31 bits) for one request, the same in whatever order requests are made."""
    digest = hashlib.sha256(f"{seed}/{number}/{stage}".encode()).digest()
    return int.from_bytes(digest[:4], "big") >> 1


async def run_bounded(
    work: Callable[[int], Coroutine[Any, Any, None]], numbers: Iterable[int], room: Callable[[], int]
) -> None:
    """Run `work(n)` for each of `numbers`, begun in their order, while fewer than `room()` run.

    `room` is asked anew whenever one ends, so it can also end the whole early. The first failure cancels the
    rest and is raised.
    """
    waiting = iter(numbers)
    running: set[asyncio.Task[None]] = set()
    try:
        while True:
            while len(running) < room() and (number := next(waiting, None)) is not None:
                running.add(asyncio.create_task(work(number)))
            if not running:
                return
            done, running = await asyncio.wait(running, return_when=asyncio.FIRST_COMPLETED)
            failures = [failure for task in done if (failure := task.exception()) is not None]
            if failures:
                raise failures[0]
    finally:
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)


def run_until_stopped(work: Coroutine[Any, Any, T], stopped: str) -> T:
    """Run `work` in an event loop of its own; SIGINT and SIGTERM cancel it.

    Raises:
        Stopped: with the text `stopped`, after such a signal.
    """
    signals = (signal.SIGINT, signal.SIGTERM)
    before = {number: signal.getsignal(number) for number in signals}

    async def interruptible() -> T:
        task = asyncio.current_task()
        assert task is not None
        for number in signals:
            asyncio.get_running_loop().add_signal_handler(number, task.cancel)
        return await work

    try:
        return asyncio.run(interruptible())
    except asyncio.CancelledError:
        raise Stopped(stopped) from None
    finally:
        for number, handler in before.items():
            signal.signal(number, handler or signal.SIG_DFL)


class Progress:
    """A bar on a terminal; elsewhere a plain line for about every tenth of the way. Both on stderr.

    Args:
        total: Rows.
        what: What the rows are, in a word.
    """

    def __init__(self, total: int, what: str):
        self.total, self.what, self.done = total, what, 0
        self._began = time.monotonic()
        self._tenths_said = 0

    def __enter__(self) -> Self:
        self._bar = tqdm(total=self.total, desc=self.what, unit="row", disable=not sys.stderr.isatty())
        return self

    def __exit__(self, *error: object) -> None:
        self._bar.close()

    def advance(self, rows: int = 1) -> None:
        """Count `rows` more as done."""
        self.done += rows
        self._bar.update(rows)
        tenths = 10 * self.done // max(self.total, 1)
        if self._bar.disable and tenths > self._tenths_said:
            self._tenths_said = tenths
            rate = self.done / max(time.monotonic() - self._began, 1e-9)
            print(f"{self.what}: {self.done}/{self.total} rows, {rate:.1f} rows/s", file=sys.stderr, flush=True)
