"""Prompts of a conversation: small talk, opinions, advice, plans, imagined situations."""

from .kind import Kind

KINDS = {
    "small_talk": Kind(
        ("{}", "Hi there! {}", "Hello. {}", "{} Just curious.", "Good evening! {}"),
        (
            "How has your day been?", "I just came back from a long walk.", "Do you like music?",
            "My team won tonight!",
            "What should we talk about?", "I can't sleep.", "Tell me a joke about fish.", "It is pouring outside.",
            "I baked my first bread today.", "What makes you laugh?", "Mondays are hard, aren't they?",
            "We got a puppy, and it chews on everything.", "Do you ever get bored?", "I am new in this city.",
            "My grandmother taught me to knit.", "Any plans for the weekend?", "I finally finished that long book.",
            "Which season do you like best?", "Thanks for your help yesterday.", "What can you do for me?",
        ),
    ),
    "opinion": Kind(
        (
            "Your thoughts on {}?",
            "Pros and cons of {}?",
            "Are you for {}, or against?",
            "Some people love the idea of {}. Why might others not?",
            "Argue against {} in two sentences.",
        ),
        (
            "homework in primary school", "a four-day working week", "zoos", "free public transport",
            "school uniforms", "electric scooters on pavements", "working from home", "self-driving lorries",
            "learning Latin", "tipping in restaurants", "shops that open on Sundays", "a tax on sugar",
            "paper books instead of screens", "keeping a diary", "living without a car", "robots in nursing homes",
            "fireworks at New Year", "exams without grades", "growing your own food", "a ban on plastic bags",
        ),
    ),
    "advice": Kind(
        (
            "How can I {}?",
            "I want to {}. Where do I start?",
            "Give me one good tip to {}.",
            "What makes it hard to {}?",
            "Three steps to {}, please.",
        ),
        (
            "remember names better", "get a stain of red wine out of a shirt", "sleep earlier", "learn to juggle",
            "keep basil alive", "spend less on food", "prepare for a marathon", "make friends at a new job",
            "read more books", "calm a crying baby", "write clearer e-mails", "stop biting my nails",
            "drive safely in fog", "cook rice that doesn't stick", "speak in front of a class",
            "repair a flat bicycle tyre",
            "train a parrot", "organise a small wedding", "pack a suitcase well", "become a better listener",
        ),
    ),
    "imagine": Kind(
        (
            "Imagine {}. What happens next?",
            "Suppose {}. What would you do first?",
            "What might change if {}?",
            "{}: is that possible, and why?",
            "Let's pretend that {}. Describe a morning.",
        ),
        (
            "everyone could read minds", "the internet is gone for a week", "dogs can speak", "nobody needs sleep",
            "the moon is twice as near", "you wake up in the year 1800", "all cars are silent", "it never rains again",
            "people live to be two hundred", "you find a suitcase full of money", "plants grow overnight",
            "the whole school loses its voice", "books write themselves", "all clocks stop at noon",
            "you are the mayor of a small town", "trees can walk", "a whale swims up the river",
            "humans have wings", "there is only one colour", "a spaceship lands in the schoolyard",
        ),
    ),
}  # fmt: skip
