"""Is there anything to learn, and who can teach it? `check --headroom` measures; `objective` follows.

Each of some evaluation rows is answered by the student and by whoever would teach it, shown what the teacher of each
objective is shown in training: `sdft` learns from the student shown the row's demonstration, `served` and `seqkd` from
the served teacher shown it.

A demonstration of the very row holds the answer, and a student that only copies is lifted by it too. That is signal all
the same: it is what training shows, and the copied answer is learnt. So the verdict rests on it. But where other rows
of the same tools or skill are there, one of theirs is shown as well: if that lifts the student too, the student
understands the demonstration, and a rule can be learnt from it; if not, answers alone.

Demonstrations are the golden responses, also where `train` would have the served teacher write them.

Where nothing says which answers are right, texts are compared, see `trainer.evaluation.text_verdicts`.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from copy import copy
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch

from .. import COMMAND
from ..data.dataset import Reading, drawn, load_eval_rows
from ..data.groups import groups_of
from ..data.privileged import require_shown
from ..data.prompts import PromptEncoder
from ..data.rows.row import BadRow, Message, Row
from ..errors import UsageError
from ..models.loading import load_student
from ..models.student import context_window, encoder_for, load_tokenizer
from ..run.atomic import json_text, require_output_file, write_output_file
from ..settings.options import Check, Train
from ..teachers.preflight import client_for
from ..teachers.served.batch import run_until_stopped
from ..teachers.served.failures import ServerRefused
from ..teachers.served.identity import Unfit, compare_tokenizers
from ..training.callbacks import StopOnSignal
from . import text_verdicts
from .judge import Judge
from .scorer import load_scorer
from .scores import Answer, Scores, as_json, summarize
from .served import served_answers
from .verdicts import (
    SHOWN,
    SHOWN_ANOTHER,
    STUDENT,
    TEACHER,
    TEACHER_SHOWN,
    Decision,
    Right,
    Verdict,
    decide,
    told,
)
from .ways import best_way, told_ways, ways_to_show


@dataclass(frozen=True)
class HeadroomResult:
    """What there is to learn, and from whom.

    Attributes:
        scores: By who answered: the student, shown or not, and the served teacher where there is one.
        shown: The shown student's, by the way its demonstration was shown.
        show_context: The way that lifts the student most.
        objective: The recommended one; None where nothing that was measured has a signal.
        reason: Why, in a sentence.
        verdicts: Whether each objective can work.
    """

    scores: dict[str, Scores]
    shown: dict[str, Scores]
    show_context: str
    objective: str | None
    reason: str
    verdicts: tuple[Verdict, ...]


def measured(settings: Check) -> HeadroomResult:
    """Measure on `--headroom` rows, print what was found, and write it to `--output_file` where given.

    Raises:
        UsageError, TeacherError: see `trainer.errors`.
        Stopped: SIGINT or SIGTERM.
    """
    if settings.output_file is not None:
        require_output_file(settings.output_file)
    window, tokenizer = context_window(settings), load_tokenizer(settings)
    pool = load_eval_rows(settings.eval_data_path, reading=Reading.of(settings))
    require_something_to_show(pool, settings.eval_data_path)  # told before what any one row is too long for
    encoder = encoder_for(settings, tokenizer, window)
    pool, ways = ways_to_show(settings, encoder, pool, settings.eval_data_path)
    found = measure(settings, ways, pool, settings.headroom or 0, settings.per_device_eval_batch_size)
    decision = decided(found.answers, route_of(settings, encoder, "sampled", force_bytes=False))
    if settings.output_file is not None:  # saved before it is printed: a terminal may fail
        record = as_record(settings, settings.eval_data_path, found, decision)
        write_output_file(settings.output_file, json_text(record))
    print(told_of(found, decision, model=settings.model_name_or_path, data=settings.eval_data_path))
    scores, shown = (
        {title: summarize([*some.values()]) for title, some in answers.items()}
        for answers in (found.answers, found.shown)
    )
    return HeadroomResult(scores, shown, found.way, decision.objective, decision.reason, decision.verdicts)


@dataclass(frozen=True)
class Headroom:
    """What was measured.

    Attributes:
        answers: By who gave them, see `LINES`, and by the row's number; those shown were shown in the best `way`.
        shown: The shown student's, by the way.
    """

    answers: dict[str, dict[int, Answer]]
    shown: dict[str, dict[int, Answer]]
    way: str


def measure(
    settings: Check | Train, ways: dict[str, PromptEncoder], pool: Sequence[Row], count: int, batch_size: int
) -> Headroom:
    """The answers to at most `count` rows of `pool`, see `drawn`.

    Args:
        ways: An encoder for each way to show.

    Raises:
        TeacherError: the served teacher is gone, or refuses a row's prompt.
        UsageError: a row's check means nothing; no row has a demonstration; the scorer fails; no student there.
        Stopped: SIGINT or SIGTERM.
    """
    numbers = drawn(with_something_to_show(pool, settings.eval_data_path), count)
    rows, encoder = [pool[n] for n in numbers], next(iter(ways.values()))
    scorer = load_scorer(settings.scorer)
    model: Any = load_student(settings)
    model.to("cuda" if torch.cuda.is_available() else "cpu")
    with StopOnSignal() as stop:
        ask = partial(Judge, batch_size=batch_size, should_stop=lambda: stop.requested, scorer=scorer)
        found = {STUDENT: ask(encoder).answers(model, rows, STUDENT)}
        shown = {}
        for way, its in ways.items():
            title = SHOWN if len(ways) == 1 else f"{SHOWN} ({way})"
            answers = ask(its, with_demonstration=True).answers(model, rows, title)
            shown[way] = dict(zip(numbers, answers, strict=True))
        best = best_way(shown)
        another = of_another_row(pool, numbers, ways[best])
        roomy = copy(ways[best])
        roomy.max_prompt_length = encoder.context_room
        others = ask(roomy).answers(model, list(another.values()), SHOWN_ANOTHER) if another else []
    if settings.vllm_server_base_url:
        texts = {"max_tokens": settings.max_completion_length, "enable_thinking": settings.enable_thinking}
        for title, showing in ((TEACHER, None), (TEACHER_SHOWN, ways[best].showing)):
            found[title] = served_answers(client_for(settings), rows, title, **texts, showing=showing, scorer=scorer)
    numbered = {title: dict(zip(numbers, answers, strict=True)) for title, answers in found.items()}
    more = {SHOWN_ANOTHER: dict(zip(another, others, strict=True))} if another else {}
    return Headroom(numbered | {SHOWN: shown[best]} | more, shown, best)


def require_something_to_show(pool: Sequence[Row], path: str | None) -> None:
    """Raise UsageError where no row has a demonstration or a context."""
    if not any(map(_has_something_to_show, pool)):
        raise UsageError(
            f"no row of {path} has a golden_response or a privileged_context, and headroom shows it to the teacher of "
            f"each objective. Add them, pass --context FILE, or measure the model alone: `{COMMAND} eval`."
        )


def _has_something_to_show(row: Row) -> bool:
    try:
        require_shown(row)
    except BadRow:
        return False
    return True


def with_something_to_show(pool: Sequence[Row], path: str | None) -> list[int]:
    """The numbers of the rows that have a demonstration or a context to show.

    Raises:
        UsageError: none has.
    """
    require_something_to_show(pool, path)
    numbers = [n for n, row in enumerate(pool) if _has_something_to_show(row)]
    if len(numbers) < len(pool):
        print(f"{path}: {len(pool) - len(numbers)} of {len(pool)} rows have nothing to show and are left out")
    return numbers


def of_another_row(pool: Sequence[Row], numbers: Sequence[int], encoder: PromptEncoder) -> dict[int, Row]:
    """Rows that ask what those of `numbers` do, shown the demonstration of another row, by number.

    The other row is the next one in the file of the same tools, or the same skill, whose demonstration differs; rows
    without such a neighbour are left out.
    """
    kinds = [groups_of(row) for row in pool]
    found = {}
    for number in numbers:
        row, neighbours = pool[number], [*range(number + 1, len(pool)), *range(number)]
        alike = (pool[n] for n in neighbours if kinds[number] and kinds[n] == kinds[number])
        own = encoder.shown_text(row)
        other = next((some for some in alike if encoder.shown_text(some) not in (own, None)), None)
        if other is not None:
            found[number] = dataclasses.replace(row, prompt=_shown_with(encoder, row, other))
    return found


def _shown_with(encoder: PromptEncoder, row: Row, other: Row) -> list[Message]:
    """The row's prompt shown with what another row has to show; as turns with that row's own question."""
    if encoder.showing.how == "turns" and other.privileged_context is None:
        return encoder.shown(dataclasses.replace(row, privileged_context=None, examples=(other,)), "")
    seen = dataclasses.replace(row, privileged_context=other.privileged_context, golden_calls=None)
    return encoder.shown(seen, encoder.shown_text(other) or "")


def route_of(settings: Check | Train, encoder: PromptEncoder, byte_route: str, *, force_bytes: bool) -> str | None:
    """How the served teacher would score: `token` or `byte_route`; None where there is none, or it can't."""
    if not settings.vllm_server_base_url:
        return None

    async def ask() -> str | None:
        async with client_for(settings) as client:
            try:
                await client.max_logprobs()
                compared = await compare_tokenizers(client, encoder.tokenizer, force_bytes=force_bytes)
            except (ServerRefused, Unfit):
                return None
            return compared.route if compared.route == "token" else byte_route

    return run_until_stopped(ask(), "stopped before the teacher's tokenizer was known.")


