"""How near a text is to a reference text, where only that says what a good answer is: chrF, by sacrebleu."""

from functools import cache
from typing import Any

MEASURE = "chrF"


@cache
def _metric() -> Any:
    from sacrebleu.metrics.chrf import CHRF

    return CHRF()


def similarity(text: str, reference: str) -> float:
    """The F-score of character n-grams up to six, from 0 to 1 (chrF2: Popović 2015 and 2016)."""
    return _metric().sentence_score(text, [reference]).score / 100
