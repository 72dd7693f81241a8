"""Prompts that ask what is known: to explain, define, compare, tell facts, name things."""

from .kind import Kind

KINDS = {
    "explain": Kind(
        (
            "Explain {} to a ten-year-old.",
            "How does {} work? Keep it short.",
            "I never understood {}. Can you help?",
            "What happens in {}, step by step?",
            "Tell me about {}, with an example.",
        ),
        (
            "a rainbow", "photosynthesis", "a steam engine", "compound interest", "the water cycle", "a magnet",
            "a touch screen", "vaccination", "an echo", "evolution", "a solar eclipse", "a microwave oven", "inflation",
            "a zip fastener", "digestion", "the greenhouse effect", "a refrigerator", "an election", "yeast in dough",
            "a suspension bridge",
        ),
    ),
    "define": Kind(
        (
            "What does {} mean?",
            "Define {}.",
            "Put \"{}\" into a sentence.",
            "Synonyms of {}, please.",
            "Is {} good or bad?",
        ),
        (
            "nostalgia", "procrastination", "paradox", "drought", "empathy", "hypothesis", "camouflage", "satire",
            "synonym", "gravity", "hospitality", "monopoly", "erosion", "solitude", "metaphor", "hibernation",
            "integrity", "prejudice", "serendipity", "compromise",
        ),
    ),
    "compare": Kind(
        (
            "What is the difference between {}?",
            "Compare {} in two sentences.",
            "Describe {} to somebody who can't see.",
            "Name something that {} have in common.",
            "People often mix up {}. How can I tell them apart?",
        ),
        (
            "a lake and a pond", "butter and margarine", "a frog and a toad", "renting and buying a flat",
            "a comet and a meteor", "running and cycling", "a novel and a short story", "tea and coffee",
            "a crocodile and an alligator", "jam and marmalade", "a violin and a viola", "weather and climate",
            "a laptop and a tablet", "a moth and a butterfly", "cotton and wool", "a bond and a share",
            "an alloy and a pure metal", "trains and buses", "a virus and a bacterium", "an island and a peninsula",
        ),
    ),
    "facts": Kind(
        (
            "Introduce {} briefly.",
            "Two facts about {}, please.",
            "Why is {} still famous?",
            "What made {} so important?",
            "When did {} begin or live?",
        ),
        (
            "Marie Curie", "the Silk Road", "the Great Wall of China", "Leonardo da Vinci", "the Titanic",
            "Ada Lovelace",
            "the Rosetta Stone", "Charles Darwin", "the Berlin Wall", "Mount Everest", "Cleopatra",
            "the Wright brothers",
            "the Amazon rainforest", "Nelson Mandela", "the Apollo 11 mission", "Ludwig van Beethoven", "Pompeii",
            "Florence Nightingale", "the Olympic Games", "Galileo Galilei",
        ),
    ),
    "list": Kind(
        (
            "List three {}.",
            "Name five {}, separated by commas.",
            "Can you think of four {}?",
            "I need some {}. Make it a bulleted list.",
            "A numbered list of {}, please.",
        ),
        (
            "things to pack for a beach holiday", "vegetables that grow underground", "games for a rainy afternoon",
            "jobs in a hospital", "musical instruments with strings", "ways to save electricity",
            "questions for a job interview", "breakfasts without eggs", "European rivers", "dangers on a building site",
            "gifts for a grandmother", "titles for a blog on cooking", "animals that are active at night",
            "kitchen tools", "habits of good students", "birds that can't fly", "uses for an old newspaper",
            "words that rhyme with day", "sports played on ice", "excuses for being late",
        ),
    ),
    "why": Kind(
        (
            "Why is it that {}?",
            "A child asks why {}.",
            "Explain why {}.",
            "Is it true that {}?",
            "I noticed that {}. Any reason?",
        ),
        (
            "leaves turn red in autumn", "the sea is salty", "cats purr when they are stroked", "bread goes stale",
            "yawning is catching", "the sky is blue at noon", "onions make us cry", "some people snore at night",
            "ice floats on water", "keyboards are not in alphabetical order", "wolves howl together",
            "metal feels colder than wood", "some years have 366 days", "tennis balls are fuzzy",
            "languages borrow words from each other", "fireflies glow in the dark", "milk turns sour after a week",
            "manhole covers are round", "airlines sell too many seats", "geese fly in the shape of a V",
        ),
    ),
}  # fmt: skip