def rights(found: Mapping[str, Mapping[int, Answer]]) -> dict[str, Right]:
    """Which answers are right, of rows that are right or wrong; no titles where none is."""
    known = {
        title: {number: answer.right for number, answer in some.items() if answer.right is not None}
        for title, some in found.items()
    }
    return {title: right for title, right in known.items() if right}


def decided(
    found: Mapping[str, Mapping[int, Answer]],
    route: str | None,
    *,
    alpha: float = 0.0,
    teacher_is_shown: bool = True,
) -> Decision:
    """What follows for each objective: from which answers are right, or from texts where nothing says that."""
    if right := rights(found):
        return decide(right, route, alpha=alpha, teacher_is_shown=teacher_is_shown)
    return text_verdicts.decide(found, route, teacher_is_shown=teacher_is_shown)


def told_of(found: Headroom, decision: Decision, *, model: str, data: str) -> str:
    """Everything for people, in the measure that was used."""
    right = rights(found.answers)
    what = told(right, decision, model=model, data=data) if right else None
    what = what or text_verdicts.told(found.answers, decision, model=model, data=data)
    return "\n".join([what, *told_ways(found.shown, found.way)])


def as_record(settings: Check | Train, data: str, found: Headroom, decision: Decision) -> dict[str, Any]:
    """What was measured and what follows, as files keep it; `scores` and `answers` as those of `eval`."""
    answers = {title: [*some.values()] for title, some in found.answers.items()}
    ways = {way: summarize([*some.values()]) for way, some in found.shown.items()}
    served = {"served": settings.vllm_server_base_url, "teacher": settings.vllm_server_model}
    return {
        "data": data,
        "model": settings.model_name_or_path,
        **(served if TEACHER in answers else {}),
        "measure": "accuracy" if rights(found.answers) else text_verdicts.MEASURES,
        "show_context": found.way,
        "shown_as": as_json(ways, {})["scores"],
        "recommended": decision.objective,
        "reason": decision.reason,
        "verdicts": [dataclasses.asdict(verdict) for verdict in decision.verdicts],
        **as_json({title: summarize(some) for title, some in answers.items()}, answers),
    }
