"""Searching, ordering, returning and tracking goods."""

from functools import partial

from ..facts import (
    choice,
    code,
    count,
    day,
    email,
    may,
    measure,
    money,
    need,
    pick,
    quoted,
    record,
    rising,
    several,
    yes,
)
from ..tool import Tool
from ..words import EMAIL_HOSTS, FIRST_NAMES, GIFT_MESSAGES, PRODUCT_SEARCHES, WISH_LISTS, WISHES

tool = partial(Tool, domain="shopping")
SKU = code("@@-####")
ORDER_LINES = several(
    record(
        ("{quantity} of {sku}", "{sku} ({quantity})"),
        need("sku", "Article number", SKU),
        need("quantity", "How many pieces", count("piece", 1, 9)),
    ),
    1,
    3,
)

TOOLS = (
    tool(
        name="search_products",
        does="Searches the web shop.",
        parameters=(
            need("query", "Search words", quoted(PRODUCT_SEARCHES)),
            may(
                "price",
                "Price range in euros",
                rising(
                    measure(10, 400, 5, "{}"),
                    "min",
                    "max",
                    ("between {min} and {max} euros", "from {min} to {max} euros"),
                ),
                "Only what costs {price}.",
                "The price should be {price}.",
            ),
            may(
                "sort",
                "Order of the results",
                choice(
                    {
                        "cheapest": ["cheapest first"],
                        "newest": ["newest first"],
                        "best_rated": ["best rated first"],
                    }
                ),
                "Show the {sort}.",
                "Sort them {sort}.",
            ),
            may("in_stock", "Whether to show only what is in stock", yes(), "Show only what is in stock."),
        ),
        do=(
            "search the shop for {query}",
            "look up {query} in the web shop",
            "run a product search for {query}",
        ),
        say=(
            "Shop search: {query}.",
            "What do you have under {query}?",
            "I'm looking for a present and thought of {query}. Please search the shop for that.",
            "Search words are {query}, and I want to see what the shop has.",
        ),
        goal=("products for {query}", "a shop search for {query}"),
        aside="I promised myself to buy nothing this month.",
        answers=True,
    ),
    tool(
        name="place_order",
        does="Orders articles from the web shop.",
        parameters=(
            need("customer", "Customer number", code("C#####")),
            need("items", "Articles with quantities", ORDER_LINES),
            need(
                "shipping",
                "Speed of delivery",
                choice(
                    {
                        "standard": ["standard shipping"],
                        "express": ["express shipping"],
                        "pickup": ["pick-up in the store"],
                    }
                ),
            ),
            may(
                "gift_message",
                "Text of the gift card",
                quoted(GIFT_MESSAGES),
                "Add a gift card that says {gift_message}.",
                "The gift card should read {gift_message}.",
            ),
        ),
        do=(
            "order {items} for customer {customer} with {shipping}",
            "place an order for customer {customer}: {items}, {shipping}",
            "buy {items} on customer number {customer}, {shipping}",
        ),
        say=(
            "Order for {customer}: {items}, {shipping}.",
            "My customer number is {customer}. I'd like to order {items}, with {shipping}.",
            "I saw it in the catalogue and can't resist: {items}. Customer number {customer}, {shipping}.",
            "Use {shipping} and order {items}. The customer number is {customer}.",
        ),
        goal=("an order for customer {customer}", "the order of {items}"),
        aside="The catalogue is heavier than a brick.",
    ),
    tool(
        name="return_item",
        does="Registers the return of an article.",
        parameters=(
            need("order_number", "Number of the order", code("R####-###")),
            need("sku", "Article number", SKU),
            need(
                "reason",
                "Why it goes back",
                choice(
                    {
                        "damaged": ["it arrived damaged", "it came damaged"],
                        "wrong_item": ["it is the wrong article"],
                        "too_late": ["it came too late"],
                        "not_needed": ["it is no longer needed"],
                    }
                ),
            ),
            may(
                "refund",
                "How to refund; original is the card used to pay",
                choice({"original": ["to the card I paid with"], "voucher": ["as a voucher"]}),
                "Refund me {refund}.",
                "I want the refund {refund}.",
            ),
        ),
        do=(
            "register a return for article {sku} of order {order_number} because {reason}",
            "return article {sku} from order {order_number}, as {reason}",
            "send article {sku} of order {order_number} back, since {reason}",
        ),
        say=(
            "Return: order {order_number}, article {sku}, {reason}.",
            "I opened the parcel of order {order_number}. Article {sku} goes back because {reason}.",
            "Order {order_number} leaves me unhappy, more precisely article {sku}: {reason}. I want to return it.",
            "How do I send back {sku}? It belongs to order {order_number} and {reason}. Please register the return.",
        ),
        goal=("the return of {sku}", "a return from order {order_number}"),
        aside="The courier rang three times.",
    ),
    tool(
        name="track_parcel",
        does="Tells where a parcel is.",
        parameters=(
            need("tracking_number", "Tracking number", code("@@#########")),
            need(
                "carrier",
                "Carrier",
                choice({"northpost": ["NorthPost"], "swiftbox": ["SwiftBox"], "parcelino": ["Parcelino"]}),
            ),
        ),
        do=(
            "track the {carrier} parcel {tracking_number}",
            "find out where parcel {tracking_number} is, sent with {carrier}",
            "check the {carrier} tracking number {tracking_number}",
        ),
        say=(
            "{carrier} {tracking_number}: where is it?",
            "I have been waiting at the window all day. The parcel is {tracking_number}, carrier "
            "{carrier}. Where is it?",
            "Where is my {carrier} parcel? The tracking number is {tracking_number}.",
            "Tracking number {tracking_number}, carrier {carrier}. Has the parcel moved at all?",
        ),
        goal=("the {carrier} parcel {tracking_number}", "the whereabouts of {tracking_number}"),
        aside="Yesterday the courier left a note for somebody else.",
        answers=True,
    ),
    tool(
        name="set_price_alert",
        does="Sends word when an article gets cheap enough.",
        parameters=(
            need("sku", "Article number", SKU),
            need("below_euros", "Price in euros below which to alert", money(15, 800)),
            may(
                "notify",
                "Email address to write to",
                email(FIRST_NAMES, EMAIL_HOSTS),
                "Write to {notify}.",
                "The alert should go to {notify}.",
            ),
            may(
                "expires",
                "Last day of the alert",
                day(),
                "The alert ends on {expires}.",
                "Stop watching on {expires}.",
            ),
        ),
        do=(
            "set a price alert for article {sku} below {below_euros} euros",
            "watch article {sku} and raise an alert once it costs less than {below_euros} euros",
            "create an alert for the price of {sku}, limit {below_euros} euros",
        ),
        say=(
            "Price alert {sku}, under {below_euros} euros.",
            "{sku} is too dear for me at the moment. As soon as it drops below {below_euros} euros, I want an alert.",
            "Let me know once article {sku} costs less than {below_euros} euros.",
            "Below {below_euros} euros I would buy {sku}. Please set an alert for that.",
        ),
        goal=("a price alert for {sku}", "an alert below {below_euros} euros"),
        aside="Patience is not my strong side.",
    ),
    tool(
        name="add_to_wish_list",
        does="Adds things to a wish list.",
        unseen=True,
        parameters=(
            need("list_name", "Title of the list", quoted(WISH_LISTS)),
            need(
                "wishes",
                "Things, each with its priority",
                several(
                    record(
                        ("a {name} with {priority}", "a {name} ({priority})"),
                        need("name", "The thing, without article", pick(WISHES)),
                        need(
                            "priority",
                            "How much it is wished for",
                            choice(
                                {
                                    "high": ["high priority"],
                                    "medium": ["medium priority"],
                                    "low": ["low priority"],
                                }
                            ),
                        ),
                    ),
                    1,
                    3,
                ),
            ),
            may(
                "visible_to",
                "First names of people who may see it",
                several(pick(FIRST_NAMES), 1, 3),
                "Let {visible_to} see it.",
                "It may be seen by {visible_to}.",
            ),
        ),
        do=(
            "add {wishes} to the wish list {list_name}",
            "put {wishes} on the wish list {list_name}",
        ),
        say=(
            "Wish list {list_name}: {wishes}.",
            "People keep asking what we would like. On the list {list_name}, please note {wishes}.",
            "The wish list {list_name} is missing {wishes}. Please add that.",
        ),
        goal=("the wish list {list_name}", "new wishes on {list_name}"),
        aside="Last year we got four toasters.",
    ),
)
