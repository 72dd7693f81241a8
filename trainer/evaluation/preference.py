"""A served model says which of two answers is better, for rows where only a reference text says what a good one is.

It reads the question, the golden response and the answer, the two in an order drawn for each row. Whether it can tell
at all is measured beside it: of a golden response and that of another row it should prefer the row's own.
"""

import random
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ..data.rows.row import Message, Row
from ..run.progress import Progress
from ..settings.options import Eval
from ..teachers.preflight import identify
from ..teachers.served.batch import run_bounded, run_until_stopped
from ..teachers.served.client import TeacherClient
from .choices import letter_of
from .intervals import wilson
from .scores import Answer

BETTER, EQUAL, WORSE, UNREAD = "better", "as good", "worse", "unread"
NAMED = re.compile(r"(?:\b(?i:answer|verdict|winner|better)\b|[:\"'])[\s\W]*([ABC])\b(?!['’])")
CONTROLS = 32  # rows whose golden response is compared with another row's
STOPPED = "stopped while the judge compared answers; the same command does it again"
QUESTION = (
    "Two answers were given to the same conversation.\n\n{conversation}\n\n"
    "[Answer A]\n{first}\n[End of answer A]\n\n[Answer B]\n{second}\n[End of answer B]\n\n"
    "Which answer is the better one? Judge what is said, not how long it is or which one stands first. Reply with one "
    "letter and nothing else: A, B, or C if both are as good."
)


@dataclass(frozen=True)
class Pair:
    """Two answers to one prompt: the one that is judged, and the one that it is judged by."""

    row: Row
    answer: str
    reference: str


@dataclass(frozen=True)
class Preferences:
    """What the judge said.

    Attributes:
        verdicts: Of each row's answer beside its golden response, by the row's id.
        controls: Of golden responses beside those of other rows.
    """

    verdicts: dict[str, str]
    controls: list[str]

    @property
    def counts(self) -> Counter[str]:
        return Counter(self.verdicts.values())

    @property
    def agreement(self) -> tuple[int, int]:
        """How often the judge preferred the golden response, of so many times that it was asked."""
        return self.controls.count(BETTER), len(self.controls)

    def as_json(self) -> dict[str, Any]:
        counts, (agreed, asked) = self.counts, self.agreement
        numbers = {name.replace(" ", "_"): counts[name] for name in (BETTER, EQUAL, WORSE, UNREAD)}
        return numbers | {"agreement": {"right": agreed, "rows": asked}, "verdicts": self.verdicts}


def require_judge(settings: Eval) -> None:
    """Raise TeacherError where the judge that `--judge` names can't be asked."""

    async def ask() -> None:
        async with _client(settings) as client:
            await identify(client)

    run_until_stopped(ask(), STOPPED)


def preferences(
    settings: Eval, rows: Mapping[str, list[Row]], answers: Mapping[str, Sequence[Answer]]
) -> dict[str, Preferences]:
    """What the judge says of the answers that nothing else judges, by what they measure; the rest is left out.

    Raises:
        TeacherError: the judge is gone.
        Stopped: SIGINT or SIGTERM.
    """
    found = {}
    for title, some in rows.items():
        pairs = open_pairs(some, answers[title])
        if pairs:
            controls = control_pairs([pair.row for pair in pairs])
            verdicts = run_until_stopped(_compare(_client(settings), [*pairs, *controls], title, settings), STOPPED)
            by_row = {pair.row.id: verdict for pair, verdict in zip(pairs, verdicts, strict=False)}
            found[title] = Preferences(by_row, verdicts[len(pairs) :])
    return found


def open_pairs(rows: Sequence[Row], answers: Sequence[Answer]) -> list[Pair]:
    """The answers that neither a program nor a golden answer judges, each with its row's golden response."""
    return [
        Pair(row, answer.text, row.golden_response)
        for row, answer in zip(rows, answers, strict=True)
        if answer.right is None and row.golden_response
    ]


def control_pairs(rows: Sequence[Row]) -> list[Pair]:
    """Golden responses, each beside that of another row, which does not answer the question."""
    pairs = [Pair(row, row.golden_response or "", rows[n - 1].golden_response or "") for n, row in enumerate(rows)]
    return [pair for pair in pairs if pair.answer != pair.reference][:CONTROLS]


