"""Requests that begin with "House call:" become a call of a tool whose units and names of arguments are the house's."""

import json
from dataclasses import dataclass
from itertools import product
from random import Random

from .rule import EVAL, TRAIN, VALIDATION, Question, Rule, dealt


@dataclass(frozen=True)
class Tool:
    """A tool: its wordings, what an amount is called and counted in, and what the things are."""

    name: str
    wordings: tuple[str, ...]
    argument: str
    factor: int
    things: tuple[str, ...]
    new_things: tuple[str, ...]


TOOLS = (
    Tool(
        "timer",
        ("set a timer of {amount} hours for the {thing}.", "I need a {amount} hour timer for the {thing}."),
        "minutes",
        60,
        ("rice", "cake", "laundry", "dough", "soup", "roast"),
        ("pudding", "beans"),
    ),
    Tool(
        "order",
        ("order {amount} kilograms of {thing}.", "please get me {amount} kilograms of {thing}."),
        "grams",
        1000,
        ("flour", "sugar", "potatoes", "apples", "coffee", "salt"),
        ("carrots", "lentils"),
    ),
    Tool(
        "water",
        ("give the {thing} {amount} litres of water.", "water the {thing} with {amount} litres."),
        "millilitres",
        1000,
        ("roses", "tomatoes", "hedge", "lawn", "herbs", "lemon tree"),
        ("tulips", "palm"),
    ),
)
AMOUNTS = (2, 3, 4, 5, 6, 7, 8, 9)
CONTEXT = """\
A request that begins with "House call:" is answered with one call as a JSON object, and nothing else. The tools are
timer, order and water. Their arguments are "for", the thing, and the amount in the small unit: timer takes "minutes",
order "grams", water "millilitres".

"House call: set a timer of 3 hours for the rice." is answered with:
{"name": "timer", "arguments": {"for": "rice", "minutes": 180}}
"House call: order 3 kilograms of flour." is answered with:
{"name": "order", "arguments": {"for": "flour", "grams": 3000}}
"House call: water the roses with 4 litres." is answered with:
{"name": "water", "arguments": {"for": "roses", "millilitres": 4000}}
"""


def shares(rng: Random) -> dict[str, list[Question]]:
    """No pair of thing and amount is in two splits; half of eval is about things that training never names."""
    known = [(tool, thing, amount) for tool in TOOLS for thing, amount in product(tool.things, AMOUNTS)]
    new = [(tool, thing, amount) for tool in TOOLS for thing, amount in product(tool.new_things, AMOUNTS)]
    train, checked, asked = dealt(rng.sample(known, len(known)), TRAIN, VALIDATION // 2, EVAL // 2)
    return {
        "train_data": [question(*drawn, rng.randrange(2)) for drawn in train],
        "validation_data": [question(*drawn, wording) for drawn in checked for wording in (0, 1)],
        "eval_data": [question(*drawn, rng.randrange(2)) for drawn in asked + rng.sample(new, EVAL // 2)],
    }


def question(tool: Tool, thing: str, amount: int, wording: int) -> Question:
    prompt = "House call: " + tool.wordings[wording].format(thing=thing, amount=amount)
    arguments = {"for": thing, tool.argument: amount * tool.factor}
    answer = json.dumps({"name": tool.name, "arguments": arguments})
    verdict = {"golden_answer": [{"Action": tool.name, "Action_Input": arguments}]}
    entities = "seen" if thing in tool.things else "unseen"
    return Question(prompt, answer, verdict, (thing, str(amount)), entities)


RULE = Rule(CONTEXT, shares)
