"""What `generate` says of its data: a report for programs and a data card for people."""

import re
import time
from collections import Counter
from dataclasses import asdict
from typing import Any

from ..data.privileged import plain_golden
from ..data.rows.row import Row
from .checks import content_of
from .factory import Factory

EXAMPLES = 3
SHOWN_CHARACTERS = 2000  # of a prompt or a response in the card


def report(factory: Factory) -> dict[str, Any]:
    """Everything that can be counted, as it stands in generation_report.json.

    `yield` is the share of candidates that a rule let pass. `this_run` is what was asked for now, `total` that and what
    earlier runs left in the journal; seconds are of this run.
    """
    settings, seconds = factory.settings, time.monotonic() - factory.began
    rejected = rejections(factory)
    total = {key: getattr(factory.earlier, key) + value for key, value in asdict(factory.spent).items()}
    return {
        "recipe": factory.recipe.name,
        "model": settings.model,
        "engine_version": factory.identity.engine_version if factory.identity else None,
        "seed": settings.seed,
        "rows": split_sizes(factory),
        "candidates": factory.settled,
        "accepted": round(len(factory.kept) / max(factory.settled, 1), 4),
        "rejected": rejected,
        "yield": {rule: round(1 - count / max(factory.settled, 1), 4) for rule, count in rejected.items()},
        "total": total,
        "this_run": {
            **asdict(factory.spent),
            "retries": factory.client.retries,
            "new_rows": factory.new_rows,
            "seconds": round(seconds, 3),
            "rows_per_second": round(factory.new_rows / max(seconds, 1e-9), 3),
            "tokens_per_second": round(factory.spent.completion_tokens / max(seconds, 1e-9), 1),
            "highest_concurrency": factory.client.pace.highest,
        },
    }


def rejections(factory: Factory) -> dict[str, int]:
    """How many candidates each rule rejected, the recipe's rules first, also where it is none."""
    found = Counter(candidate.reason for candidate in factory.rejected.values())
    rules = [*factory.recipe.checks, "duplicate", *(["near_duplicate"] if factory.near_duplicates else [])]
    return {rule: found[rule] for rule in dict.fromkeys([*rules, *sorted(filter(None, found))])}


def split_sizes(factory: Factory) -> dict[str, int]:
    """Rows of each file."""
    evaluation = min(factory.settings.eval_samples, len(factory.kept))
    return {"train": len(factory.kept) - evaluation, "eval": evaluation}


def card(factory: Factory) -> str:
    """The data card in Markdown; it depends on the data alone."""
    settings, sizes = factory.settings, split_sizes(factory)
    facts = {
        "recipe": f"`{factory.recipe.name}`: {factory.recipe.description}",
        "written by": f"`{settings.model}`",
        "seed": settings.seed,
        "sampling": f"temperature {factory.temperature:g}, at most {factory.max_tokens} tokens",
        "rows": f"{sizes['train']} to train on, {sizes['eval']} to evaluate on",
        "candidates": f"{factory.settled}, of which {len(factory.kept) / max(factory.settled, 1):.0%} are good",
    }
    if settings.best_of > 1 or settings.judge is not None:
        floor = f", rejected below {settings.judge}" if settings.judge is not None else ""
        facts["grades"] = f"by the same model, best of {settings.best_of}{floor}"
    rules = {rule: count for rule, count in rejections(factory).items() if count}
    parts = [
        "# Generated data",
        _table(("", ""), [(f"**{name}**", value) for name, value in facts.items()]),
        "The model's own texts: whoever uses them is bound by its licence. No person has read them.",
        "## Rejected",
        _table(("rule", "candidates"), rules.items()) if rules else "None.",
        "## Examples",
        *(_example(row) for row in factory.kept[settings.eval_samples :][:EXAMPLES]),
    ]
    return "\n\n".join(parts) + "\n"


def _table(header: tuple[str, str], rows: Any) -> str:
    return "\n".join(f"| {name} | {value} |" for name, value in [header, ("---", "---"), *rows])


def _example(row: Row) -> str:
    return f"**{row.id}**\n\n{_fenced(content_of(row.prompt[-1]))}\n\n{_fenced(plain_golden(row) or '')}"


def _fenced(text: str) -> str:
    """A code block that no line of the text can end."""
    shown = text if len(text) <= SHOWN_CHARACTERS else text[:SHOWN_CHARACTERS] + " …"
    fence = "`" * max(3, 1 + max(map(len, re.findall("`+", shown)), default=0))
    return f"{fence}text\n{shown}\n{fence}"
