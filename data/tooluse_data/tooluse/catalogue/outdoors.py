"""Weather, tides, trails, wildlife and campsites."""

from functools import partial

from ..facts import choice, code, count, day, may, measure, need, pick, record, yes
from ..tool import Tool
from ..words import CAMPSITES, CITIES, HARBOURS, REGIONS, SPECIES

tool = partial(Tool, domain="outdoors")

TOOLS = (
    tool(
        name="get_weather_forecast",
        does="Gives the weather forecast for a city and a day.",
        parameters=(
            need("city", "City", pick(CITIES)),
            need("date", "Day", day()),
            may(
                "detail",
                "How fine the forecast is",
                choice({"hourly": ["hour by hour"], "daily": ["as a daily summary"]}),
                "Give it {detail}.",
                "I'd like it {detail}.",
            ),
            may(
                "unit",
                "Unit of temperature",
                choice({"celsius": ["Celsius"], "fahrenheit": ["Fahrenheit"]}),
                "Temperatures in {unit}, please.",
                "Use {unit}.",
            ),
        ),
        do=(
            "get the weather forecast for {city} on {date}",
            "check what the weather in {city} will be on {date}",
            "look up the forecast for {date} in {city}",
        ),
        say=(
            "Weather {city}, {date}?",
            "We planned a garden party in {city} on {date}. What does the forecast say?",
            "Will I need an umbrella in {city} on {date}? Please check the forecast.",
            "{date}, {city}: what weather is expected?",
        ),
        goal=("the forecast for {city}", "the weather in {city} on {date}"),
        aside="I own four umbrellas and none of them is ever at hand.",
        answers=True,
    ),
    tool(
        name="get_tide_times",
        does="Gives the times of high and low water.",
        parameters=(
            need("harbour", "Name of the harbour", pick(HARBOURS)),
            need("date", "Day", day()),
            may(
                "kind",
                "Which tides",
                choice({"high": ["high water"], "low": ["low water"]}),
                "I only care about {kind}.",
                "Just {kind}, please.",
            ),
        ),
        do=(
            "look up the tides at {harbour} on {date}",
            "find the tide times for {harbour} on {date}",
            "check the tide table of {harbour} for {date}",
        ),
        say=(
            "Tides {harbour}, {date}.",
            "We want to take the boat out of {harbour} on {date}. What are the tide times?",
            "When does the tide turn at {harbour} on {date}?",
            "{date} is the day of our walk along the shore at {harbour}, so I need the tide times.",
        ),
        goal=("the tides at {harbour}", "tide times for {date}"),
        aside="Seagulls have stolen my sandwich more than once.",
        answers=True,
    ),
    tool(
        name="find_hiking_trails",
        does="Finds hiking trails in a region.",
        parameters=(
            need("region", "Region", pick(REGIONS)),
            need(
                "difficulty",
                "Difficulty",
                choice({"easy": ["easy"], "moderate": ["moderate"], "hard": ["hard"]}),
            ),
            need("max_km", "Greatest length in kilometres", measure(4, 30, 0.5, "{} km")),
            may(
                "dogs",
                "Whether dogs must be allowed",
                yes(),
                "Dogs must be allowed.",
                "The dog is coming, so dogs must be allowed.",
            ),
            may(
                "max_climb_m",
                "Greatest climb in metres",
                measure(150, 1200, 50, "{} metres"),
                "No more than {max_climb_m} of climbing, please.",
                "The climb must stay below {max_climb_m}.",
            ),
        ),
        do=(
            "find {difficulty} hiking trails in the region {region}, {max_km} at most",
            "search for {difficulty} trails of up to {max_km} in the region {region}",
            "look for hikes in the region {region} that are {difficulty} and no longer than {max_km}",
        ),
        say=(
            "Trails: {region}, {difficulty}, up to {max_km}.",
            "We spend the weekend in this region: {region}. Which {difficulty} trails are there with {max_km} or less?",
            "My legs manage {max_km} at most. Which {difficulty} hikes does the region {region} offer?",
            "Region {region}, level {difficulty}, length up to {max_km}: which trails fit?",
        ),
        goal=("{difficulty} trails in the region {region}", "hikes of up to {max_km}"),
        aside="New boots always give me blisters.",
        answers=True,
    ),
    tool(
        name="report_wildlife_sighting",
        does="Reports wild animals to the nature register.",
        parameters=(
            need("species", "Common name, singular", pick(SPECIES)),
            need("animals", "How many animals", count("animal", 1, 9)),
            need(
                "position",
                "Where, in decimal degrees",
                record(
                    (
                        "latitude {latitude}, longitude {longitude}",
                        "longitude {longitude}, latitude {latitude}",
                    ),
                    need("latitude", "Latitude", measure(45.1, 59.9, 0.001, "{}")),
                    need("longitude", "Longitude", measure(5.1, 21.9, 0.001, "{}")),
                ),
            ),
            need("date", "Day", day()),
            may(
                "behaviour",
                "What they did",
                choice({"resting": ["resting"], "feeding": ["feeding"], "moving": ["on the move"]}),
                "Behaviour: {behaviour}.",
                "As to behaviour: {behaviour}.",
            ),
        ),
        do=(
            "report a sighting of the species {species} on {date}, {animals} at {position}",
            "register {animals} of the species {species}, seen on {date} at {position}",
        ),
        say=(
            "Sighting: {species}, {animals}, {date}, {position}.",
            "You won't believe what I saw on {date}. Species: {species}. Number: {animals}. Place: "
            "{position}. Please report it.",
            "For the nature register: on {date} I counted {animals} (species {species}) at {position}.",
        ),
        goal=("a report on the species {species}", "{animals} for the nature register"),
        aside="My binoculars were a present from my uncle.",
    ),
    tool(
        name="reserve_campsite",
        does="Reserves a pitch on a campsite.",
        unseen=True,
        parameters=(
            need("campsite", "Name of the campsite", pick(CAMPSITES)),
            need("arrival", "First day", day()),
            need("nights", "Number of nights", count("night", 1, 10)),
            need(
                "pitch",
                "Kind of pitch",
                choice({"tent": ["a tent pitch"], "camper": ["a camper pitch"], "cabin": ["a cabin"]}),
            ),
            may(
                "vehicle",
                "Car that comes along",
                record(
                    ("{plate}, {metres} long", "{metres} long with the plate {plate}"),
                    need("plate", "Licence plate", code("@@ ### @@")),
                    need("metres", "Length in metres", measure(3.5, 7.5, 0.1, "{} metres")),
                ),
                "The vehicle is {vehicle}.",
                "Our vehicle: {vehicle}.",
            ),
            may(
                "electricity",
                "Whether power is needed",
                yes(),
                "We need electricity.",
                "With electricity, please.",
            ),
        ),
        do=(
            "reserve {pitch} at {campsite} for {nights} from {arrival}",
            "book {pitch} on the campsite {campsite}, arriving {arrival} and staying {nights}",
        ),
        say=(
            "Campsite {campsite}: {pitch}, {arrival}, {nights}.",
            "We have wanted to see {campsite} for years. Please reserve {pitch} from {arrival} for {nights}.",
            "Is there {pitch} left at {campsite}? We would come on {arrival} and stay {nights}. Please reserve it.",
        ),
        goal=("{pitch} at {campsite}", "{nights} on the campsite {campsite}"),
        aside="The old tent still smells of the last festival.",
    ),
)
