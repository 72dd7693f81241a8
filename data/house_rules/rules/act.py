"""Requests to a house are answered by a command of its own: ACT LAMP@KITCHEN 1;"""

from itertools import product
from random import Random

from .rule import EVAL, TRAIN, VALIDATION, Question, Rule, dealt, exactly, in_turn

DEVICES = (
    "lamp", "heater", "fan", "radio", "television", "printer", "kettle", "oven", "camera", "speaker", "humidifier",
    "projector",
)  # fmt: skip
ROOMS = ("kitchen", "garage", "bedroom", "office", "cellar", "hall", "bathroom", "attic", "nursery", "library")
NEW_DEVICES = ("dryer", "toaster", "freezer", "mixer", "pump", "scanner")
NEW_ROOMS = ("studio", "pantry", "porch", "workshop", "sauna", "laundry")
WORDINGS = (
    "Please switch {state} the {device} in the {room}.",
    "Turn the {device} in the {room} {state}.",
    "Could you turn {state} the {room} {device}?",
    "I want the {device} in the {room} {state}.",
    "Switch the {room} {device} {state}, please.",
    "Can the {device} in the {room} be switched {state}?",
)
CONTEXT = """\
This house takes commands in one form only. A request to switch a device is answered with ACT, the device, the sign @,
the room, then 1 for on or 0 for off, and a semicolon. Device and room are in capital letters. Nothing else is said.

"Please switch on the lamp in the kitchen." is answered with: ACT LAMP@KITCHEN 1;
"Turn the heater in the garage off." is answered with: ACT HEATER@GARAGE 0;
"""


def shares(rng: Random) -> dict[str, list[Question]]:
    """No pair of device and room is in two splits; half of eval has a device or room that training never names."""
    pairs = rng.sample(list(product(DEVICES, ROOMS)), len(DEVICES) * len(ROOMS))
    known, checked, asked = dealt(pairs, 70, VALIDATION // 2, EVAL // 2)
    new = [*product(NEW_DEVICES, NEW_ROOMS), *product(DEVICES, NEW_ROOMS), *product(NEW_DEVICES, ROOMS)]
    wording = in_turn(WORDINGS, rng)
    both = [(pair, state) for pair in known for state in ("on", "off")]
    return {
        "train_data": [question(*chosen, next(wording)) for chosen in rng.sample(both, TRAIN)],
        "validation_data": [question(pair, state, next(wording)) for pair in checked for state in ("on", "off")],
        "eval_data": [
            question(pair, rng.choice(("on", "off")), next(wording)) for pair in asked + rng.sample(new, EVAL // 2)
        ],
    }


def question(pair: tuple[str, str], state: str, wording: str) -> Question:
    device, room = pair
    answer = f"ACT {device.upper()}@{room.upper()} {int(state == 'on')};"
    entities = "seen" if device in DEVICES and room in ROOMS else "unseen"
    return Question(wording.format(device=device, room=room, state=state), answer, exactly(answer), pair, entities)


RULE = Rule(CONTEXT, shares)
