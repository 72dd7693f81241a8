"""What a teacher is shown besides the prompt, and how: a demonstration, a hint, a document, a long system prompt."""

import json
from collections.abc import Callable
from pathlib import Path

from trainer.data.rows.row import BadRow, Message, Row
from trainer.errors import UsageError


def shown_text(row: Row, golden: Callable[[Row], str | None]) -> str | None:
    """The text that the teacher of a row is shown: its privileged context, else its demonstration; None without both.

    Args:
        golden: Writes the row's demonstration for whoever reads it.
    """
    if row.privileged_context is None:
        return golden(row)
    if isinstance(row.privileged_context, str):
        return row.privileged_context
    return "\n\n".join(filter(None, map(_plain_message, row.privileged_context)))


def read_context(path: str) -> str:
    """The text of `--context`.

    Raises:
        UsageError: it can't be read, or is empty.
    """
    try:
        text = Path(path).read_text(encoding="utf-8-sig").strip()
    except (OSError, ValueError) as error:
        raise UsageError(f"can't read --context {path}: {error}. Pass a text file.") from error
    if not text:
        raise UsageError(f"--context {path} is empty, expected a text.")
    return text


def require_shown(row: Row) -> None:
    """Raise BadRow where there is nothing that a teacher could be shown of the row."""
    if row.privileged_context is None and not row.has_demonstration:
        raise BadRow(
            "field 'golden_response' is missing, and so is 'privileged_context'; expected one of them, to be shown. "
            "--context FILE is one for all rows."
        )


def plain_golden(row: Row) -> str | None:
    """A demonstration for a reader whose template is not at hand: its text, and a JSON object for each call, a line."""
    if not row.golden_calls:
        return row.golden_response
    return "\n".join(filter(None, [row.golden_response, *map(call_line, row.golden_calls)]))


def call_line(call: dict) -> str:
    """A tool call as one line of JSON."""
    return json.dumps({"name": call["name"], "arguments": call["arguments"]}, ensure_ascii=False)


def shown_messages(prompt: list[Message], text: str, template: str, how: str = "template") -> list[Message]:
    """`prompt` as the teacher reads it, together with `text`.

    Args:
        how: `template`: the last question stands in `template` with the text; what comes behind the question, calls
            and their results, stays. `system`: the text is the system message, or goes before the one there is.
    """
    return _before_all(prompt, text) if how == "system" else with_demonstration(prompt, text, template)


def with_demonstration(prompt: list[Message], demonstration: str, template: str) -> list[Message]:
    """`prompt` with the user's last message shown together with a demonstration, by `template`.

    `template` has the places `{prompt}` and `{demonstration}`; both texts are taken literally. A prompt in which the
    user says nothing gets a message more.
    """
    before, _, rest = template.partition("{prompt}")
    after = rest.replace("{demonstration}", demonstration)
    asked = [number for number, message in enumerate(prompt) if message["role"] == "user"]
    if not asked:
        return [*prompt, {"role": "user", "content": (before + after).strip()}]
    question = prompt[asked[-1]]
    shown = {**question, "content": before + (question.get("content") or "") + after}
    return [*prompt[: asked[-1]], shown, *prompt[asked[-1] + 1 :]]


def _before_all(prompt: list[Message], text: str) -> list[Message]:
    if prompt[0]["role"] != "system":
        return [{"role": "system", "content": text}, *prompt]
    both = "\n\n".join(filter(None, [text, prompt[0].get("content")]))
    return [{**prompt[0], "content": both}, *prompt[1:]]


def _plain_message(message: Message) -> str:
    calls = [call.get("function", call) for call in message.get("tool_calls") or []]
    lines = [json.dumps({key: call.get(key) for key in ("name", "arguments")}, ensure_ascii=False) for call in calls]
    return "\n".join(filter(None, [message.get("content"), *lines]))


def check_template(template: str) -> None:
    """Raise UsageError unless `template` has each of its two places once, the prompt first."""
    counts = [template.count("{prompt}"), template.count("{demonstration}")]
    if counts != [1, 1] or template.index("{prompt}") > template.index("{demonstration}"):
        raise UsageError(
            f"--teacher_prompt_template is {template!r}; expected one {{prompt}} and after it one {{demonstration}}."
        )
