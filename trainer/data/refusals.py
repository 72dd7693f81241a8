"""Rows that somebody can't use: the first is an error, or all are dropped and counted by reason."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence

from ..errors import UsageError
from .dataset import Rows
from .rows.row import BadRow, Row

SHOWN_REASONS = 5


def kept(
    rows: Sequence[Row], path: str | None, check: Callable[[Row], object], *, skip_bad_rows: bool = False
) -> Sequence[Row]:
    """The rows that `check` takes; those of a file stay there until they are looked at.

    Args:
        path: The file that they come from, for people.
        check: Raises BadRow for a row that can't be used.
        skip_bad_rows: Drop the others and print one line that says how many, and why.

    Raises:
        UsageError: a row is refused; or all are.
    """
    refused: dict[int, str] = {}
    for number, row in enumerate(rows):
        try:
            check(row)
        except BadRow as error:
            refused[number] = str(error)
            if not skip_bad_rows:
                break
    return without_refused(rows, path, refused, skip_bad_rows=skip_bad_rows)


def without_refused(
    rows: Sequence[Row], path: str | None, refused: Mapping[int, str], *, skip_bad_rows: bool
) -> Sequence[Row]:
    """The rows but for those that are refused, whose numbers and reasons these are.

    Raises:
        UsageError: there are such, and they are not to be dropped; or all are.
    """
    if not refused:
        return rows
    if not skip_bad_rows:
        first = min(refused)
        raise UsageError(f"{path}, row {rows[first].id}: {refused[first]} Or pass --skip_bad_rows.")
    reasons = Counter(refused.values())
    told = "; ".join(f"{count}: {reason}" for reason, count in reasons.most_common(SHOWN_REASONS))
    more = len(reasons) - SHOWN_REASONS
    print(
        f"{path}: dropped {len(refused)} of {len(rows)} rows that can't be used ({told}"
        + (f"; and {more} more reasons)" if more > 0 else ")")
    )
    good = [number for number in range(len(rows)) if number not in refused]
    if not good:
        raise UsageError(f"{path}: none of its {len(rows)} rows can be used, as told above; expected at least one.")
    return rows.only(good) if isinstance(rows, Rows) else [rows[number] for number in good]
