"""Whether an answer is right, decided by a program: every row of a suite carries its `check`.

A check is `{"kind": …, further keys}`; `KINDS` names all kinds and their keys. Kinds that look for an answer within
a text (`number`, `maths`, `choice`, `text`, `order`, `verbatim`) expect that models answer in sentences; kinds that
verify an instruction (`sentences`, `bullets`, `json_keys`, …) look at the whole text, in the manner of IFEval
(arXiv 2311.07911).
"""

import difflib
import json
import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

from ..data.rows.row import BadRow
from . import choices, constraints, phrases
from .code import runs_right
from .maths import maths

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


def _all(check: Check, answer: str) -> bool:
    return all(passes(inner, answer) for inner in check["checks"])


def _code(check: Check, answer: str) -> bool:
    return runs_right(answer, check["name"], check["tests"], seconds=check.get("seconds", 5.0))


def _text(check: Check, answer: str) -> bool:
    """Where all phrases are capital letters, they are those of choices."""
    letters = [*check["accept"], *check.get("reject", ())]
    if all(len(letter) == 1 and letter.isupper() for letter in letters):
        found = choices.letter_of(answer, dict.fromkeys(letters, "") if len(letters) > 1 else None)
        if found is not None:
            return found in check["accept"]
    return phrases.text(check, answer)


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
    accepted, rejected = ({phrases.as_phrase(text) for text in check.get(key, ())} for key in ("accept", "reject"))
    if "" in accepted | rejected:
        return "has a phrase without a word, expected letters or digits"
    both = accepted & rejected
    return f"accepts and rejects {min(both)!r}, expected one of the two" if both else ""


def _wrong_choice(check: Check) -> str:
    if choices.right_letter(check) is not None or not check.get("choices"):
        return ""
    return f"has the value {check['value']!r}, expected a letter or one of its 'choices'"


def _wrong_items(check: Check) -> str:
    items = [phrases.as_phrase(item) for item in check["items"]]
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
BOUNDS: dict[str, Form] = dict.fromkeys(constraints.BOUNDS, COUNT)


def _counting(count: Callable[[str], int]) -> Kind:
    return Kind(constraints.counted(count), may=BOUNDS, wrong=_wrong_bounds)


KINDS = {
    "number": Kind(phrases.number, {"value": NUMERIC}, {"tolerance": TOLERATED, "given": NUMBERS}),
    "maths": Kind(maths, {"value": Form("a number or a formula", lambda value: _is_text(value) or _is_number(value))}),
    "choice": Kind(choices.choice, {"value": TEXT}, {"choices": TEXTS}, _wrong_choice),
    "text": Kind(_text, {"accept": TEXTS}, {"reject": TEXTS}, _wrong_phrases),
    "order": Kind(phrases.order, {"items": TEXTS}, wrong=_wrong_items),
    "verbatim": Kind(phrases.verbatim, {"value": TEXT}),
    "exact": Kind(phrases.exact, {"value": TEXT}),
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
    "sentences": _counting(constraints.sentence_count),
    "words": _counting(constraints.word_count),
    "lines": _counting(constraints.line_count),
    "paragraphs": _counting(constraints.paragraph_count),
    "bullets": _counting(constraints.bullet_count),
    "numbered": _counting(constraints.numbered_count),
    "highlights": _counting(constraints.highlight_count),
    "separated": Kind(constraints.separated, may=BOUNDS | {"by": TEXT}, wrong=_wrong_bounds),
    "includes": Kind(constraints.includes, {"words": TEXTS}, BOUNDS, _wrong_optional_bounds),
    "excludes": Kind(constraints.excludes, {"words": TEXTS}),
    "lowercase": Kind(constraints.lowercase),
    "uppercase": Kind(constraints.uppercase),
    "no_commas": Kind(constraints.no_commas),
    "quoted": Kind(constraints.quoted),
    "title": Kind(constraints.title),
    "starts": Kind(constraints.starts, {"text": TEXT}),
    "ends": Kind(constraints.ends, {"text": TEXT}),
    "json_keys": Kind(constraints.json_keys, {"keys": TEXTS}),
}
