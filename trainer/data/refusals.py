"""Rows that somebody can't use: the first is an error, or all are dropped and counted by reason."""

from collections import Counter
from collections.abc import Callable, Sequence

from trainer.data.dataset import Rows
from trainer.data.rows.row import BadRow, Row
from trainer.errors import UsageError

SHOWN_REASONS = 5


def kept(
    rows: Sequence[Row], path: str | None, check: Callable[[Row], object], *, skip_bad_rows: bool = False
) -> Sequence[Row]:
    """The rows that `check` takes; those of a file stay there until they are looked at.

    Args:
        path: The file that they come from, for people.
        check: Raises BadRow for a row that can't be used, or UsageError where its words stand alone.
        skip_bad_rows: Drop the others and print one line that says how many, and why.

    Raises:
        UsageError: a row is refused; or all are.
    """
    good, reasons = [], Counter()
    for number, row in enumerate(rows):
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
            good.append(number)
    if reasons:
        told = "; ".join(f"{count}: {reason}" for reason, count in reasons.most_common(SHOWN_REASONS))
        more = len(reasons) - SHOWN_REASONS
        print(
            f"{path}: dropped {reasons.total()} of {len(rows)} rows that can't be used ({told}"
            + (f"; and {more} more reasons)" if more > 0 else ")")
        )
    if rows and not good:
        raise UsageError(f"{path}: none of its {len(rows)} rows can be used, as told above; expected at least one.")
    return rows.only(good) if isinstance(rows, Rows) else [rows[number] for number in good]
