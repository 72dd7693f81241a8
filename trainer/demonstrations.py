"""Demonstrations by the served teacher, for rows that are trained on; each is paid for once."""

import dataclasses
import hashlib
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tqdm import tqdm

from trainer.answers import golden_actions, parse_actions, same_inputs, same_sequence
from trainer.config import Train
from trainer.dataset import Message, Row
from trainer.errors import TeacherError, UsageError
from trainer.journal import Journal
from trainer.progress import Progress
from trainer.prompts import check_template, with_demonstration
from trainer.teachers.batch import row_seed, run_bounded, run_until_stopped
from trainer.teachers.client import ChatAnswer, RequestRefused, TeacherClient

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
    if demonstrations.written == 0:
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
