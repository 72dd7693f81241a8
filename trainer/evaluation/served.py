"""A served model answers rows, and its answers are judged as those of a local one are."""

from typing import Any

from ..data.rows.row import Message, Row
from ..data.showing import Showing, shown_by
from ..run.progress import Progress
from ..teachers.served.batch import run_bounded, run_until_stopped
from ..teachers.served.chat_messages import ChatAnswer
from ..teachers.served.client import TeacherClient
from ..teachers.served.failures import RequestRefused
from .scorer import Scorer
from .scores import Answer, judge, require_checks

STOPPED = "stopped while evaluating; the same command does it again"


def served_answers(
    client: TeacherClient,
    rows: list[Row],
    title: str,
    *,
    max_tokens: int,
    enable_thinking: bool = False,
    showing: Showing | None = None,
    scorer: Scorer | None = None,
) -> list[Answer]:
    """Greedy answers in row order, judged without their thinking. Their likelihood is not known.

    Args:
        client: Not used before, nor after; it retries, waits and bounds the requests in flight.
        title: What the rows are, for people.
        max_tokens: Of an answer.
        showing: Shows each row's context, or else its golden response, in its prompt; None asks plainly.
        scorer: The user's verifier.

    Raises:
        TeacherError: the server is gone, doesn't serve the model, or refuses a row's prompt.
        UsageError: a row's check means nothing, a row can't be shown in this way, or the scorer fails.
        Stopped: SIGINT or SIGTERM.
    """
    require_checks(rows)
    prompts = [row.prompt if showing is None else shown_by(showing, row) for row in rows]
    sampling = {"max_tokens": max_tokens, "temperature": 0.0, "seed": 0, "enable_thinking": enable_thinking}
    said = run_until_stopped(_ask_all(client, rows, prompts, f"eval {title}", sampling), STOPPED)
    of_title = scorer.of(title) if scorer else None
    return [_judged(row, said[number], of_title) for number, row in enumerate(rows)]


async def _ask_all(
    client: TeacherClient, rows: list[Row], prompts: list[list[Message]], what: str, sampling: dict[str, Any]
) -> dict[int, ChatAnswer]:
    said: dict[int, ChatAnswer] = {}
    async with client:
        with Progress(len(rows), what) as progress:

            async def ask(number: int) -> None:
                try:
                    said[number] = await client.chat(prompts[number], rows[number].tools, **sampling)
                except RequestRefused as refusal:
                    raise RequestRefused(f"row {rows[number].id}: {refusal}", refusal.status) from refusal
                progress.advance()

            await run_bounded(ask, range(len(rows)), lambda: client.pace.limit)
    return said


def _judged(row: Row, said: ChatAnswer, scorer: Scorer | None) -> Answer:
    ended = not (said.is_cut or said.is_withheld)
    return judge(row, said.with_calls.strip(), said.completion_tokens or None, ended, None, scorer=scorer)
