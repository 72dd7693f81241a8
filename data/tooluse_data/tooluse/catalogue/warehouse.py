"""Stock, pallets, freight and damage; none of these tools occurs in training."""

from functools import partial

from ..facts import Source, choice, code, count, day, may, measure, need, pick, record, several, whole
from ..tool import Tool
from ..words import RAIL_CITIES, SITES

tool = partial(Tool, domain="warehouse", unseen=True)
SKU = code("@@-####")


def place() -> Source:
    return record(
        ("aisle {aisle}, bay {bay}", "bay {bay} of aisle {aisle}"),
        need("aisle", "Letter of the aisle", code("@")),
        need("bay", "Number of the bay", measure(1, 60, 1, "{}")),
    )


TOOLS = (
    tool(
        name="check_stock",
        does="Tells how many pieces of an article a site has.",
        parameters=(
            need("sku", "Article number", SKU),
            need("site", "Name of the site", pick(SITES)),
            may(
                "as_of",
                "Day to look at; today if left out",
                day(),
                "I need the count as of {as_of}.",
                "The day is {as_of}.",
            ),
        ),
        do=(
            "check how many pieces of {sku} are in stock at {site}",
            "look up the stock of article {sku} at {site}",
        ),
        say=(
            "Stock of {sku}, {site}?",
            "A customer wants {sku} and I told her to wait. How much of it is there at {site}?",
            "How many of {sku} does {site} have on its shelves?",
            "{site} should still have some {sku}. Please look up the stock.",
        ),
        goal=("the stock of {sku}", "the number of {sku} at {site}"),
        aside="The forklift is in repair.",
        answers=True,
    ),
    tool(
        name="move_pallet",
        does="Orders a pallet to be moved inside a site.",
        parameters=(
            need("pallet", "Number of the pallet", code("PAL-####")),
            need("source", "Where it stands", place()),
            need("target", "Where it goes", place()),
            may(
                "urgency",
                "How urgent it is; idle means when there is time",
                choice({"now": ["at once"], "today": ["today"], "idle": ["when there is time"]}),
                "This should happen {urgency}.",
                "Do it {urgency}.",
            ),
        ),
        do=(
            "move pallet {pallet} from {source} to {target}",
            "have pallet {pallet} taken from {source} to {target}",
        ),
        say=(
            "Pallet {pallet}: {source} -> {target}.",
            "Pallet {pallet} blocks the way at {source}. It belongs in {target}.",
            "In {target} there is a gap. Fill it with pallet {pallet}, which stands in {source}.",
            "From {source} please bring pallet {pallet} over to {target}.",
        ),
        goal=("the move of pallet {pallet}", "a new place for pallet {pallet}"),
        aside="Safety shoes are never comfortable.",
    ),
    tool(
        name="book_freight",
        does="Books freight between two cities.",
        parameters=(
            need("origin", "City of loading", pick(RAIL_CITIES)),
            need("destination", "City of unloading", pick(RAIL_CITIES)),
            need("ready_on", "Day on which the goods are ready", day()),
            need(
                "mode",
                "Means of transport",
                choice({"road": ["by road"], "rail": ["by rail"], "air": ["by air"]}),
            ),
            need(
                "parcels",
                "What is shipped",
                several(
                    record(
                        ("{pieces} {kind} of {weight_kg} each", "{pieces} {kind} at {weight_kg} each"),
                        need(
                            "kind",
                            "Packaging",
                            choice({"pallet": ["pallets"], "crate": ["crates"], "drum": ["drums"]}),
                        ),
                        need("pieces", "How many", whole(2, 12)),
                        need("weight_kg", "Weight of one piece in kg", measure(20, 480, 5, "{} kg")),
                    ),
                    1,
                    2,
                ),
            ),
            may(
                "insured_euros",
                "Insured value in euros",
                measure(1000, 20000, 500, "{} euros"),
                "Insure it for {insured_euros}.",
                "The insured value is {insured_euros}.",
            ),
        ),
        do=(
            "book freight {mode} from {origin} to {destination}, ready on {ready_on}: {parcels}",
            "ship the following {mode} from {origin} to {destination}, ready on {ready_on}: {parcels}",
        ),
        say=(
            "Freight {mode}, {origin} to {destination}, ready {ready_on}: {parcels}.",
            "Our plant in {destination} is waiting for goods from {origin}. They are ready on {ready_on} "
            "and go {mode}: {parcels}.",
            "{origin} to {destination}, {mode}. The load is {parcels}, ready on {ready_on}. Please book the freight.",
        ),
        goal=("freight from {origin} to {destination}", "a shipment {mode}"),
        aside="The gate is wide enough for anything.",
    ),
    tool(
        name="report_damage",
        does="Reports damaged goods in a shipment.",
        parameters=(
            need("shipment", "Number of the shipment", code("SH######")),
            need(
                "items",
                "Damaged articles",
                several(
                    record(
                        ("{quantity} of {sku}", "{sku} ({quantity})"),
                        need("sku", "Article number", SKU),
                        need("quantity", "How many pieces", count("piece", 1, 9)),
                    ),
                    1,
                    2,
                ),
            ),
            need(
                "severity",
                "How bad it is",
                choice({"cosmetic": ["cosmetic"], "repairable": ["repairable"], "total": ["beyond repair"]}),
            ),
            may(
                "photos",
                "Number of photos on file",
                count("photo", 2, 9),
                "We took {photos}.",
                "There are {photos} on file.",
            ),
        ),
        do=(
            "report damage in shipment {shipment}: {items}; it is {severity}",
            "file a damage report for shipment {shipment}, {severity}, affecting {items}",
        ),
        say=(
            "Damage, shipment {shipment}: {items}, {severity}.",
            "Somebody dropped shipment {shipment}. The damage is {severity} and concerns {items}. Please report it.",
            "When we opened shipment {shipment} we found damaged goods: {items}. I'd call it {severity}.",
        ),
        goal=("a damage report on shipment {shipment}", "a report on {items}"),
        aside="It was raining into the hall all night.",
    ),
)
