"""Small stories that ask for a number; each is used at most once, with numbers that are drawn."""

from collections.abc import Callable
from random import Random

from .item import Item, Maker, number

Story = Callable[[int, int, int], tuple[str, str, int]]


def drawn(story: Story) -> Maker:
    """The story with three numbers from 2 to 9, the first the largest."""

    def make(rng: Random) -> Item:
        small, middle, large = sorted(rng.sample(range(2, 10), 3))
        return number(*story(large, middle, small))

    return make


STORIES: tuple[Story, ...] = (
    lambda a, b, c: (
        f"Mia has {a} apples. She eats {b} of them. How many apples are left?",
        f"That leaves {a} - {b} = {a - b}.",
        a - b,
    ),
    lambda a, b, c: (
        f"A box holds {a} pencils. How many pencils are in {b} boxes?",
        f"{b} x {a} = {a * b}. There are {a * b} pencils.",
        a * b,
    ),
    lambda a, b, c: (
        f"Tom has {a} marbles. Lena gives him {b} more, and Karim gives him {c} more. How many does Tom have now?",
        f"{a} + {b} + {c} = {a + b + c}. Tom has {a + b + c} marbles.",
        a + b + c,
    ),
    lambda a, b, c: (
        f"{a * b} sweets are shared equally among {b} children. How many sweets does each child get?",
        f"{a * b} divided by {b} is {a}. Each child gets {a}.",
        a,
    ),
    lambda a, b, c: (
        f"A ticket costs {a} euros. How many euros do {c} tickets cost?",
        f"{c} x {a} = {a * c}. They cost {a * c} euros.",
        a * c,
    ),
    lambda a, b, c: (
        f"Nora buys a book for {a} euros and a pen for {c} euros. She pays with a 20 euro note. "
        "How many euros does she get back?",
        f"The two cost {a} + {c} = {a + c} euros. She gets back 20 - {a + c} = {20 - a - c} euros.",
        20 - a - c,
    ),
    lambda a, b, c: (
        f"A train leaves at {c} o'clock and arrives at {a} o'clock on the same morning. "
        "How many hours does the trip take?",
        f"From {c} to {a} o'clock the time is {a} - {c} = {a - c}.",
        a - c,
    ),
    lambda a, b, c: (
        f"A farmer has {10 * a} sheep. He sells {b} of them on Monday and {c} on Tuesday. How many does he still have?",
        f"He sells {b} + {c} = {b + c} sheep. {10 * a} - {b + c} = {10 * a - b - c} are left.",
        10 * a - b - c,
    ),
    lambda a, b, c: (
        f"Paul reads {a} pages every day. How many pages does he read in a week?",
        f"A week has 7 days. 7 x {a} = {7 * a}.",
        7 * a,
    ),
    lambda a, b, c: (
        f"A car drives {10 * a} kilometres in one hour. How far does it drive in {c} hours, in kilometres?",
        f"{c} x {10 * a} = {10 * a * c} kilometres.",
        10 * a * c,
    ),
    lambda a, b, c: (
        f"There are {a} red and {b} blue balls in a bag. {c} balls are taken out. How many balls remain in the bag?",
        f"{a} + {b} = {a + b} balls were in it. {a + b} - {c} = {a + b - c} remain.",
        a + b - c,
    ),
    lambda a, b, c: (
        f"Each table in a room has 4 legs. There are {b} tables. How many table legs are there?",
        f"{b} x 4 = {4 * b} legs.",
        4 * b,
    ),
    lambda a, b, c: (
        f"A rope is {10 * b} metres long. It is cut into {b} equal pieces. How long is each piece, in metres?",
        f"{10 * b} divided by {b} is 10. Each piece is 10 metres long.",
        10,
    ),
    lambda a, b, c: (
        f"Ivo is {a} years old. His sister is {c} years older. How old is his sister?",
        f"{a} + {c} = {a + c}. She is {a + c}.",
        a + c,
    ),
    lambda a, b, c: (
        f"Greta is {10 + a} years old. How old will she be in {b} years?",
        f"{10 + a} + {b} = {10 + a + b}.",
        10 + a + b,
    ),
    lambda a, b, c: (
        f"A shop sells eggs in cartons of 6. Rosa buys {c} cartons and breaks 1 egg on the way home. "
        "How many whole eggs does she bring home?",
        f"{c} x 6 = {6 * c} eggs. One is broken, so {6 * c} - 1 = {6 * c - 1} are whole.",
        6 * c - 1,
    ),
    lambda a, b, c: (
        f"A bus carries {10 + a} passengers. At a stop {b} get off and {c} get on. How many passengers are there now?",
        f"{10 + a} - {b} = {10 + a - b}, and {10 + a - b} + {c} = {10 + a - b + c}.",
        10 + a - b + c,
    ),
    lambda a, b, c: (
        f"Hugo earns {a} euros an hour. Last week he worked {b} hours. How many euros did he earn?",
        f"{b} x {a} = {a * b} euros.",
        a * b,
    ),
    lambda a, b, c: (
        f"A cake is cut into {a} slices. {b} slices are eaten in the morning and none later. How many slices are left?",
        f"{a} - {b} = {a - b}.",
        a - b,
    ),
    lambda a, b, c: (
        f"A garden has {b} rows with {c} trees each, and {a} more trees by the gate. How many trees are there in all?",
        f"The rows have {b} x {c} = {b * c} trees. {b * c} + {a} = {a + b * c} in all.",
        a + b * c,
    ),
    lambda a, b, c: (
        f"A jacket costs {10 * a} euros. In the sale it is 50 percent cheaper. What does it cost now, in euros?",
        f"Half of {10 * a} is {5 * a}. It costs {5 * a} euros.",
        5 * a,
    ),
    lambda a, b, c: (
        f"Selma walks {b} kilometres to the lake and the same way back. How many kilometres does she walk in all?",
        f"2 x {b} = {2 * b} kilometres.",
        2 * b,
    ),
    lambda a, b, c: (
        f"A film starts at 18:00 and lasts {c} hours. A second film of the same length follows at once. "
        "How many hours do both films last together?",
        f"{c} + {c} = {2 * c} hours.",
        2 * c,
    ),
    lambda a, b, c: (
        f"Out of {10 * a} seats in a hall, {10 * c} are empty. How many seats are taken?",
        f"{10 * a} - {10 * c} = {10 * (a - c)} seats are taken.",
        10 * (a - c),
    ),
    lambda a, b, c: (
        f"Zoe saves {c} euros a week. How many weeks does she need to save {b * c} euros?",
        f"{b * c} divided by {c} is {b}. She needs {b} weeks.",
        b,
    ),
)
PROBLEMS = tuple(map(drawn, STORIES))
