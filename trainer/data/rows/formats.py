"""The formats in which people bring their rows, each told by its columns and turned into ours.

A record of ours has `prompt`, and may have `golden_response`, `golden_answer`, `check`, `tools`, `privileged_context`
and `id`; other keys are carried through. A record of another format becomes one of ours, a conversation one for each
answer of the assistant in it.
"""

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from .bfcl import bfcl_answer
from .blocks import joined_texts
from .choices import is_multiple_choice, multiple_choice
from .messages import ASKING, conversation, shown
from .references import as_maths, reference
from .row import BadRow, Message
from .transcripts import of_glaive, of_transcript, of_tree

Record = dict[str, Any]
OURS = frozenset({"golden_response", "golden_answer", "check", "privileged_context"})
PROMPTS = ("prompt", "question", "query", "problem", "instruction", "input")  # names of what is asked, best first
GOLDENS = (  # names of the good answer
    "completion", "response", "solution", "output", "answer", "target", "reply", "answers",
)  # fmt: skip
CONVERSATIONS = ("messages", "conversations", "conversation", "dialog", "dialogue", "contents")
PREFERENCES = (("chosen", "rejected"), ("chosen_messages", "rejected_messages"))
BEFORE = ("context", "passage")  # names of what stands before a question
SYSTEMS = ("system", "system_prompt", "systemInstruction", "system_instruction", "instructions")  # of a system's text
MEDIA = ("image", "images", "audio", "audios", "video", "videos")
MEDIA_TEXT = ("data:", "http://", "https://", ".png", ".jpg", ".jpeg", ".webp", ".gif", ".mp4", ".wav", ".mp3", ".flac")


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
        golden = ", golden answer = ground_truth" if "ground_truth" in has else ""
        return [Format("BFCL", f"prompt = question, tools = function{golden}", lambda r: _bfcl(r, bool(golden)))]
    if {"Instructions", "Golden_Answers"} <= has or {"Instances", "NLDocumentation"} <= has:
        return [Format("ToolAlpaca", "a row for each instruction of an API", _tool_alpaca)]
    if {"query", "answers", "tools"} <= has:
        return [Format("xLAM", "prompt = query, golden calls = answers, tools", _xlam)]
    if pair := next((pair for pair in PREFERENCES if set(pair) <= has), None):
        return [Format("preference pairs", f"golden response = {pair[0]}", lambda r: _preference(r, *pair))]
    if {"system", "chat"} <= has:
        return [Format("Glaive's function calling", "chat: " + _which(every_turn), _with(_glaive, every_turn))]
    if {"message_tree_id", "prompt"} <= has:
        return [Format("OpenAssistant's trees", "the best ranked: " + _which(every_turn), _with(_tree, every_turn))]
    if {"prompt", "canonical_solution"} <= has:
        return [Format("HumanEval", "prompt, golden response = prompt + canonical_solution", _humaneval)]
    if {"code", "test_list"} <= has and {"text", "prompt"} & has:
        asks = _in(has, "text", "prompt")[0]
        return [Format("MBPP", f"prompt = {asks} + test_list, golden response = code", lambda r: _mbpp(r, asks))]
    if {"prompt", "reward_model"} <= has:
        return [Format("verl", "prompt, check = reward_model.ground_truth where it is maths", _verl)]
    if is_multiple_choice(has) and not has & OURS:
        return [Format("multiple choice", "prompt = question + choices, check = the letter", multiple_choice)]
    if "turns" in has and "prompt" not in has:
        return [Format("FastChat's questions", "prompt = the first of turns", _fastchat)]
    spoken = [name for name in CONVERSATIONS if name in has and not {name, "summary"} <= has]
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
    before = _in(has, *BEFORE)
    short = "answer" if answers == ["solution"] and "answer" in has else None
    return [_pair(f"{ask} and {answer}", [*before, ask], answer, short) for ask in asks for answer in answers]


def _in(has: set[str], *names: str) -> list[str]:
    return [name for name in names if name in has]


def _pair(name: str, asks: list[str], answer: str, short: str | None = None) -> Format:
    """Args: short: The column that has the result alone, beside a whole solution."""
    checked = f", check = {short}" if short else ""
    return Format(
        name,
        f"prompt = {' + '.join(asks)}, golden response = {answer}{checked}",
        lambda record: _asked_and_answered(record, asks, answer, short),
    )


