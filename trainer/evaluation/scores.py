"""Whether an answer is right, and what the answers to a set of rows come to.

A row with a golden answer is right when the actions and all their inputs are, one with a `check`
(`trainer.evaluation.verify`) when it passes; `--scorer` (`trainer.evaluation.scorer`) decides before both. A row with
nothing but a golden response can be answered well in other words, so exact text is not accuracy: whether its answer is
right is not known, and its similarity to the golden response is told instead.
"""

import dataclasses
import textwrap
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from ..data.actions.answers import golden_actions, parse_actions, same_inputs, same_sequence
from ..data.groups import golden_of, groups_of, has_check
from ..data.rows.row import BadRow, Row
from ..errors import UsageError
from .scorer import Scorer
from .similarity import MEASURE, similarity
from .verify import passes, require_known

MOST_SHOWN = 12  # groups in a line of the table
WIDTH = 118
NO_BREAK = "\N{NO-BREAK SPACE}"


@dataclass(frozen=True)
class Answer:
    """One row's answer and how it was judged; None where that can't be known.

    Attributes:
        tokens: Of the answer, its end included; None where a server doesn't say.
        ended: Whether it ended by itself, before the length limit.
        right: None where only a reference text says what is right.
        right_sequence, right_inputs: None without a golden answer.
        similarity: To the golden response, from 0 to 1 (`trainer.evaluation.similarity`); None where something decides
            what is right, or there is no such text.
        nll: Negative log-likelihood of the golden response, in nats a token; None for a served model.
        format_error: Whether no action can be read where some are expected; None where none are.
        groups: What the row belongs to, e.g. `{"tool": ["a", "b"], "steps": ["2"]}`.
    """

    id: str
    text: str
    tokens: int | None
    ended: bool
    right: bool | None
    right_sequence: bool | None
    right_inputs: bool | None
    same_text: bool
    nll: float | None
    format_error: bool | None = None
    groups: dict[str, list[str]] = field(default_factory=dict)
    similarity: float | None = None


@dataclass(frozen=True)
class Group:
    """Rows that have something in common, and are right or wrong."""

    rows: int
    accuracy: float


@dataclass(frozen=True)
class Scores:
    """Means over rows; None where nothing was measured.

    Attributes:
        rows: Number of rows.
        accuracy: Fraction of right rows, of those that are right or wrong; None where no row is.
        action_sequence: Fraction with the golden actions in order; None without golden answers.
        action_inputs: Fraction whose inputs all agree; None without golden answers.
        format_errors: Fraction of answers without any action where actions are expected; None where none are.
        same_text: Fraction whose text is the golden text.
        nll: Negative log-likelihood of the golden response and its end of turn, in nats a token, mean over rows.
        mean_length: Tokens of an answer.
        cut_off: Fraction of answers that met the length limit.
        by: Rows and accuracy by kind of group and group.
        similarity: Of answers to golden responses, where nothing else says what is right, from 0 to 1, mean over rows.
        judged: Number of rows that are right or wrong.
    """

    rows: int
    accuracy: float | None
    action_sequence: float | None
    action_inputs: float | None
    format_errors: float | None
    same_text: float
    nll: float | None
    mean_length: float | None
    cut_off: float
    by: dict[str, dict[str, Group]] = field(default_factory=dict)
    similarity: float | None = None
    judged: int = 0


def require_checks(rows: list[Row]) -> None:
    """Raise UsageError for the first row with a check that means nothing."""
    for row in filter(has_check, rows):
        try:
            require_known(row.extra["check"])
        except BadRow as error:
            raise UsageError(f"row {row.id}: {error}") from error


def demonstration_of(row: Row) -> str:
    """The golden response, which is to be shown.

    Raises:
        UsageError: the row has none.
    """
    if row.golden_response is None:
        raise UsageError(
            f"row {row.id} has no golden_response to show. Leave --with_demonstration out, or add golden responses."
        )
    return row.golden_response


def judge(
    row: Row,
    text: str,
    tokens: int | None,
    ended: bool,
    nll: float | None,
    *,
    scorer: Scorer | None = None,
    marked: str | None = None,
) -> Answer:
    """How right `text` is as the answer of `row`.

    Args:
        scorer: The user's verifier.
        marked: The answer with its special tokens, by which some models mark their calls; read where `text` has none.

    Raises:
        UsageError: the scorer fails.
    """
    golden = golden_of(row)
    found = None if golden is None else parse_actions(text, row.tools) or parse_actions(marked or "", row.tools)
    sequence = None if golden is None or found is None else same_sequence(found, golden)
    inputs = None if golden is None or found is None else same_inputs(found, golden)
    right = _is_right(row, text, sequence and inputs, scorer)
    reference = (row.golden_response or "").strip()
    return Answer(
        row.id,
        text,
        tokens,
        ended,
        right,
        sequence,
        inputs,
        text == reference,
        nll,
        format_error=not found if golden else None,
        groups=groups_of(row),
        similarity=similarity(text, reference) if right is None and reference else None,
    )


