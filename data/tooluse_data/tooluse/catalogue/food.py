"""Restaurants, deliveries, recipes, groceries and catering."""

from functools import partial

from ..facts import choice, clock, count, day, either, may, need, pick, quoted, record, several, span, whole
from ..tool import Tool
from ..words import (
    ADDRESSES,
    DISH_WISHES,
    DISHES,
    GROCERY_SHOPS,
    INGREDIENTS,
    MEETING_TITLES,
    RECIPES,
    RESTAURANTS,
)

tool = partial(Tool, domain="food")

ORDERED_DISHES = several(
    record(
        ("{quantity} of {dish}", "{dish} ({quantity})", "{quantity} of {dish} with the wish {note}"),
        need("dish", "Name of the dish", pick(DISHES)),
        need("quantity", "Number of portions", count("portion", 1, 4)),
        may("note", "Wish to the kitchen", quoted(DISH_WISHES)),
    ),
    1,
    3,
)

GROCERIES = several(
    record(
        ("{quantity} {unit} of {name}", "{name} ({quantity} {unit})"),
        need("name", "Name of the product", pick(INGREDIENTS)),
        need("quantity", "How many units", whole(2, 6)),
        need("unit", "Unit of the quantity", choice({"kg": ["kg"], "pack": ["packs"], "bag": ["bags"]})),
    ),
    2,
    4,
)

