"""README and the pages of docs/, as tests read them: their shell blocks, links and headings.

A block of shell says in its first line whether it is run here:

    ```sh             run, with the tiny models, by tests/integration/test_documentation.py
    ```sh gpu         needs a GPU (and Docker)
    ```sh docker      needs a Docker engine; the docker tier runs the same
    ```sh network     needs a model hub or a package index
    ```sh by=FILE     FILE runs it
"""

import re
import shlex
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
# In the order in which they are read: a later page may go on with what an earlier one made.
ORDER = ("README.md", "docs/start", "docs/guides", "docs")
MARKS = ("gpu", "docker", "network")
FENCE = re.compile(r"^(?P<fence>`{3,})(?P<info>[^`\n]*)\n(?P<text>.*?)^(?P=fence)\n", re.MULTILINE | re.DOTALL)


@dataclass(frozen=True)
class Block:
    """A fenced block of a page: its language, the marks behind that, and its text."""

    page: str
    line: int
    language: str
    marks: tuple[str, ...]
    text: str

    @property
    def name(self) -> str:
        """Where it stands, to tell it from others."""
        return f"{self.page}:{self.line}"

    @property
    def commands(self) -> list[list[str]]:
        """Its commands as words, without comments."""
        lines = re.sub(r"\\\n", " ", self.text).splitlines()
        parts = [part for line in lines for part in re.split(r"\s&&\s", line)]
        return [words for part in parts if (words := shlex.split(part, comments=True))]


def pages() -> list[Path]:
    """README.md and all pages of docs/, in the order in which they are read."""
    found = [ROOT / "README.md", *(page for page in (ROOT / "docs").rglob("*.md") if "_build" not in page.parts)]
    return sorted(found, key=lambda page: (_place(page), page))


def _place(page: Path) -> int:
    name = page.relative_to(ROOT).as_posix()
    return next(place for place, start in enumerate(ORDER) if name.startswith(start))


def blocks() -> list[Block]:
    """The fenced blocks of all pages."""
    return [block for page in pages() for block in _blocks_of(page)]


def _blocks_of(page: Path) -> list[Block]:
    text, name = page.read_text(encoding="utf-8"), page.relative_to(ROOT).as_posix()
    return [
        Block(name, text.count("\n", 0, match.start()) + 1, *_language(match["info"]), match["text"])
        for match in FENCE.finditer(text)
    ]


def _language(info: str) -> tuple[str, tuple[str, ...]]:
    language, *marks = info.split() or [""]
    return language, tuple(marks)


def shell_blocks() -> list[Block]:
    """Those that are typed into a shell."""
    return [block for block in blocks() if block.language == "sh"]


def anchors(page: Path) -> set[str]:
    """What a link may name behind `#`: the page's headings as forges and Sphinx write them."""
    headings = re.findall(r"^#+ (.*)$", FENCE.sub("", page.read_text(encoding="utf-8")), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}
