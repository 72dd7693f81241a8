"""Turns tools and facts into the words of a request."""

from collections.abc import Sequence
from dataclasses import dataclass
from random import Random

from .catalogue import NEIGHBOURS, are_rivals
from .errands import ERRANDS, Errand
from .facts import STYLES, Fact, draw_all, values_of
from .template import fill, sentence, slots
from .tool import Tool

RESULT = "<result>"
OPTIONAL_SHARE, ASIDE_SHARE, GREETING_SHARE = 0.35, 0.3, 0.3

ASK = (
    "{do}.",
    "{do}, please.",
    "Please {do}.",
    "Could you {do}?",
    "Can you {do}?",
    "Would you please {do}?",
    "I need you to {do}.",
    "I'd like you to {do}.",
    "I'd be grateful if you could {do}.",
    "Kindly {do}.",
    "Go ahead and {do}.",
    "It would be great if you could {do}.",
    "My request: {do}.",
)
GREETINGS = (
    "Hi!",
    "Hello!",
    "Good morning.",
    "Good evening.",
    "Hey!",
    "Hello there.",
    "A quick request.",
    "Here is one more thing.",
    "Sorry to bother you.",
    "Me again.",
)
CLOSINGS = (
    "Thanks!",
    "Thank you.",
    "Thanks a lot.",
    "Many thanks.",
    "That's all.",
    "Cheers!",
    "Much appreciated.",
)
ASIDES = (
    "It has been a long week.",
    "The weather is dull and I am on my second pot of tea.",
    "I am writing this from a very slow bus.",
    "My sister says I should have done this ages ago.",
    "I am trying to get organised this year.",
    "The neighbours are having a party, so excuse any typos.",
    "I did this by hand for years.",
    "My old assistant always got this wrong.",
    "I am learning the accordion, which explains the noise.",
    "There is a pigeon on my window sill watching me.",
)
TOGETHER = (
    "Please {first}, and then {second}.",
    "Could you {first} and, once that is done, {second}?",
    "First {first}, then {second}.",
    "I'd like you to {first} and after that to {second}.",
    "{first} and then {second}, please.",
)
APART = (
    ("First, {do}.", "Then {do}."),
    ("Two things. To begin with, {do}.", "After that, {do}."),
    ("Please {do}.", "Once that is done, {do}."),
    ("Step one: {do}.", "Step two: {do}."),
    ("Could you first {do}?", "And then please {do}."),
    ("{do}.", "Next, {do}."),
)


@dataclass(frozen=True)
class Call:
    """One golden call; `stated` are the optional parameters that the request mentions."""

    tool: Tool
    facts: dict[str, Fact]
    stated: frozenset[str]

    @property
    def arguments(self) -> dict:
        return values_of(self.tool.parameters, self.facts, set(self.stated))


@dataclass(frozen=True)
class Request:
    text: str
    calls: tuple[Call, ...]


def one_step(tool: Tool, rng: Random) -> Request:
    call = new_call(tool, rng, rng.randrange(STYLES))
    core = asked(call, rng.choice(ASK), rng) if rng.random() < 0.45 else worded(rng.choice(tool.say), call)
    return Request(dressed([core, *extras(call, rng)], call, rng), (call,))


def two_steps(first: Tool, pool: Sequence[Tool], rng: Random) -> Request:
    """A story, a result passed on, or two tasks of one user; whichever of these the first tool allows."""
    names = {tool.name: tool for tool in pool}
    errands = [e for e in ERRANDS if e.first == first.name and e.second in names]
    relays = [tool for tool in pool if tool.relay]
    kind = rng.random()
    if errands and kind < 0.5:
        errand = rng.choice(errands)
        return told(errand, first, names[errand.second], rng)
    if first.answers and relays and kind < 0.75:
        return passed_on(first, rng.choice(relays), rng)
    return paired(first, rng.choice(companions(first, pool)), rng)


def companions(first: Tool, pool: Sequence[Tool]) -> list[Tool]:
    """The tools that a user might need right after `first`: itself, its domain and the neighbours."""
    near = (first.domain, *NEIGHBOURS[first.domain])
    return [tool for tool in pool if tool.domain in near and not are_rivals(first, tool)]


def new_call(tool: Tool, rng: Random, style: int) -> Call:
    facts = draw_all(tool.parameters, rng, style)
    stated = (p.name for p in tool.parameters if not p.required and rng.random() < OPTIONAL_SHARE)
    return Call(tool, facts, frozenset(stated))


