"""Which choice of a multiple-choice question an answer settles on: its letter, or the text of the choice.

A letter counts where nothing but a choice is meant: alone, in brackets, in bold, in a box, behind "the answer is",
before the text of a choice. *a* and *I* are words in running prose only.
"""

import re
from typing import Any

from . import phrases

Check = dict[str, Any]

OPEN, CLOSE = r"[*_`\"'“‘(\[{$\s]*", r"[*_`\"'”’)\]}$\s]*"
LATEX = r"(?:\\(?:text|mathrm|textbf|mathbf|rm)\s*\{?\s*)?"
LETTER = r"(?P<letter>[A-Za-z])"
ENDS = r"(?![\w'’-])"
IS = r"(?:\s+(?:is|would be|should be|must be|was|=)|\s*[:=]|\s*[-–—>]+)"
NOUN = r"(?:(?:final|correct|right|best|my)\s+)*(?:answer|ans|choice|option|solution|response)"
# From the surest to the least sure; of a kind the last one counts, for an answer may correct itself.
NO_WORDS = r"(?!\s+[a-z]{2,})"  # behind a letter that would be an article
REASON = r"(?!\s+(?!because|since|as|and|is|but|for)[a-z]{2,})"
SURE = tuple(
    re.compile(pattern, re.IGNORECASE)
    for pattern in (
        rf"\\boxed\s*\{{\s*{LATEX}{OPEN}{LETTER}{ENDS}",
        rf"^####\s*{OPEN}{LETTER}{CLOSE}$",
        rf"\b{NOUN}(?:\s+\w+){{0,3}}?{IS}\s*(?:(?:choice|option|letter|answer|the)\s+|:\s*)*"
        rf"{OPEN}{LATEX}{LETTER}{ENDS}{REASON}",
        rf"\b{NOUN}s?\s+{OPEN}{LETTER}{CLOSE}(?:is|was)\s+(?:\w+\s+)?(?:correct|right|true|best|the)\b",
        r"\b(?:choose|chose|pick|picked|select|selected|go with|going with)\s+(?:(?:choice|option|letter|answer)\s+)?"
        rf"{OPEN}{LETTER}{ENDS}{NO_WORDS}",
    )
)
LEADING = re.compile(
    rf"\s*(?:(?:choice|option|letter|answer)\s+)?[*_`\"'“($\[]*{LATEX}{LETTER}"
    r"(?P<mark>[*_`\"'”\])}$]*[ \t]*(?:[.):,;\]}–—\\]|-(?!\w))|[*_`\"'”$]+"
    r"|[ \t]+(?:because|since|as|is|was|would|for)\b|\s*$|[ \t]*\n)",
    re.IGNORECASE,
)
LISTED = re.compile(r"^\s*[*_`(\[]*(?P<letter>[A-Z])[*_`\])]*[.):]", re.MULTILINE)  # a walk through all choices
SEVERAL = re.compile(r"\W*[A-Za-z]\W*(?:,|and|or|&|/)\W*[A-Za-z]\b(?!['’])")
SAID = re.compile(
    rf"(?:\b[Ii]t['’]s|\bit is|\bmust be|\bis)\s+{OPEN}(?P<letter>[A-Z]){CLOSE}[.!]?{CLOSE}$", re.MULTILINE
)
PROSE = re.compile(r"\s*(?P<letter>[B-HJ-Z])\s+[a-z]")  # "B only there"; "A cat" and "I think" are prose
NAMED = re.compile(r"\b(?:choice|option)\s+" + OPEN + LETTER + ENDS, re.IGNORECASE)
MARKED = re.compile(rf"(?:\*\*|`|\(){OPEN}{LETTER}(?:[.):][^*`)\n]*)?(?:\*\*|`|\))")
LAST_LINE = re.compile(rf"{OPEN}{LETTER}{CLOSE}[.!]?{CLOSE}")


def choice(check: Check, answer: str) -> bool:
    """The answer settles on the right choice, by its letter or by its text."""
    letters = {chr(ord("A") + place): text for place, text in enumerate(check.get("choices", ()))}
    right = right_letter(check)
    if right is None:
        return phrases.text({"accept": [check["value"]]}, answer)
    found = letter_of(answer, letters)
    if found is not None:
        return found == right
    others = [text for letter, text in letters.items() if letter != right]
    return right in letters and phrases.text({"accept": [letters[right]], "reject": others}, answer)


def right_letter(check: Check) -> str | None:
    """The letter of the right choice; None where the value is a text that no choice has."""
    value, texts = check["value"].strip(), [phrases.as_phrase(text) for text in check.get("choices", ())]
    bare = re.fullmatch(r"\(?([A-Za-z])[.):]?", value)
    if bare and (not texts or ord(bare[1].upper()) - ord("A") < len(texts)):
        return bare[1].upper()
    phrase = phrases.as_phrase(value)
    return chr(ord("A") + texts.index(phrase)) if phrase in texts else None


def letter_of(answer: str, choices: dict[str, str] | None = None) -> str | None:
    """The letter that the answer settles on, in upper case; None where it names none for sure.

    Args:
        choices: The texts of the choices by letter, where they are known; another letter is no choice then.
    """
    known = choices or {}
    for pattern in (*SURE, LEADING, PROSE, SAID, LAST_LINE, NAMED, MARKED):
        found = _found(pattern, answer, known)
        if found:
            return found[-1] if pattern in SURE or len(set(found)) == 1 else None
    return None


def _found(pattern: re.Pattern[str], answer: str, known: dict[str, str]) -> list[str]:
    if pattern in (LEADING, PROSE):
        several = SEVERAL.match(answer) or len({line["letter"] for line in LISTED.finditer(answer)}) > 1
        matches = [] if several else [pattern.match(answer)]
    elif pattern is LAST_LINE:
        lines = [line for line in answer.splitlines() if line.strip()]
        matches = [LAST_LINE.fullmatch(lines[-1])] if lines else []
    else:
        matches = [*pattern.finditer(answer)]
    letters = [match["letter"].upper() for match in matches if match is not None]
    return [letter for letter in letters if not known or letter in known]
