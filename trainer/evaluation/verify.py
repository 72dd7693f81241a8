"""Whether an answer is right, decided by a program: every row of a suite carries its `check`.

A check is `{"kind": …, further keys}`; `KINDS` names all kinds and their keys. Kinds that look for an answer within
a text (`number`, `text`, `order`, `verbatim`) expect that models answer in sentences; kinds that verify an instruction
(`sentences`, `bullets`, `json_keys`, …) look at the whole text, in the manner of IFEval (arXiv 2311.07911).
"""

import difflib
import json
import math
import re
import unicodedata
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

from trainer.answers import STRICT_JSON
from trainer.dataset import BadRow
from trainer.evaluation.code import runs_right

Check = dict[str, Any]


def passes(check: Check, answer: str) -> bool:
    """Whether `answer` is right. An answer without a letter or digit never is.

    Args:
        check: As `require_known` accepts it.
        answer: The model's text, thinking taken out.

    Raises:
        BadRow: the check is of no known kind.
    """
    kind = _kind(check)
    return any(map(str.isalnum, answer)) and kind.passes(check, answer)


def require_known(check: Any) -> None:
    """Refuses a check that nothing could be measured with.

    Raises:
        BadRow: says which kind it is, and which of its keys is wrong, missing or unknown.
    """
    kind = _kind(check)
    for key, form in kind.needs.items():
        if key not in check:
            raise BadRow(f"the check of kind {check['kind']!r} has no {key!r}, expected {form.expected}.")
    forms = kind.needs | kind.may | {"kind": TEXT}
    for key, value in check.items():
        if key not in forms:
            raise BadRow(f"the check of kind {check['kind']!r} has an unknown key {key!r}, expected {_listed(forms)}.")
        if not forms[key].fits(value):
            raise BadRow(
                f"{key!r} of the check of kind {check['kind']!r} is {value!r}, expected {forms[key].expected}."
            )
    if wrong := kind.wrong(check):
        raise BadRow(f"the check of kind {check['kind']!r} {wrong}.")


def _kind(check: Any) -> "Kind":
    name = check.get("kind") if isinstance(check, dict) else None
    if not isinstance(name, str):
        raise BadRow(f"field 'check' is {check!r}, expected an object with 'kind', one of {_listed(KINDS)}.")
    if name not in KINDS:
        near = difflib.get_close_matches(name, KINDS, n=1)
        meant = f"did you mean {near[0]!r}? " if near else ""
        raise BadRow(f"no check is of kind {name!r}; {meant}Known are {_listed(KINDS)}.")
    return KINDS[name]


def _listed(names: Iterable[str]) -> str:
    return ", ".join(map(repr, names))


# ---- an answer within a text

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


def _number(check: Check, answer: str) -> bool:
    """The last number has the value; in its sentence, numbers of the question count only where there are no others.

    So "There are 300 minutes in 5 hours" says 300. In an answer without digits number words up to twenty are read.
    """
    found = next(filter(None, map(_numbers, reversed(_parts(answer)))), [])
    found = found or [float(NUMBER_WORDS.index(word)) for word in _words(answer) if word in NUMBER_WORDS]
    found = [number for number in found if number not in check.get("given", ())] or found
    return bool(found) and abs(found[-1] - check["value"]) <= check.get("tolerance", TOLERANCE)


def _numbers(text: str) -> list[float]:
    return [float(re.sub("[$€£,]", "", number).replace("−", "-")) for number in NUMBER.findall(text)]


def _text(check: Check, answer: str) -> bool:
    """The answer settles on an accepted phrase.

    It does where it is that phrase; where it marks that phrase (bold, quoted, …) and no rejected one; or where the
    first or the last sentence that names any of them names only accepted ones. Such a sentence doesn't count if it
    denies the phrase ("not Paris"), or if another one says the same of a rejected phrase, as in a list of options.
    """
    accepted, rejected = ([_phrase(text) for text in check.get(key, ())] for key in ("accept", "reject"))
    if _phrase(answer) in accepted:
        return True
    marked = {_phrase(next(filter(None, match.groups()))) for match in MARKED.finditer(answer)} & {*accepted, *rejected}
    if marked and marked <= set(accepted) and not any(_denies(_phrase(answer), phrase) for phrase in marked):
        return True
    claims = [claim for claim in map(_phrase, _sentences(answer)) if _names(claim, accepted + rejected)]
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


def _phrase(text: str) -> str:
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


def _sentences(text: str) -> list[str]:
    """As `_parts`, without list marks and whatever else has no letter or digit."""
    parts = _parts("\n".join(LIST_MARK.sub("", line) for line in text.splitlines()))
    return [part for part in parts if any(map(str.isalnum, part))]


def _order(check: Check, answer: str) -> bool:
    """The items that the answer names last are all of them, in this order."""
    items = [_phrase(item) for item in check["items"]]
    longest_first = sorted(set(items), key=len, reverse=True)
    named = re.findall(rf"(?<!\S)(?:{'|'.join(map(re.escape, longest_first))})(?!\S)", _phrase(answer))
    return named[-len(items) :] == items


