"""Rows that somebody can't use: the first is an error, or all are dropped and counted by reason."""

import re
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

from trainer.data.rows import BadRow, Row
from trainer.errors import UsageError

HALF = re.compile(r"[\ud800-\udfff]")
SHOWN_REASONS = 5


def kept(
    rows: Sequence[Row], path: str | None, check: Callable[[Row], object], *, skip_bad_rows: bool = False
) -> list[Row]:
    """The rows that `check` takes.

    Args:
        path: The file that they come from, for people.
        check: Raises BadRow for a row that can't be used, or UsageError where its words stand alone.
        skip_bad_rows: Drop the others and print one line that says how many, and why.

    Raises:
        UsageError: a row is refused; or all are.
    """
    good, reasons = [], Counter()
    for row in rows:
        try:
            check(row)
        except BadRow as error:
            if not skip_bad_rows:
                raise UsageError(f"{path}, row {row.id}: {error} Or pass --skip_bad_rows.") from error
            reasons[str(error)] += 1
        except UsageError as error:
            if not skip_bad_rows:
                raise
            reasons[str(error)] += 1
        else:
            good.append(row)
    if reasons:
        told = "; ".join(f"{count}: {reason}" for reason, count in reasons.most_common(SHOWN_REASONS))
        more = len(reasons) - SHOWN_REASONS
        print(
            f"{path}: dropped {reasons.total()} of {len(rows)} rows that can't be used ({told}"
            + (f"; and {more} more reasons)" if more > 0 else ")")
        )
    if rows and not good:
        raise UsageError(f"{path}: none of its {len(rows)} rows can be used, as told above; expected at least one.")
    return good


def require_text(row: Row) -> None:
    """Raise BadRow where a text of the row holds half of a surrogate pair, which is no character and has no bytes."""
    fields = {
        "prompt": row.prompt,
        "golden_response": row.golden_response,
        "tools": row.tools,
        "golden_calls": row.golden_calls,
        "privileged_context": row.privileged_context,
    }
    for name, value in fields.items():
        place = _half_pair(value)
        if place is not None:
            raise BadRow(
                f"field '{name}{place[0]}' holds {place[1]}, half of a character that needs two such, expected text. "
                "Mend the row."
            )


def _half_pair(value: Any) -> tuple[str, str] | None:
    """Where the first half pair is, and what stands there; None where there is none."""
    if isinstance(value, str):
        found = HALF.search(value)
        return ("", ascii(found[0])) if found else None
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, item in items:
        inner = _half_pair(item) or (_half_pair(key) if isinstance(key, str) else None)
        if inner is not None:
            return f"[{key if isinstance(key, int) else ascii(key)}]{inner[0]}", inner[1]
    return None
