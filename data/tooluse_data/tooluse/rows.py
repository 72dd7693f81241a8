"""Rows of the data set: a request, the tools offered with it, and the golden answer."""

import json
from collections.abc import Sequence
from random import Random

from .catalogue import NEIGHBOURS, SEEN, TOOLS, UNSEEN, are_rivals
from .thoughts import thought
from .tool import Tool
from .wording import Call, Request, one_step, two_steps

TWO_STEP_SHARE = 0.35

INSTRUCTION = """\
Answer the request with calls of the tools below. Write these three lines for each call:
Thought: <why>
Action: <tool name>
Action_Input: <arguments as a JSON object on one line>

Rules: Give every required argument, and an optional one only if the request states it. Copy names, codes \
and quoted texts exactly, without the quotation marks. Write dates as YYYY-MM-DD, times as HH:MM on the \
24-hour clock, numbers as plain JSON numbers in the documented unit. Keep calls and lists in the order of \
the request."""


class Writer:
    """Writes rows, none of which has a request or a golden answer that an earlier row had."""

    def __init__(self, seed: int):
        self.seed = seed
        self._taken: set[str] = set()

    def rows(self, split: str, count: int, needed: Sequence[Tool], offered: Sequence[Tool]) -> list[dict]:
        """`count` rows that need the tools of `needed` in turn and offer tools of `offered`."""
        return [
            self._row(f"{split}-{number:04}", needed[number % len(needed)], needed, offered) for number in range(count)
        ]

    def _row(self, name: str, tool: Tool, needed: Sequence[Tool], offered: Sequence[Tool]) -> dict:
        for attempt in range(100):
            rng = Random(f"{self.seed}/{name}/{attempt}")
            two = rng.random() < TWO_STEP_SHARE
            request = two_steps(tool, needed, rng) if two else one_step(tool, rng)
            fingerprints = {request.text, json.dumps(answer(request.calls))}
            if not fingerprints & self._taken:
                self._taken |= fingerprints
                return row(name, request, offered, rng)
        raise RuntimeError(f"no new request for {tool.name} in 100 attempts: give it more facts or phrasings")


def row(name: str, request: Request, offered: Sequence[Tool], rng: Random) -> dict:
    tools = shown(request, offered, rng)
    return {
        "id": name,
        "prompt": prompt(request.text, tools),
        "golden_response": response(request.calls, rng),
        "golden_answer": answer(request.calls),
        "tools": [tool.name for tool in tools],
        "num_steps": len(request.calls),
        "seen_tools": not any(call.tool.unseen for call in request.calls),
        "domain": request.calls[0].tool.domain,
    }


def shown(request: Request, offered: Sequence[Tool], rng: Random) -> list[Tool]:
    """The needed tools and two to four distractors of the same domain or its neighbours, shuffled."""
    needed = list({call.tool.name: call.tool for call in request.calls}.values())
    tools, wanted = list(needed), len(needed) + rng.choice([2, 2, 3, 3, 4] if len(needed) == 1 else [2, 2, 3])
    while len(tools) < wanted:
        home = needed[0].domain
        domain = home if rng.random() < 0.65 else rng.choice(NEIGHBOURS[home])
        near = [t for t in offered if t.domain == domain and t not in tools]
        near = [t for t in near if not any(are_rivals(t, other) for other in needed)]
        tools += [rng.choice(near)] if near else []
    rng.shuffle(tools)
    return tools


def prompt(request: str, tools: Sequence[Tool]) -> str:
    documents = "\n\n".join(tool.document() for tool in tools)
    return f"{INSTRUCTION}\n\nTools:\n\n{documents}\n\nRequest: {request}"


def response(calls: Sequence[Call], rng: Random) -> list[str]:
    lines = []
    for step, call in enumerate(calls, 1):
        lines += [
            f"Thought: {thought(call, step, len(calls), rng)}",
            f"Action: {call.tool.name}",
            f"Action_Input: {json.dumps(call.arguments, ensure_ascii=False)}",
        ]
    return lines


def answer(calls: Sequence[Call]) -> list[dict]:
    return [{"Action": call.tool.name, "Action_Input": call.arguments} for call in calls]


def splits(seed: int, train: int, evaluation: int) -> tuple[list[dict], list[dict]]:
    """Train and eval rows; half of the eval rows need tools that no train row shows."""
    writer = Writer(seed)
    train_rows = writer.rows("train", train, SEEN, SEEN)
    seen = writer.rows("eval-seen", evaluation // 2, SEEN, SEEN)
    unseen = writer.rows("eval-unseen", evaluation - len(seen), UNSEEN, tuple(TOOLS.values()))
    return train_rows, seen + unseen


def sample(rows: Sequence[dict], count: int) -> list[dict]:
    """A few rows of many kinds: each from another domain, one and two steps by turns."""
    chosen: list[dict] = []
    for candidate in rows:
        steps = 1 + len(chosen) % 2
        new = all(candidate["domain"] != row["domain"] for row in chosen)
        if len(chosen) < count and new and candidate["num_steps"] == steps:
            chosen.append(candidate)
    return chosen
