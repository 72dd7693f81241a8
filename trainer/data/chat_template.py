"""What a tokenizer's chat template does with messages, tools and tool calls, found out by rendering probes.

A template refuses what it was not written for, or leaves it out without a word, or writes it in a shape that the model
has never seen. Names tell nothing of this, so each question is put to the template itself, with texts that occur
nowhere else.
"""

import json
from collections.abc import Sequence
from functools import cached_property
from typing import Any

from jinja2 import TemplateError
from transformers import PreTrainedTokenizerBase

from .actions.thinking import has_thinking_mark
from .adaptations import (
    ADAPTATIONS,
    Adaptation,
    adapted,
    as_parts,
    calls_as_text,
    kind_of,
    lost,
    marked,
    subsets,
    with_tools,
)
from .rows.row import BadRow, Message, Tool

REFUSALS = (TemplateError, TypeError, ValueError, KeyError, AttributeError)  # templates are programs of their own
USER = {"role": "user", "content": "zqxquestion"}
PROBE_TOOL: Tool = {
    "type": "function",
    "function": {
        "name": "zqxtool",
        "description": "zqxpurpose",
        "parameters": {"type": "object", "properties": {"zqxargument": {"type": "string", "description": "d"}}},
    },
}


class ChatTemplate:
    """The chat template of a tokenizer that has one.

    Args:
        enable_thinking: Passed to the template.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase, *, enable_thinking: bool = False):
        self.tokenizer = tokenizer
        self.enable_thinking = enable_thinking
        self._found: dict[Any, tuple[Adaptation, ...] | str] = {}
        self._said: set[str] = set()

    @property
    def name(self) -> str:
        """Whose template it is, for people."""
        return f"the chat template of {self.tokenizer.name_or_path}"

    def text(self, messages: list[Message], tools: list[Tool] | None = None, *, opens_answer: bool = True) -> str:
        """`messages` as the template writes them, up to where the answer begins.

        Args:
            opens_answer: Whether the beginning of the assistant's turn is written behind them.

        Raises:
            BadRow: the template refuses the messages, or leaves out a message, a call or the tools.
        """
        tools = tools or None  # some templates write an introduction to no tools at all
        if opens_answer and self._leaves_answers_unopened:
            self._say_once(
                f"{self.name} begins answers with {self.opening!r}, and does not write it where one is asked for "
                "(add_generation_prompt). The model has to write it itself. Mend the template, or pass --chat_template."
            )
        if tools and not self.writes_tools:
            self._say_once(f"{self.name} has no place for tools; they are written as JSON into {self._place_of_tools}")
            return self.text(with_tools(messages, tools, self._place_of_tools), None, opens_answer=opens_answer)
        try:
            return self._render(self.messages_for(messages, tools), tools, opens_answer=opens_answer)
        except REFUSALS as error:
            if isinstance(error, BadRow):
                raise
            raise BadRow(self._refusal(messages, error)) from error

    def messages_for(self, messages: list[Message], tools: list[Tool] | None = None) -> list[Message]:
        """`messages` in the way this template takes them, such that nothing of them is lost.

        Raises:
            BadRow: there is no such way, or the arguments of a call are no object.
        """
        plain = [self._with_arguments(message) for message in map(_as_tool, messages)]
        kind = (*map(kind_of, plain), bool(tools))
        if kind not in self._found:
            self._found[kind] = self._find_way(plain, tools)
        found = self._found[kind]
        if isinstance(found, str):
            raise BadRow(found)
        return adapted(plain, found)

    @cached_property
    def writes_tools(self) -> bool:
        """Whether tools are written with their names, descriptions and parameters."""
        texts = [self._try([USER], [PROBE_TOOL]), self._try(as_parts([USER]), [PROBE_TOOL])]
        words = ("zqxtool", "zqxpurpose", "zqxargument")
        return any(text is not None and all(word in text for word in words) for text in texts)

    @cached_property
    def writes_calls(self) -> bool:
        """Whether calls of an assistant's message are written at all."""
        return any(self._probe_call(arguments) for arguments in ({"zqxkey": 1}, '{"zqxkey": 1}'))

    @cached_property
    def _place_of_tools(self) -> str:
        """Where tools are written as text: the system message, or the user's first where there is no such role."""
        text = self._try([{"role": "system", "content": "zqxsystem"}, USER])
        return "the system message" if text is not None and "zqxsystem" in text else "the first message of the user"

    def _say_once(self, what: str) -> None:
        if what not in self._said:
            self._said.add(what)
            print(f"warning: {what}")

    @cached_property
    def arguments_as_text(self) -> bool:
        """Whether the arguments of a call have to be JSON text; most templates take an object."""
        as_object, as_text = (self._probe_call(arguments) for arguments in ({"zqxkey": 1}, '{"zqxkey": 1}'))
        return not _is_plain(as_object) and _is_plain(as_text)

    @cached_property
    def opening(self) -> str:
        """What stands between the beginning of the assistant's turn and its text, e.g. the name of a channel.

        Thinking is left out: whether there is any is decided by the one who answers.
        """
        answered, asked = self._try([USER, _answer("zqxanswer")]), self._try([USER], opens_answer=True)
        if answered is None or asked is None or not answered.startswith(asked) or "zqxanswer" not in answered:
            return ""
        opening = answered[len(asked) : answered.rfind("zqxanswer")]
        ids = self._ids(opening)
        return opening if not has_thinking_mark(opening) and any(token in self._marks for token in ids) else ""

    @cached_property
    def _leaves_answers_unopened(self) -> bool:
        """Whether the template forgets to begin the assistant's turn where an answer is asked for."""
        return bool(self.opening) and self._try([USER], opens_answer=True) == self._try([USER])

    @cached_property
    def end_ids(self) -> list[int]:
        """The tokens that end an assistant's turn, the last of which is what to stop at.

        Where the template ends turns by nothing but the next one's beginning, the tokenizer's end-of-sequence token.
        """
        eos: Any = self.tokenizer.eos_token_id
        return self._written_end or [eos]

    @cached_property
    def end_of_calls(self) -> str | None:
        """The token that ends a turn of tool calls, where it is another one than that of a text."""
        text = self._probe_call(json.dumps({"zqxkey": 1}) if self.arguments_as_text else {"zqxkey": 1})
        if not text or not self._written_end:
            return None
        marks = [token for token in self._ids(text[text.rindex("zqxkey") :]) if token in self._marks]
        if not marks or marks[-1] == self.end_ids[-1] or self.end_ids[-1] in marks:
            return None
        return str(self.tokenizer.convert_ids_to_tokens(marks[-1]))

    @property
    def stop_ids(self) -> list[int]:
        """All tokens at which an answer is over, that of a text first."""
        ids: list[Any] = [self.end_ids[-1], self.tokenizer.eos_token_id]
        if self.end_of_calls is not None:
            ids.append(self.tokenizer.convert_tokens_to_ids(self.end_of_calls))
        return list(dict.fromkeys(ids))

    def answer_text(self, prompt: list[Message], answer: Message, tools: list[Tool] | None) -> str:
        """What the template writes for the assistant's `answer` to `prompt`, without the end of its turn.

        Where a turn of tool calls ends otherwise than one of text, its end belongs to the call, and stays.

        Raises:
            BadRow: the template can't write the answer, or leaves out some of it.
        """
        asked = self.text(prompt, tools)
        whole = self.text([*prompt, answer], tools, opens_answer=False)
        text = whole[len(asked) :] if whole.startswith(asked) else self._behind_common(asked, whole)
        if self.end_of_calls is not None and self.end_of_calls in text:
            return text[: text.rindex(self.end_of_calls) + len(self.end_of_calls)]
        end = str(self.tokenizer.decode(self._written_end)) if self._written_end else ""
        return text[: text.rindex(end)] if end and end in text else text.rstrip("\n")

    # ---- probes

    def _render(self, messages: list[Message], tools: list[Tool] | None = None, *, opens_answer: bool = False) -> str:
        render: Any = self.tokenizer.apply_chat_template
        return render(
            messages,
            tools=tools or None,
            add_generation_prompt=opens_answer,
            tokenize=False,
            enable_thinking=self.enable_thinking,
        )

    def _try(
        self, messages: list[Message], tools: list[Tool] | None = None, *, opens_answer: bool = False
    ) -> str | None:
        try:
            return self._render(messages, tools, opens_answer=opens_answer)
        except REFUSALS:
            return None

    def _probe_call(self, arguments: Any) -> str:
        """A turn with a call; empty where it is refused or left out."""
        call = {"id": "zqx000001", "type": "function", "function": {"name": "zqxtool", "arguments": arguments}}
        text = self._try([USER, {**_answer(""), "tool_calls": [call]}])
        return text if text and "zqxkey" in text else ""

    def _find_way(self, messages: list[Message], tools: list[Tool] | None) -> tuple[Adaptation, ...] | str:
        """The fewest adaptations by which nothing is lost; else what is wrong with the messages as they are."""
        probes = [self._with_arguments(message) for message in marked(messages)]
        refused = dropped = ""
        ways = subsets([each for each in ADAPTATIONS if each(probes) != probes])
        if not self.writes_calls and any(message.get("tool_calls") for message in messages):
            ways += [(calls_as_text, *others) for others in ways]
        for adaptations in ways:
            try:
                text = self._render(adapted(probes, adaptations), tools)
            except REFUSALS as error:
                refused = refused or self._refusal(messages, error)
                continue
            missing = lost(messages, text)
            if missing is None:
                if calls_as_text in adaptations:
                    self._say_once(f"{self.name} has no place for tool calls; they are written as <tool_call> JSON")
                return adaptations
            if as_parts not in adaptations:  # which few templates know at all
                told = f"{self.name} leaves out {missing}. Change the row, or use another model or --chat_template."
                dropped = dropped or told
        return dropped or refused

    def _refusal(self, messages: Sequence[Message], error: Exception) -> str:
        return (
            f"{self.name} refuses a prompt with the roles {', '.join(m['role'] for m in messages)}: "
            f"{str(error).rstrip('.')}. Change the prompts, or use another model."
        )

    def _with_arguments(self, message: Message) -> Message:
        if not message.get("tool_calls"):
            return message
        calls = [_as_call(call) for call in message["tool_calls"]]
        for call in calls:
            name, arguments = call["function"]["name"], call["function"].get("arguments")
            decoded = _decoded(name, arguments)
            as_text = self.arguments_as_text
            call["function"]["arguments"] = json.dumps(decoded, ensure_ascii=False) if as_text else decoded
        return {**message, "tool_calls": calls}

    @cached_property
    def _marks(self) -> set[int]:
        """Tokens that are no text."""
        added: dict[str, int] = self.tokenizer.get_added_vocab()  # pyright: ignore[reportCallIssue, reportOptionalCall]
        return {*added.values(), *self.tokenizer.all_special_ids}

    @cached_property
    def _written_end(self) -> list[int]:
        """What is common, token by token, to the end of a last turn and of one in the middle, up to its last mark."""
        found = self._around_answer(lambda messages: messages) or self._around_answer(as_parts)
        if found is None:
            return []
        head, last, middle = found
        common = _common(last, middle)
        if self._always_opens:  # then the beginning of the next turn is common too
            begins = len(middle) - _common(head[::-1], middle[::-1])
            common = min(common, begins) or common
        return self._up_to_mark(last[:common]) or self._up_to_mark(last)

    @cached_property
    def _always_opens(self) -> bool:
        conversation = [USER, _answer("zqxanswer")]
        return self._try(conversation) == self._try(conversation, opens_answer=True)

    def _around_answer(self, adapt: Adaptation) -> tuple[list[int], list[int], list[int]] | None:
        """The tokens before the question, behind a last answer, and behind one that a question follows."""
        conversation = [USER, _answer("zqxanswer"), {"role": "user", "content": "zqxnext"}]
        last, middle = self._try(adapt(conversation[:2])), self._try(adapt(conversation))
        if not last or not middle or "zqxanswer" not in last or "zqxanswer" not in middle or "zqxnext" not in middle:
            return None
        head = self._ids(last[: last.index("zqxquestion")])
        behind = middle[: middle.rindex("zqxnext")]
        return head, self._ids_behind(last, "zqxanswer"), self._ids_behind(behind, "zqxanswer")

    def _ids_behind(self, text: str, word: str) -> list[int]:
        place = text.rindex(word) + len(word)
        whole, before = self._ids(text), self._ids(text[:place])
        return whole[len(before) :] if whole[: len(before)] == before else self._ids(text[place:])

    def _up_to_mark(self, ids: list[int]) -> list[int]:
        places = [place for place, token in enumerate(ids) if token in self._marks]
        return ids[: places[-1] + 1] if places else []

    def _behind_common(self, asked: str, whole: str) -> str:
        """`whole` behind the tokens that it has in common with the beginning of an answer to the same prompt."""
        encoded: Any = self.tokenizer(whole, add_special_tokens=False, return_offsets_mapping=True)
        common = _common(encoded["input_ids"], self._ids(asked))
        offsets = encoded["offset_mapping"]
        return whole[offsets[common][0] :] if common < len(offsets) else ""

    def _ids(self, text: str) -> list[int]:
        encoded: Any = self.tokenizer(text, add_special_tokens=False)
        return encoded["input_ids"]


