"""What can be done with the letters and words of a text."""

import re
from random import Random

from .item import Item, Maker, both, draw, listed, number, rule, text
from .words import ACRONYMS, COMPOUNDS, LONG, PHRASES, SENTENCES, SHORT, SWAPS

PLACES = ("first", "second", "third", "fourth", "fifth")
VOWELS = "aeiou"


def items(rng: Random) -> list[Item]:
    return draw(PLAN, rng)


def verbatim(value: str) -> dict:
    return rule("verbatim", value=value)


def reverse(rng: Random) -> Item:
    word = rng.choice([word for word in SHORT if word != word[::-1]])
    prompt = rng.choice((f"Reverse the word '{word}'.", f"Write the word '{word}' backwards."))
    return Item(prompt, f"'{word}' backwards is '{word[::-1]}'.", text(word[::-1]))


def length(rng: Random) -> Item:
    word = rng.choice(SHORT + LONG)
    prompt = rng.choice((f"How many letters does the word '{word}' have?", f"Count the letters of the word '{word}'."))
    return number(prompt, f"The word '{word}' has {len(word)} letters.", len(word))


def letter_count(rng: Random) -> Item:
    word = rng.choice(LONG)
    repeated = [letter for letter in word if word.count(letter) > 1]
    letter = rng.choice([*repeated, word[0]])
    count = word.count(letter)
    prompt = f"How many times does the letter '{letter}' occur in the word '{word}'?"
    times = "once, so the count is 1" if count == 1 else f"{count} times"
    return number(prompt, f"The letter '{letter}' occurs {times}.", count)


def word_count(rng: Random) -> Item:
    words = rng.choice(SENTENCES).split()[: rng.randint(3, 6)]
    prompt = f'How many words are in this text: "{" ".join(words)}"?'
    return number(prompt, f"The text has {len(words)} words.", len(words))


def sort_words(rng: Random) -> Item:
    words = rng.sample(LONG, rng.choice((3, 3, 4)))
    words = words[::-1] if words == sorted(words) else words
    prompt = f"Sort these words in alphabetical order: {', '.join(words)}. Write only the sorted words."
    return Item(prompt, ", ".join(sorted(words)), rule("order", items=sorted(words)))


def reverse_list(rng: Random) -> Item:
    words = rng.sample(SHORT, rng.choice((3, 4)))
    prompt = f"Write these words in the opposite order, last one first: {', '.join(words)}."
    return Item(prompt, ", ".join(words[::-1]), rule("order", items=words[::-1]))


def upper_case(rng: Random) -> Item:
    phrase = rng.choice(PHRASES)
    prompt = rng.choice((f"Write '{phrase}' in capital letters.", f"Convert this text to upper case: {phrase}"))
    return Item(prompt, phrase.upper(), verbatim(phrase.upper()))


def lower_case(rng: Random) -> Item:
    phrase = rng.choice(PHRASES)
    prompt = f"Convert this text to lower case: {phrase.upper()}"
    return Item(prompt, phrase, verbatim(phrase))


def word_at(rng: Random) -> Item:
    words, place = rng.choice(SENTENCES).split(), rng.choice((0, 0, 1, 2, 3, 4))
    prompt = f'What is the {PLACES[place]} word of this sentence? "{" ".join(words)}."'
    rest = [word for at, word in enumerate(words) if at != place]
    return Item(prompt, f'The {PLACES[place]} word is "{words[place]}".', text(words[place], reject=rest))


def last_word(rng: Random) -> Item:
    *rest, last = rng.choice(SENTENCES).split()
    prompt = f'What is the last word of this sentence? "{" ".join((*rest, last))}."'
    return Item(prompt, f'The last word is "{last}".', text(last, reject=rest))


def letter_at(rng: Random) -> Item:
    word = rng.choice([word for word in SHORT + LONG if not {word[0], word[-1]} & set("ai")])
    place, letter = rng.choice((("first", word[0]), ("last", word[-1])))
    rest = sorted(set(word) - {letter, "a", "i"})
    prompt = f"What is the {place} letter of the word '{word}'?"
    return Item(prompt, f"The {place} letter is '{letter}'.", text(letter, reject=rest))


