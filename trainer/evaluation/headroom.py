"""Is there anything to learn, and who can teach it? `check --headroom` measures; `objective` follows.

Each of some evaluation rows is answered by the student and by whoever would teach it, shown what the teacher of each
objective is shown in training: `sdft` learns from the student shown the row's demonstration, `served` and `seqkd` from
the served teacher shown it.

A demonstration of the very row holds the answer, and a student that only copies is lifted by it too. That is signal all
the same: it is what training shows, and the copied answer is learnt. So the verdict rests on it. But where other rows
of the same tools or skill are there, one of theirs is shown as well: if that lifts the student too, the student
understands the demonstration, and a rule can be learnt from it; if not, answers alone.

Demonstrations are the golden responses, also where `train` would have the served teacher write them.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from copy import copy
from functools import partial
from typing import Any

import torch

from trainer.data.dataset import Reading, drawn, load_eval_rows
from trainer.data.prompts import PromptEncoder
from trainer.data.rows import Row
from trainer.evaluation.judge import Judge
from trainer.evaluation.scores import Answer, as_json, groups_of, summarize
from trainer.evaluation.served import served_answers
from trainer.evaluation.verdicts import (
    SHOWN,
    SHOWN_ANOTHER,
    STUDENT,
    TEACHER,
    TEACHER_SHOWN,
    Decision,
    Right,
    decide,
    told,
)
from trainer.models.student import context_window, encoder_for, load_student, load_tokenizer
from trainer.run.atomic import json_text, require_output_file, write_output_file
from trainer.settings.options import Check, Train
from trainer.teachers.preflight import client_for
from trainer.teachers.served.batch import run_until_stopped
from trainer.teachers.served.failures import RequestRefused
from trainer.teachers.served.identity import Unfit, compare_tokenizers
from trainer.training.callbacks import StopOnSignal


def check(settings: Check) -> None:
    """Measure on `--headroom` rows, print what was found, and write it to `--output_file` where given.

    Raises:
        UsageError, TeacherError: see `trainer.errors`.
        Stopped: SIGINT or SIGTERM.
    """
    if settings.output_file is not None:
        require_output_file(settings.output_file)
    pool = load_eval_rows(settings.eval_data_path, reading=Reading.of(settings))
    tokenizer, window = load_tokenizer(settings), context_window(settings)
    encoder = encoder_for(settings, tokenizer, window, settings.teacher_prompt_template)
    pool = encoder.require(
        pool,
        settings.eval_data_path,
        skip_bad_rows=settings.skip_bad_rows,
        shows_own=True,
    )
    found = measure(settings, encoder, pool, settings.headroom or 0, settings.per_device_eval_batch_size)
    decision = decide(rights(found), route_of(settings, encoder, "sampled", force_bytes=False))
    print(told(rights(found), decision, model=settings.model_name_or_path, data=settings.eval_data_path))
    if settings.output_file is not None:
        record = as_record(settings, settings.eval_data_path, found, decision)
        write_output_file(settings.output_file, json_text(record))


def measure(
    settings: Check | Train, encoder: PromptEncoder, pool: Sequence[Row], count: int, batch_size: int
) -> dict[str, dict[int, Answer]]:
    """Answers to at most `count` rows of `pool` by who gave them, by the row's number; see `LINES` and `drawn`.

    Raises:
        TeacherError: the served teacher is gone, or refuses a row's prompt.
        UsageError: a row's check means nothing; no student there.
        Stopped: SIGINT or SIGTERM.
    """
    numbers = drawn(range(len(pool)), count)
    rows, another = [pool[n] for n in numbers], of_another_row(pool, numbers, encoder)
    roomy = copy(encoder)
    roomy.max_prompt_length = encoder.context_room
    model: Any = load_student(settings)
    model.to("cuda" if torch.cuda.is_available() else "cpu")
    with StopOnSignal() as stop:
        ask = partial(Judge, batch_size=batch_size, should_stop=lambda: stop.requested)
        found = {STUDENT: ask(encoder).answers(model, rows, STUDENT)}
        found[SHOWN] = ask(encoder, with_demonstration=True).answers(model, rows, SHOWN)
        others = ask(roomy).answers(model, list(another.values()), SHOWN_ANOTHER) if another else []
    if settings.vllm_server_base_url:
        texts = {"max_tokens": settings.max_completion_length, "enable_thinking": settings.enable_thinking}
        for title, template in ((TEACHER, None), (TEACHER_SHOWN, settings.teacher_prompt_template)):
            shown = {"template": template, "show_context": settings.show_context}
            found[title] = served_answers(client_for(settings), rows, title, **texts, **shown)
    numbered = {title: dict(zip(numbers, answers, strict=True)) for title, answers in found.items()}
    return numbered | ({SHOWN_ANOTHER: dict(zip(another, others, strict=True))} if another else {})


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
        other = next((text for text in map(encoder.shown_text, alike) if text != own), None)
        if other is not None:
            found[number] = dataclasses.replace(row, prompt=encoder.shown(row, other))
    return found


def route_of(settings: Check | Train, encoder: PromptEncoder, byte_route: str, *, force_bytes: bool) -> str | None:
    """How the served teacher would score: `token` or `byte_route`; None where there is none, or it can't."""
    if not settings.vllm_server_base_url:
        return None

    async def ask() -> str | None:
        async with client_for(settings) as client:
            try:
                await client.max_logprobs()
                compared = await compare_tokenizers(client, encoder.tokenizer, force_bytes=force_bytes)
            except (RequestRefused, Unfit):
                return None
            return compared.route if compared.route == "token" else byte_route

    return run_until_stopped(ask(), "stopped before the teacher's tokenizer was known.")


def rights(found: Mapping[str, Mapping[int, Answer]]) -> dict[str, Right]:
    """Which answers are right."""
    return {title: {number: answer.right for number, answer in some.items()} for title, some in found.items()}


def as_record(
    settings: Check | Train, data: str, found: Mapping[str, Mapping[int, Answer]], decision: Decision
) -> dict[str, Any]:
    """What was measured and what follows, as files keep it; `scores` and `answers` as those of `eval`."""
    answers = {title: [*some.values()] for title, some in found.items()}
    served = {"served": settings.vllm_server_base_url, "teacher": settings.vllm_server_model}
    return {
        "data": data,
        "model": settings.model_name_or_path,
        **(served if TEACHER in found else {}),
        "recommended": decision.objective,
        "reason": decision.reason,
        "verdicts": [dataclasses.asdict(verdict) for verdict in decision.verdicts],
        **as_json({title: summarize(some) for title, some in answers.items()}, answers),
    }
