"""The formats in which people bring their rows, each told by its columns and turned into ours.

A record of ours has `prompt`, and may have `golden_response`, `golden_answer`, `check`, `tools`, `privileged_context`
and `id`; other keys are carried through. A record of another format becomes one of ours, a conversation one for each
answer of the assistant in it.
"""

import json
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from trainer.data.rows.bfcl import bfcl_answer
from trainer.data.rows.messages import ASKING, conversation, shown
from trainer.data.rows.row import BadRow, Message

Record = dict[str, Any]
OURS = frozenset({"golden_response", "golden_answer", "check", "privileged_context"})
PROMPTS = ("prompt", "question", "query", "problem", "instruction", "input")  # names of what is asked, best first
GOLDENS = ("completion", "response", "solution", "output", "answer", "target", "reply")  # names of the good answer
CONVERSATIONS = ("messages", "conversations", "conversation", "dialog", "dialogue")
LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
TURN_OF_TRANSCRIPT = re.compile(r"\n\n(Human|Assistant): ?")


@dataclass(frozen=True)
class Format:
    """How records of some columns are read.

    Attributes:
        name: As people call it.
        meaning: What becomes of which column.
        records: A record as records of ours.
    """

    name: str
    meaning: str
    records: Callable[[Record], Iterator[Record]]


def format_of(columns: Sequence[str], every_turn: bool) -> list[Format]:
    """The formats that records of these columns may be of: one where it is clear, none where nothing fits.

    Args:
        every_turn: Whether each answer in a conversation becomes a row, or the last one alone.
    """
    has = set(columns)
    if {"question", "function"} <= has:
        return [Format("BFCL", "prompt = question, tools = function", _bfcl)]
    if {"Instructions", "Golden_Answers"} <= has or {"Instances", "NLDocumentation"} <= has:
        return [Format("ToolAlpaca", "a row for each instruction of an API", _tool_alpaca)]
    if {"query", "answers", "tools"} <= has:
        return [Format("xLAM", "prompt = query, golden calls = answers, tools", _xlam)]
    if {"chosen", "rejected"} <= has:
        return [Format("preference pairs", "golden response = chosen", _preference)]
    if "choices" in has and {"question", "prompt"} & has and {"answer", "answerKey"} & has:
        return [Format("multiple choice", "prompt = question + choices, check = the letter", _multiple_choice)]
    if "turns" in has and "prompt" not in has:
        return [Format("FastChat's questions", "prompt = the first of turns", _fastchat)]
    spoken = [name for name in CONVERSATIONS if name in has]
    if has & OURS and "prompt" in has:
        return [Format("ours", _meaning_of_ours(columns), _ours)]
    found = [_conversations(name, every_turn) for name in spoken] + _pairs(has)
    if not found and "prompt" in has:
        return [Format("ours", _meaning_of_ours(columns), _ours)]
    return found


def _meaning_of_ours(columns: Sequence[str]) -> str:
    known = ("prompt", "golden_response", "golden_answer", "check", "tools", "privileged_context")
    return ", ".join(name for name in known if name in columns)


def _ours(record: Record) -> Iterator[Record]:
    yield dict(record)


# ---- one question, one answer


def _pairs(has: set[str]) -> list[Format]:
    """Readings as columns that ask and one that answers."""
    asks = [name for name in PROMPTS if name in has]
    answers = [name for name in GOLDENS if name in has]
    if {"problem", "solution"} <= has:
        asks, answers = ["problem"], ["solution"]
    if "instruction" in has and {"output", "response"} & has:
        return [_pair("Alpaca", ["instruction", *_in(has, "input", "context")], _in(has, "output", "response")[0])]
    before = _in(has, "context")
    return [_pair(f"{ask} and {answer}", [*before, ask], answer) for ask in asks for answer in answers]


def _in(has: set[str], *names: str) -> list[str]:
    return [name for name in names if name in has]


def _pair(name: str, asks: list[str], answer: str) -> Format:
    return Format(
        name,
        f"prompt = {' + '.join(asks)}, golden response = {answer}",
        lambda record: _asked_and_answered(record, asks, answer),
    )


def _asked_and_answered(record: Record, asks: Sequence[str], answer: str) -> Iterator[Record]:
    rest = dict(record)
    parts, answered = [rest.pop(name, None) for name in asks], rest.pop(answer, None)
    if rest.pop("label", True) is False:
        raise BadRow("'label' is false: this answer is not wanted.")
    before = list(_before(rest))
    asked = parts[0] if len(parts) == 1 else "\n\n".join(_texts(asks, parts))
    if before and isinstance(asked, str):
        asked = [*before, {"role": "user", "content": asked}]
    yield rest | {"prompt": asked, "golden_response": answered}


def _texts(names: Sequence[str], values: Sequence[Any]) -> Iterator[str]:
    for name, value in zip(names, values, strict=True):
        if not isinstance(value, str | None):
            raise BadRow(f"field {name!r} is {shown(value)}, expected a text.")
        if value:
            yield value


