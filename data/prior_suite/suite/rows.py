"""Rows of the suite, in the data format."""

from collections.abc import Callable
from random import Random

from . import arithmetic, instructions, programs, reading, strings
from .item import Item

SKILLS: dict[str, Callable[[Random], list[Item]]] = {
    "arithmetic": arithmetic.items,
    "strings": strings.items,
    "reading": reading.items,
    "instructions": instructions.items,
    "code": programs.items,
}


def rows(seed: int) -> list[dict]:
    """All rows, skill after skill; changing one skill changes no row of another."""
    return [
        {
            "id": f"{skill}-{number:02}",
            "skill": skill,
            "prompt": item.prompt,
            "golden_response": item.golden.split("\n"),
            "check": item.check,
        }
        for skill, items in SKILLS.items()
        for number, item in enumerate(items(Random(f"{seed}/{skill}")))
    ]
