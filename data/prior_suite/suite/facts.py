"""What nearly everybody knows and what stays true, and lists with one thing that doesn't belong."""

from .item import listed
from .texts import Question

WEEK = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
MONTHS = (
    *("January", "February", "March", "April", "May", "June"),
    *("July", "August", "September", "October", "November", "December"),
)


def _without(names: tuple[str, ...], *taken: str) -> tuple[str, ...]:
    return tuple(name for name in names if name not in taken)


FACTS = (
    Question(
        "Which day comes after Tuesday?",
        "Wednesday comes after Tuesday.",
        ("Wednesday",),
        _without(WEEK, "Wednesday", "Tuesday"),
    ),
    Question(
        "Which day comes before Sunday?",
        "Saturday comes before Sunday.",
        ("Saturday",),
        _without(WEEK, "Saturday", "Sunday"),
    ),
    Question("What is the first month of the year?", "January.", ("January",), _without(MONTHS, "January")),
    Question("Which month comes after June?", "July comes after June.", ("July",), _without(MONTHS, "June", "July")),
    Question("How many days does a week have?", "A week has seven days.", value=7),
    Question("How many months does a year have?", "A year has 12 months.", value=12),
    Question("What is the opposite of 'hot'?", "The opposite of hot is cold.", ("cold",), ("warm",)),
    Question(
        "What is the opposite of 'up'?", "The opposite of up is down.", ("down", "downward"), ("left", "right", "over")
    ),
    Question(
        "What is the opposite of 'empty'?", "The opposite of empty is full.", ("full", "filled"), ("nothing", "blank")
    ),
    Question(
        "What is the opposite of 'buy'?", "The opposite of buy is sell.", ("sell", "selling"), ("purchase", "own")
    ),
    Question("What is the plural of 'child'?", "The plural is children.", ("children",), ("childs", "childrens")),
    Question("What is the plural of 'mouse'?", "The plural is mice.", ("mice",), ("mouses", "mices")),
    Question("What is the plural of 'foot'?", "The plural is feet.", ("feet",), ("foots", "feets")),
    Question("What is the past tense of 'go'?", "The past tense of go is went.", ("went",), ("goed", "gone", "goes")),
    Question(
        "What is the past tense of 'eat'?", "The past tense of eat is ate.", ("ate",), ("eated", "eaten", "eating")
    ),
    Question("What is the capital of France?", "Paris is the capital of France.", ("Paris",), ("London", "Lyon")),
    Question("What is the capital of Italy?", "The capital of Italy is Rome.", ("Rome",), ("Milan", "Florence")),
    Question("What is the capital of Japan?", "The capital of Japan is Tokyo.", ("Tokyo",), ("Kyoto", "Osaka")),
    Question("How many legs does a spider have?", "A spider has eight legs.", value=8),
    Question("What do bees make?", "Bees make honey.", ("honey",)),
    Question("What do we call a young dog?", "A young dog is a puppy.", ("puppy", "pup"), ("kitten", "cub")),
    Question(
        "What colour do you get when you mix blue and yellow?",
        "You get green.",
        ("green",),
        ("red", "purple", "orange"),
    ),
    Question("What is frozen water called?", "Frozen water is called ice.", ("ice",), ("steam", "snowman")),
    Question(
        "Around which star does the Earth move?",
        "The Earth moves around the Sun.",
        ("Sun",),
        ("Moon", "Mars", "Jupiter"),
    ),
)


def _odd(group: str, *others: str, odd: str, golden: str) -> Question:
    asked = f"Which of these is NOT {group}: {listed(sorted((*others, odd)), last='or')}?"
    return Question(asked, golden, _forms(odd), tuple(form for other in others for form in _forms(other)))


def _forms(name: str) -> tuple[str, ...]:
    """A common noun also stands in the plural."""
    return (name, f"{name}s") if name.islower() else (name,)


ODD_ONES = (
    _odd("a fruit", "apple", "pear", "plum", odd="dog", golden="The dog is not a fruit."),
    _odd("a colour", "green", "purple", "red", odd="table", golden="Table is not a colour."),
    _odd("an animal", "horse", "lion", "sheep", odd="carpet", golden="A carpet is not an animal."),
    _odd("a day of the week", "Friday", "Monday", "Thursday", odd="March", golden="March is not a day; it is a month."),
    _odd("a country", "Brazil", "Canada", "Norway", odd="London", golden="London is not a country."),
    _odd("a musical instrument", "guitar", "piano", "trumpet", odd="spoon", golden="A spoon is not one."),
    _odd("a number", "four", "nine", "twelve", odd="chair", golden="Chair is not a number."),
    _odd("a vegetable", "cabbage", "carrot", "onion", odd="shirt", golden="The shirt is not a vegetable."),
    _odd("a drink", "coffee", "juice", "tea", odd="brick", golden="A brick is not a drink."),
    _odd("part of the body", "arm", "knee", "nose", odd="hammer", golden="The hammer is not part of the body."),
)
