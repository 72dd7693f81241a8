"""Instructions about the form of an answer, which a program can verify."""

import json
from collections.abc import Callable, Sequence
from random import Random

from .item import Item, Maker, both, draw, listed, rule, text
from .topics import LISTS, QUESTIONS, RECORDS, REPLIES, TOPICS, Topic

COUNTS = {1: "one", 2: "two", 3: "three", 4: "four", 5: "five"}
COMMON_WORDS = ("and", "is", "are", "the", "of", "very", "many")
STARTS = ("In my opinion", "Without a doubt", "To be honest", "As you know")
ENDS = ("That is all.", "Have a nice day!", "I hope this helps.", "Thank you for reading.")

Written = tuple[str, str, list[dict]]  # prompt, golden answer, checks


def items(rng: Random) -> list[Item]:
    return draw(PLAN, rng)


def plural(count: int, noun: str) -> str:
    return f"{COUNTS[count]} {noun}{'' if count == 1 else 's'}"


def about(topic: Topic) -> dict:
    """The topic is named somewhere."""
    return text(*topic.words)


def chosen(topic: Topic, count: int, rng: Random) -> list[str]:
    """The first sentence and others in their order."""
    rest = sorted(rng.sample(range(1, len(topic.sentences)), count - 1))
    return [topic.sentences[place] for place in (0, *rest)]


def on_topic(write: Callable[[Topic, Random], Written]) -> Maker:
    """An item about one of the topics; its answer must name that topic besides."""

    def make(rng: Random) -> Item:
        topic = rng.choice(TOPICS)
        prompt, golden, checks = write(topic, rng)
        return Item(prompt, golden, both(*checks, about(topic)))

    return make


def sentences(topic: Topic, rng: Random) -> Written:
    count = rng.randint(1, 4)
    prompt = f"Write exactly {plural(count, 'sentence')} about {topic.name}."
    return prompt, " ".join(chosen(topic, count, rng)), [rule("sentences", count=count)]


def short(topic: Topic, rng: Random) -> Written:
    most = rng.choice((15, 20, 30))
    prompt = f"Write something about {topic.name} in at most {most} words."
    return prompt, topic.sentences[0], [rule("words", at_most=most)]


def long(topic: Topic, rng: Random) -> Written:
    least = rng.choice((25, 30))
    golden = " ".join(topic.sentences)
    return f"Write at least {least} words about {topic.name}.", golden, [rule("words", at_least=least)]


def lower(topic: Topic, rng: Random) -> Written:
    prompt = f"Write a sentence about {topic.name}. Use only lower case letters, no capital letters at all."
    return prompt, topic.sentences[0].lower(), [rule("lowercase")]


def upper(topic: Topic, rng: Random) -> Written:
    prompt = f"Write a sentence about {topic.name}. Your whole answer must be in capital letters."
    return prompt, topic.sentences[0].upper(), [rule("uppercase")]


def opening(topic: Topic, rng: Random) -> Written:
    start = rng.choice(STARTS)
    first, second = chosen(topic, 2, rng)
    golden = f"{start}, {first[0].lower()}{first[1:]} {second}"
    prompt = f'Write a few sentences about {topic.name}. Start your answer with the words "{start}".'
    return prompt, golden, [rule("starts", text=start)]


def closing(topic: Topic, rng: Random) -> Written:
    end = rng.choice(ENDS)
    golden = " ".join((*chosen(topic, 2, rng), end))
    prompt = f'Write a short text about {topic.name}. End it with exactly this sentence: "{end}"'
    return prompt, golden, [rule("ends", text=end)]


def keyword(topic: Topic, rng: Random) -> Written:
    prompt = rng.choice(
        (
            f"Write one or two sentences about {topic.name} and use the word '{topic.key}'.",
            f"Tell me something about {topic.name}. The word '{topic.key}' must occur in your answer.",
        )
    )
    return prompt, topic.sentences[0], [rule("includes", words=[topic.key])]


def forbidden(topic: Topic, rng: Random) -> Written:
    word = rng.choice([word for word in COMMON_WORDS if not uses(topic.sentences[0], word)])
    golden = [sentence for sentence in topic.sentences if not uses(sentence, word)][:2]
    prompt = f"Write exactly two sentences about {topic.name} without using the word '{word}'."
    return prompt, " ".join(golden), [rule("excludes", words=[word]), rule("sentences", count=2)]


def uses(sentence: str, word: str) -> bool:
    return word in sentence.lower().rstrip(".").split()


def no_commas(topic: Topic, rng: Random) -> Written:
    golden = " ".join(chosen(topic, 3, rng))
    prompt = f"Write at least two sentences about {topic.name}. Do not use any commas."
    return prompt, golden, [rule("no_commas"), rule("sentences", at_least=2)]


def quoted(topic: Topic, rng: Random) -> Written:
    prompt = f"Write a sentence about {topic.name}. Wrap your whole answer in double quotation marks."
    return prompt, f'"{topic.sentences[0]}"', [rule("quoted")]


def titled(topic: Topic, rng: Random) -> Written:
    prompt = f"Write a short text about {topic.name} with a title in double angular brackets, such as <<my title>>."
    golden = f"<<Thoughts about {topic.name}>>\n\n{' '.join(chosen(topic, 2, rng))}"
    return prompt, golden, [rule("title")]


def paragraphs(topic: Topic, rng: Random) -> Written:
    count = rng.randint(2, 3)
    prompt = f"Write exactly {plural(count, 'paragraph')} about {topic.name}, with an empty line between paragraphs."
    return prompt, "\n\n".join(chosen(topic, count, rng)), [rule("paragraphs", count=count)]