def hyphens(rng: Random) -> Item:
    words = rng.sample(SHORT, 3)
    prompt = f"Join these words with hyphens: {', '.join(words)}."
    return Item(prompt, "-".join(words), verbatim("-".join(words)))


def no_vowels(rng: Random) -> Item:
    word = rng.choice([word for word in LONG if len(word) <= 6])
    rest = "".join(letter for letter in word if letter not in VOWELS)
    return Item(f"Remove all vowels (a, e, i, o, u) from the word '{word}'.", rest, text(rest))


def repeat(rng: Random) -> Item:
    word, count = rng.choice(SHORT), rng.choice((2, 3, 4))
    times = {2: "two times", 3: "three times", 4: "four times"}[count]
    repeated = " ".join([word] * count)
    check = both(verbatim(repeated), rule("includes", words=[word], count=count))
    prompt = f"Write the word '{word}' {times} on one line, with a space between, and nothing else."
    return Item(prompt, repeated, check)


def acronym(rng: Random) -> Item:
    name = rng.choice(ACRONYMS)
    letters = "".join(word[0] for word in name.split())
    prompt = f"What abbreviation do the first letters of '{name}' make?"
    return Item(prompt, f"The abbreviation is {letters}.", text(letters, " ".join(letters)))


def longest(rng: Random) -> Item:
    words = [*rng.sample(SHORT, 3), rng.choice(LONG)]
    rng.shuffle(words)
    word = max(words, key=len)
    prompt = f"Which of these words is the longest: {', '.join(words)}?"
    rest = [other for other in words if other != word]
    return Item(prompt, f"The longest word is {word}.", text(word, reject=rest))


def swap(rng: Random) -> Item:
    sentence, old, new = rng.choice(SWAPS)
    prompt = f"Replace the word '{old}' by '{new}' in this sentence: {sentence}"
    swapped = re.sub(rf"\b{old}\b", new, sentence)
    return Item(prompt, swapped, verbatim(swapped[:-1]))


def spell(rng: Random) -> Item:
    word = rng.choice(SHORT)
    spelt = "-".join(word.upper())
    return Item(f"Spell the word '{word}' in capital letters with hyphens between.", spelt, verbatim(spelt))


def copy(rng: Random) -> Item:
    sentence = f"{rng.choice(SENTENCES)}."
    prompt = rng.choice((f"Repeat this sentence word for word: {sentence}", f"Copy this sentence exactly: {sentence}"))
    # Some words more than the sentence are fine; whoever repeats the request says more still.
    return Item(prompt, sentence, both(verbatim(sentence[:-1]), rule("words", at_most=len(sentence.split()) + 3)))


def compound(rng: Random) -> Item:
    first, second = rng.choice(COMPOUNDS)
    prompt = f"Which word do you get when you join '{first}' and '{second}' into one word?"
    return Item(prompt, f"The word is '{first}{second}'.", text(first + second))


def starting_with(rng: Random) -> Item:
    words = rng.sample([*SHORT, *LONG], 3)
    word = rng.choice(words)
    rest = [other for other in words if other != word]
    if word[0] in {other[0] for other in rest} | {"a", "i"}:
        return starting_with(rng)
    prompt = f"Which of these words starts with the letter '{word[0]}': {listed(words, last='or')}?"
    return Item(prompt, f"The word is '{word}'.", text(word, reject=rest))


PLAN: tuple[tuple[int, Maker], ...] = (
    (4, reverse),
    (5, length),
    (4, letter_count),
    (3, word_count),
    (5, sort_words),
    (3, reverse_list),
    (5, upper_case),
    (4, lower_case),
    (7, word_at),
    (3, last_word),
    (5, letter_at),
    (4, hyphens),
    (3, no_vowels),
    (3, repeat),
    (5, acronym),
    (4, longest),
    (5, swap),
    (2, spell),
    (6, copy),
    (6, compound),
    (4, starting_with),
)
