"""Trains, flights, hotels, cars, visas and airport transfers."""

from functools import partial

from ..facts import choice, clock, count, day, full_name, may, need, pick, record, several, span, yes
from ..tool import Tool
from ..words import ADDRESSES, AIRPORTS, CITIES, COUNTRIES, FIRST_NAMES, LAST_NAMES, RAIL_CITIES

tool = partial(Tool, domain="travel")

PICKUP = record(
    ("{date} at {time}", "{date}, {time}"),
    need("date", "Day", day()),
    need("time", "Time of day", clock(7, 19)),
)

TOOLS = (
    tool(
        name="book_train",
        does="Books seats on a train.",
        parameters=(
            need("origin", "City of departure", pick(RAIL_CITIES)),
            need("destination", "City of arrival", pick(RAIL_CITIES)),
            need("date", "Day of travel", day()),
            need("seats", "Number of seats", count("seat", 1, 6)),
            may(
                "coach",
                "Class of travel",
                choice({"first": ["first class"], "second": ["second class"]}),
                "Make it {coach}.",
                "It should be {coach}.",
                "We travel {coach}.",
            ),
            may(
                "quiet_zone",
                "Whether to sit in the quiet zone",
                yes(),
                "Seats in the quiet zone, please.",
                "It has to be in the quiet zone.",
            ),
        ),
        do=(
            "book {seats} on the train from {origin} to {destination} on {date}",
            "reserve {seats} on a train to {destination}, leaving {origin} on {date}",
            "get {seats} on the {origin} to {destination} train for {date}",
        ),
        say=(
            "Train, {origin} to {destination}, {date}, {seats}.",
            "There is a wedding in {destination} and I go by train from {origin}. The day of travel is "
            "{date}, and I need {seats}.",
            "On {date} I have to get from {origin} to {destination} by rail. That would be {seats}.",
            "{seats} by train, please: {date}, departing {origin}, arriving {destination}.",
        ),
        goal=("train seats from {origin} to {destination}", "a train booking for {date}"),
        aside="The bus took me nine hours last spring, never again.",
    ),
    tool(
        name="search_flights",
        does="Finds flights between two airports. Books nothing.",
        parameters=(
            need("from_airport", "IATA code of departure", pick(AIRPORTS)),
            need("to_airport", "IATA code of arrival", pick(AIRPORTS)),
            need("date", "Day of departure", day()),
            need("adults", "Number of adult passengers", count("adult", 1, 5)),
            may(
                "max_stops",
                "Highest number of stops",
                count("stop", 1, 2),
                "At most {max_stops}, please.",
                "I can live with up to {max_stops}.",
            ),
            may(
                "cabin",
                "Cabin class",
                choice({"economy": ["economy"], "business": ["business class"]}),
                "Only {cabin}.",
                "Look in {cabin}.",
            ),
        ),
        do=(
            "find flights from {from_airport} to {to_airport} on {date} for {adults}",
            "look up which flights leave {from_airport} for {to_airport} on {date}, with {adults} travelling",
            "search for flights on {date} for {adults}, {from_airport} to {to_airport}",
        ),
        say=(
            "Flights {from_airport} to {to_airport}, {date}, {adults}.",
            "What can I fly on {date} from {from_airport} to {to_airport}? The search is for {adults}.",
            "My visit depends on the flights: {from_airport} is where it starts, {to_airport} is where it "
            "ends, {date} is the day, {adults} will be on board. What is there?",
            "Which flights are there to {to_airport} on {date}? The party is {adults}, starting at {from_airport}.",
        ),
        goal=("flights from {from_airport} to {to_airport}", "a flight search for {date}"),
        aside="I always get hungry on planes.",
        answers=True,
    ),
    tool(
        name="book_hotel_room",
        does="Books a hotel room in a city.",
        parameters=(
            need("city", "City", pick(CITIES)),
            need("check_in", "First day of the stay", day()),
            need("nights", "Number of nights", count("night", 1, 9)),
            need("guests", "Number of guests", count("guest", 1, 4)),
            may(
                "room_type",
                "Kind of room",
                choice({"single": ["a single room"], "double": ["a double room"], "suite": ["a suite"]}),
                "It should be {room_type}.",
                "Make that {room_type}.",
                "I would like {room_type}.",
            ),
            may(
                "breakfast",
                "Whether breakfast is included",
                yes(),
                "Please include breakfast.",
                "Breakfast should be included.",
            ),
        ),
        do=(
            "book a hotel room in {city} for {guests}, {nights} from {check_in}",
            "reserve a hotel room in {city} from {check_in} for {nights} and {guests}",
            "get a hotel room in {city} for {guests}, arriving on {check_in} and staying {nights}",
        ),
        say=(
            "Hotel in {city}: check-in {check_in}, {nights}, {guests}.",
            "I'm giving a talk in {city} and need a hotel room from {check_in}. The stay is {nights}, for {guests}.",
            "A room for {guests} please, in a hotel in {city}. Arrival is on {check_in}, duration {nights}.",
            "We need somewhere to sleep in {city}, so please book a hotel room: {nights}, {guests}, first "
            "day {check_in}.",
        ),
        goal=("a hotel room in {city}", "a stay in {city} from {check_in}"),
        aside="My cousin says that hostels are cheaper, but I snore.",
    ),
    tool(
        name="rent_car",
        does="Rents a car.",
        parameters=(
            need("city", "City of pick-up", pick(CITIES)),
            need("pickup", "Start of the rental", PICKUP),
            need("days", "Length of the rental in days", count("day", 2, 12)),
            need(
                "category",
                "Size of the car",
                choice(
                    {
                        "compact": ["a compact car", "a compact"],
                        "estate": ["an estate car", "an estate"],
                        "minivan": ["a minivan"],
                        "electric": ["an electric car"],
                    }
                ),
            ),
            may(
                "extras",
                "Equipment",
                several(
                    choice(
                        {
                            "child_seat": ["a child seat"],
                            "roof_box": ["a roof box"],
                            "snow_chains": ["snow chains"],
                            "bike_rack": ["a bike rack"],
                        }
                    ),
                    1,
                    2,
                ),
                "It needs {extras}.",
                "Please add {extras}.",
                "Equip it with {extras}.",
            ),
        ),
        do=(
            "rent {category} in {city} for {days}, picked up on {pickup}",
            "hire {category} for {days} in {city}, with pick-up on {pickup}",
            "reserve {category} in {city} from {pickup} for {days}",
        ),
        say=(
            "Car rental {city}, {category}, pick-up {pickup}, {days}.",
            "We'll drive around the coast for {days} and need {category}. We pick it up in {city} on {pickup}.",
            "My train gets into {city} early enough to collect {category} on {pickup}. I want to rent it for {days}.",
            "Could I have {category}, please? Renting for {days}, pick-up in {city}, {pickup}.",
        ),
        goal=("a rental car in {city}", "{category} for {days}"),
        aside="Our own car failed its inspection, which was a nasty surprise.",
    ),
    tool(
        name="check_visa_rules",
        does="Tells whether a traveller needs a visa.",
        parameters=(
            need("passport", "Country that issued the passport", pick(COUNTRIES)),
            need("destination", "Country to be visited", pick(COUNTRIES)),
            need("stay_days", "Length of the stay in days", count("day", 5, 90)),
            may(
                "purpose",
                "Reason for the trip",
                choice({"tourism": ["tourism"], "business": ["business"], "study": ["study"]}),
                "The purpose is {purpose}.",
                "It is for {purpose}.",
            ),
        ),
        do=(
            "check the visa rules for {destination} on a passport from {passport}, for a stay of {stay_days}",
            "find out whether someone with a passport from {passport} needs a visa to spend {stay_days} in "
            "{destination}",
            "look up if a visa is needed for {stay_days} in {destination} with a passport issued by {passport}",
        ),
        say=(
            "Visa check: passport {passport}, going to {destination}, {stay_days}.",
            "My passport is from {passport}. Do I need a visa if I stay in {destination} for {stay_days}?",
            "{stay_days} in {destination}, passport issued by {passport}: is a visa required?",
            "A colleague holds a passport from {passport} and will be in {destination} for {stay_days}. "
            "What are the visa rules?",
        ),
        goal=("the visa rules of {destination}", "the visa question for {destination}"),
        aside="I have never filled in a form without a mistake.",
        answers=True,
    ),
    tool(
        name="book_airport_transfer",
        does="Books a driver between an address and an airport.",
        unseen=True,
        parameters=(
            need("airport", "IATA code", pick(AIRPORTS)),
            need(
                "direction",
                "Which way the ride goes",
                choice({"to_airport": ["to the airport"], "from_airport": ["from the airport"]}),
            ),
            need("address", "Street address at the other end", pick(ADDRESSES)),
            need("pickup", "When the driver comes", PICKUP),
            need("passengers", "Number of passengers", count("passenger", 1, 6)),
            may(
                "name_sign",
                "Full name on the driver's sign",
                full_name(FIRST_NAMES, LAST_NAMES),
                "The sign should read {name_sign}.",
                "Have the driver hold a sign for {name_sign}.",
            ),
            may(
                "wait_minutes",
                "How long the driver waits, in minutes",
                span(15, 30, 60),
                "The driver should wait up to {wait_minutes}.",
            ),
        ),
        do=(
            "book a transfer {direction} ({airport}) for {passengers} on {pickup}, the other address being {address}",
            "arrange a driver {direction} {airport} for {passengers}, {pickup}, other end {address}",
        ),
        say=(
            "Airport transfer {airport}, {direction}, other address {address}, {pickup}, {passengers}.",
            "We need a driver {direction} on {pickup}. The airport is {airport}, the house is at "
            "{address}, and there will be {passengers}.",
            "A ride {direction} for {passengers}, please. Airport code {airport}, street address "
            "{address}, pick-up {pickup}.",
        ),
        goal=("a ride {direction} {airport}", "an airport transfer for {passengers}"),
        aside="The suitcase is new and already scratched.",
    ),
)
