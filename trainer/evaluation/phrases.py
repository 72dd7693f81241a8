"""Answers that are looked for within a text: models answer in sentences.

The functions take a check, see `trainer.evaluation.verify`, and say whether the answer gives what it asks for.
"""

import re
import unicodedata
from typing import Any

from . import quantities

Check = dict[str, Any]


NUMBER = re.compile(r"(?<![\w^])[-−]?[$€£]?(?:\d{1,3}(?:,\d{3})+(?!\d|,\d)(?:\.\d+)?|\d*\.\d+|\d+)", re.ASCII)
NUMBER_WORDS = (
    *("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten"),
    *("eleven", "twelve", "thirteen", "fourteen", "fifteen", "sixteen", "seventeen", "eighteen", "nineteen", "twenty"),
)
TOLERANCE = 1e-6
ARTICLES = {"a", "an", "the"}
FILLERS = {"it", "is", "its", "and", "or"}
DENIALS = ("not", "isnt", "arent", "wasnt", "werent", "never", "no", "nor", "neither")
MARKED = re.compile(
    r"\*\*(?P<bold>[^*\n]+)\*\*|\*(?P<slanted>[^*\n]+)\*|`(?P<code>[^`\n]+)`|"
    r"\\boxed\{(?P<boxed>[^{}\n]+)\}|[\"“”](?P<quoted>[^\"“”\n]+)[\"“”]"
)
LIST_MARK = re.compile(r"^\s*(?:[-*•+]|\(?(?:\d{1,3}|[A-Za-z])[.)])\s+(?=\S)")
ABBREVIATIONS = ("Mr.", "Mrs.", "Ms.", "Dr.", "St.", "vs.", "e.g.", "i.e.")
SENTENCE_END = re.compile(
    "".join(rf"(?<!\b{re.escape(short)})" for short in ABBREVIATIONS) + r"(?<=[.!?…])[\"”'’)*_]*\s+"
)


def number(check: Check, answer: str) -> bool:
    """The answer settles on the value, see `trainer.evaluation.quantities`, or its last number has it.

    In the sentence of the last number, numbers of the question count only where there are no others. So "There are 300
    minutes in 5 hours" says 300. In an answer without digits number words up to twenty are read.
    """
    tolerance = check.get("tolerance", TOLERANCE)
    if any(abs(value - check["value"]) <= tolerance for value in quantities.settled_on(answer)):
        return True
    found = next(filter(None, map(_numbers, reversed(_parts(answer)))), [])
    found = found or [float(NUMBER_WORDS.index(word)) for word in _words(answer) if word in NUMBER_WORDS]
    found = [number for number in found if number not in check.get("given", ())] or found
    return bool(found) and abs(found[-1] - check["value"]) <= tolerance


def _numbers(text: str) -> list[float]:
    return [float(re.sub("[$€£,]", "", number).replace("−", "-")) for number in NUMBER.findall(text)]


def text(check: Check, answer: str) -> bool:
    """The answer settles on an accepted phrase.

    It does where it is that phrase; where it marks that phrase (bold, quoted, …) and no rejected one; or where the
    first or the last sentence that names any of them names only accepted ones. Such a sentence doesn't count if it
    denies the phrase ("not Paris"), or if another one says the same of a rejected phrase, as in a list of options.
    """
    accepted, rejected = ([as_phrase(text) for text in check.get(key, ())] for key in ("accept", "reject"))
    if as_phrase(answer) in accepted:
        return True
    marked = {as_phrase(next(filter(None, match.groups()))) for match in MARKED.finditer(answer)} & {
        *accepted,
        *rejected,
    }
    if marked and marked <= set(accepted) and not any(_denies(as_phrase(answer), phrase) for phrase in marked):
        return True
    claims = [claim for claim in map(as_phrase, sentences(answer)) if _names(claim, accepted + rejected)]
    listed = {_rest(claim, accepted + rejected) for claim in claims if _names(claim, rejected)}
    return any(_settles(claim, accepted, rejected, listed) for claim in claims[:1] + claims[-1:])


def _settles(claim: str, accepted: list[str], rejected: list[str], listed: set[str]) -> bool:
    clean = not _names(claim, rejected) and not any(_denies(claim, phrase) for phrase in accepted)
    return clean and _rest(claim, accepted) not in listed


def _names(claim: str, phrases: list[str]) -> bool:
    return any(f" {phrase} " in f" {claim} " for phrase in phrases)


def _denies(claim: str, phrase: str) -> bool:
    return any(f" {word} {phrase} " in f" {claim} " for word in DENIALS)


def _rest(claim: str, phrases: list[str]) -> str:
    """What the claim says of the phrases it names; single letters and digits may be marks of a list."""
    for phrase in phrases:
        claim = f" {claim} ".replace(f" {phrase} ", " ").strip()
    return " ".join(word for word in claim.split() if len(word) > 1 and not word.isdigit() and word not in FILLERS)


def as_phrase(text: str) -> str:
    """The words of a text that comparing looks at, one space between them."""
    words = _words(text)
    return " ".join([word for word in words if word not in ARTICLES] or words)


def _words(text: str) -> list[str]:
    """Lower-case words; a possessive counts as its owner, all marks but the point within a number as spaces."""
    plain = re.sub(r"[’‘]", "'", unicodedata.normalize("NFKC", text).casefold())
    plain = re.sub(r"(?<=\w)'s\b", "", plain).replace("'", "")
    return re.findall(r"\d+(?:\.\d+)+|[^\W_]+", plain)


def _parts(text: str) -> list[str]:
    """Sentences, and lines that end without a point."""
    return [part for line in text.splitlines() for part in SENTENCE_END.split(line)]


def sentences(text: str) -> list[str]:
    """As `_parts`, without list marks and whatever else has no letter or digit."""
    parts = _parts("\n".join(LIST_MARK.sub("", line) for line in text.splitlines()))
    return [part for part in parts if any(map(str.isalnum, part))]


def order(check: Check, answer: str) -> bool:
    """The items that the answer names last are all of them, in this order."""
    items = [as_phrase(item) for item in check["items"]]
    longest_first = sorted(set(items), key=len, reverse=True)
    named = re.findall(rf"(?<!\S)(?:{'|'.join(map(re.escape, longest_first))})(?!\S)", as_phrase(answer))
    return named[-len(items) :] == items


def verbatim(check: Check, answer: str) -> bool:
    """The value stands in the answer letter for letter, not as a part of something longer."""
    return re.search(rf"(?<![\w-]){re.escape(check['value'])}(?![\w-])", answer) is not None


def exact(check: Check, answer: str) -> bool:
    return answer.strip() == check["value"].strip()
