"""Small Python functions, asked for by name, signature, description and an example."""

from random import Random

from .item import Item
from .problems_lists import LIST_PROBLEMS
from .problems_numbers import NUMBER_PROBLEMS
from .problems_texts import TEXT_PROBLEMS


def items(rng: Random) -> list[Item]:
    return [problem.item(rng) for problem in (*NUMBER_PROBLEMS, *TEXT_PROBLEMS, *LIST_PROBLEMS)]