def _before(rest: Record) -> Iterator[Message]:
    """What stands before the question: a system's text, and Alpaca's history of questions and answers."""
    for name in ("system", "system_prompt"):
        if isinstance(rest.get(name), str) and rest[name].strip():
            yield {"role": "system", "content": rest.pop(name)}
    for turn in rest.pop("history", None) or []:
        if not isinstance(turn, list) or len(turn) != 2:
            raise BadRow(f"field 'history' holds {shown(turn)}, expected pairs of a question and an answer.")
        yield from ({"role": "user", "content": turn[0]}, {"role": "assistant", "content": turn[1]})


# ---- conversations


def _conversations(name: str, every_turn: bool) -> Format:
    which = "each answer of the assistant is a row" if every_turn else "the assistant's last answer is golden"
    names = {"messages": "chat messages", "conversations": "ShareGPT"}
    return Format(names.get(name, "conversations"), f"{name}: {which}", lambda record: _turns(record, name, every_turn))


def _turns(record: Record, name: str, every_turn: bool) -> Iterator[Record]:
    rest = dict(record)
    messages = conversation(_take(rest, name), name)
    if isinstance(rest.get("system"), str) and messages[0]["role"] != "system":
        messages = [{"role": "system", "content": rest.pop("system")}, *messages]
    if rest.get("prompt") is not None and rest["prompt"] not in [message["content"] for message in messages]:
        raise BadRow(f"fields 'prompt' and {name!r} differ: no message says {shown(rest['prompt'])}.")
    yield from rows_of(messages, rest, name, every_turn)


def rows_of(messages: list[Message], rest: Record, name: str, every_turn: bool) -> Iterator[Record]:
    """A record for each answer of the assistant that is to be learnt; one without an answer where there is none."""
    if all(message["role"] != "assistant" for message in messages):
        yield rest | {"prompt": messages}
        return
    places = [
        place for place, message in enumerate(messages) if message["role"] == "assistant" and message.get("weight") != 0
    ]
    places = [place for place in places if any(m["role"] != "system" for m in messages[:place])]  # not a greeting
    if not places:
        raise BadRow(f"field {name!r} has no answer of the assistant to a user, expected one.")
    places = places if every_turn else places[-1:]
    for number, place in enumerate(places, start=1):
        if messages[place - 1]["role"] not in ASKING:
            raise BadRow(
                f"message {place + 1} of {name!r} is the assistant's and follows a message of role "
                f"{messages[place - 1]['role']!r}, expected one of {', '.join(ASKING)} before it."
            )
        turn = {"turn": number} if len(places) > 1 else {}
        yield rest | turn | {"prompt": messages[:place], "golden_response": [messages[place]]}


def _fastchat(record: Record) -> Iterator[Record]:
    rest = dict(record)
    turns = _take(rest, "turns")
    if not isinstance(turns, list) or not turns or not isinstance(turns[0], str):
        raise BadRow(f"field 'turns' is {shown(turns)}, expected a list of questions.")
    reference = rest.pop("reference", None)
    golden = {"golden_response": reference[0]} if isinstance(reference, list) and reference else {}
    yield rest | golden | {"prompt": turns[0], "id": rest.pop("question_id", None)}


def _preference(record: Record) -> Iterator[Record]:
    """The chosen answer; with an implicit prompt it is the last message of the chosen conversation."""
    rest = dict(record)
    chosen, prompt = _take(rest, "chosen"), rest.pop("prompt", None)
    rest.pop("rejected", None)
    if isinstance(chosen, str) and prompt is None:
        chosen = _transcript(chosen)
    if isinstance(chosen, str):
        yield rest | {"prompt": prompt, "golden_response": chosen}
        return
    messages = conversation(chosen, "chosen")
    if messages[-1]["role"] != "assistant":
        raise BadRow(f"the last message of 'chosen' is of role {messages[-1]['role']!r}, expected 'assistant'.")
    asked = messages[:-1] or prompt
    yield rest | {"prompt": asked, "golden_response": [messages[-1]]}


def _transcript(text: str) -> list[Message]:
    """A conversation written as one text, `\\n\\nHuman: …\\n\\nAssistant: …`."""
    parts = TURN_OF_TRANSCRIPT.split(text)
    if len(parts) < 5 or parts[0].strip():
        raise BadRow(f"field 'chosen' is {shown(text)} and there is no 'prompt', expected one, or messages.")
    roles = {"Human": "user", "Assistant": "assistant"}
    pairs = zip(parts[1::2], parts[2::2], strict=True)
    return [{"role": roles[who], "content": said.strip()} for who, said in pairs]


# ---- choices and calls


