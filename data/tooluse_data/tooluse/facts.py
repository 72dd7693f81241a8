"""Where the facts of a request come from.

A `Source` knows the schema of its values and draws `Fact`s: the words a user would say, together with the
one value that the golden answer holds for them. `style` (0..59) fixes the manner of writing (date format,
digits or words), so that one request is written in one manner throughout.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from random import Random

from .template import fill, slots

STYLES = 60
NUMBER_WORDS = [
    "zero",
    "one",
    "two",
    "three",
    "four",
    "five",
    "six",
    "seven",
    "eight",
    "nine",
    "ten",
    "eleven",
    "twelve",
]
FIRST_DAY, DAYS = date(2026, 1, 5), 720
SPANS = {30: "half an hour", 60: "an hour", 90: "an hour and a half", 120: "two hours", 180: "three hours"}


@dataclass(frozen=True)
class Fact:
    """`notes` say how the words became the value, where that took a conversion."""

    words: str
    value: object
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Source:
    schema: dict
    draw: Callable[[Random, int], Fact]


@dataclass(frozen=True)
class Parameter:
    """`says` are sentences that state an optional parameter."""

    name: str
    about: str
    source: Source
    required: bool
    says: tuple[str, ...] = ()

    @property
    def schema(self) -> dict:
        return {**self.source.schema, "description": self.about}


def need(name: str, about: str, source: Source) -> Parameter:
    return Parameter(name, about, source, required=True)


def may(name: str, about: str, source: Source, *says: str) -> Parameter:
    return Parameter(name, about, source, required=False, says=says)


def object_schema(parameters: Sequence[Parameter]) -> dict:
    return {
        "type": "object",
        "properties": {parameter.name: parameter.schema for parameter in parameters},
        "required": [parameter.name for parameter in parameters if parameter.required],
    }


def draw_all(parameters: Sequence[Parameter], rng: Random, style: int) -> dict[str, Fact]:
    """A fact for each parameter, no text in two of them: no trip from Oslo to Oslo."""
    while True:
        facts = {parameter.name: parameter.source.draw(rng, style) for parameter in parameters}
        texts = [text for fact in facts.values() for text in set(_texts(fact.value))]
        if len(set(texts)) == len(texts):
            return facts


def _texts(value: object) -> list[str]:
    """The strings of a nested value."""
    if isinstance(value, (dict, list)):
        inner = value.values() if isinstance(value, dict) else value
        return [text for item in inner for text in _texts(item)]
    return [value] if isinstance(value, str) else []


def values_of(parameters: Sequence[Parameter], facts: dict[str, Fact], stated: set[str]) -> dict:
    """The arguments: every required parameter, and the optional ones that the words state."""
    return {p.name: facts[p.name].value for p in parameters if p.required or p.name in stated}


def pick(pool: Sequence[str]) -> Source:
    """A name, written as it stands in the pool."""

    def draw(rng: Random, style: int) -> Fact:
        choice = rng.choice(pool)
        return Fact(choice, choice)

    return Source({"type": "string"}, draw)


def quoted(pool: Sequence[str]) -> Source:
    """Free text, which the user puts in quotation marks so that its wording is certain."""

    def draw(rng: Random, style: int) -> Fact:
        choice = rng.choice(pool)
        return Fact(f'"{choice}"', choice)

    return Source({"type": "string"}, draw)


def full_name(first_names: Sequence[str], last_names: Sequence[str]) -> Source:
    def draw(rng: Random, style: int) -> Fact:
        name = f"{rng.choice(first_names)} {rng.choice(last_names)}"
        return Fact(name, name)

    return Source({"type": "string"}, draw)


def email(first_names: Sequence[str], hosts: Sequence[str]) -> Source:
    def draw(rng: Random, style: int) -> Fact:
        address = f"{rng.choice(first_names).lower()}@{rng.choice(hosts)}"
        return Fact(address, address)

    return Source({"type": "string"}, draw)


def code(pattern: str) -> Source:
    """An identifier: each # becomes a digit (never a leading 0), each @ a capital letter."""

    def draw(rng: Random, style: int) -> Fact:
        # I and O are left out because people misread them as digits.
        letters = {"#": "123456789", "@": "ABCDEFGHJKLMNPQRSTUVWXYZ"}
        text = "".join(rng.choice(letters[mark]) if mark in letters else mark for mark in pattern)
        return Fact(text, text)

    return Source({"type": "string"}, draw)