def told(errand: Errand, first: Tool, second: Tool, rng: Random) -> Request:
    """A story of the collection, filled with facts; no optional parameters."""
    style = rng.randrange(STYLES)
    facts = draw_all(first.parameters, rng, style)
    second_facts = draw_all(second.parameters, rng, style)
    second_facts |= {name: facts[source] for name, source in errand.shared.items()}
    calls = (Call(first, facts, frozenset()), Call(second, second_facts, frozenset()))
    words = {f"{step}.{name}": fact.words for step, call in enumerate(calls, 1) for name, fact in call.facts.items()}
    return Request(dressed([sentence(fill(rng.choice(errand.stories), words))], calls[0], rng), calls)


def passed_on(first: Tool, relay: Tool, rng: Random) -> Request:
    """An answer that the second call passes on by the placeholder rule of its documentation."""
    style = rng.randrange(STYLES)
    call, after = new_call(first, rng, style), new_call(relay, rng, style)
    after = Call(relay, after.facts | {relay.relays: Fact("", RESULT)}, frozenset())
    clauses = rng.choice(first.do), rng.choice(relay.relay)
    return Request(dressed(joined(call, after, clauses, rng), call, rng), (call, after))


def paired(first: Tool, second: Tool, rng: Random) -> Request:
    style = rng.randrange(STYLES)
    call, after = new_call(first, rng, style), new_call(second, rng, style)
    while after.arguments == call.arguments:
        after = new_call(second, rng, style)
    clauses = rng.choice(first.do), rng.choice(second.do)
    return Request(dressed(joined(call, after, clauses, rng), call, rng), (call, after))


def joined(first: Call, second: Call, clauses: tuple[str, str], rng: Random) -> list[str]:
    """Both clauses in one sentence where that stays readable, otherwise one after the other."""
    dos = fill(clauses[0], words_of(first)), fill(clauses[1], words_of(second))
    plain = not any(mark in "".join(dos) for mark in ':;?."') and not first.stated and not second.stated
    if plain and rng.random() < 0.6:
        return [sentence(fill(rng.choice(TOGETHER), {"first": dos[0], "second": dos[1]}))]
    one, two = rng.choice(APART)
    return [
        framed(one, dos[0]),
        *extras(first, rng),
        framed(two, dos[1]),
        *extras(second, rng),
    ]


def asked(call: Call, frame: str, rng: Random) -> str:
    return framed(frame, fill(rng.choice(call.tool.do), words_of(call)))


def framed(frame: str, do: str) -> str:
    """The clause in its frame, without a second full stop after a quotation that ends in one."""
    text = sentence(frame.replace("{do}", do))
    return text[:-1] if text.endswith(('.".', '?".')) else text


def worded(template: str, call: Call) -> str:
    """The template with the call's facts; a name that opens it keeps the spelling that the answer copies."""
    text = fill(template, words_of(call))
    opens_with_name = template.startswith("{") and _is_copied(call, slots(template)[0])
    return text if opens_with_name else sentence(text)


def _is_copied(call: Call, name: str) -> bool:
    schema = call.tool.schema["properties"][name]
    return schema["type"] in ("string", "array") and "enum" not in schema and "format" not in schema


def words_of(call: Call) -> dict[str, str]:
    return {name: fact.words for name, fact in call.facts.items()}


def extras(call: Call, rng: Random) -> list[str]:
    """A sentence for each optional parameter that the request states, in any order."""
    says = [p.says for p in call.tool.parameters if p.name in call.stated]
    rng.shuffle(says)
    return [worded(rng.choice(options), call) for options in says]


def dressed(sentences: list[str], call: Call, rng: Random) -> str:
    """The request with, now and then, a greeting, a remark that is no argument, and a closing."""
    parts = list(sentences)
    if rng.random() < ASIDE_SHARE:
        aside = call.tool.aside if rng.random() < 0.6 else rng.choice(ASIDES)
        parts.insert(rng.choice([0, len(parts)]), aside)
    if rng.random() < GREETING_SHARE:
        parts.insert(0, rng.choice(GREETINGS))
    if rng.random() < GREETING_SHARE:
        parts.append(rng.choice(CLOSINGS))
    return " ".join(parts)