def _multiple_choice(record: Record) -> Iterator[Record]:
    """MMLU's choices are a list and its answer a number or a letter; ARC's are texts with labels and an `answerKey`."""
    rest = dict(record)
    question, choices = rest.pop("question", None) or rest.pop("prompt", None), _take(rest, "choices")
    texts = choices.get("text") if isinstance(choices, dict) else choices
    if not isinstance(texts, list) or not texts or not all(isinstance(text, str) for text in texts):
        raise BadRow(f"field 'choices' is {shown(choices)}, expected a list of texts.")
    labels = (choices.get("label") if isinstance(choices, dict) else None) or list(LETTERS[: len(texts)])
    given = rest.pop("answerKey", None)
    letter = _letter(rest.pop("answer", None) if given is None else given, labels, texts)
    listed = "\n".join(f"{label}. {text}" for label, text in zip(labels, texts, strict=True))
    yield rest | {
        "prompt": f"{question}\n{listed}\nAnswer with one letter.",
        "golden_response": letter,
        "check": {"kind": "choice", "value": letter, "choices": dict(zip(labels, texts, strict=True))},
    }


def _letter(answer: Any, labels: list[str], texts: list[str]) -> str:
    """The label of the right choice, which is told by its label, its number from 0, or its text."""
    if answer in labels:
        return str(answer)
    if isinstance(answer, int) and 0 <= answer < len(labels):
        return labels[answer]
    if answer in texts:
        return labels[texts.index(answer)]
    raise BadRow(f"the answer is {shown(answer)}, expected one of {', '.join(map(str, labels))}, or a number from 0.")


def _bfcl(record: Record) -> Iterator[Record]:
    rest = dict(record)
    question, functions = _take(rest, "question"), _take(rest, "function")
    turns = question if isinstance(question, list) and question and isinstance(question[0], list) else [question]
    if len(turns) > 1:
        raise BadRow(f"field 'question' has {len(turns)} turns, and their answers are not told; expected one turn.")
    prompt = turns[0] if isinstance(turns[0], list) else [{"role": "user", "content": turns[0]}]
    tools = functions if isinstance(functions, list) else [functions]
    if "ground_truth" in rest:
        rest["golden_answer"] = bfcl_answer(rest.pop("ground_truth"))
    yield rest | {"prompt": prompt, "tools": tools}


def _xlam(record: Record) -> Iterator[Record]:
    rest = dict(record)
    calls = _take(rest, "answers")
    calls = _json(calls, "answers") if isinstance(calls, str) else calls
    message = {"role": "assistant", "tool_calls": calls}
    yield rest | {"prompt": _take(rest, "query"), "golden_response": [message]}


def _tool_alpaca(record: Record) -> Iterator[Record]:
    """ToolAlpaca keeps the requests of an API together: with the calls that fulfil them, or with recorded instances."""
    name = str(record.get("Name", "tool"))
    documentation = record.get("NLDocumentation") or record.get("Documentation") or ""
    about = f"{name}: {record.get('Description', '')}\n{documentation}".strip()
    told = _told_calls(record) if "Golden_Answers" in record else _recorded_calls(record)
    for number, (request, golden) in enumerate(told, start=1):
        yield {"prompt": f"{about}\n\n{request}", "id": f"{name}-{number}", "tool": name} | golden


def _told_calls(record: Record) -> Iterator[tuple[Any, Record]]:
    requests, answers = record.get("Instructions"), record["Golden_Answers"]
    if not isinstance(requests, list) or not isinstance(answers, list) or len(requests) != len(answers):
        raise BadRow(f"field 'Golden_Answers' is {shown(answers)}, expected a list of one for each of 'Instructions'.")
    for request, calls in zip(requests, answers, strict=True):
        yield request, {"golden_answer": calls}


def _recorded_calls(record: Record) -> Iterator[tuple[Any, Record]]:
    instances = record.get("Instances")
    if not isinstance(instances, list) or not all(isinstance(instance, dict) for instance in instances):
        raise BadRow(f"field 'Instances' is {shown(instances)}, expected a list of objects.")
    for instance in instances:
        try:
            calls = [tuple(step[0][:2]) for step in instance.get("intermediate_steps") or []]
            lines = [f"Action: {action}\nAction_Input: {given}" for action, given in calls]
        except (TypeError, IndexError, KeyError, ValueError) as error:
            found = shown(instance.get("intermediate_steps"))
            raise BadRow(
                f"field 'intermediate_steps' is {found}, expected [[[action, input, …], result], …]."
            ) from error
        answer = [{"Action": action, "Action_Input": given} for action, given in calls]
        golden = {"golden_response": "\n".join(lines), "golden_answer": answer} if calls else {}
        yield instance.get("input"), golden


def _take(rest: Record, name: str) -> Any:
    if name not in rest:
        raise BadRow(f"field {name!r} is missing, which other rows of the file have.")
    return rest.pop(name)


def _json(text: str, field: str) -> Any:
    try:
        return json.loads(text)
    except ValueError as error:
        raise BadRow(f"field {field!r} is {shown(text)}, expected JSON.") from error
