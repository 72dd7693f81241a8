"""Where prompts come from: a file of the user's, or requests that the teacher writes as a recipe commissions them."""

import math
import random
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from trainer.data.dataset import load_rows
from trainer.data.rows import Message, Row
from trainer.errors import UsageError
from trainer.generation.recipe import Recipe
from trainer.generation.tool_documentation import documentation
from trainer.generation.tools import Tool
from trainer.teachers.served.batch import row_seed

MANY = 2**20  # combinations of a recipe's axes that are told apart at most


@dataclass(frozen=True)
class Draft:
    """A prompt to be answered.

    Attributes:
        row: Without an answer.
        words: By which a second one like it is recognised.
        tools: That it offers.
    """

    row: Row
    words: str
    tools: Sequence[Tool] = ()


@dataclass(frozen=True)
class Commission:
    """A prompt that the teacher has to write the request of.

    Attributes:
        text: What the teacher is asked.
        about: What the axes say, which becomes keys of the row.
        tools: To be offered.
    """

    recipe: Recipe
    id: str
    text: str
    about: dict[str, Any]
    tools: Sequence[Tool]

    def draft(self, request: str) -> Draft:
        """The prompt with the request that was written."""
        prompt = self.recipe.prompt.format(request=request, tools=documented(self.tools))
        extra = {**self.about, "tools": [tool.name for tool in self.tools]} if self.tools else self.about
        return Draft(Row(self.id, _of_user(prompt), extra=extra), request, self.tools)

    @property
    def messages(self) -> list[Message]:
        return _of_user(self.text)


class Commissions:
    """The requests that a recipe commissions, by number; each depends on the seed and its number alone."""

    def __init__(self, recipe: Recipe, tools: Sequence[Tool], seed: int):
        self.recipe = recipe
        self.tools = tools
        self.seed = seed

    def __getitem__(self, number: int) -> Commission:
        about = self._combination(self._order[number % len(self._order)])
        tools, places = self._offered(number), {}
        if tools:
            needed = random.Random(row_seed(self.seed, number, "tool")).choice(tools)
            places = {"tools": documented(tools), "tool": needed.name}
        text = (self.recipe.request or "").format(**about, **places)
        return Commission(self.recipe, f"{self.seed}-{number}", text, about, tools)

    @cached_property
    def _order(self) -> list[int]:
        """Numbers of combinations; each once before one comes again."""
        size = math.prod(map(len, self.recipe.axes.values()))
        return random.Random(self.seed).sample(range(size), min(size, MANY))

    def _combination(self, number: int) -> dict[str, str]:
        chosen = {}
        for name, values in self.recipe.axes.items():
            number, place = divmod(number, len(values))
            chosen[name] = values[place]
        return chosen

    def _offered(self, number: int) -> list[Tool]:
        count = min(self.recipe.tools_per_prompt, len(self.tools))
        return random.Random(row_seed(self.seed, number, "tools")).sample(self.tools, count)


def given(path: str, tools: Sequence[Tool], seed: int, *, skip_bad_rows: bool = False) -> list[Draft]:
    """The different prompts of a file in a seeded order; golden responses in it are left out.

    A row's key `tools` names the tools that it offers; without it a row offers all.

    Raises:
        UsageError: bad data, or a row names a tool that is not in the catalogue.
    """
    known = {tool.name: tool for tool in tools}
    drafts: dict[str, Draft] = {}
    for row in load_rows(path, needs_golden=False, skip_bad_rows=skip_bad_rows):
        words = "\n".join(f"{message['role']}: {message['content']}" for message in row.prompt)
        if not _is_text(words):
            raise UsageError(f"{path}, row {row.id}: its prompt has half of a surrogate pair, which no server reads.")
        plain = Row(row.id, row.prompt, None, row.golden_answer, row.extra)
        drafts.setdefault(" ".join(words.casefold().split()), Draft(plain, words, _named(path, row, known)))
    different = list(drafts.values())
    random.Random(seed).shuffle(different)
    return different


def _named(path: str, row: Row, known: dict[str, Tool]) -> list[Tool]:
    names = row.extra.get("tools", list(known)) if known else []
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise UsageError(f"{path}, row {row.id}: its key 'tools' is {str(names)[:60]}, expected names of tools.")
    missing = [name for name in names if name not in known]
    if missing:
        raise UsageError(
            f"{path}, row {row.id}: the tool {missing[0]!r} of its key 'tools' is not in the catalogue. Pass the one "
            "that has it: --tools FILE."
        )
    return [known[name] for name in names]


def _is_text(words: str) -> bool:
    try:
        return bool(words.encode())
    except UnicodeEncodeError:
        return False


def documented(tools: Sequence[Tool]) -> str:
    """The documentation of tools, as it stands in a prompt."""
    return "\n\n".join(map(documentation, tools))


def _of_user(text: str) -> list[Message]:
    return [{"role": "user", "content": text}]
