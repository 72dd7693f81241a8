"""Many rows encoded together: what `PromptEncoder` makes of each, at a fraction of the cost.

Texts are rendered one by one and tokenized all at once. Where a row is refused, the refusal stands in its place.
"""

from collections.abc import Callable, Sequence
from typing import Any

from ..errors import UsageError
from .prompts import Prompt, PromptEncoder
from .rows.row import BadRow, Row


def prompt_texts(encoder: PromptEncoder, rows: Sequence[Row]) -> list[str | BadRow | None]:
    """The plain prompt of each row as the student's template writes it."""
    return [_tried(lambda row: encoder.text(row.prompt, row.tools), row) for row in rows]


def prompts(encoder: PromptEncoder, texts: Sequence[str | BadRow | None]) -> list[Prompt | BadRow]:
    """`student_prompt` of each text."""
    limit = encoder.max_prompt_length
    return [
        ids if isinstance(ids, BadRow) else Prompt(ids[-limit:], len(ids) > limit) for ids in _encoded(encoder, texts)
    ]


def are_shown_cut(
    encoder: PromptEncoder, rows: Sequence[Row], asked: Sequence[str | BadRow | None], *, own: bool
) -> list[bool | BadRow]:
    """Whether the demonstration of each row loses its end; a refusal where it has no room at all.

    A text has no more tokens than bytes. So most rows are known to have room without a look at how they are shown.

    Args:
        asked: The texts of the rows' plain prompts.
        own: Whether a row's own context or golden response is shown; else one that is not known yet.
    """
    return [_is_cut(encoder, row, text, own) for row, text in zip(rows, asked, strict=True)]


def _is_cut(encoder: PromptEncoder, row: Row, asked: str | BadRow | None, own: bool) -> bool | BadRow:
    text = _tried(encoder.shown_text, row) if own else ""
    if isinstance(asked, BadRow) or isinstance(text, BadRow):
        return asked if isinstance(asked, BadRow) else BadRow(str(text))
    text = text or ""
    marks = _tried(encoder.marks_when_shown, row)
    if isinstance(marks, BadRow):
        return marks
    most = encoder.showing.repeats() * _bytes(asked or "") + _bytes(text) + _bytes(str(marks))
    is_short = row.privileged_context is not None or _bytes(text) <= encoder.max_completion_length
    if not row.examples and is_short and most < encoder.context_room and encoder.embeddings is None:
        return False
    try:
        return _fitted(encoder, row, text) if own else _has_no_room(encoder, row)
    except UsageError as error:
        return BadRow(str(error).removeprefix(f"row {row.id}: "))


def _fitted(encoder: PromptEncoder, row: Row, text: str) -> bool:
    return encoder.demonstration_prompt(row, text).was_cut


def _has_no_room(encoder: PromptEncoder, row: Row) -> bool | BadRow:
    bare = len(encoder.render(encoder.shown(row, ""), row.tools))
    return BadRow(encoder.no_room(bare)) if bare >= encoder.context_room else False


def _bytes(text: str) -> int:
    return len(text.encode())


def targets(encoder: PromptEncoder, rows: Sequence[Row]) -> list[Prompt | BadRow | None]:
    """`target` of each row's golden response; None where it has none."""
    texts = [_tried(encoder.golden_text, row) for row in rows]
    found = _encoded(encoder, [encoder.opened(text) if isinstance(text, str) else text for text in texts])
    return [
        encoder.ended(text, ids) if isinstance(text, str) and isinstance(ids, list) else ids
        for text, ids in zip(texts, found, strict=True)
    ]


def _tried(write: Callable[[Row], str | None], row: Row) -> str | BadRow | None:
    try:
        return write(row)
    except BadRow as error:
        return error


def _encoded(encoder: PromptEncoder, texts: Sequence[str | BadRow | None]) -> list[Any]:
    """The token ids of each text; what is no text stays as it is."""
    known = [text for text in texts if isinstance(text, str)]
    if not known:
        return list(texts)
    made: Any = encoder.tokenizer(known, add_special_tokens=encoder.chat_template is None)
    ids = iter(made["input_ids"])
    return [_known(encoder, next(ids)) if isinstance(text, str) else text for text in texts]


def _known(encoder: PromptEncoder, ids: list[int]) -> list[int] | BadRow:
    """The ids, or a refusal where the model has no embedding of one."""
    if encoder.embeddings is not None and max(ids, default=0) >= encoder.embeddings:
        return BadRow(encoder.without_embedding(ids))
    return ids
