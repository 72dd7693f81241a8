"""`generate`: train and eval data in the data format, written by the served teacher as a recipe says."""

import dataclasses
import gc
import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..data.dataset import Reading
from ..errors import TeacherError, UsageError
from ..generation.card import rejections, report
from ..generation.checks import CALL_RULES
from ..generation.factory import Factory
from ..generation.files import JOURNAL, REJECTED, claim_folder, data_files, write_files
from ..generation.prompts import Commissions, Draft, given
from ..generation.recipe import Recipe, load_recipe
from ..generation.tools import Tool, load_tools
from ..run.journal import Journal
from ..run.progress import Progress
from ..settings.options import Generate
from ..settings.resolve import Resolved, made_by_program
from ..teachers.served.batch import run_until_stopped
from ..teachers.served.chat_messages import SILENT

NEW_OBJECTS = 100_000  # among which garbage is looked for


def run(resolved: Resolved) -> int:
    """Entry of `generate`; 0 when both files hold as many rows as asked."""
    generate(resolved.settings)
    return 0


@dataclass(frozen=True)
class GenerateResult:
    """Data that the teacher wrote.

    Attributes:
        train_data, eval_data: The files.
        report: What `generation_report.json` holds: rows, rejections by rule, requests, tokens, seconds.
    """

    train_data: Path
    eval_data: Path
    report: dict[str, Any]


def generate(settings: Generate) -> GenerateResult:
    """Do what the command `generate` does.

    Raises:
        UsageError: a bad recipe, bad or too few prompts, a folder that isn't ours or isn't writable.
        TeacherError: the teacher is gone or unfit, or too few candidates were good (the good ones are written).
        Stopped: SIGINT or SIGTERM; finished rows are in the journal.
    """
    settings = made_by_program(Generate, settings).settings
    recipe = load_recipe(settings.recipe or ("qa" if settings.prompts is None else "from_prompts"))
    tools = tools_of(settings, recipe)
    prompts = prompts_of(settings, recipe, tools)
    folder = claim_folder(settings)
    gc.freeze()  # what is imported need not be looked through again and again while answers come
    gc.set_threshold(NEW_OBJECTS)  # Python's 700 are a few answers
    with Journal(folder / JOURNAL, decides(settings, recipe, tools, prompts)) as journal:
        factory = Factory(settings, recipe, prompts, journal)
        work(factory, journal)
    write_files(folder, factory)
    if factory.kept:
        print(summary(factory), f"wrote {', '.join(map(str, data_files(folder, settings)))}", sep="\n")
    if len(factory.kept) < factory.wanted:
        raise TeacherError(shortage(factory))
    return GenerateResult(*data_files(folder, settings), report(factory))


def work(factory: Factory, journal: Journal) -> None:
    """Let the factory make its rows, and say how to go on where it can't."""
    kept = f"{journal.path} keeps what the teacher wrote; the same command continues."
    try:
        with Progress(factory.wanted, "generate") as progress:
            run_until_stopped(factory.run(progress), f"stopped; {kept}")
    except TeacherError as error:
        paid = factory.spent.requests or factory.earlier.requests
        raise TeacherError(f"{error} {kept if paid else ''}".strip()) from error


def tools_of(settings: Generate, recipe: Recipe) -> list[Tool]:
    """The recipe's tools.

    Raises:
        UsageError: no or bad tools, or `--tools` with a recipe that has no place for them.
    """
    if recipe.tools is None:
        if settings.tools is not None:
            raise UsageError(f"--tools {settings.tools}: the recipe {recipe.name} has no tools. Pass --recipe tooluse.")
        return []
    return load_tools(settings.tools or recipe.tools)


