"""What the instruction items write about: sentences without commas and digits, lists, and records."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Topic:
    """`words` name the topic, the first sentence does so too; `key` stands in the first sentence and only there."""

    name: str
    words: tuple[str, ...]
    key: str
    sentences: tuple[str, ...]


TOPICS = (
    Topic(
        "dogs",
        ("dog", "dogs"),
        "loyal",
        (
            "Dogs are loyal animals that like to live with people.",
            "They need fresh water and a long walk every day.",
            "A dog hears and smells much better than its owner.",
            "Some of them guard houses or help blind people.",
            "Young ones learn quickly when they get a small treat.",
            "Many families could not imagine life without one.",
        ),
    ),
    Topic(
        "the sea",
        ("sea", "seas", "ocean", "oceans"),
        "salt",
        (
            "The sea is full of salt water and covers most of our planet.",
            "Its waves never stop moving.",
            "Countless fish and plants live below the surface.",
            "Ships carry goods from one harbour to the next.",
            "On a calm evening it looks like a dark mirror.",
            "Many people find peace when they hear it.",
        ),
    ),
    Topic(
        "bread",
        ("bread", "breads", "loaf"),
        "flour",
        (
            "Bread is made of flour and water and a little salt.",
            "The dough has to rest in a warm place.",
            "A hot oven gives it a brown crust.",
            "It tastes best on the day it is baked.",
            "Almost every country has its own kind.",
            "Old slices can still be turned into toast.",
        ),
    ),
    Topic(
        "winter",
        ("winter", "winters"),
        "coldest",
        (
            "Winter is the coldest season of the year.",
            "The days are short and the nights are long.",
            "Snow covers the fields and the roofs.",
            "Children build snowmen and go down hills on sledges.",
            "Many birds have left for warmer places.",
            "A cup of hot chocolate tastes especially good then.",
        ),
    ),
    Topic(
        "trains",
        ("train", "trains", "railway", "railways"),
        "rails",
        (
            "Trains run on rails and carry hundreds of people at once.",
            "They need less energy than cars.",
            "Passengers can read or sleep on the way.",
            "The first ones were pulled by steam engines.",
            "Modern lines connect big cities in a few hours.",
            "A good timetable makes changing easy.",
        ),
    ),
    Topic(
        "gardens",
        ("garden", "gardens", "gardening"),
        "patience",
        (
            "A garden needs time and patience.",
            "Seeds grow when they get light and water.",
            "Weeds come back again and again.",
            "In summer there are fresh tomatoes and beans.",
            "Bees visit the flowers from morning to evening.",
            "Working outside keeps people healthy and calm.",
        ),
    ),
    Topic(
        "music",
        ("music", "musical"),
        "feelings",
        (
            "Music can wake feelings that words do not reach.",
            "People of every country sing and dance.",
            "Some learn an instrument for many years.",
            "Others only listen while they cook or drive.",
            "A simple song can stay in the mind all day.",
            "Playing together teaches people to listen to each other.",
        ),
    ),
    Topic(
        "books",
        ("book", "books", "reading"),
        "stories",
        (
            "Books tell stories and keep what others have learned.",
            "A good one makes the evening short.",
            "Libraries lend them to everybody for free.",
            "Children love to hear the same page again and again.",
            "Some readers write notes beside the text.",
            "On long trips they are the best company.",
        ),
    ),
    Topic(
        "bicycles",
        ("bicycle", "bicycles", "bike", "bikes", "cycling"),
        "wheels",
        (
            "Bicycles have two wheels and need no fuel.",
            "Riding to work keeps the body fit.",
            "In a crowded city they are often faster than cars.",
            "A helmet protects the head in a fall.",
            "The chain runs better with a drop of oil.",
            "With a basket they even carry the shopping.",
        ),
    ),
    Topic(
        "rain",
        ("rain", "rains", "rainy", "raining"),
        "clouds",
        (
            "Rain falls from the clouds and waters the fields.",
            "Without it nothing would grow.",
            "Some people love the sound on the roof.",
            "Others complain about wet shoes.",
            "After a dry summer everyone is glad about it.",
            "A rainbow may appear when the sun comes back.",
        ),
    ),
    Topic(
        "coffee",
        ("coffee", "coffees"),
        "beans",
        (
            "Coffee is made from roasted beans and hot water.",
            "Many people drink a cup as soon as they get up.",
            "Its smell fills the whole kitchen.",
            "Some like it black and others add milk.",
            "Too much of it makes sleeping hard.",
            "In small bars it is a reason to meet friends.",
        ),
    ),
    Topic(
        "mountains",
        ("mountain", "mountains"),
        "rock",
        (
            "Mountains are made of rock and rise high above the land.",
            "The air gets thinner on the way up.",
            "Their tops are often white even in summer.",
            "Goats climb where nobody else can stand.",
            "Hikers start early and carry enough water.",
            "The view from above is worth every step.",
        ),
    ),
)

# What a list is to name, and five entries of one.
LISTS = (
    ("things to pack for a day at the beach", ("a towel", "sun cream", "a hat", "plenty of water", "a good book")),
    ("vegetables that can be eaten raw", ("carrots", "cucumbers", "peppers", "radishes", "tomatoes")),
    ("ways to save energy at home", ("turn off the lights", "close the windows", "wash cold", "use lids", "heat less")),
    ("animals that live on a farm", ("cows", "pigs", "chickens", "sheep", "horses")),
    ("tools for repairing furniture", ("a hammer", "a screwdriver", "wood glue", "sandpaper", "a saw")),
    ("reasons to go for a walk", ("fresh air", "a clear head", "strong legs", "better sleep", "time with a friend")),
    ("things that are in an office", ("a desk", "a chair", "a computer", "a printer", "a phone")),
    ("sports that are played with a ball", ("football", "tennis", "basketball", "handball", "golf")),
    ("presents for a child", ("a kite", "a puzzle", "crayons", "a picture book", "a toy car")),
    ("steps of making tea", ("boil water", "warm the pot", "add the leaves", "wait a little", "pour it into a cup")),
    ("jobs in a hospital", ("nurse", "doctor", "cook", "cleaner", "porter")),
    ("things to see in a city", ("the market", "the old bridge", "a museum", "the town hall", "a park")),
)

# What a record describes, its keys, and one right record.
RECORDS = (
    ("a book of your choice", {"title": "The Old Lighthouse", "author": "Nora Weber", "pages": 212}),
    ("a fruit", {"name": "apple", "colour": "red", "sweet": True}),
    ("a person you make up", {"name": "Jonas Dahl", "age": 34, "city": "Bergen"}),
    ("an animal", {"species": "horse", "legs": 4}),
    ("a meal", {"dish": "tomato soup", "ingredients": ["tomatoes", "onions", "cream"], "minutes": 25}),
    ("the weather on a summer day", {"temperature": 27, "sky": "clear", "wind": "weak"}),
    ("a bus stop", {"name": "Mill Road", "lines": [4, 12]}),
    ("a film you make up", {"title": "Snow in May", "year": 2003, "genre": "comedy"}),
)

# A question that has many answers, and three of them.
QUESTIONS = (
    ("Suggest a name for a bakery", ("Golden Crust", "The Warm Oven", "Flour and Salt")),
    ("Suggest a name for a cat", ("Pepper", "Luna", "Whiskers")),
    ("Give me an idea for a rainy Sunday", ("Bake a cake together.", "Visit a museum.", "Play a long board game.")),
    ("Suggest a slogan for a shoe shop", ("Walk on clouds!", "Every step counts!", "Shoes that go further!")),
    (
        "Give me a reason to learn a language",
        ("You make new friends.", "Travelling gets easier.", "It trains the mind."),
    ),
    ("Suggest a title for a story about a lost key", ("The Locked Door", "Under the Mat", "A Key in the River")),
)

# Words that are to be written and nothing else.
REPLIES = ("ready", "Understood", "yes", "Good morning!", "The end.", "I agree.", "Thank you!", "apples and pears")
