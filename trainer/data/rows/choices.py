"""Multiple-choice questions, in the columns of the benchmarks that people train and measure with.

MMLU and MMLU-Pro list choices and give the right one's number or letter. ARC has texts with labels of its own, its
first edition within the question. HellaSwag has endings, Winogrande two options for a blank.
"""

import json
from collections.abc import Iterator, Sequence
from typing import Any

from .messages import shown
from .row import BadRow

Record = dict[str, Any]
LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
ASKS = ("question", "prompt", "ctx", "sentence")
LISTS = ("choices", "options", "endings")
ANSWERS = ("answerKey", "answer", "label", "answer_index")
TWO = ("option1", "option2")


def is_multiple_choice(has: set[str]) -> bool:
    """Whether these columns are those of a question with choices and the right one."""
    listed = has & set(ASKS) and has & set(LISTS) and has & set(ANSWERS)
    return bool(listed) or {"sentence", *TWO, "answer"} <= has or {"question", "answerKey"} <= has


def multiple_choice(record: Record) -> Iterator[Record]:
    """The question with its choices under letters, and a check for the letter of the right one.

    Raises:
        BadRow: there are no choices, or none of them is the right one.
    """
    rest = dict(record)
    question, given = _pop(rest, ASKS), _choices(rest)
    if isinstance(question, dict):
        given = question.get("choices") if given is None else given
        question = question.get("stem")
    texts, labels = _texts_and_labels(given)
    if not isinstance(question, str) or not question.strip():
        raise BadRow(f"the question is {shown(question)}, expected a text.")
    place = _place(rest, texts, labels, counts_from_1=isinstance(given, tuple))
    listed = "\n".join(f"{letter}. {text}" for letter, text in zip(LETTERS, texts, strict=False))
    yield rest | {
        "prompt": f"{question}\n{listed}\nAnswer with one letter.",
        "golden_response": LETTERS[place],
        "check": {"kind": "choice", "value": LETTERS[place], "choices": texts},
    }


def _pop(rest: Record, names: Sequence[str]) -> Any:
    name = next((name for name in names if rest.get(name) is not None), None)
    return None if name is None else rest.pop(name)


def _choices(rest: Record) -> Any:
    return (rest.pop(TWO[0]), rest.pop(TWO[1])) if set(TWO) <= rest.keys() else _pop(rest, LISTS)


def _texts_and_labels(given: Any) -> tuple[list[str], list[str]]:
    """The choices and what the file calls them."""
    value = _decoded(given)
    if isinstance(value, dict):  # of lists, as ARC has them; or a text by letter
        value = [{"text": text, "label": label} for text, label in _labelled(value)]
    items = list(value) if isinstance(value, list | tuple) else []
    texts: list[Any] = [item.get("text") if isinstance(item, dict) else item for item in items]
    if not texts or len(texts) > len(LETTERS) or not all(isinstance(text, str) and text.strip() for text in texts):
        raise BadRow(f"the choices are {shown(given)}, expected a list of at most {len(LETTERS)} texts.")
    labels = [str(item.get("label")) if isinstance(item, dict) else LETTERS[n] for n, item in enumerate(items)]
    return texts, labels


def _labelled(value: Record) -> Iterator[tuple[Any, Any]]:
    texts, labels = value.get("text"), value.get("label")
    if isinstance(texts, list):
        labels = labels if isinstance(labels, list) else list(LETTERS)
        return zip(texts, labels, strict=False)
    return ((text, label) for label, text in value.items())


def _decoded(value: Any) -> Any:
    """A list that a table has as the text of one."""
    try:
        return json.loads(value) if isinstance(value, str) else value
    except ValueError:
        return value


def _place(rest: Record, texts: list[str], labels: list[str], *, counts_from_1: bool) -> int:
    """The position of the right choice, which is told by its label, its number from 0, or its text."""
    answer = _pop(rest, ANSWERS)
    known = str(answer) if isinstance(answer, int | str) and not isinstance(answer, bool) else ""
    if known in labels:
        return labels.index(known)
    if known.isascii() and known.isdecimal() and 0 <= int(known) - counts_from_1 < len(texts):
        return int(known) - counts_from_1
    if answer in texts:
        return texts.index(answer)
    raise BadRow(f"the answer is {shown(answer)}, expected one of {', '.join(labels)}, or a number from 0.")
