"""Constraints on a text as a whole, in the manner of IFEval (arXiv 2311.07911): sentences, bullets, case, JSON keys, …

The functions take a check, see `trainer.evaluation.verify`, and say whether the answer keeps to it; those named
`…_count` count.
"""

import math
import re
from collections.abc import Callable
from typing import Any

from ..data.actions.spoken_values import STRICT_JSON
from .phrases import sentences

Check = dict[str, Any]
BOUNDS = ("count", "at_least", "at_most")


BULLET = re.compile(r"^[ \t]*[-*•+][ \t]+\S", re.MULTILINE)
NUMBERED = re.compile(r"^[ \t]*\d+[.)][ \t]+\S", re.MULTILINE)
TITLE = re.compile(r"<<[^<>\n]*\w[^<>\n]*>>")
HIGHLIGHT = re.compile(r"(?<!\*)\*\*?[^*\s](?:[^*\n]*[^*\s])?\*\*?(?!\*)")
JSON_BLOCK = re.compile(r"```\w*\n(.*)\n\s*```", re.DOTALL)
DOUBLE_QUOTES = '"“”„'


def sentence_count(answer: str) -> int:
    return len(sentences(answer))


def word_count(answer: str) -> int:
    return sum(any(map(str.isalnum, word)) for word in answer.split())


def bullet_count(answer: str) -> int:
    return len(BULLET.findall(answer))


def numbered_count(answer: str) -> int:
    return len(NUMBERED.findall(answer))


def line_count(answer: str) -> int:
    return sum(bool(line.strip()) for line in answer.splitlines())


def paragraph_count(answer: str) -> int:
    return sum(bool(part.strip()) for part in re.split(r"\n\s*\n", answer))


def highlight_count(answer: str) -> int:
    return len(HIGHLIGHT.findall(answer))


def counted(count: Callable[[str], int]) -> Callable[[Check, str], bool]:
    return lambda check, answer: _within(check, count(answer))


def _within(check: Check, found: int) -> bool:
    exact = check.get("count", found)
    return found == exact and check.get("at_least", 0) <= found <= check.get("at_most", math.inf)


def _times(word: str, answer: str) -> int:
    return len(re.findall(rf"(?<!\w){re.escape(word.casefold())}(?!\w)", answer.casefold()))


def includes(check: Check, answer: str) -> bool:
    """Each word or phrase occurs, whatever its case; without bounds at least once."""
    bounds = check if check.keys() & set(BOUNDS) else {"at_least": 1}
    return all(_within(bounds, _times(word, answer)) for word in check["words"])


def excludes(check: Check, answer: str) -> bool:
    return not any(_times(word, answer) for word in check["words"])


def lowercase(check: Check, answer: str) -> bool:
    return any(map(str.islower, answer)) and not any(map(str.isupper, answer))


def uppercase(check: Check, answer: str) -> bool:
    return any(map(str.isupper, answer)) and not any(map(str.islower, answer))


def _bare(text: str) -> str:
    return text.casefold().strip(f"{DOUBLE_QUOTES}*_ \t\r\n")


def starts(check: Check, answer: str) -> bool:
    """Case, quotation marks and emphasis around the answer don't count."""
    return _bare(answer).startswith(_bare(check["text"]))


def ends(check: Check, answer: str) -> bool:
    return _bare(answer).endswith(_bare(check["text"]))


def json_keys(check: Check, answer: str) -> bool:
    """The whole answer, or its only code block, is a JSON object with exactly these keys."""
    block = JSON_BLOCK.search(answer)
    try:
        found = STRICT_JSON.decode((block[1] if block else answer).strip())
    except (ValueError, RecursionError):
        return False
    return isinstance(found, dict) and found.keys() == set(check["keys"])


def no_commas(check: Check, answer: str) -> bool:
    return "," not in answer


def quoted(check: Check, answer: str) -> bool:
    text = answer.strip()
    return len(text) > 2 and text[0] in DOUBLE_QUOTES and text[-1] in DOUBLE_QUOTES


def title(check: Check, answer: str) -> bool:
    return TITLE.search(answer) is not None


def separated(check: Check, answer: str) -> bool:
    parts = answer.split(check.get("by", "***"))
    return all(part.strip() for part in parts) and _within(check, len(parts))