def choice(words_of: dict[str, Sequence[str]]) -> Source:
    """An enum: each value with the wordings that mean it and no other value."""

    def draw(rng: Random, style: int) -> Fact:
        value = rng.choice(list(words_of))
        return Fact(rng.choice(words_of[value]), value)

    return Source({"type": "string", "enum": list(words_of)}, draw)


def yes() -> Source:
    """A boolean that is stated by its own sentence."""
    return Source({"type": "boolean"}, lambda rng, style: Fact("", True))


def either(when_true: str, when_false: str) -> Source:
    def draw(rng: Random, style: int) -> Fact:
        value = rng.random() < 0.5
        return Fact(when_true if value else when_false, value)

    return Source({"type": "boolean"}, draw)


def count(noun: str, low: int, high: int, plural: str = "") -> Source:
    """A number of things with its noun: 'one seat', '4 seats'."""

    def draw(rng: Random, style: int) -> Fact:
        number = rng.randint(low, high)
        said = NUMBER_WORDS[number] if number <= 12 and style % 2 else f"{number}"
        return Fact(f"{said} {noun if number == 1 else plural or noun + 's'}", number)

    return Source({"type": "integer", "minimum": 1, "maximum": 10 * high}, draw)


def measure(low: float, high: float, step: float, form: str = "{}") -> Source:
    """A number on a grid, in the unit of its form: measure(18, 24, 0.5, '{} °C')."""
    kind = "integer" if float(step).is_integer() and float(low).is_integer() else "number"

    def draw(rng: Random, style: int) -> Fact:
        value = round(low + step * rng.randint(0, round((high - low) / step)), 3)
        value = int(value) if float(value).is_integer() else value
        return Fact(form.format(value), value)

    return Source({"type": kind}, draw)


def money(low: int, high: int) -> Source:
    """An amount without its currency: '45', '1,250', '89.90'."""

    def draw(rng: Random, style: int) -> Fact:
        value = rng.randint(low, high)
        if style % 3 == 0 and value < 1000:
            cents = rng.choice([10, 25, 40, 50, 75, 90, 95])
            return Fact(f"{value}.{cents}", value + cents / 100)
        return Fact(f"{value:,}" if style % 2 else f"{value}", value)

    return Source({"type": "number"}, draw)


def day() -> Source:
    """A date, always with its year; the value is YYYY-MM-DD."""

    def draw(rng: Random, style: int) -> Fact:
        when = FIRST_DAY + timedelta(days=rng.randrange(DAYS))
        words = DATE_FORMS[style % len(DATE_FORMS)](when)
        return Fact(words, when.isoformat(), _converted(words, when.isoformat()))

    return Source({"type": "string", "format": "date"}, draw)


def _converted(words: str, value: str) -> tuple[str, ...]:
    """A remark on a conversion, unless the words already contain the value."""
    return () if value in words else (f"{words} is {value}",)


def _ordinal(number: int) -> str:
    ending = "th" if 10 < number < 14 else {1: "st", 2: "nd", 3: "rd"}.get(number % 10, "th")
    return f"{number}{ending}"


# Month and day names are spelled here because strftime would follow the machine's locale.
MONTHS = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
]
WEEKDAYS = ["Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday"]
DATE_FORMS = (
    lambda d: f"{d.day} {MONTHS[d.month - 1]} {d.year}",
    lambda d: d.isoformat(),
    lambda d: f"{MONTHS[d.month - 1]} {d.day}, {d.year}",
    lambda d: f"{WEEKDAYS[d.weekday()]} {d.day} {MONTHS[d.month - 1]} {d.year}",
    lambda d: f"the {_ordinal(d.day)} of {MONTHS[d.month - 1]} {d.year}",
)


