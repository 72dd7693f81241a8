"""Where prompts come from: a file of the user's, or requests that the teacher writes as a recipe commissions them."""

import dataclasses
import json
import math
import random
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from ..data.dataset import Reading, load_rows
from ..data.rows.row import BadRow, Message, Row
from ..errors import UsageError
from ..teachers.served.batch import row_seed
from .checks import content_of
from .duplicates import without_shared_parts
from .recipe import Recipe
from .tool_documentation import documentation
from .tools import Tool, tools_of_row

MANY = 2**20  # combinations of a recipe's axes that are told apart at most


@dataclass(frozen=True)
class Draft:
    """A prompt to be answered.

    Attributes:
        row: Without an answer.
        words: All that it says, by which a second one like it is recognised.
        tools: That it offers.
        asked: What it asks that others don't, by which nearly the same one is recognised; None: `words`.
    """

    row: Row
    words: str
    tools: Sequence[Tool] = ()
    asked: str | None = None


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


def given(
    path: str, tools: Sequence[Tool], seed: int, *, reading: Reading | None = None, checks_calls: bool = True
) -> list[Draft]:
    """The different prompts of a file in a seeded order; golden responses in it are left out.

    A row's key `tools` has the tools that it offers, or their names in the catalogue; without it a row offers all of
    the catalogue.

    Args:
        checks_calls: Whether a rule of the recipe looks at calls, so that the rows' own tools must be usable for that.

    Raises:
        UsageError: bad data, or a row names a tool that is not in the catalogue.
    """
    known = {tool.name: tool for tool in tools}
    drafts: dict[str, Draft] = {}
    unfit: list[str] = []
    for row in load_rows(path, needs_golden=False, reading=reading):
        try:
            draft = _draft(row, known, checks_calls)
        except BadRow as error:
            unfit.append(f"row {row.id}: {error}")
            if reading is None or not reading.skip_bad_rows:
                raise UsageError(f"{path}, {unfit[0]} Mend the row, or pass --skip_bad_rows.") from None
        else:
            drafts.setdefault(" ".join(draft.words.casefold().split()), draft)
    if unfit:
        print(f"{path}: dropped {len(unfit)} rows that can't be asked; {unfit[0]}")
    different = _with_what_differs(list(drafts.values()))
    random.Random(seed).shuffle(different)
    return different


def _draft(row: Row, known: dict[str, Tool], checks_calls: bool) -> Draft:
    """The prompt of a row; BadRow for tools that can't be used."""
    plain = dataclasses.replace(row, golden_response=None, golden_calls=None)
    offered = _named(row.extra, known) if row.tools is None else tools_of_row(row.tools, checked=checks_calls)
    return Draft(plain, _words(plain), offered)


def _words(row: Row) -> str:
    """All that a prompt says: its messages, the calls in them, and what the row alone offers and shows."""
    said = [f"{message['role']}: {content_of(message)}" for message in row.prompt]
    calls = [message["tool_calls"] for message in row.prompt if message.get("tool_calls")]
    more = [each for each in (calls, row.tools, row.privileged_context) if each]
    return "\n".join([*said, *(json.dumps(each, sort_keys=True) for each in more)])


def _with_what_differs(drafts: list[Draft]) -> list[Draft]:
    """The drafts with what their last user messages have for themselves."""
    requests = [content_of(draft.row.prompt[place_of_request(draft.row.prompt)]) for draft in drafts]
    asked = without_shared_parts(requests)
    return [dataclasses.replace(draft, asked=text) for draft, text in zip(drafts, asked, strict=True)]


def place_of_request(prompt: Sequence[Message]) -> int:
    """The position of the last user message, since a prompt may end with a tool's result; the last where none is."""
    return next((place for place in reversed(range(len(prompt))) if prompt[place]["role"] == "user"), len(prompt) - 1)


def _named(extra: dict[str, Any], known: dict[str, Tool]) -> list[Tool]:
    names = extra.get("tools", list(known)) if known else []
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise BadRow(f"its key 'tools' is {str(names)[:60]}, expected names of tools, or tools.")
    missing = [name for name in names if name not in known]
    if missing:
        raise BadRow(
            f"the tool {missing[0]!r} of its key 'tools' is not in the catalogue. Pass the one that has it: --tools "
            "FILE."
        )
    return [known[name] for name in names]


def documented(tools: Sequence[Tool]) -> str:
    """The documentation of tools, as it stands in a prompt."""
    return "\n\n".join(map(documentation, tools))


def _of_user(text: str) -> list[Message]:
    return [{"role": "user", "content": text}]