def _asked_and_answered(record: Record, asks: Sequence[str], answer: str, short: str | None) -> Iterator[Record]:
    rest = dict(record)
    parts, answered = [rest.pop(name, None) for name in asks], rest.pop(answer, None)
    _require_wanted(rest)
    check = as_maths(rest.pop(short, None)) if short else None
    if check is not None and not answered:  # a result without the way to it
        golden, made = None, None
    else:
        golden, made = reference(answered, answer)
    before = list(_history(rest))
    asked = parts[0] if len(parts) == 1 else "\n\n".join(_texts(asks, parts))
    if before and isinstance(asked, str):
        asked = [*before, {"role": "user", "content": asked}]
    judged = {"check": check or made} if check or made else {}
    yield judged | rest | {"prompt": asked, "golden_response": golden}


def _require_wanted(record: Record) -> None:
    """Raise BadRow for an answer that its label calls a bad one, as KTO's rows have it."""
    if record.get("label") is False:
        raise BadRow("'label' is false: this answer is not wanted.")


def _texts(names: Sequence[str], values: Sequence[Any]) -> Iterator[str]:
    for name, value in zip(names, values, strict=True):
        if not isinstance(value, str | None):
            raise BadRow(f"field {name!r} is {shown(value)}, expected a text.")
        if value:
            yield value


def _history(rest: Record) -> Iterator[Message]:
    """Alpaca's history of questions and answers."""
    turns = rest.pop("history", None) or []
    for turn in turns if isinstance(turns, list) else [turns]:
        if not isinstance(turn, list) or len(turn) != 2:
            raise BadRow(f"field 'history' holds {shown(turn)}, expected pairs of a question and an answer.")
        yield from ({"role": "user", "content": turn[0]}, {"role": "assistant", "content": turn[1]})


# ---- what any format may have besides


def system_column(columns: Sequence[str]) -> str | None:
    """The column that holds a system's text."""
    return next((name for name in SYSTEMS if name in columns), None)


def with_system(record: Record) -> Record:
    """A record of ours with the text of its system column as the first message; one that the prompt has stays."""
    name = next((name for name in SYSTEMS if joined_texts(record.get(name))), None)
    prompt = record.get("prompt")
    messages = [{"role": "user", "content": prompt}] if isinstance(prompt, str) else prompt
    if name is None or not isinstance(messages, list) or not messages or not isinstance(messages[0], dict):
        return record
    rest = {key: value for key, value in record.items() if key != name}
    text = joined_texts(record[name])
    if messages[0].get("role") == "system":
        return rest if messages[0].get("content") == text else record
    return rest | {"prompt": [{"role": "system", "content": text}, *messages]}


def require_text_alone(record: Record) -> None:
    """Raise BadRow for a record with pictures or sound, which models here don't get."""
    for name in MEDIA:
        value = record.get(name)
        is_media = value.lower().startswith(MEDIA_TEXT[:3]) or value.lower().endswith(MEDIA_TEXT[3:]) if isinstance(
            value, str
        ) else bool(value)  # fmt: skip
        if is_media and not isinstance(value, bool | int | float):
            raise BadRow(f"field {name!r} is {shown(value)}, and this trainer reads text alone.")


# ---- conversations


def _which(every_turn: bool) -> str:
    return "each answer of the assistant is a row" if every_turn else "the assistant's last answer is golden"


def _with(read: Callable[[Record, bool], Iterator[Record]], every_turn: bool) -> Callable[[Record], Iterator[Record]]:
    return lambda record: read(record, every_turn)


def _conversations(name: str, every_turn: bool) -> Format:
    names = {"messages": "chat messages", "conversations": "ShareGPT", "contents": "Gemini"}
    meaning = f"{name}: {_which(every_turn)}"
    return Format(names.get(name, "conversations"), meaning, lambda record: _turns(record, name, every_turn))


def _turns(record: Record, name: str, every_turn: bool) -> Iterator[Record]:
    rest = dict(record)
    spoken = _take(rest, name)
    if (
        isinstance(spoken, list) and spoken and all(isinstance(said, str) for said in spoken)
    ):  # in turns, as LIMA has it
        spoken = [{"role": ("user", "assistant")[place % 2], "content": said} for place, said in enumerate(spoken)]
    messages = conversation(spoken, name)
    if rest.get("prompt") is not None and rest["prompt"] not in [message["content"] for message in messages]:
        raise BadRow(f"fields 'prompt' and {name!r} differ: no message says {shown(rest['prompt'])}.")
    yield from rows_of(messages, rest, name, every_turn)


def rows_of(messages: list[Message], rest: Record, name: str, every_turn: bool) -> Iterator[Record]:
    """A record for each answer of the assistant that is to be learnt; one without an answer where there is none."""
    if all(message["role"] != "assistant" for message in messages):
        yield rest | {"prompt": messages}
        return
    _require_wanted(rest)
    weights = [message.pop("weight", 1) for message in messages]
    places = [place for place, weight in enumerate(weights) if weight and messages[place]["role"] == "assistant"]
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
        if not messages[place].get("tool_calls") and not (messages[place]["content"] or "").strip():
            raise BadRow(
                f"message {place + 1} of {name!r} is the assistant's and empty, expected a text or tool calls."
            )
        turn = {"turn": number} if len(places) > 1 else {}
        yield rest | turn | {"prompt": messages[:place], "golden_response": [messages[place]]}