def clock(first_hour: int, last_hour: int) -> Source:
    """A time of day on the quarter hour; the value is HH:MM on the 24-hour clock."""

    def draw(rng: Random, style: int) -> Fact:
        hour, minute = rng.randint(first_hour, last_hour), rng.choice([0, 0, 15, 30, 45])
        value = f"{hour:02}:{minute:02}"
        words = CLOCK_FORMS[style % len(CLOCK_FORMS)](hour, minute)
        return Fact(words, value, _converted(words, value))

    return Source({"type": "string", "format": "time"}, draw)


def _twelve_hours(hour: int, minute: int, before_noon: str, after_noon: str) -> str:
    if (hour, minute) == (12, 0):
        return "noon"  # "12 pm" is read in two ways
    minutes = f":{minute:02}" if minute else ""
    return f"{(hour - 1) % 12 + 1}{minutes} {before_noon if hour < 12 else after_noon}"


CLOCK_FORMS = (
    lambda hour, minute: f"{hour:02}:{minute:02}",
    lambda hour, minute: _twelve_hours(hour, minute, "am", "pm"),
    lambda hour, minute: _twelve_hours(hour, minute, "AM", "PM"),
    lambda hour, minute: (
        _twelve_hours(hour, minute, "in the morning", "in the afternoon") if hour < 18 else f"{hour:02}:{minute:02}"
    ),
)


def span(*minutes: int) -> Source:
    """A duration; the value is in minutes, the words may be in hours."""

    def draw(rng: Random, style: int) -> Fact:
        value = rng.choice(minutes)
        words = SPANS.get(value, f"{value} minutes") if style % 2 else f"{value} minutes"
        return Fact(words, value, _converted(words, f"{value} minutes"))

    return Source({"type": "integer"}, draw)


def record(forms: Sequence[str], *fields: Parameter) -> Source:
    """An object; a form is how a user says it, and states the fields it mentions."""

    def draw(rng: Random, style: int) -> Fact:
        form = forms[style % len(forms)]
        facts = draw_all(fields, rng, style)
        said = {name: fact.words for name, fact in facts.items()}
        notes = tuple(note for name in slots(form) for note in facts[name].notes)
        return Fact(fill(form, said), values_of(fields, facts, set(slots(form))), notes)

    return Source(object_schema(fields), draw)


def rising(source: Source, low_name: str, high_name: str, forms: Sequence[str]) -> Source:
    """An object of two bounds, the lower one first."""

    def draw(rng: Random, style: int) -> Fact:
        low, high = sorted((source.draw(rng, style) for _ in range(2)), key=lambda fact: fact.value)
        if low.value == high.value:
            return draw(rng, style)
        words = fill(forms[style % len(forms)], {low_name: low.words, high_name: high.words})
        return Fact(words, {low_name: low.value, high_name: high.value})

    bounds = [need(low_name, "Lower bound", source), need(high_name, "Upper bound", source)]
    return Source(object_schema(bounds), draw)


def several(source: Source, low: int, high: int) -> Source:
    """An array of distinct things, said as 'a, b and c'."""

    def draw(rng: Random, style: int) -> Fact:
        wanted = rng.randint(low, high)
        facts: list[Fact] = []
        while len(facts) < wanted:
            fact = source.draw(rng, style)
            if all(_differ(fact, other) for other in facts):
                facts.append(fact)
        notes = tuple(note for fact in facts for note in fact.notes)
        return Fact(listed([fact.words for fact in facts]), [fact.value for fact in facts], notes)

    return Source({"type": "array", "items": source.schema}, draw)


def _differ(fact: Fact, other: Fact) -> bool:
    """Two objects that agree in their first field (the thing's name) would read as one thing said twice."""
    if isinstance(fact.value, dict):
        first = next(iter(fact.value))
        return fact.value[first] != other.value.get(first)
    return fact.value != other.value


def listed(words: Sequence[str]) -> str:
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}"


def whole(low: int, high: int) -> Source:
    """A bare whole number, in digits or words."""

    def draw(rng: Random, style: int) -> Fact:
        number = rng.randint(low, high)
        return Fact(NUMBER_WORDS[number] if number <= 12 and style % 2 else f"{number}", number)

    return Source({"type": "integer"}, draw)