def highlighted(topic: Topic, rng: Random) -> Written:
    golden = topic.sentences[0].replace(topic.key, f"**{topic.key}**") + " " + topic.sentences[1]
    prompt = f"Write exactly two sentences about {topic.name} and highlight at least one word in bold, like **this**."
    return prompt, golden, [rule("highlights", at_least=1), rule("sentences", count=2)]


def lower_no_commas(topic: Topic, rng: Random) -> Written:
    count = rng.randint(2, 3)
    prompt = f"Write exactly {plural(count, 'sentence')} about {topic.name}, all in lower case and without commas."
    checks = [rule("sentences", count=count), rule("lowercase"), rule("no_commas")]
    return prompt, " ".join(chosen(topic, count, rng)).lower(), checks


def quoted_ending(topic: Topic, rng: Random) -> Written:
    end = rng.choice(ENDS)
    prompt = (
        f"Write about {topic.name} in at most 40 words. Wrap everything in double quotation marks, and let the last "
        f"sentence be: {end}"
    )
    checks = [rule("quoted"), rule("words", at_most=40), rule("ends", text=end)]
    return prompt, f'"{topic.sentences[0]} {end}"', checks


def titled_paragraphs(topic: Topic, rng: Random) -> Written:
    prompt = (
        f"Write about {topic.name}: first a title in double angular brackets like <<title>>, then an empty line, "
        f"then one paragraph that uses the word '{topic.key}'."
    )
    golden = f"<<All about {topic.name}>>\n\n{' '.join(chosen(topic, 3, rng))}"
    checks = [rule("title"), rule("paragraphs", count=2), rule("includes", words=[topic.key])]
    return prompt, golden, checks


def start_and_length(topic: Topic, rng: Random) -> Written:
    start, count = rng.choice(STARTS), rng.randint(2, 3)
    first, *rest = chosen(topic, count, rng)
    prompt = (
        f'Answer in exactly {plural(count, "sentence")}, and begin with "{start}": what do you know about {topic.name}?'
    )
    checks = [rule("sentences", count=count), rule("starts", text=start)]
    return prompt, " ".join((f"{start}, {first[0].lower()}{first[1:]}", *rest)), checks


def bullets(rng: Random) -> Item:
    (what, entries), count = rng.choice(LISTS), rng.randint(2, 5)
    prompt = f"List exactly {COUNTS[count]} {what}. Write each as a bullet point that starts with '- '."
    golden = "\n".join(f"- {entry}" for entry in entries[:count])
    return Item(prompt, golden, rule("bullets", count=count))


def numbered(rng: Random) -> Item:
    (what, entries), count = rng.choice(LISTS), rng.randint(3, 5)
    prompt = f"Write a numbered list of exactly {COUNTS[count]} {what}, one entry on each line."
    golden = "\n".join(f"{place}. {entry}" for place, entry in enumerate(entries[:count], start=1))
    return Item(prompt, golden, rule("numbered", count=count))


def lower_bullets(rng: Random) -> Item:
    (what, entries), count = rng.choice(LISTS), rng.randint(3, 4)
    prompt = (
        f"Give me exactly {COUNTS[count]} {what} as bullet points starting with '- ', all in lower case, no commas."
    )
    golden = "\n".join(f"- {entry}" for entry in entries[:count])
    return Item(prompt, golden, both(rule("bullets", count=count), rule("lowercase"), rule("no_commas")))


def record(rng: Random) -> Item:
    what, values = rng.choice(RECORDS)
    keys = listed([f'"{key}"' for key in values])
    prompt = rng.choice(
        (
            f"Describe {what} as a JSON object with exactly the keys {keys}. Write only the JSON.",
            f"Answer with a JSON object that has the keys {keys} and no others. It describes {what}.",
        )
    )
    return Item(prompt, json.dumps(values), rule("json_keys", keys=list(values)))


def two_answers(rng: Random) -> Item:
    (asked, answers), count = rng.choice(QUESTIONS), rng.randint(2, 3)
    prompt = f"{asked}. Give {COUNTS[count]} different answers, separated by a line with three asterisks: ***"
    return Item(prompt, "\n***\n".join(answers[:count]), rule("separated", count=count))


def exact_replies() -> Sequence[tuple[int, Maker]]:
    return [(1, lambda rng, reply=reply: exact_reply(reply)) for reply in REPLIES]


def exact_reply(reply: str) -> Item:
    return Item(f"Reply with exactly this and nothing else: {reply}", reply, rule("exact", value=reply))


PLAN: tuple[tuple[int, Maker], ...] = (
    (5, on_topic(sentences)),
    (4, on_topic(short)),
    (3, on_topic(long)),
    (4, on_topic(lower)),
    (3, on_topic(upper)),
    (5, on_topic(opening)),
    (4, on_topic(closing)),
    (6, on_topic(keyword)),
    (4, on_topic(forbidden)),
    (4, on_topic(no_commas)),
    (3, on_topic(quoted)),
    (4, on_topic(titled)),
    (3, on_topic(paragraphs)),
    (3, on_topic(highlighted)),
    (2, on_topic(lower_no_commas)),
    (2, on_topic(quoted_ending)),
    (2, on_topic(titled_paragraphs)),
    (3, on_topic(start_and_length)),
    (5, bullets),
    (4, numbered),
    (2, lower_bullets),
    (5, record),
    (2, two_answers),
    *exact_replies(),
)
