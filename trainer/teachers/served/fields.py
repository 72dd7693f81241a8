"""Which fields of a request a server may do without, and what follows: the one table of them.

Servers that speak OpenAI's API refuse what they don't know. A field that only makes work easier is left out after the
first refusal that names it, and this is said; one that decides what is learnt never is.
"""

import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, TypeVar

from .failures import RequestRefused
from .notices import say_once

T = TypeVar("T")
Body = dict[str, Any]

UNKNOWN = re.compile(
    r"unsupported|not support|unknown|unrecogni[sz]ed|unexpected|extra|not permitted|forbidden|not allowed|additional|"
    r"not available|not implemented|invalid (parameter|argument|field)|instead",
    re.IGNORECASE,
)


@dataclass(frozen=True)
class Dispensable:
    """A field that may be missing.

    Attributes:
        without: What its absence means, for people.
        words: By which a refusal may name it, besides its own name.
        instead: The field that says the same to other servers.
        by_words: A refusal means the field, and not its value, only where it also says that it is not known.
    """

    without: str
    words: tuple[str, ...] = ()
    instead: str | None = None
    by_words: bool = False


SHAPES_NOTHING = "the one token that it shapes is thrown away"
DISPENSABLE = {
    "seed": Dispensable("answers differ from run to run"),
    "chat_template_kwargs": Dispensable(
        "the server decides whether the model thinks; its thinking is taken out of answers, and counts in their length",
        words=("chat_template", "enable_thinking"),
    ),
    "max_tokens": Dispensable("it goes by its newer name", instead="max_completion_tokens", by_words=True),
    "top_k": Dispensable(SHAPES_NOTHING),
    "min_p": Dispensable(SHAPES_NOTHING),
    "repetition_penalty": Dispensable(SHAPES_NOTHING),
    "presence_penalty": Dispensable(SHAPES_NOTHING),
    "frequency_penalty": Dispensable(SHAPES_NOTHING),
    "return_token_strs": Dispensable("without --teacher_tokenizer only a teacher of the student's tokenizer can score"),
}
# Why the others are not left out: a request without them is another question.
NEEDED = {
    "model": "it names who answers",
    "messages": "they are the question",
    "prompt": "it is the question",
    "tokens": "they are the question",
    "temperature": "it decides what is sampled, and so what is learnt. Where it takes one value alone, "
    "`generate --prompts FILE --temperature VALUE` writes demonstrations with it",
    "top_p": "it decides what is sampled, and so what is learnt",
    "tools": "without them a model that is to call tools writes something else",
    "tool_choice": "it is sent only where calls are to stay text",
    "prompt_logprobs": "they are the teacher's scores",
    "add_special_tokens": "it decides the tokens",
    "add_generation_prompt": "it decides the tokens",
}


class Fields:
    """The bodies of requests to one teacher, fitted to what it takes.

    Args:
        base_url: As it is shown.

    Attributes:
        left_out: Fields that its servers refuse.
    """

    def __init__(self, base_url: str):
        self.base_url = base_url
        self.left_out: dict[str, Dispensable] = {}

    async def fitted(self, body: Body, send: Callable[[Body], Awaitable[T]]) -> T:
        """What `send` returns for a body without the fields that are refused.

        A field counts as refused when the request is answered without it.

        Raises:
            RequestRefused: for another reason; where it names a needed field, says why that is not left out.
        """
        tried: dict[str, Dispensable] = {}
        while True:
            sent = _without(body, self.left_out | tried)  # others may learn of more meanwhile
            try:
                answer = await send(sent)
            except RequestRefused as refusal:
                found = self._named(refusal, sent)
                if not found:
                    raise _explained(refusal, body) from refusal
                tried |= found
            else:
                self._remember(tried)
                return answer

    def _named(self, refusal: RequestRefused, sent: Body) -> dict[str, Dispensable]:
        """The fields of a body that a refusal is about."""
        if refusal.status not in (400, 422):
            return {}
        return {
            name: field
            for name, field in DISPENSABLE.items()
            if name in sent and _may_go(name, sent[name]) and _is_about(str(refusal), name, field)
        }

    def _remember(self, tried: dict[str, Dispensable]) -> None:
        for name, field in tried.items():
            self.left_out[name] = field
            what = f"gets {field.instead} instead" if field.instead else "does without"
            say_once(f"the server at {self.base_url} refuses the field {name} and {what}: {field.without}.")


def _may_go(name: str, value: Any) -> bool:
    """Thinking that was asked for is no default that a server may have its own way with."""
    return not (name == "chat_template_kwargs" and value.get("enable_thinking"))


def _is_about(told: str, name: str, field: Dispensable) -> bool:
    named = any(re.search(rf"(?<![A-Za-z0-9_]){word}(?![A-Za-z0-9_])", told) for word in (name, *field.words))
    return named and (not field.by_words or UNKNOWN.search(told) is not None)


def _without(body: Body, refused: dict[str, Dispensable]) -> Body:
    """The body without these fields, or with them by their other names."""
    names = {name: refused[name].instead if name in refused else name for name in body}
    return {new: body[name] for name, new in names.items() if new is not None}


def _explained(refusal: RequestRefused, body: Body) -> RequestRefused:
    """The refusal, with the reason why a field that it names in quotation marks is not left out."""
    told = str(refusal)
    if refusal.status not in (400, 422) or UNKNOWN.search(told) is None:
        return refusal
    named = set(re.findall(r"[`'\"](\w+)[`'\"]", told))
    reasons = {name: reason for name, reason in NEEDED.items() if name in body and name in named}
    thinking = "chat_template_kwargs"
    if thinking in body and _is_about(told, thinking, DISPENSABLE[thinking]):
        reasons[thinking] = "--enable_thinking asks for it; leave that out where the server can't"
    said = [f"The field {name} is not left out: {reason}." for name, reason in reasons.items()]
    return RequestRefused(" ".join([told, *said]), refusal.status)
