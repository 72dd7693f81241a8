"""Sentences with slots: '{origin}' stands for the words of the fact named origin."""

import re
from collections.abc import Mapping

SLOT = re.compile(r"\{([\w.]+)\}")


def slots(template: str) -> list[str]:
    return SLOT.findall(template)


def fill(template: str, words: Mapping[str, str]) -> str:
    return SLOT.sub(lambda match: words[match[1]], template)


def sentence(text: str) -> str:
    """The text with a capital at its start."""
    return text[:1].upper() + text[1:]
