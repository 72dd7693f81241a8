"""What kind a row is of: which rows ask for the same, so that one's demonstration is an example for the other."""

import random
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

from .actions.answers import Action, golden_actions
from .rows.row import Row

GROUP_KEYS = ("skill", "category", "domain")  # of rows, whose texts say what kind of row it is
LOOKED_AT = 1000
SHARED_BY, SHARED_WORDS = 0.9, 2  # of prompts of one template: how many have the same words, and how many words


def groups_of(row: Row) -> dict[str, list[str]]:
    """What a row belongs to: the tools and the number of its golden actions, and its own texts of `GROUP_KEYS`."""
    groups = {key: [row.extra[key]] for key in GROUP_KEYS if isinstance(row.extra.get(key), str)}
    if actions := golden_of(row):
        groups |= {"tool": sorted({action.name for action in actions}), "steps": [str(len(actions))]}
    return groups


def golden_of(row: Row) -> list[Action] | None:
    """The actions that a right answer takes: the golden answer, else the calls of the demonstration."""
    if row.golden_answer is not None:
        return golden_actions(row.golden_answer)
    if not row.golden_calls or has_check(row):
        return None
    return [Action(call["name"], call["arguments"]) for call in row.golden_calls]


def one_kind(rows: Sequence[Row]) -> str | None:
    """What the prompts of all rows have in common, in words, if they are of one kind; None where they are of several.

    They are where all rows say so, by `groups_of`, or where nearly all prompts begin or end in the same words. Of many
    rows a thousand are looked at, spread evenly.
    """
    some = [rows[place] for place in range(0, len(rows), max(1, len(rows) // LOOKED_AT))]
    kinds = {_kind(row): groups_of(row) for row in some}
    if len(kinds) == 1 and (groups := next(iter(kinds.values()))):
        return "; ".join(f"{key}: {', '.join(texts)}" for key, texts in groups.items())
    words = [_last_question(row).split() for row in some]
    if begin := _shared_by_most([" ".join(each[:SHARED_WORDS]) for each in words]):
        return f"they begin “{begin} …”"
    end = _shared_by_most([" ".join(each[-SHARED_WORDS:]) for each in words])
    return f"they end “… {end}”" if end else None


def _shared_by_most(texts: Sequence[str]) -> str:
    text, count = Counter(texts).most_common(1)[0] if texts else ("", 0)
    return text if count >= SHARED_BY * len(texts) else ""


def _last_question(row: Row) -> str:
    asked = [message for message in row.prompt if message["role"] == "user"]
    return str(asked[-1].get("content") or "") if asked else ""


def has_check(row: Row) -> bool:
    """Whether a program decides if an answer to the row is right."""
    check = row.extra.get("check")
    return isinstance(check, dict) and "kind" in check


class Alike:
    """Which rows of a file may be examples for each other: those of one kind that have a demonstration.

    Args:
        rows: Each with what tells where it is.
    """

    def __init__(self, rows: Iterable[tuple[Any, Row]]):
        self._places: dict[str, list[Any]] = {}
        for place, row in rows:
            if row.has_demonstration:
                self._places.setdefault(_kind(row), []).append(place)

    def examples_for(self, place: Any, row: Row, count: int) -> list[Any]:
        """Where `count` examples for the row at `place` are, or fewer where there are not so many; always the same."""
        known = self._places.get(_kind(row), [])
        chosen = random.Random(repr(place)).sample(known, min(count + 1, len(known)))
        return [other for other in chosen if other != place][:count]


def _kind(row: Row) -> str:
    return repr(groups_of(row))
