"""What is redrawn at the bottom of a terminal while the program works; what is printed meanwhile scrolls above it."""

import logging
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table

from .processes import is_main_process

WIDTH_OF_BAR = 30  # columns; less on a narrow terminal
REDRAWN_PER_SECOND = 2


class Terminal(Console):
    """stderr as a terminal. Its cursor is never hidden, so that a killed process leaves none hidden behind."""

    def show_cursor(self, show: bool = True) -> bool:
        return False


class Display(Live):
    """What is redrawn. The line below it is kept free for the ^C that a terminal writes at its cursor."""

    @property
    def renderable(self) -> RenderableType:
        return Group(super().renderable, "") if self.is_started else super().renderable


CONSOLE = Terminal(stderr=True, markup=False, highlight=False, emoji=False)


def is_watched() -> bool:
    """Whether stderr is a terminal whose last lines can be redrawn."""
    return is_main_process() and sys.stderr.isatty() and CONSOLE.is_interactive


@contextmanager
def shown(content: RenderableType) -> Iterator[None]:
    """Redraw `content` until left; its last state stays. Within another display it comes below that one.

    Of data-parallel processes, which share a terminal, only the first one draws.
    """
    if os.environ.get("RANK", "0") != "0":
        yield
        return
    stderr, to_terminal = sys.stderr, sys.stdout.isatty()
    with Display(content, console=CONSOLE, refresh_per_second=REDRAWN_PER_SECOND, redirect_stdout=to_terminal):
        handlers = _handlers_on(stderr)
        for handler in handlers:
            handler.setStream(sys.stderr)
        try:
            yield
        finally:
            for handler in handlers:
                handler.setStream(stderr)


def _handlers_on(stream: IO[str]) -> list[logging.StreamHandler]:
    """Log handlers that were made with the stream at hand then, and would write through the display."""
    loggers = [logging.root, *logging.root.manager.loggerDict.values()]
    handlers = [handler for logger in loggers for handler in getattr(logger, "handlers", ())]
    return [each for each in handlers if isinstance(each, logging.StreamHandler) and each.stream is stream]


def with_bar(done: int, total: int, text: RenderableType) -> Table:
    """A bar that is filled as far as `done` is of `total`, and a text behind it."""
    row = Table.grid(padding=(0, 1))
    bar = ProgressBar(max(total, 1), done, width=min(WIDTH_OF_BAR, CONSOLE.width // 4))
    row.add_row(bar, text)
    return row
