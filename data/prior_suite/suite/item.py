"""One item of the suite, and how several kinds of it are put together."""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from random import Random


@dataclass(frozen=True)
class Item:
    """What is asked, one right answer, and the check that it and every other right answer passes."""

    prompt: str
    golden: str
    check: dict


Maker = Callable[[Random], Item]


def draw(plan: Sequence[tuple[int, Maker]], rng: Random) -> list[Item]:
    """As many items of each maker as planned, no prompt twice."""
    items: dict[str, Item] = {}
    for count, maker in plan:
        wanted = len(items) + count
        for _ in range(100 * count):
            if len(items) < wanted:
                item = maker(rng)
                items.setdefault(item.prompt, item)
        if len(items) < wanted:
            raise RuntimeError(f"{maker} has no {count} different items: give it more to choose from")
    return list(items.values())


def number(prompt: str, golden: str, value: float) -> Item:
    """An item whose answer is a number. Those of the question may stand beside it: "300 minutes in 5 hours"."""
    given = sorted({float(found) for found in re.findall(r"\d+(?:\.\d+)?", prompt)} - {float(value)})
    given = [int(found) if found.is_integer() else found for found in given]
    return Item(prompt, golden, rule("number", value=value, **({"given": given} if given else {})))


def text(*accept: str, reject: Sequence[str] = ()) -> dict:
    return rule("text", accept=list(accept), **({"reject": list(reject)} if reject else {}))


def rule(kind: str, **keys: object) -> dict:
    return {"kind": kind, **keys}


def both(*checks: dict) -> dict:
    """One check out of several, all of which must pass."""
    return checks[0] if len(checks) == 1 else rule("all", checks=list(checks))


def listed(words: Sequence[str], last: str = "and") -> str:
    """`a, b and c`."""
    return f"{', '.join(words[:-1])} {last} {words[-1]}" if len(words) > 1 else words[0]