def _is_right(row: Row, text: str, as_golden: bool | None, scorer: Scorer | None) -> bool | None:
    says_itself = as_golden is not None or has_check(row)
    if scorer is not None and not (scorer.only_where_needed and says_itself):
        return scorer.says_right(row, text)
    if as_golden is not None:
        return as_golden
    return passes(row.extra["check"], text) if has_check(row) else None


def mark_seen(answers: Iterable[Answer], training_rows: Iterable[Row]) -> list[Answer]:
    """The answers with a group more, `tools`: unseen where a row needs any tool that no golden training answer has.

    Without a golden training answer nothing tells what was seen, and there is no such group.
    """
    seen = {action.name for row in training_rows for action in golden_actions(row.golden_answer or [])}
    if not seen:
        return [*answers]
    return [
        dataclasses.replace(a, groups=a.groups | {"tools": ["seen" if seen.issuperset(a.groups["tool"]) else "unseen"]})
        if "tool" in a.groups
        else a
        for a in answers
    ]


def summarize(answers: Sequence[Answer]) -> Scores:
    """Means over the answers."""
    return Scores(
        rows=len(answers),
        accuracy=_mean_of_known(a.right for a in answers),
        action_sequence=_mean_of_known(a.right_sequence for a in answers),
        action_inputs=_mean_of_known(a.right_inputs for a in answers),
        format_errors=_mean_of_known(a.format_error for a in answers),
        same_text=_mean(a.same_text for a in answers),
        nll=_mean_of_known(a.nll for a in answers),
        mean_length=_mean_of_known(a.tokens for a in answers),
        cut_off=_mean(not a.ended for a in answers),
        by=_by_group([answer for answer in answers if answer.right is not None]),
        similarity=_mean_of_known(a.similarity for a in answers),
        judged=sum(answer.right is not None for answer in answers),
    )


def _by_group(answers: Sequence[Answer]) -> dict[str, dict[str, Group]]:
    members: dict[str, dict[str, list[float]]] = {}
    for answer in answers:
        for kind, names in answer.groups.items():
            for name in names:
                members.setdefault(kind, {}).setdefault(name, []).append(float(answer.right or 0))
    return {
        kind: {name: Group(len(right), _mean(right)) for name, right in sorted(named.items())}
        for kind, named in members.items()
    }


def _mean(values: Iterable[float]) -> float:
    numbers = list(values)
    return sum(numbers) / len(numbers)


def _mean_of_known(values: Iterable[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return _mean(known) if known else None


def as_json(scores: dict[str, Scores], answers: dict[str, list[Answer]]) -> dict[str, Any]:
    """Scores and answers by what they measure, as files keep them."""
    return {
        "scores": {title: dataclasses.asdict(score) for title, score in scores.items()},
        "answers": {title: [dataclasses.asdict(answer) for answer in some] for title, some in answers.items()},
    }


def table(scores: dict[str, Scores]) -> str:
    """Scores as a small text table, and below it the accuracy of groups of rows."""
    names = [f.name for f in dataclasses.fields(Scores) if f.name not in ("by", "judged")]
    columns = [name for name in names if name != "similarity" or any(s.similarity is not None for s in scores.values())]
    lines = [f"{'':14}" + "  ".join(columns)]
    for title, score in scores.items():
        cells = [f"{_shown(column, getattr(score, column)):>{len(column)}}" for column in columns]
        lines.append(f"{title:14}" + "  ".join(cells))
    blocks = [
        _block(f"{title} by {kind}", of) for title, s in scores.items() for kind, of in s.by.items() if len(of) > 1
    ]
    notes = [f"similarity: {MEASURE} to the golden response, of rows that nothing else judges"] * (
        "similarity" in columns
    )
    return "\n".join(lines + notes + blocks)


def _block(what: str, groups: dict[str, Group]) -> str:
    """All groups in a line or two; of very many those with the lowest accuracy."""
    if len({group.accuracy for group in groups.values()}) == 1:
        return f"{what}: {next(iter(groups.values())).accuracy:.1%} in each of {len(groups)}"
    lowest = sorted(groups, key=lambda name: groups[name].accuracy)[:MOST_SHOWN]
    some = f" (the lowest {MOST_SHOWN} of {len(groups)})" if len(groups) > MOST_SHOWN else ""
    cells = [f"{name} {groups[name].accuracy:.1%} of {groups[name].rows}" for name in groups if name in lowest]
    whole = [cell.replace(" ", NO_BREAK) for cell in cells]  # a line ends between two of them
    text = textwrap.fill(f"{what}{some}: {', '.join(whole)}", WIDTH, subsequent_indent=" " * 4, break_long_words=False)
    return text.replace(NO_BREAK, " ")


def _shown(column: str, value: Any) -> str:
    if value is None:
        return "-"
    if column in ("rows", "nll", "mean_length"):
        return f"{value:g}" if column == "rows" else f"{value:.2f}"
    return f"{value:.1%}"
