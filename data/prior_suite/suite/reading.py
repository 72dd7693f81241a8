"""Answers that stand in a short text, and facts that nearly everybody knows."""

from dataclasses import replace
from random import Random

from .facts import FACTS, ODD_ONES
from .item import Item, both, number, rule, text
from .texts import PASSAGES, Passage, Question

LAYOUTS = (
    "Read the text and answer the question briefly.\n\nText: {text}\n\nQuestion: {asked}",
    "{text}\n\n{asked} Answer in a short sentence.",
    "{asked} Answer in a few words from this text:\n\n{text}",
)
MOST_WORDS = 35  # of a brief answer, and at most three quarters of the text: repeating it is no answer


def items(rng: Random) -> list[Item]:
    read = [brief(question, passage, rng) for passage in PASSAGES for question in passage.questions]
    return read + [item(question, question.asked) for question in (*FACTS, *ODD_ONES)]


def brief(question: Question, passage: Passage, rng: Random) -> Item:
    asked = item(question, rng.choice(LAYOUTS).format(text=passage.text, asked=question.asked))
    most = min(MOST_WORDS, len(passage.text.split()) * 3 // 4)
    return replace(asked, check=both(asked.check, rule("words", at_most=most)))


def item(question: Question, prompt: str) -> Item:
    if question.value is not None:
        return number(prompt, question.golden, question.value)
    return Item(prompt, question.golden, text(*question.accept, reject=question.reject))
