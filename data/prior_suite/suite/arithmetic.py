"""Arithmetic: every answer is one number."""

from random import Random

from .item import Item, Maker, draw, number, rule, text
from .word_problems import PROBLEMS

ASKING = ("What is {}?", "What is {}?", "Calculate {}.", "How much is {}?")


def items(rng: Random) -> list[Item]:
    return draw([*PLAN, *((1, problem) for problem in rng.sample(PROBLEMS, 18))], rng)


def asked(sum_: str, value: int, rng: Random) -> Item:
    return number(rng.choice(ASKING).format(sum_), f"{sum_} = {value}", value)


def sized(rng: Random) -> tuple[int, int]:
    """Two numbers, most of them small."""
    most = rng.choice((9, 9, 9, 99, 99, 999))
    return rng.randint(2, most), rng.randint(2, most)


def addition(rng: Random) -> Item:
    a, b = sized(rng)
    return asked(f"{a} + {b}", a + b, rng)


def subtraction(rng: Random) -> Item:
    b, a = sorted(sized(rng))
    return asked(f"{a} - {b}", a - b, rng)


def multiplication(rng: Random) -> Item:
    a, b = rng.choice(((9, 9), (9, 9), (25, 9), (30, 20)))
    a, b = rng.randint(2, a), rng.randint(2, b)
    return asked(f"{a} x {b}", a * b, rng)


def division(rng: Random) -> Item:
    a, b = rng.randint(2, 15), rng.randint(2, 9)
    prompt = rng.choice(("What is {} divided by {}?", "Divide {} by {}.")).format(a * b, b)
    return number(prompt, f"{a * b} divided by {b} is {a}.", a)


def two_steps(rng: Random) -> Item:
    a, b, c = rng.randint(2, 9), rng.randint(2, 9), rng.randint(2, 9)
    first, second, value = rng.choice(
        (
            (f"{a} + {b} x {c}", f"{b} x {c} = {b * c} and {a} + {b * c}", a + b * c),
            (f"({a} + {b}) x {c}", f"{a} + {b} = {a + b} and {a + b} x {c}", (a + b) * c),
            (f"{a} x {b} - {c}", f"{a} x {b} = {a * b} and {a * b} - {c}", a * b - c),
            (f"{a * 10} - {b} - {c}", f"{a * 10} - {b} = {a * 10 - b} and {a * 10 - b} - {c}", a * 10 - b - c),
        )
    )
    return number(rng.choice(ASKING).format(first), f"{second} = {value}, so the answer is {value}.", value)


def percentage(rng: Random) -> Item:
    share, whole = rng.choice((10, 10, 20, 25, 50, 75)), 20 * rng.randint(1, 20)
    prompt = rng.choice(("What is {}% of {}?", "How much is {} percent of {}?")).format(share, whole)
    return number(prompt, f"{share}% of {whole} is {share * whole // 100}.", share * whole // 100)


def comparison(rng: Random) -> Item:
    word, best = rng.choice((("largest", max), ("smallest", min)))
    decimals = (0.5, 0.45, 0.6, 0.09, 0.7, 0.25)
    numbers = rng.sample(range(10, 100), 3) if rng.random() < 0.7 else rng.sample(decimals, 3)
    shown = ", ".join(map(str, numbers))
    prompt = f"Which of these numbers is the {word}: {shown}? Answer with the number only."
    rest = [str(other) for other in numbers if other != best(numbers)]
    return Item(prompt, str(best(numbers)), text(str(best(numbers)), reject=rest))


UNITS = (
    ("minutes", "hours", 60),
    ("seconds", "minutes", 60),
    ("hours", "days", 24),
    ("days", "weeks", 7),
    ("months", "years", 12),
    ("centimetres", "metres", 100),
    ("metres", "kilometres", 1000),
    ("grams", "kilograms", 1000),
    ("millilitres", "litres", 1000),
    ("cents", "euros", 100),
)


def units(rng: Random) -> Item:
    small, large, factor = rng.choice(UNITS)
    count = rng.choice((2, 3, 4, 5, 6, 8, 10))
    prompt = rng.choice((f"How many {small} are there in {count} {large}?", f"Convert {count} {large} to {small}."))
    return number(prompt, f"{count} {large} are {count * factor} {small}.", count * factor)


def sequence(rng: Random) -> Item:
    start, step = rng.randint(1, 20), rng.choice((2, 3, 5, 10, -2))
    start += 20 if step < 0 else 0
    numbers = [start + step * place for place in range(5)]
    prompt = f"What number comes next: {', '.join(map(str, numbers[:4]))}?"
    return number(prompt, f"The next number is {numbers[4]}.", numbers[4])


def average(rng: Random) -> Item:
    mean, more, most = rng.randint(8, 30), rng.randint(1, 2), rng.randint(3, 4)
    numbers = [mean + more, mean + most, mean - more - most]
    rng.shuffle(numbers)
    a, b, c = numbers
    golden = f"The sum is {a} + {b} + {c} = {3 * mean}. Divided by 3 that is {mean}."
    return number(f"What is the average of {a}, {b} and {c}?", golden, mean)


def rounding(rng: Random) -> Item:
    value, unit = rng.choice(((rng.randint(11, 99), 10), (rng.randint(101, 999), 100)))
    value += value % unit == unit // 2  # halfway has no one answer
    rounded = (value + unit // 2) // unit * unit
    word = {10: "ten", 100: "hundred"}[unit]
    return number(f"Round {value} to the nearest {word}.", f"{value} rounds to {rounded}.", rounded)


def geometry(rng: Random) -> Item:
    long, wide = rng.randint(5, 12), rng.randint(2, 5)
    asks, value = rng.choice((("perimeter", 2 * (long + wide)), ("area", long * wide)))
    unit = {"perimeter": "metres", "area": "square metres"}[asks]
    prompt = f"A rectangle is {long} metres long and {wide} metres wide. What is its {asks} in {unit}?"
    return number(prompt, f"Its {asks} is {value} {unit}.", value)


def multiple(rng: Random) -> Item:
    value = rng.randint(3, 60)
    asks, result = rng.choice(
        ((f"double {value}", 2 * value), (f"half of {2 * value}", value), (f"three times {value}", 3 * value))
    )
    return number(f"What is {asks}?", f"{asks.capitalize()} is {result}.", result)


NUMBER_NAMES = {
    4: "four",
    9: "nine",
    11: "eleven",
    15: "fifteen",
    20: "twenty",
    30: "thirty",
    50: "fifty",
    100: "one hundred",
}


def neighbour(rng: Random) -> Item:
    value, (side, step) = rng.choice((7, 12, 19, 29, 40, 99, 100)), rng.choice((("after", 1), ("before", -1)))
    golden = f"The number {side} {value} is {value + step}."
    return number(f"Which whole number comes directly {side} {value}?", golden, value + step)


def digits(rng: Random) -> Item:
    value, name = rng.choice(list(NUMBER_NAMES.items()))
    return Item(f"Write the number '{name}' in digits.", f"{value}", rule("verbatim", value=f"{value}"))


PLAN: tuple[tuple[int, Maker], ...] = (
    (9, addition),
    (7, subtraction),
    (7, multiplication),
    (5, division),
    (4, two_steps),
    (5, percentage),
    (5, comparison),
    (6, units),
    (4, sequence),
    (2, average),
    (3, rounding),
    (2, geometry),
    (3, multiple),
    (5, neighbour),
    (5, digits),
)
