"""Answers that training turned from wrong to right, and from right to wrong."""

from dataclasses import dataclass
from typing import Any

from ..data.rows.row import Row
from ..errors import UsageError
from .headline import title_text
from .runs import Run


@dataclass(frozen=True)
class ChangedAnswer:
    """One row that is answered differently well. Texts are None where nothing says them any more."""

    id: str
    title: str
    prompt: str | None
    golden: str | None
    before: str
    after: str


@dataclass(frozen=True)
class Changes:
    """The changed answers of a run.

    Attributes:
        counts: By title: rows that came right, went wrong, stayed right, stayed wrong.
        better, worse: The ones to show, those first whose golden text became more (less) likely by most.
        notes: What could not be told, and why.
    """

    counts: dict[str, dict[str, int]]
    better: list[ChangedAnswer]
    worse: list[ChangedAnswer]
    notes: list[str]


def changes(run: Run, titles: list[str], limit: int) -> Changes:
    """What changed in `run`, with at most `limit` answers of each title and direction to show."""
    counts: dict[str, dict[str, int]] = {}
    better: list[ChangedAnswer] = []
    worse: list[ChangedAnswer] = []
    notes: list[str] = []
    for title in titles:
        pairs = paired_answers(run, title)
        if not pairs:
            continue
        kinds = {kind: [p for p in pairs if _kind(p) == kind] for kind in ("better", "worse", "right", "wrong")}
        counts[title_text(title)] = {kind: len(some) for kind, some in kinds.items()}
        chosen = [sorted(kinds["better"], key=_nll_rise), sorted(kinds["worse"], key=_nll_rise, reverse=True)]
        rows, note = rows_or_reason(run, title) if any(chosen) else ({}, None)
        notes += [note] if note else []
        for target, some in zip((better, worse), chosen, strict=True):
            target += [_changed(title, rows, pair) for pair in some[:limit]]
    return Changes(counts, better, worse, notes)


Pair = tuple[dict[str, Any], dict[str, Any]]


def paired_answers(run: Run, title: str) -> list[Pair]:
    """The answers before and after of each row that has both, right or wrong."""
    before, after = (run.scores[moment].get(title) for moment in ("before", "after"))
    if before is None or after is None:
        return []
    pairs = [(answer, after.answers[id]) for id, answer in before.answers.items() if id in after.answers]
    return [pair for pair in pairs if all(answer["right"] is not None for answer in pair)]


def _kind(pair: Pair) -> str:
    was, now = (bool(answer["right"]) for answer in pair)
    return ("right" if was else "better") if now else ("worse" if was else "wrong")


def _nll_rise(pair: Pair) -> float:
    return (pair[1].get("nll") or 0.0) - (pair[0].get("nll") or 0.0)


def rows_or_reason(run: Run, title: str) -> tuple[dict[str, Row], str | None]:
    """The scored rows by id, or none and why: a report must not need the data to be where it was."""
    try:
        return run.rows(title), None
    except UsageError as error:
        return {}, f"Prompts and golden answers of {title_text(title)} are not shown: {error}"


def _changed(title: str, rows: dict[str, Row], pair: Pair) -> ChangedAnswer:
    id = str(pair[0]["id"])
    row = rows.get(id)
    prompt = "\n\n".join(message["content"] for message in row.prompt) if row else None
    golden = row.golden_response if row else None
    return ChangedAnswer(id, title_text(title), prompt, golden, pair[0]["text"], pair[1]["text"])
