"""How far a long stage is, for people and for log files."""

import sys
import time
from contextlib import ExitStack
from typing import Self

from rich.table import Table
from tqdm import tqdm

from .display import is_watched, shown, with_bar
from .processes import is_main_process

SECONDS_BETWEEN_LINES = 60.0  # at most, on what is no terminal


class Progress:
    """A bar on a terminal; elsewhere a plain line for about every tenth of the way, and each minute. Both on stderr.

    Args:
        total: Rows.
        what: What the rows are, in a word.
    """

    def __init__(self, total: int, what: str):
        self.total, self.what, self.done, self.details = total, what, 0, ""
        self._began = self._said_at = time.monotonic()
        self._tenths_said = self._earlier = 0
        self._display = ExitStack()

    def __enter__(self) -> Self:
        self._is_watched = is_watched()
        if self._is_watched:
            self._display.enter_context(shown(self))
        return self

    def __exit__(self, *error: object) -> None:
        self._display.close()

    def __rich__(self) -> Table:
        return with_bar(self.done, self.total, self._line())

    def advance(self, rows: int = 1) -> None:
        """Count `rows` more as done."""
        self.reach(self.done + rows)

    def reach(self, done: int, details: str = "", earlier: int = 0) -> None:
        """So many rows are done, `earlier` ones of them before this run; `details` are shown with them."""
        self.done, self.details, self._earlier = done, details, earlier
        if not self._is_watched and is_main_process() and self._has_news():
            print(self._line(), file=sys.stderr, flush=True)

    def _has_news(self) -> bool:
        tenths, now = 10 * self.done // max(self.total, 1), time.monotonic()
        if tenths == self._tenths_said and now - self._said_at < SECONDS_BETWEEN_LINES:
            return False
        self._tenths_said, self._said_at = tenths, now
        return True

    def _line(self) -> str:
        rate = (self.done - self._earlier) / max(time.monotonic() - self._began, 1e-9)
        left = tqdm.format_interval((self.total - self.done) / rate) if rate else "?"
        details = f", {self.details}" if self.details else ""
        return f"{self.what}: {self.done}/{self.total} rows, {rate:.1f} rows/s{details}, {left} left"