TOOLS = (
    tool(
        name="reserve_table",
        does="Reserves a table at a restaurant.",
        parameters=(
            need("restaurant", "Name of the restaurant", pick(RESTAURANTS)),
            need("date", "Day", day()),
            need("time", "Time of arrival", clock(12, 21)),
            need("party_size", "Number of people", count("person", 2, 10, "people")),
            may(
                "seating",
                "Where to sit",
                choice({"terrace": ["on the terrace"], "window": ["by the window"], "bar": ["at the bar"]}),
                "We would like to sit {seating}.",
                "A place {seating} would be lovely.",
                "Seat us {seating}.",
            ),
            may("high_chair", "Number of high chairs", count("high chair", 1, 2), "We need {high_chair}."),
        ),
        do=(
            "reserve a table for {party_size} at {restaurant} on {date} at {time}",
            "book a table at {restaurant} for {party_size}, {date}, {time}",
            "get a table for {party_size} at {restaurant}, {time} on {date}",
        ),
        say=(
            "Table at {restaurant}, {date}, {time}, {party_size}.",
            "It's our anniversary and I promised dinner at {restaurant}. A table at {time} on {date}, "
            "please; it will be {party_size}.",
            "We are {party_size} and want to eat at {restaurant} on {date}. Please reserve a table for {time}.",
            "Does {restaurant} take bookings? If so: {party_size}, {date}, {time}. Go ahead and reserve.",
        ),
        goal=("a table at {restaurant}", "a restaurant reservation for {party_size}"),
        aside="The last place we tried played the same song all evening.",
    ),
    tool(
        name="order_delivery",
        does="Orders dishes from a restaurant to an address.",
        parameters=(
            need("restaurant", "Name of the restaurant", pick(RESTAURANTS)),
            need("items", "What to order", ORDERED_DISHES),
            need("address", "Where to deliver", pick(ADDRESSES)),
            may(
                "deliver_at",
                "Wished time of delivery",
                clock(12, 21),
                "It should arrive at {deliver_at}.",
                "Delivery time: {deliver_at}.",
            ),
            may(
                "cutlery",
                "Whether to bring cutlery",
                either("with cutlery", "without cutlery"),
                "Please deliver {cutlery}.",
                "We want it {cutlery}.",
            ),
        ),
        do=(
            "order from {restaurant} to {address}: {items}",
            "have {restaurant} deliver to {address} the following: {items}",
            "order a delivery from {restaurant}, to be brought to {address}: {items}",
        ),
        say=(
            "Delivery from {restaurant} to {address}: {items}.",
            "Nobody feels like cooking tonight. From {restaurant} we want this delivered: {items}. We are "
            "at {address}.",
            "I'm at {address} and starving. Please order from {restaurant}: {items}.",
            "Takeaway, {restaurant}. Bring it to {address}. The order is {items}.",
        ),
        goal=("a delivery from {restaurant}", "food brought to {address}"),
        aside="The oven broke yesterday.",
    ),
    tool(
        name="find_recipe",
        does="Finds recipes that use given ingredients.",
        parameters=(
            need("ingredients", "Ingredients to use", several(pick(INGREDIENTS), 2, 4)),
            may(
                "max_minutes",
                "Longest cooking time in minutes",
                span(20, 30, 45, 60, 90),
                "It may take {max_minutes} at most.",
                "I have {max_minutes} to cook, no more.",
            ),
            may(
                "diet",
                "Diet to respect",
                choice({"gluten_free": ["gluten-free"], "low_fat": ["low in fat"], "low_salt": ["low in salt"]}),
                "It has to be {diet}.",
                "I want something {diet}.",
            ),
        ),
        do=(
            "find a recipe that uses {ingredients}",
            "look for a recipe with {ingredients}",
            "suggest recipes made with {ingredients}",
        ),
        say=(
            "Recipe with {ingredients}?",
            "All that is left in the fridge: {ingredients}. What recipe uses these?",
            "What can I cook from {ingredients}?",
            "The market stall gave me too much of everything, namely {ingredients}. I need recipes for that.",
        ),
        goal=("recipes with {ingredients}", "something to cook from {ingredients}"),
        aside="My flatmate washes up, so the number of pots does not matter.",
        answers=True,
    ),
    tool(
        name="order_groceries",
        does="Orders groceries from a shop.",
        parameters=(
            need("shop", "Name of the shop", pick(GROCERY_SHOPS)),
            need("items", "Products, each with quantity and unit", GROCERIES),
            may(
                "delivery_date",
                "Day of delivery",
                day(),
                "Delivery on {delivery_date}, please.",
                "I need it delivered on {delivery_date}.",
            ),
        ),
        do=(
            "order {items} from {shop}",
            "buy {items} at {shop}",
            "place a grocery order at {shop}: {items}",
        ),
        say=(
            "Groceries, {shop}: {items}.",
            "The pantry is empty. From {shop} I need {items}.",
            "Could {shop} send us {items}? Please order that.",
            "My shopping list for {shop} reads: {items}. Order it, please.",
        ),
        goal=("groceries from {shop}", "a grocery order at {shop}"),
        aside="The lift in our house works again, by the way.",
    ),
    tool(
        name="scale_recipe",
        does="Recalculates a recipe for another number of servings.",
        parameters=(
            need("recipe", "Title of the recipe", quoted(RECIPES)),
            need("servings_now", "Servings the recipe is written for", count("serving", 2, 6)),
            need("servings_wanted", "Servings to cook", count("serving", 7, 24)),
            may(
                "units",
                "System of units",
                choice({"metric": ["metric"], "imperial": ["imperial"]}),
                "Give the amounts in {units} units.",
                "Use {units} units.",
            ),
        ),
        do=(
            "scale the recipe {recipe} from {servings_now} to {servings_wanted}",
            "recalculate {recipe}, written for {servings_now}, so that it makes {servings_wanted}",
            "turn the {servings_now} of the recipe {recipe} into {servings_wanted}",
        ),
        say=(
            "{recipe}: recipe makes {servings_now}, want {servings_wanted}.",
            "My cookbook gives {recipe} for {servings_now}, but the whole team is coming and I need "
            "{servings_wanted}. Please adapt the amounts.",
            "How much of everything do I need for {servings_wanted} of {recipe}? The recipe is written for "
            "{servings_now}.",
        ),
        goal=("larger amounts for {recipe}", "{recipe} for {servings_wanted}"),
        aside="The cookbook has belonged to three generations of us.",
        answers=True,
    ),
    tool(
        name="order_catering",
        does="Orders catering for an event.",
        unseen=True,
        parameters=(
            need("event", "Name of the event", quoted(MEETING_TITLES)),
            need("date", "Day of the event", day()),
            need(
                "menu",
                "Style of the food",
                choice(
                    {
                        "buffet": ["a buffet"],
                        "finger_food": ["finger food"],
                        "three_course": ["a three-course meal"],
                    }
                ),
            ),
            need("guests", "Number of guests", count("guest", 15, 90)),
            may(
                "diets",
                "Guests with a special diet",
                several(
                    record(
                        ("{guests} on a {diet} diet",),
                        need(
                            "diet",
                            "The diet",
                            choice({"vegan": ["vegan"], "halal": ["halal"], "gluten_free": ["gluten-free"]}),
                        ),
                        need("guests", "How many of the guests", count("guest", 2, 9)),
                    ),
                    1,
                    2,
                ),
                "Among them are {diets}.",
                "That includes {diets}.",
            ),
        ),
        do=(
            "order {menu} for {guests} at our event {event} on {date}",
            "arrange catering for {event} on {date}: {menu} for {guests}",
        ),
        say=(
            "Catering, {event}, {date}, {menu}, {guests}.",
            "We are hosting {event} on {date} with {guests}, and the caterer should bring {menu}.",
            "For {event} I want {menu}. It takes place on {date} and {guests} have said yes.",
        ),
        goal=("catering for {event}", "{menu} for {guests}"),
        aside="The hall smells of fresh paint.",
    ),
)
