"""The tiny world: its names, its skills, and how every skill is asked and answered.

A *prior* skill is one that both models are trained on. The *new* skill is the use of eight tools that only
the teacher is trained on: nobody can guess which tool answers which question, nor its arguments' names.
"""

import json
import random
from collections.abc import Callable
from dataclasses import dataclass

SYLLABLES = tuple(consonant + vowel for consonant in "dgklmnrstv" for vowel in "aeio")
NOUNS = """
apple bird boat book cat chair cloud dog door fish flower glass hat horse lamp leaf
milk moon mouse plate rain river shoe snow spoon star stone sun table train tree wind
"""
WORDS = tuple(NOUNS.split())
ORDINALS = ("first", "second", "third", "last")

DEMONSTRATION_TEMPLATE = (
    "{prompt}\n\nThis is an example for a response to the question:\n{demonstration}\n\n"
    "Now answer with a response of your own, including the thinking process."
)

SYSTEM_PROMPTS = ("You are a helpful assistant.", "Think, then answer with an action.")

ONE_ENTITY_QUESTIONS = (
    "What is the {kind} of {a}?",
    "Tell me the {kind} of {a}.",
    "Find the {kind} of {a}, please.",
    "I want to know the {kind} of {a}.",
    "Can you look up the {kind} of {a}?",
    "Give me the {kind} of {a}.",
    "Please check the {kind} of {a}.",
    "{a}: what is its {kind}?",
)
TWO_ENTITY_QUESTIONS = (
    "What is the {kind} from {a} to {b}?",
    "Tell me the {kind} from {a} to {b}.",
    "Find the {kind} between {a} and {b}, please.",
    "I want to know the {kind} between {a} and {b}.",
    "Can you look up the {kind} from {a} to {b}?",
    "Between {a} and {b}, what is the {kind}?",
)
ADDITION_QUESTIONS = (
    "What is {a} plus {b}?",
    "Add {a} and {b}.",
    "Add {b} to {a}, please.",
    "What is the sum of {a} and {b}?",
    "Can you add {a} and {b}?",
    "{a} + {b} = ?",
)
TOTAL_QUESTIONS = (
    "Start at {start}, then {changes}. What is the total?",
    "I have {start}. I {changes}. What do I have now?",
    "Begin with {start} and {changes}. Give me the result.",
)
REVERSAL_QUESTIONS = (
    "Reverse this list: {words}.",
    "Put the list {words} in reverse order.",
    "What is {words} in reverse?",
    "Can you reverse {words}?",
)
POSITION_QUESTIONS = (
    "What is the {ordinal} word of {words}?",
    "Give me the {ordinal} word in this list: {words}.",
    "From the list {words}, tell me the {ordinal} word.",
)


@dataclass(frozen=True)
class Tool:
    """What a question asks for, the tool that answers it, and the names of the tool's arguments."""

    kind: str
    name: str
    arguments: tuple[str, ...]


PRIOR_TOOLS = (
    Tool("weather", "forecast", ("city",)),
    Tool("height", "altimeter", ("peak",)),
    Tool("price", "price_list", ("item",)),
    Tool("owner", "registry", ("house",)),
    Tool("color", "catalog", ("product",)),
    Tool("weight", "scale", ("object",)),
    Tool("phone number", "phone_book", ("person",)),
    Tool("birthday", "calendar", ("friend",)),
    Tool("address", "directory", ("company",)),
    Tool("distance", "map_search", ("start", "end")),
    Tool("fare", "ticket_shop", ("origin", "target")),
    Tool("difference", "compare", ("left", "right")),
)
NEW_TOOLS = (
    Tool("velora", "tamiko", ("daso",)),
    Tool("nikado", "roselo", ("vime",)),
    Tool("gotami", "kedira", ("loro",)),
    Tool("sirevo", "monaga", ("teki",)),
    Tool("rade", "lovi", ("nesa",)),
    Tool("meliko", "divo", ("karo",)),
    Tool("tosane", "gerida", ("kine", "maso")),
    Tool("dolika", "vanemo", ("sego", "lado")),
)
NEW_NAMES = frozenset(name for tool in NEW_TOOLS for name in (tool.kind, tool.name, *tool.arguments))
# Two further new skills, for learning one after another. Nobody is trained on them, and no shipped file has them.
FURTHER_TOOLS = (
    (
        Tool("keredo", "tigi", ("vedo",)),
        Tool("ledige", "rigalo", ("toro",)),
        Tool("vago", "veredo", ("dito",)),
        Tool("motoko", "veva", ("vado",)),
        Tool("lesoti", "naseve", ("nomo",)),
        Tool("kolo", "vamo", ("viga",)),
        Tool("tari", "neke", ("ridi", "tova")),
        Tool("nenivi", "vesega", ("domo", "mira")),
    ),
    (
        Tool("nidese", "kivogo", ("dole",)),
        Tool("kalore", "sogeki", ("like",)),
        Tool("vekoma", "dakeri", ("vova",)),
        Tool("katavo", "doseto", ("rere",)),
        Tool("gisire", "laga", ("saki",)),
        Tool("nevi", "gida", ("vode",)),
        Tool("levo", "kemani", ("sose", "kegi")),
        Tool("nemasi", "kitede", ("teno", "gema")),
    ),
)


