"""What is said about a server while work goes on: a line on stderr, and only once where it stays true."""

import sys
from functools import cache

from tqdm import tqdm

from ...run.streams import printable


def say(line: str) -> None:
    """Write a line above progress bars, which print would tear."""
    tqdm.write(printable(line), file=sys.stderr)


@cache
def say_once(line: str) -> None:
    """The same, unless this process has said it; a run has several clients of one server."""
    say(line)