def _is_plain(rendering: str) -> bool:
    """Whether arguments are written once, and not as a text within a text."""
    return bool(rendering) and '\\"zqxkey' not in rendering


def _decoded(name: str, arguments: Any) -> dict[str, Any]:
    try:
        decoded = json.loads(arguments or "{}") if isinstance(arguments, str) else arguments or {}
    except ValueError:
        decoded = None
    if not isinstance(decoded, dict):
        raise BadRow(f"the arguments of the call of {name} are {arguments!r}, expected a JSON object.")
    return decoded


def _as_call(call: dict[str, Any]) -> dict[str, Any]:
    """A call in the spelling with `function`, a copy."""
    if "function" in call:
        return {**call, "function": {**call["function"]}}
    named = {key: call[key] for key in ("name", "arguments") if key in call}
    rest = {key: value for key, value in call.items() if key not in named}
    return {"type": "function", **rest, "function": named}


def _as_tool(message: Message) -> Message:
    """What a function returned, under the role that has that name today."""
    return {**message, "role": "tool"} if message["role"] == "function" else message


def _answer(text: str) -> Message:
    return {"role": "assistant", "content": text}


def _common(first: Sequence[int], second: Sequence[int]) -> int:
    """How many items both have in common at their beginning."""
    for place, (one, other) in enumerate(zip(first, second, strict=False)):
        if one != other:
            return place
    return min(len(first), len(second))
