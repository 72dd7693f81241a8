"""A verifier of the user's: `--scorer module:function`.

The function takes a row as it stands in the data format and the model's answer, thinking taken out:

    def score(row: dict, answer: str) -> bool | float: ...

It returns whether the answer is right, or how right it is, from 0 to 1; from 0.5 on it counts as right. It judges the
rows of `--eval_data_path` whatever these say themselves, and those of `--prior_data_path` that say nothing themselves.
"""

import dataclasses
import importlib
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from ..data.rows.row import Row
from ..errors import UsageError

RIGHT_FROM = 0.5


@dataclass(frozen=True)
class Scorer:
    """The user's function.

    Attributes:
        name: As the user named it.
        only_where_needed: Whether it judges only rows that don't say themselves what is right.
    """

    name: str
    function: Callable[[dict[str, Any], str], Any]
    only_where_needed: bool = False

    def of(self, title: str) -> "Scorer":
        """The scorer for what is measured: prior skills have been judged in their own way before."""
        return dataclasses.replace(self, only_where_needed=title == "prior_skills")

    def says_right(self, row: Row, answer: str) -> bool:
        """Whether `answer` is right.

        Raises:
            UsageError: the function raises, or returns something else than it should.
        """
        try:
            found = self.function(row.to_json(), answer)
            found = found.item() if hasattr(found, "item") else found  # of NumPy and torch
        except Exception as error:
            raise UsageError(f"--scorer {self.name} fails on row {row.id}: {_told(error)}") from error
        if not isinstance(found, bool | int | float) or not 0 <= found <= 1:
            raise UsageError(
                f"--scorer {self.name} returns {found!r:.60} for row {row.id}; expected True, False, or a number from "
                "0 to 1."
            )
        return found >= RIGHT_FROM


def load_scorer(name: str | None) -> Scorer | None:
    """The function that `--scorer` names, imported from here or from what is installed; None where none is named.

    Raises:
        UsageError: no such module or function, or the module can't be imported.
    """
    if name is None:
        return None
    module_name, colon, function_name = name.partition(":")
    if not colon or not all(part.isidentifier() for part in [*module_name.split("."), function_name]):
        raise UsageError(f"--scorer is {name!r}; expected module:function, e.g. checks:score for score() in checks.py.")
    if "" not in sys.path:
        sys.path.insert(0, "")  # the console script's path lacks the folder that it is called in
    try:
        module = importlib.import_module(module_name)
    except Exception as error:
        raise UsageError(
            f"--scorer {name}: can't import {module_name}: {_told(error)}. Call from the folder that it is in."
        ) from error
    function = getattr(module, function_name, None)
    if not callable(function):
        raise UsageError(f"--scorer {name}: {module_name} has no function {function_name}(row, answer).")
    return Scorer(name, function)


def _told(error: Exception) -> str:
    return " ".join(f"{type(error).__name__}: {error}".split())