def _verbatim(check: Check, answer: str) -> bool:
    """The value stands in the answer letter for letter, not as a part of something longer."""
    return re.search(rf"(?<![\w-]){re.escape(check['value'])}(?![\w-])", answer) is not None


def _exact(check: Check, answer: str) -> bool:
    return answer.strip() == check["value"].strip()


def _all(check: Check, answer: str) -> bool:
    return all(passes(inner, answer) for inner in check["checks"])


def _code(check: Check, answer: str) -> bool:
    return runs_right(answer, check["name"], check["tests"], seconds=check.get("seconds", 5.0))


# ---- what a text keeps to

BULLET = re.compile(r"^[ \t]*[-*•+][ \t]+\S", re.MULTILINE)
NUMBERED = re.compile(r"^[ \t]*\d+[.)][ \t]+\S", re.MULTILINE)
TITLE = re.compile(r"<<[^<>\n]*\w[^<>\n]*>>")
HIGHLIGHT = re.compile(r"(?<!\*)\*\*?[^*\s](?:[^*\n]*[^*\s])?\*\*?(?!\*)")
JSON_BLOCK = re.compile(r"```\w*\n(.*)\n\s*```", re.DOTALL)
DOUBLE_QUOTES = '"“”„'


def _sentence_count(answer: str) -> int:
    return len(_sentences(answer))


def _word_count(answer: str) -> int:
    return sum(any(map(str.isalnum, word)) for word in answer.split())


def _bullet_count(answer: str) -> int:
    return len(BULLET.findall(answer))


def _numbered_count(answer: str) -> int:
    return len(NUMBERED.findall(answer))


def _line_count(answer: str) -> int:
    return sum(bool(line.strip()) for line in answer.splitlines())


def _paragraph_count(answer: str) -> int:
    return sum(bool(part.strip()) for part in re.split(r"\n\s*\n", answer))


def _highlight_count(answer: str) -> int:
    return len(HIGHLIGHT.findall(answer))


def _counted(count: Callable[[str], int]) -> Callable[[Check, str], bool]:
    return lambda check, answer: _within(check, count(answer))


def _within(check: Check, found: int) -> bool:
    exact = check.get("count", found)
    return found == exact and check.get("at_least", 0) <= found <= check.get("at_most", math.inf)


def _times(word: str, answer: str) -> int:
    return len(re.findall(rf"(?<!\w){re.escape(word.casefold())}(?!\w)", answer.casefold()))


def _includes(check: Check, answer: str) -> bool:
    """Each word or phrase occurs, whatever its case; without bounds at least once."""
    bounds = check if BOUNDS.keys() & check.keys() else {"at_least": 1}
    return all(_within(bounds, _times(word, answer)) for word in check["words"])


def _excludes(check: Check, answer: str) -> bool:
    return not any(_times(word, answer) for word in check["words"])


def _lowercase(check: Check, answer: str) -> bool:
    return any(map(str.islower, answer)) and not any(map(str.isupper, answer))


def _uppercase(check: Check, answer: str) -> bool:
    return any(map(str.isupper, answer)) and not any(map(str.islower, answer))


def _bare(text: str) -> str:
    return text.casefold().strip(f"{DOUBLE_QUOTES}*_ \t\r\n")


def _starts(check: Check, answer: str) -> bool:
    """Case, quotation marks and emphasis around the answer don't count."""
    return _bare(answer).startswith(_bare(check["text"]))


def _ends(check: Check, answer: str) -> bool:
    return _bare(answer).endswith(_bare(check["text"]))


def _json_keys(check: Check, answer: str) -> bool:
    """The whole answer, or its only code block, is a JSON object with exactly these keys."""
    block = JSON_BLOCK.search(answer)
    try:
        found = STRICT_JSON.decode((block[1] if block else answer).strip())
    except (ValueError, RecursionError):
        return False
    return isinstance(found, dict) and found.keys() == set(check["keys"])


def _no_commas(check: Check, answer: str) -> bool:
    return "," not in answer


def _quoted(check: Check, answer: str) -> bool:
    text = answer.strip()
    return len(text) > 2 and text[0] in DOUBLE_QUOTES and text[-1] in DOUBLE_QUOTES


def _title(check: Check, answer: str) -> bool:
    return TITLE.search(answer) is not None


def _separated(check: Check, answer: str) -> bool:
    parts = answer.split(check.get("by", "***"))
    return all(part.strip() for part in parts) and _within(check, len(parts))


# ---- which checks there are

BOUND_RULE = "'count', or 'at_least' not above 'at_most'"


@dataclass(frozen=True)
class Form:
    """What a key's value must be."""

    expected: str
    fits: Callable[[Any], bool]


@dataclass(frozen=True)
class Kind:
    """One kind of check.

    Attributes:
        passes: Says whether an answer is right.
        needs: Keys that it must have.
        may: Keys that it may have.
        wrong: Says what is wrong with keys of the right form; "" where nothing is.
    """

    passes: Callable[[Check, str], bool]
    needs: dict[str, Form] = field(default_factory=dict)
    may: dict[str, Form] = field(default_factory=dict)
    wrong: Callable[[Check], str] = lambda check: ""