def _glaive(record: Record, every_turn: bool) -> Iterator[Record]:
    rest = dict(record)
    messages, tools = of_glaive(rest.pop("system", None), _take(rest, "chat"))
    yield from rows_of(messages, rest | {"tools": tools}, "chat", every_turn)


def _tree(record: Record, every_turn: bool) -> Iterator[Record]:
    rest = dict(record)
    yield from rows_of(of_tree(_take(rest, "prompt")), rest, "prompt", every_turn)


def _fastchat(record: Record) -> Iterator[Record]:
    rest = dict(record)
    turns = _take(rest, "turns")
    if not isinstance(turns, list) or not turns or not isinstance(turns[0], str):
        raise BadRow(f"field 'turns' is {shown(turns)}, expected a list of questions.")
    reference = rest.pop("reference", None)
    golden = {"golden_response": reference[0]} if isinstance(reference, list) and any(reference[:1]) else {}
    yield rest | golden | {"prompt": turns[0], "id": rest.pop("question_id", None)}


def _preference(record: Record, good: str, bad: str) -> Iterator[Record]:
    """The chosen answer; with an implicit prompt it is the last message of the chosen conversation."""
    rest = dict(record)
    asks = next((name for name in (*PROMPTS, *CONVERSATIONS) if rest.get(name) is not None), "prompt")
    chosen, prompt = _take(rest, good), rest.pop(asks, None)
    rest.pop(bad, None)
    if isinstance(chosen, str) and prompt is None:
        chosen = of_transcript(chosen)
    if isinstance(chosen, str):
        yield rest | {"prompt": prompt, "golden_response": chosen}
        return
    messages = conversation(chosen if isinstance(chosen, list) else [chosen], good)
    if messages[-1]["role"] != "assistant":
        raise BadRow(f"the last message of {good!r} is of role {messages[-1]['role']!r}, expected 'assistant'.")
    asked = messages[:-1] or prompt
    yield rest | {"prompt": asked, "golden_response": [messages[-1]]}


# ---- programs


def _humaneval(record: Record) -> Iterator[Record]:
    rest = dict(record)
    prompt, body = _take(rest, "prompt"), _take(rest, "canonical_solution")
    if not isinstance(prompt, str) or not isinstance(body, str):
        raise BadRow(f"field 'canonical_solution' is {shown(body)}, expected a text behind that of 'prompt'.")
    yield {"id": rest.get("task_id")} | rest | {"prompt": prompt, "golden_response": prompt + body}


def _mbpp(record: Record, asks: str) -> Iterator[Record]:
    rest = dict(record)
    asked, tests = _take(rest, asks), rest.get("test_list")
    if not isinstance(asked, str) or not isinstance(tests, list) or not all(isinstance(test, str) for test in tests):
        raise BadRow(f"field 'test_list' is {shown(tests)}, expected a list of texts, and {asks!r} to be a text.")
    prompt = "\n".join([asked, "", "Your code should pass these tests:", *tests])
    yield rest | {"prompt": prompt, "golden_response": _take(rest, "code")}


def _verl(record: Record) -> Iterator[Record]:
    rest = dict(record)
    judged = rest.get("reward_model")
    truth = judged.get("ground_truth") if isinstance(judged, dict) else None
    check = as_maths(truth) if rest.get("ability") in ("math", "maths", "MATH") else None
    yield ({"check": check} if check else {}) | rest


# ---- calls


def _bfcl(record: Record, has_answers: bool) -> Iterator[Record]:
    """A question for which no function is of use has no possible answer: right is to call none."""
    rest = dict(record)
    question, functions = _take(rest, "question"), _take(rest, "function")
    turns = question if isinstance(question, list) and question and isinstance(question[0], list) else [question]
    if len(turns) > 1:
        raise BadRow(f"field 'question' has {len(turns)} turns, and their answers are not told; expected one turn.")
    prompt = turns[0] if isinstance(turns[0], list) else [{"role": "user", "content": turns[0]}]
    tools = functions if isinstance(functions, list) else [functions]
    if str(rest.get("id")).startswith(("irrelevance", "live_irrelevance")):
        rest["golden_answer"] = []
    elif has_answers:
        rest["golden_answer"] = bfcl_answer(_take(rest, "ground_truth"))
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
