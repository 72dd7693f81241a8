"""The Thought before each golden call: why this tool, and how the words became arguments."""

from random import Random

from .facts import listed
from .template import fill, sentence
from .wording import RESULT, Call, words_of

WHY = (
    "the request is about {goal}, and {tool} does that.",
    "{tool} is the right tool for {goal}.",
    "for {goal} I call {tool}.",
    "the user asks for {goal}; that is a job for {tool}.",
    "of the tools on offer, {tool} is the one for {goal}.",
    "I need {tool} here, because this concerns {goal}.",
    "this calls for {tool}, given that it is about {goal}.",
    "{goal} can be handled with {tool}.",
    "what the user needs is a call of {tool}, since this is about {goal}.",
    "{tool} covers this; the request concerns {goal}.",
    "nothing but {tool} among these tools fits a request about {goal}.",
    "to take care of {goal}, {tool} has to be called.",
)
FIRST = (
    "",
    "There are two things to do. ",
    "Two calls are needed, in order. ",
    "First things first: ",
    "Step one: ",
)
SECOND = ("Next, ", "Now the second part: ", "After that, ", "What remains: ", "Step two: ")
NOTED = ("{notes}.", "Here {notes}.", "Note that {notes}.")
LEFT_OUT = (
    "Nothing is said about {name}, so I leave it out.",
    "The request does not state {name}; it stays out.",
    "Without a word about {name}, I do not set it.",
)
PASSED_ON = "The answer of the first call is not known yet, so {name} is the placeholder {result}."


def thought(call: Call, step: int, steps: int, rng: Random) -> str:
    parts = [why(call, step, steps, rng), *notes(call, rng), *left_out(call, rng)]
    return " ".join(parts)


def why(call: Call, step: int, steps: int, rng: Random) -> str:
    goal = fill(rng.choice(call.tool.goal), words_of(call))
    reason = fill(rng.choice(WHY), {"goal": goal, "tool": call.tool.name})
    lead = "" if steps == 1 else rng.choice(FIRST if step == 1 else SECOND)
    if lead.endswith((", ", ": ")):
        return lead + reason
    # A tool's name keeps its spelling even at the start of a sentence.
    return lead + (reason if reason.startswith(call.tool.name) else sentence(reason))


def notes(call: Call, rng: Random) -> list[str]:
    """How words became values, where that took a conversion."""
    names = [p.name for p in call.tool.parameters if p.required or p.name in call.stated]
    found = [note for name in names for note in call.facts[name].notes]
    relayed = [name for name in names if call.facts[name].value == RESULT]
    text = [sentence(fill(rng.choice(NOTED), {"notes": listed(found)}))] if found else []
    return text + [fill(PASSED_ON, {"name": name, "result": RESULT}) for name in relayed]


def left_out(call: Call, rng: Random) -> list[str]:
    unstated = [p.name for p in call.tool.parameters if not p.required and p.name not in call.stated]
    if not unstated or rng.random() > 0.3:
        return []
    return [fill(rng.choice(LEFT_OUT), {"name": rng.choice(unstated)})]
