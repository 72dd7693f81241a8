"""How far a long stage is, for people and for log files."""

import sys
import time
from typing import Self

from tqdm import tqdm


class Progress:
    """A bar on a terminal; elsewhere a plain line for about every tenth of the way. Both on stderr.

    Args:
        total: Rows.
        what: What the rows are, in a word.
    """

    def __init__(self, total: int, what: str):
        self.total, self.what, self.done = total, what, 0
        self._began = time.monotonic()
        self._tenths_said = 0

    def __enter__(self) -> Self:
        self._bar = tqdm(total=self.total, desc=self.what, unit="row", disable=not sys.stderr.isatty())
        return self

    def __exit__(self, *error: object) -> None:
        self._bar.close()

    def advance(self, rows: int = 1) -> None:
        """Count `rows` more as done."""
        self.done += rows
        self._bar.update(rows)
        tenths = 10 * self.done // max(self.total, 1)
        if self._bar.disable and tenths > self._tenths_said:
            self._tenths_said = tenths
            rate = self.done / max(time.monotonic() - self._began, 1e-9)
            print(f"{self.what}: {self.done}/{self.total} rows, {rate:.1f} rows/s", file=sys.stderr, flush=True)
