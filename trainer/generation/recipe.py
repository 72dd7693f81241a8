"""A recipe: how prompts come about, how the teacher is shown them, and what makes its answer good.

It is a YAML mapping of the fields of `Recipe`. Those shipped lie in `recipes/`.
"""

import dataclasses
import difflib
import string
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec

from ..errors import UsageError
from ..settings.yaml_files import NotYaml, read_yaml_file
from .checks import require_known
from .language import require_known_language

RESERVED = {"id", "prompt", "golden_response", "golden_answer", "judge_grade", "request", "tool", "tools"}
NEEDED = {"prompt": "request", "answer": "prompt", "grading": "answer"}  # places that these texts must have
FOLDER = Path(__file__).parent / "recipes"
GRADING = """\
Grade the answer to a request. 10: right, complete and to the point. 5: useful, with a mistake or a gap. 1: wrong or of
no use.

Request:
{prompt}

Answer:
{answer}

Say in one sentence what is wrong with it, if anything is. Then end with the line
Grade: N"""


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """What is made, and how. In every text a word in braces is a place to fill, and `{{` is a brace.

    Attributes:
        name: Of the shipped recipe, or its file.
        description: In a sentence.
        request: Asks the teacher to write one request; places: the axes, and with tools `tools` (documentation of
            those offered) and `tool` (the name of one of them). None: prompts come from a file.
        axes: What each place of `request` is filled with; every combination in turn.
        tools: File of a tool catalogue or an OpenAPI document, seen from the recipe's folder (a shipped one: from the
            working directory); None: a recipe without tools.
        tools_per_prompt: Tools that a prompt offers at most.
        prompt: The row's prompt; places `request` and `tools`.
        answer: How the teacher is shown a prompt that it is to answer; its place `prompt` stands for the last message.
        grading: How the teacher is asked to grade; places `prompt` and `answer`.
        checks: Names of `trainer.generation.checks.RULES`.
        near_duplicates: Similarity from which on a row is a duplicate, see `trainer.generation.duplicates`; None: only
            equal texts are.
        language: ISO 639-1 code of answers; None: that of the prompt.
        max_tokens, temperature: Of an answer, where no flag names them.
    """

    name: str
    description: str = ""
    request: str | None = None
    axes: dict[str, list[str]] = field(default_factory=dict)
    tools: str | None = None
    tools_per_prompt: int = 5
    prompt: str = "{request}"
    answer: str = "{prompt}"
    grading: str = GRADING
    checks: list[str] = field(default_factory=list)
    near_duplicates: float | None = None
    language: str | None = None
    max_tokens: int = 1024
    temperature: float = 0.7

    def __post_init__(self) -> None:
        for key, places in self._places().items():
            self._require_places(key, places)
        require_known(self.checks)
        if self.language is not None:
            require_known_language(self.language)
        if reserved := sorted(RESERVED & self.axes.keys()):
            raise UsageError(f"recipe {self.name}: an axis can't be named {reserved[0]!r}, which rows have already.")
        if any(not values for values in self.axes.values()):
            raise UsageError(f"recipe {self.name}: an axis without values; expected texts to choose from.")
        if self.near_duplicates is not None and not 0 < self.near_duplicates <= 1:
            raise UsageError(
                f"recipe {self.name}: near_duplicates is {self.near_duplicates}, expected over 0, up to 1."
            )
        if min(self.tools_per_prompt, self.max_tokens) < 1 or self.temperature < 0:
            raise UsageError(
                f"recipe {self.name}: tools_per_prompt is {self.tools_per_prompt}, max_tokens {self.max_tokens}, "
                f"temperature {self.temperature}; expected at least 1, 1 and 0."
            )

    def _places(self) -> dict[str, set[str]]:
        """The places that each text may have."""
        tools = {"tools"} if self.tools else set()
        return {
            "request": {*self.axes, *tools, *({"tool"} if self.tools else set())},
            "prompt": {"request", *tools},
            "answer": {"prompt"},
            "grading": {"prompt", "answer"},
        }

    def _require_places(self, key: str, known: set[str]) -> None:
        text = getattr(self, key)
        try:
            parts = [part for part in string.Formatter().parse(text or "") if part[1] is not None]
            found = {str(name) + (f":{spec}" if spec else "") for _, name, spec, _ in parts}
        except ValueError as error:
            raise UsageError(
                f"recipe {self.name}, {key}: {error}. A brace of the text itself is written twice."
            ) from error
        if found - known:
            raise UsageError(
                f"recipe {self.name}, {key}: found the place {{{min(found - known)}}}, expected one of "
                f"{', '.join(sorted(known)) or 'none'}. A brace of the text itself is written twice."
            )
        if key in NEEDED and NEEDED[key] not in found:
            raise UsageError(f"recipe {self.name}, {key}: expected the place {{{NEEDED[key]}}} in it.")


def load_recipe(name: str) -> Recipe:
    """The shipped recipe of that name, or the one in a file.

    Raises:
        UsageError: there is none, or it is no recipe; says what is wrong with it.
    """
    shipped = {path.stem: path for path in FOLDER.glob("*.yaml")}
    path = shipped.get(name, Path(name))
    try:
        content = read_yaml_file(path)
    except OSError as error:
        near = difflib.get_close_matches(name, shipped, n=1)
        hint = f" Did you mean {near[0]!r}?" if near else ""
        raise UsageError(
            f"no recipe {name!r} ({error.strerror}); expected a YAML file or one of {', '.join(sorted(shipped))}.{hint}"
        ) from error
    except NotYaml as error:
        raise UsageError(f"recipe {path} is not valid YAML: {error}") from error
    recipe = parse_recipe(name, content)
    if name in shipped or recipe.tools is None:
        return recipe
    return dataclasses.replace(recipe, tools=str(path.parent / recipe.tools))


def parse_recipe(name: str, content: Any) -> Recipe:
    """The recipe that a YAML document describes.

    Raises:
        UsageError: an unknown key (names the nearest one), a value of a wrong type, or one that makes no sense.
    """
    if not isinstance(content, dict):
        raise UsageError(f"recipe {name} holds a {type(content).__name__}, expected `name: value` lines.")
    known = {f.name: f for f in dataclasses.fields(Recipe) if f.name != "name"}
    for key in content:
        if key not in known:
            near = difflib.get_close_matches(str(key), known, n=1)
            hint = f"Did you mean {near[0]!r}?" if near else f"Known are {', '.join(known)}."
            raise UsageError(f"recipe {name}: unknown key {key!r}. {hint}")
    try:
        return msgspec.convert({**content, "name": name}, Recipe)
    except msgspec.ValidationError as error:
        raise UsageError(f"recipe {name}: {str(error)[0].lower()}{str(error)[1:]}.") from error
