"""Heating, lights, cleaning, watering, locks and laundry."""

from functools import partial

from ..facts import choice, clock, count, either, may, measure, need, pick, record, several, span
from ..tool import Tool
from ..words import DOORS, GARDEN_ZONES, ROOMS

tool = partial(Tool, domain="home")

TOOLS = (
    tool(
        name="set_thermostat",
        does="Sets the temperature of a room.",
        parameters=(
            need("room", "Room", pick(ROOMS)),
            need("celsius", "Temperature in degrees Celsius", measure(16, 24, 0.5, "{} degrees Celsius")),
            may(
                "until",
                "Time at which the schedule takes over again",
                clock(9, 23),
                "Keep it like that until {until}.",
                "Go back to the schedule at {until}.",
            ),
            may(
                "mode",
                "Working mode",
                choice({"eco": ["eco mode"], "comfort": ["comfort mode"]}),
                "Use {mode}.",
                "It should run in {mode}.",
            ),
        ),
        do=(
            "set the {room} to {celsius}",
            "heat the {room} to {celsius}",
            "turn the thermostat in the {room} to {celsius}",
        ),
        say=(
            "Thermostat, {room}, {celsius}.",
            "Everyone in the {room} wears a scarf. {celsius} would be about right, please set the thermostat.",
            "I'd like {celsius} in the {room}.",
            "Visitors will sit in the {room} later. Its temperature should be {celsius}.",
        ),
        goal=("{celsius} in the {room}", "the temperature of the {room}"),
        aside="The cat has moved onto the radiator for the winter.",
    ),
    tool(
        name="set_lights",
        does="Sets the lights of a room.",
        parameters=(
            need("room", "Room", pick(ROOMS)),
            need("brightness", "Brightness in percent", measure(10, 100, 5, "{} percent")),
            may(
                "color",
                "Colour of the light",
                choice(
                    {
                        "warm_white": ["warm white"],
                        "cool_white": ["cool white"],
                        "red": ["red"],
                        "green": ["green"],
                        "blue": ["blue"],
                        "amber": ["amber"],
                    }
                ),
                "The colour should be {color}.",
                "Make the light {color}.",
            ),
            may(
                "fade_seconds",
                "How long the change takes, in seconds",
                count("second", 5, 30),
                "Let it fade over {fade_seconds}.",
            ),
        ),
        do=(
            "set the lights in the {room} to {brightness}",
            "turn the {room} lights to {brightness} brightness",
            "change the brightness in the {room} to {brightness}",
        ),
        say=(
            "Lights, {room}, {brightness}.",
            "We are about to watch a film in the {room}. Set the light there to {brightness}.",
            "The {room} should be lit at {brightness}.",
            "Reading in the {room} is no fun like this. I want the lamps at {brightness}.",
        ),
        goal=("the lights in the {room}", "the brightness in the {room}"),
        aside="A moth has lived behind the curtain since autumn.",
    ),
    tool(
        name="start_robot_vacuum",
        does="Sends the robot vacuum to clean rooms.",
        parameters=(
            need("rooms", "Rooms, in the order of cleaning", several(pick(ROOMS), 1, 3)),
            need(
                "power",
                "Suction; max is full power",
                choice({"quiet": ["in quiet mode"], "normal": ["at normal power"], "max": ["at full power"]}),
            ),
            may(
                "passes",
                "How often to go over the floor",
                count("pass", 2, 3, "passes"),
                "It should make {passes}.",
                "Do {passes}.",
            ),
        ),
        do=(
            "have the robot vacuum clean the {rooms} {power}",
            "send the robot vacuum through the {rooms} {power}",
            "start the robot vacuum {power} for the {rooms}",
        ),
        say=(
            "Robot vacuum: {rooms}, {power}.",
            "There are crumbs all over the place. The robot vacuum should do the {rooms} {power}.",
            "Let the robot vacuum loose. Where: {rooms}. How: {power}.",
        ),
        goal=("clean floors in the {rooms}", "the robot vacuum"),
        aside="The dog barks at anything with wheels.",
    ),
    tool(
        name="water_garden",
        does="Runs the sprinklers, one zone after the other.",
        parameters=(
            need("start", "Time at which to begin", clock(5, 21)),
            need(
                "zones",
                "Zones in order, each with its time",
                several(
                    record(
                        ("the {zone} for {minutes}", "{minutes} on the {zone}"),
                        need("zone", "Name of the zone", pick(GARDEN_ZONES)),
                        need("minutes", "Minutes of watering", span(5, 8, 10, 12, 15, 20, 25)),
                    ),
                    1,
                    3,
                ),
            ),
            may(
                "skip_if_rain",
                "Whether to skip it when it rains",
                either("skip it", "go ahead anyway"),
                "If it rains, {skip_if_rain}.",
            ),
        ),
        do=(
            "start watering at {start}: {zones}",
            "water the garden from {start} as follows: {zones}",
            "run the sprinklers at {start}, namely {zones}",
        ),
        say=(
            "Sprinklers, {start}: {zones}.",
            "It has not rained in ages. Sprinklers on at {start}, please: {zones}.",
            "The plan for the sprinklers is {zones}, beginning at {start}.",
        ),
        goal=("the sprinklers at {start}", "water for the garden"),
        aside="Our neighbour grows pumpkins the size of armchairs.",
    ),
    tool(
        name="set_door_lock",
        does="Locks or unlocks a door.",
        parameters=(
            need("door", "Which door", pick(DOORS)),
            need("state", "Wanted state", choice({"locked": ["locked"], "unlocked": ["unlocked"]})),
            may(
                "at",
                "Time at which to do it; now if left out",
                clock(6, 23),
                "Do that at {at}.",
                "It should happen at {at}.",
            ),
        ),
        do=(
            "make sure that the {door} is {state}",
            "set the {door} to {state}",
            "switch the lock of the {door} to {state}",
        ),
        say=(
            "{door}: {state}.",
            "The {door} should be {state}, please.",
            "I want the {door} {state}.",
            "Somebody is on the way home and the {door} has to be {state}.",
        ),
        goal=("the lock of the {door}", "a change at the {door}"),
        aside="I always lose one glove.",
    ),
    tool(
        name="start_laundry",
        does="Starts the washing machine.",
        unseen=True,
        parameters=(
            need(
                "program",
                "Washing program",
                choice(
                    {
                        "cotton": ["cotton"],
                        "delicates": ["delicates"],
                        "wool": ["wool"],
                        "sportswear": ["sportswear"],
                    }
                ),
            ),
            need("celsius", "Water temperature in degrees Celsius", measure(20, 60, 10, "{} degrees Celsius")),
            need("spin_rpm", "Spin speed in turns per minute", measure(400, 1400, 200, "{} rpm")),
            may(
                "finish_at",
                "Time at which it should be done",
                clock(9, 22),
                "It should be done by {finish_at}.",
                "Time it to finish at {finish_at}.",
            ),
            may(
                "options",
                "Extras",
                several(
                    choice(
                        {
                            "extra_rinse": ["an extra rinse"],
                            "prewash": ["a prewash"],
                            "less_ironing": ["less ironing"],
                        }
                    ),
                    1,
                    2,
                ),
                "Add {options}.",
            ),
        ),
        do=(
            "start the washing machine with the {program} program at {celsius} and {spin_rpm}",
            "run a {program} wash at {celsius}, spinning at {spin_rpm}",
        ),
        say=(
            "Washing machine: {program}, {celsius}, {spin_rpm}.",
            "The machine is loaded. Program {program}, {celsius}, spin at {spin_rpm}.",
            "It's laundry day: please wash on {program} with {spin_rpm} and {celsius}.",
        ),
        goal=("the {program} program", "a wash at {celsius}"),
        aside="One sock vanishes every single week.",
    ),
)