def _is_text(value: Any) -> bool:
    return isinstance(value, str) and bool(value.strip())


def _is_texts(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and all(map(_is_text, value))


def _is_number(value: Any) -> bool:
    return type(value) in (int, float) and math.isfinite(value)


def _is_positive(value: Any) -> bool:
    return _is_number(value) and value > 0


def _is_count(value: Any) -> bool:
    return type(value) is int and value >= 0


def _is_tests(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and all(map(_is_test, value))


def _is_test(value: Any) -> bool:
    return isinstance(value, list) and len(value) == 2 and isinstance(value[0], list) and _is_json(value)


def _is_json(value: Any) -> bool:
    try:
        return json.loads(json.dumps(value, allow_nan=False)) == value
    except (TypeError, ValueError, RecursionError):
        return False


def _is_name(value: Any) -> bool:
    return isinstance(value, str) and value.isidentifier()


def _wrong_phrases(check: Check) -> str:
    accepted, rejected = ({_phrase(text) for text in check.get(key, ())} for key in ("accept", "reject"))
    if "" in accepted | rejected:
        return "has a phrase without a word, expected letters or digits"
    both = accepted & rejected
    return f"accepts and rejects {min(both)!r}, expected one of the two" if both else ""


def _wrong_items(check: Check) -> str:
    items = [_phrase(item) for item in check["items"]]
    return "" if all(items) and len(set(items)) > 1 else "has too few different 'items', expected two or more words"


def _wrong_bounds(check: Check) -> str:
    given = BOUNDS.keys() & check.keys()
    if not given:
        return f"has no bounds, expected {BOUND_RULE}"
    twofold = "count" in given and len(given) > 1
    crossed = check.get("at_least", 0) > check.get("at_most", math.inf)
    return f"has bounds that contradict each other, expected {BOUND_RULE}" if twofold or crossed else ""


def _wrong_optional_bounds(check: Check) -> str:
    return _wrong_bounds(check) if BOUNDS.keys() & check.keys() else ""


def _wrong_inner(check: Check) -> str:
    for place, inner in enumerate(check["checks"], start=1):
        try:
            require_known(inner)
        except BadRow as error:
            return f"is wrong in its part {place}: {str(error).rstrip('.')}"
    return ""


TEXT = Form("a text that is not blank", _is_text)
TEXTS = Form("a list of texts that are not blank", _is_texts)
COUNT = Form("a whole number from 0 on", _is_count)
NUMERIC = Form("a finite number", _is_number)
NUMBERS = Form("a list of finite numbers", lambda value: isinstance(value, list) and all(map(_is_number, value)))
TOLERATED = Form("a number from 0 on", lambda value: _is_number(value) and value >= 0)
POSITIVE = Form("a number above 0", _is_positive)
BOUNDS = {"count": COUNT, "at_least": COUNT, "at_most": COUNT}


def _counting(count: Callable[[str], int]) -> Kind:
    return Kind(_counted(count), may=BOUNDS, wrong=_wrong_bounds)


KINDS = {
    "number": Kind(_number, {"value": NUMERIC}, {"tolerance": TOLERATED, "given": NUMBERS}),
    "text": Kind(_text, {"accept": TEXTS}, {"reject": TEXTS}, _wrong_phrases),
    "order": Kind(_order, {"items": TEXTS}, wrong=_wrong_items),
    "verbatim": Kind(_verbatim, {"value": TEXT}),
    "exact": Kind(_exact, {"value": TEXT}),
    "all": Kind(
        _all, {"checks": Form("a list of checks", lambda v: isinstance(v, list) and bool(v))}, wrong=_wrong_inner
    ),
    "code": Kind(
        _code,
        {
            "name": Form("the name of a function", _is_name),
            "tests": Form("a list of [arguments, expected], of JSON's types", _is_tests),
        },
        {"seconds": POSITIVE},
    ),
    "sentences": _counting(_sentence_count),
    "words": _counting(_word_count),
    "lines": _counting(_line_count),
    "paragraphs": _counting(_paragraph_count),
    "bullets": _counting(_bullet_count),
    "numbered": _counting(_numbered_count),
    "highlights": _counting(_highlight_count),
    "separated": Kind(_separated, may=BOUNDS | {"by": TEXT}, wrong=_wrong_bounds),
    "includes": Kind(_includes, {"words": TEXTS}, BOUNDS, _wrong_optional_bounds),
    "excludes": Kind(_excludes, {"words": TEXTS}),
    "lowercase": Kind(_lowercase),
    "uppercase": Kind(_uppercase),
    "no_commas": Kind(_no_commas),
    "quoted": Kind(_quoted),
    "title": Kind(_title),
    "starts": Kind(_starts, {"text": TEXT}),
    "ends": Kind(_ends, {"text": TEXT}),
    "json_keys": Kind(_json_keys, {"keys": TEXTS}),
}
