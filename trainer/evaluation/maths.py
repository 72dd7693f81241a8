"""Whether an answer is a mathematical value, however it is written; math-verify (on SymPy) reads and compares them."""

import logging
import re
import threading
from typing import Any

from . import quantities

Check = dict[str, Any]
TOLERANCE = 1e-6
SECONDS = 5  # for reading, and for comparing: a power of powers would take for ever
LONGEST = 20_000  # characters of an answer, from its end; what decides stands there
FORMULA = re.compile(r"\\[a-zA-Z]+|[\^_=+*/<>(){}\[\],]|\d")


def maths(check: Check, answer: str) -> bool:
    """The answer settles on the value: as a number in any spelling, or as an expression that equals it."""
    value = check["value"]
    if (number := _as_number(value)) is not None:
        settled = quantities.settled_on(answer)
        if any(abs(found - number) <= TOLERANCE * max(1.0, abs(number)) for found in settled):
            return True
    golden = _parsed(_as_formula(str(value)))
    return any(_same(golden, _parsed(text)) for text in _spellings(answer[-LONGEST:]))


def _as_number(value: Any) -> float | None:
    """A value that is nothing but a number."""
    if not isinstance(value, str):
        return float(value)
    if any(mark in value for mark in "=()[]"):
        return None
    found = quantities.QUANTITY.fullmatch(value.strip().strip("$ ").rstrip("."))
    return quantities.settled_on(value)[0] if found and quantities.settled_on(value) else None


def _as_formula(text: str) -> str:
    return text if "$" in text or r"\boxed" in text else f"${text.strip()}$"


def _spellings(answer: str) -> list[str]:
    """The answer, and what of it is a formula without the marks that formulas stand between."""
    plain = answer.replace("−", "-").replace("{,}", ",").replace("×", r"\times ").replace("·", r"\cdot ")
    plain = re.sub(r"√\s*(\w+)", r"\\sqrt{\1}", plain)
    told = [found["inner"] for found in quantities.HASHES.finditer(plain)]
    told = told or [found["inner"] for found in quantities.TOLD.finditer(plain)]
    last = (told or plain.strip().splitlines() or [""])[-1].strip().rstrip(".")
    bare = "$" not in last and r"\boxed" not in plain and FORMULA.search(last)
    return [plain, f"${last}$"] if bare else [plain]


def _parsed(text: str) -> list[Any]:
    from math_verify import parse  # with SymPy, which few checks need

    try:
        return parse(text, parsing_timeout=_seconds(), raise_on_error=False)
    except Exception:  # whatever a parser makes of a model's text, it is no reading of it
        return []


def _same(golden: list[Any], found: list[Any]) -> bool:
    from math_verify import verify

    try:
        return bool(golden and found) and bool(verify(golden, found, timeout_seconds=_seconds(), raise_on_error=False))
    except Exception:
        return False


def _seconds() -> int:
    """The library's time limits rest on signals, which only the main thread has; 0 is none."""
    in_main = threading.current_thread() is threading.main_thread()
    logging.getLogger("math_verify").setLevel(logging.ERROR)  # it warns of a missing limit at each call
    return SECONDS if in_main else 0