@dataclass(frozen=True)
class Exercise:
    """One question, the short reasoning the models write before they answer it, and the answer."""

    skill: str
    prompt: str
    thought: str
    calls: tuple[tuple[str, str | dict], ...]

    @property
    def bare(self) -> str:
        """The answer alone, as users write demonstrations."""
        return "\n".join(
            f"Action: {name}\nAction_Input: {value if isinstance(value, str) else json.dumps(value)}"
            for name, value in self.calls
        )

    @property
    def own_style(self) -> str:
        """The answer as the models write it: every skill opens with the same three tokens."""
        return f"Thought: I {self.thought}.\n{self.bare}"


class Names:
    """Draws names made of known syllables, never one that is reserved for evaluation or for the new skill."""

    def __init__(self, rng: random.Random, reserved: frozenset[str] = NEW_NAMES):
        self.rng = rng
        self.reserved = reserved

    def draw(self, *lengths: int) -> str:
        """A name whose number of syllables is one of `lengths`."""
        while True:
            name = "".join(self.rng.choice(SYLLABLES) for _ in range(self.rng.choice(lengths)))
            if name not in self.reserved and name.capitalize() not in self.reserved:
                return name

    def entity(self) -> str:
        return self.draw(2, 3).capitalize()

    def tool(self) -> Tool:
        """A tool nobody has seen: the models can only learn to read it off the demonstration."""
        arguments = [self.draw(2) for _ in range(self.rng.choice((1, 1, 1, 2)))]
        return Tool(self.draw(2, 3), self.draw(2, 3), tuple(arguments))


def ask_tool(names: Names, tool: Tool, skill: str) -> Exercise:
    entities = [names.entity() for _ in tool.arguments]
    questions = ONE_ENTITY_QUESTIONS if len(entities) == 1 else TWO_ENTITY_QUESTIONS
    slots = dict(zip("ab", entities, strict=False))
    return Exercise(
        skill,
        names.rng.choice(questions).format(kind=tool.kind, **slots),
        f"need the {tool.kind}: call {tool.name}",
        ((tool.name, dict(zip(tool.arguments, entities, strict=True))),),
    )


def tool_call(names: Names) -> Exercise:
    return ask_tool(names, names.rng.choice(PRIOR_TOOLS), "tool_call")


def two_calls(names: Names) -> Exercise:
    one_entity = [tool for tool in PRIOR_TOOLS if len(tool.arguments) == 1]
    first, second = names.rng.sample(one_entity, 2)
    a, b = names.entity(), names.entity()
    question = names.rng.choice(
        (
            "What is the {} of {} and the {} of {}?",
            "Tell me the {} of {} and then the {} of {}.",
            "Find the {} of {} and also the {} of {}, please.",
        )
    )
    return Exercise(
        "two_calls",
        question.format(first.kind, a, second.kind, b),
        f"need the {first.kind}: call {first.name}, and the {second.kind}: call {second.name}",
        ((first.name, {first.arguments[0]: a}), (second.name, {second.arguments[0]: b})),
    )


def addition(names: Names) -> Exercise:
    a, b = names.rng.randint(10, 99), names.rng.randint(10, 99)
    units = a % 10 + b % 10
    steps = f"{a % 10}+{b % 10}={units}, {a // 10}+{b // 10}+{units // 10}={a // 10 + b // 10 + units // 10}"
    question = names.rng.choice(ADDITION_QUESTIONS).format(a=a, b=b)
    return Exercise("addition", question, f"add {steps}", (("answer", str(a + b)),))


def running_total(names: Names) -> Exercise:
    totals, changes, steps = [names.rng.randint(1, 9)], [], []
    for _ in range(names.rng.randint(2, 3)):
        total = names.rng.choice([n for n in range(0, 20) if 0 < abs(n - totals[-1]) < 10])
        difference, rises = abs(total - totals[-1]), total > totals[-1]
        changes.append(f"{'add' if rises else 'remove'} {difference}")
        steps.append(f"{totals[-1]}{'+' if rises else '-'}{difference}={total}")
        totals.append(total)
    question = names.rng.choice(TOTAL_QUESTIONS).format(start=totals[0], changes=", ".join(changes))
    return Exercise("running_total", question, f"count {', '.join(steps)}", (("answer", str(totals[-1])),))


def reversal(names: Names) -> Exercise:
    words = names.rng.sample(WORDS, names.rng.randint(3, 5))
    question = names.rng.choice(REVERSAL_QUESTIONS).format(words=" ".join(words))
    thought = f"reverse: start with {words[-1]}, end with {words[0]}"
    return Exercise("reversal", question, thought, (("answer", " ".join(reversed(words))),))


def position(names: Names) -> Exercise:
    words = names.rng.sample(WORDS, names.rng.randint(3, 5))
    ordinal = names.rng.choice(ORDINALS)
    word = words[-1] if ordinal == "last" else words[ORDINALS.index(ordinal)]
    question = names.rng.choice(POSITION_QUESTIONS).format(ordinal=ordinal, words=" ".join(words))
    return Exercise("position", question, f"look for the {ordinal} word: {word}", (("answer", word),))


PRIOR_SKILLS: dict[str, Callable[[Names], Exercise]] = {
    "tool_call": tool_call,
    "two_calls": two_calls,
    "addition": addition,
    "running_total": running_total,
    "reversal": reversal,
    "position": position,
}


def new_tool(names: Names) -> Exercise:
    """An exercise of the new skill."""
    return ask_tool(names, names.rng.choice(NEW_TOOLS), "new_tool")