def prompts_of(settings: Generate, recipe: Recipe, tools: Sequence[Tool]) -> Commissions | list[Draft]:
    """The given prompts; else those that the teacher is to write.

    Raises:
        UsageError: bad data, fewer prompts than rows asked for, or neither prompts nor a recipe that makes some.
    """
    if settings.prompts is None:
        if recipe.request is None:
            raise UsageError(f"the recipe {recipe.name} makes no prompts. Pass --prompts FILE, or --recipe qa.")
        return Commissions(recipe, tools, settings.seed)
    if settings.reject_near_duplicates and recipe.near_duplicates is None:
        raise UsageError(
            f"--reject_near_duplicates: the recipe {recipe.name} doesn't say from which similarity on. Add a line "
            "`near_duplicates: 0.9` to it."
        )
    looks_at_calls = not CALL_RULES.isdisjoint(recipe.checks)
    reading = Reading(settings.columns, settings.turns, skip_bad_rows=settings.skip_bad_rows)
    different = given(settings.prompts, tools, settings.seed, reading=reading, checks_calls=looks_at_calls)
    wanted = settings.train_samples + settings.eval_samples
    if len(different) < wanted:
        raise UsageError(
            f"{settings.prompts} has {len(different)} different prompts; expected {wanted} (--train_samples "
            f"{settings.train_samples} + --eval_samples {settings.eval_samples}). Lower one of them."
        )
    return different


def decides(
    settings: Generate, recipe: Recipe, tools: Sequence[Tool], prompts: Commissions | Sequence[Draft]
) -> dict[str, Any]:
    """Everything that an answer of the teacher's depends on; not the numbers of rows, so that they can be raised."""
    given_rows = None if isinstance(prompts, Commissions) else [draft.row.to_json() for draft in prompts]
    # Answers that are in a journal since before tools were sent were given without them.
    sends_tools = not isinstance(prompts, Commissions) and any(draft.row.tools for draft in prompts)
    return {
        "recipe": _digest({**dataclasses.asdict(recipe), "name": None, "description": None, "tools": None}),
        "tools": _digest([dataclasses.asdict(tool) for tool in tools]),
        "prompts": _digest(given_rows),
        "model": settings.model,
        "seed": settings.seed,
        "max_tokens": settings.max_tokens or recipe.max_tokens,
        "temperature": recipe.temperature if settings.temperature is None else settings.temperature,
        "enable_thinking": settings.enable_thinking,
        **({"sends_tools": True} if sends_tools else {}),
    }


def _digest(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True, default=str).encode()).hexdigest()


def summary(factory: Factory) -> str:
    """One line: rows, what was rejected and why, requests, tokens, speed."""
    found = report(factory)
    now, earlier = found["this_run"], factory.earlier.requests
    return (
        f"{len(factory.kept)} rows, {len(factory.rejected)} rejected{_why(factory)}; {now['requests']} requests and "
        f"{earlier} answers from the journal, {now['prompt_tokens']} prompt and {now['completion_tokens']} completion "
        f"tokens, {now['retries']} retries, {now['rows_per_second']:.1f} rows/s, {now['seconds']:.1f} s"
    )


def _why(factory: Factory) -> str:
    reasons = ", ".join(f"{count} {rule}" for rule, count in rejections(factory).items() if count)
    return f" ({reasons})" if reasons else ""


def shortage(factory: Factory) -> str:
    """The message for too few good candidates."""
    return (
        f"{len(factory.kept)} rows were good and are written, expected {factory.wanted}; {factory.settled} candidates "
        f"are used up{_why(factory)}. {factory.refusal + ' ' if factory.refusal else ''}{REJECTED} has them with their "
        f"reasons. {_mend(factory)}"
    )


def _mend(factory: Factory) -> str:
    """What makes more candidates good, by the commonest reason to reject them, in a sentence."""
    more = "a higher --temperature" if isinstance(factory.prompts, Commissions) else "more prompts in the file"
    fewer = "or fewer --train_samples."
    counts = rejections(factory)
    rule = max(counts, key=counts.__getitem__, default="").removeprefix("request_")
    if rule == "truncated":
        return f"Try a higher --max_tokens than {factory.max_tokens}, {fewer}"
    if rule == "empty":
        return f"The teacher's answers hold no text. {SILENT}"
    if rule == "refused" and "context" in factory.refusal:
        return f"Try a smaller --max_tokens than {factory.max_tokens}, shorter prompts, {fewer}"
    if rule == "refused":
        return "Change what the server's words name, and type the same command again."
    return f"Try {more}, {fewer}"