async def _compare(client: TeacherClient, pairs: Sequence[Pair], title: str, settings: Eval) -> list[str]:
    verdicts: dict[int, str] = {}
    async with client:
        with Progress(len(pairs), f"judge {title}") as progress:

            async def ask(number: int) -> None:
                said = await client.chat(
                    messages(pairs[number]), max_tokens=settings.max_completion_length, temperature=0.0, seed=0
                )
                verdicts[number] = verdict(pairs[number], said.text)
                progress.advance()

            await run_bounded(ask, range(len(pairs)), lambda: client.pace.limit)
    return [verdicts[number] for number in range(len(pairs))]


def messages(pair: Pair) -> list[Message]:
    """What the judge is asked."""
    conversation = "\n\n".join(f"[{message['role']}]\n{message.get('content') or ''}" for message in pair.row.prompt)
    first, second = (pair.answer, pair.reference) if answer_is_first(pair) else (pair.reference, pair.answer)
    asked = QUESTION.format(conversation=conversation, first=first, second=second)
    return [{"role": "user", "content": asked}]


def answer_is_first(pair: Pair) -> bool:
    """By a coin thrown for the row and the text, always the same; half of all answers stand first."""
    return random.Random(f"{pair.row.id}\n{pair.answer}").random() < 0.5


def verdict(pair: Pair, said: str) -> str:
    """What the judge's reply says of the answer."""
    letter = letter_of(said) or _only_named(said)
    if letter == "C":
        return EQUAL
    if letter not in ("A", "B"):
        return UNREAD
    return BETTER if (letter == "A") == answer_is_first(pair) else WORSE


def as_json(found: Mapping[str, Preferences], settings: Eval) -> dict[str, Any]:
    """What the judge said, as files keep it."""
    model = settings.judge_model or settings.vllm_server_model
    return {"model": model, **{title: some.as_json() for title, some in found.items()}}


def _only_named(said: str) -> str | None:
    """The one letter that a reply names as an answer or a verdict; None where it names none or several."""
    named = {match[1] for match in NAMED.finditer(said)}
    return named.pop() if len(named) == 1 else None


def told(found: Mapping[str, Preferences], settings: Eval) -> str:
    """The judge's verdicts for people, and how far they can be relied on."""
    if not found:
        return "judge: not asked, for no row has a golden response and nothing else that says what is right"
    return "\n".join(line for title, some in found.items() for line in _lines(title, some, settings))


def _lines(title: str, found: Preferences, settings: Eval) -> list[str]:
    counts = found.counts
    good, read = counts[BETTER] + counts[EQUAL], len(found.verdicts) - counts[UNREAD]
    unread = f", {counts[UNREAD]} that can't be read" if counts[UNREAD] else ""
    judge = settings.judge_model or settings.vllm_server_model
    lines = [
        f"{title} judged by {judge}: {_share(good, read)} of the answers are as good as the golden "
        f"response or better ({counts[BETTER]} better, {counts[EQUAL]} as good, "
        f"{counts[WORSE]} worse{unread})"
    ]
    agreed, asked = found.agreement
    if not asked:
        return [*lines, "    how far to rely on that is not known: no other row has another golden response"]
    lines.append(f"    of a golden response and another row's it preferred the right one in {_share(agreed, asked)}")
    if wilson(agreed / asked, asked).low <= 0.5:
        lines.append(
            "    warning: that may be chance, so its verdicts say nothing; take a stronger judge, or more rows"
        )
    return lines


def _share(count: int, of: int) -> str:
    if not of:
        return "0 of 0"
    interval = wilson(count / of, of)
    bounds = f"{100 * interval.low:.1f} to {100 * interval.high:.1f}"
    return f"{count} of {of}, {count / of:.1%} (95 % interval {bounds})"


def _client(settings: Eval) -> TeacherClient:
    assert settings.judge is not None
    return TeacherClient(
        settings.judge,
        settings.judge_model or settings.vllm_server_model,
        api_key=settings.judge_api_key,
        max_concurrency=settings.vllm_server_max_concurrency,
        patience=settings.teacher_patience,
    )
