"""Short texts about invented people and places, each with two questions that it answers."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Question:
    """`accept` are ways to say the answer, `reject` what else a reader could name; a number stands in `value`."""

    asked: str
    golden: str
    accept: tuple[str, ...] = ()
    reject: tuple[str, ...] = ()
    value: int | None = None


@dataclass(frozen=True)
class Passage:
    text: str
    questions: tuple[Question, ...]


PASSAGES = (
    Passage(
        "Marta owns a small bicycle shop in Brno. On Tuesdays she closes at noon, because she teaches a repair "
        "class at the town library. Her brother Pavel helps in the shop on Saturdays. He prefers to sell helmets "
        "and lamps.",
        (
            Question("In which town is the shop?", "The shop is in Brno.", ("Brno",)),
            Question(
                "On which day does Marta teach a class?",
                "She teaches on Tuesdays.",
                ("Tuesday", "Tuesdays"),
                ("Saturday", "Saturdays"),
            ),
        ),
    ),
    Passage(
        "The ferry to the island leaves at nine in the morning. It carries cars, bicycles and up to 120 "
        "passengers. In winter the trip takes two hours, as the sea is rough. The last ferry back leaves in the "
        "evening at six.",
        (
            Question("How many passengers can the ferry carry?", "It carries up to 120 passengers.", value=120),
            Question(
                "Why does the trip take longer in winter?",
                "Because the sea is rough.",
                ("sea is rough", "rough sea", "rough seas", "rough"),
            ),
        ),
    ),
    Passage(
        "Old Henrik kept three goats behind his house: Ada, Bella and Cleo. Ada was white, Bella was brown and "
        "Cleo was black. One morning the gate stood open. Ada and Cleo were eating in the garden, but Bella had "
        "gone to the river.",
        (
            Question("Which goat went to the river?", "Bella went to the river.", ("Bella",), ("Ada", "Cleo")),
            Question("What colour was Cleo?", "Cleo was black.", ("black",), ("white", "brown")),
        ),
    ),
    Passage(
        "Last summer the Okafor family travelled to Portugal by train. They stayed in Porto for five days and "
        "then in Lisbon for three. The children liked the beach most. Their father liked the old trams.",
        (
            Question(
                "How did the family travel to Portugal?", "They travelled by train.", ("train",), ("plane", "car")
            ),
            Question("How many days did they stay in Lisbon?", "They stayed there for three days.", value=3),
        ),
    ),
    Passage(
        "To make the soup, first fry one onion in butter. Then add four potatoes and a litre of water, and cook "
        "them for twenty minutes. At the end stir in some cream and salt. Serve the soup with dark bread.",
        (
            Question("What is fried first?", "An onion is fried first.", ("onion",), ("potatoes", "cream", "bread")),
            Question("How many potatoes are needed?", "Four potatoes are needed.", value=4),
        ),
    ),
    Passage(
        "The town museum opened in 1964 in a former school. It shows tools, maps and a large collection of "
        "clocks. Visitors pay five euros, but on the first Sunday of each month the entry is free. The museum is "
        "closed on Mondays.",
        (
            Question("When did the museum open?", "It opened in 1964.", value=1964),
            Question("What was the building before?", "It was a school before.", ("school", "former school")),
        ),
    ),
    Passage(
        "Leila wanted to learn the violin, but her parents had no violin at home. They had an old piano, so she "
        "began with that. Her teacher, Mrs. Novak, came every Thursday. Two years later Leila played at the "
        "school concert.",
        (
            Question("Which instrument did Leila begin with?", "She began with the piano.", ("piano",), ("violin",)),
            Question(
                "Where did Leila play two years later?",
                "She played at the school concert.",
                ("school concert", "concert"),
            ),
        ),
    ),
    Passage(
        "Three friends ran a race around the lake. Emeka came in first, after 31 minutes. Jonas was second. "
        "Freya, who had lost a shoe on the way, was third but laughed the most.",
        (
            Question("Who won the race?", "Emeka won the race.", ("Emeka",), ("Jonas", "Freya")),
            Question("What did Freya lose?", "She lost a shoe.", ("shoe", "her shoe")),
        ),
    ),
    Passage(
        "The night bus number 12 goes from the station to the hospital every half hour. It stops at the market, "
        "at the bridge and at the theatre. A single ticket costs two euros. The driver does not sell tickets, so "
        "buy yours from the machine.",
        (
            Question(
                "Where can one buy a ticket?",
                "One buys it from the machine.",
                ("machine", "ticket machine"),
                ("driver",),
            ),
            Question(
                "Where does the bus trip end?",
                "It ends at the hospital.",
                ("hospital",),
                ("market", "bridge", "theatre"),
            ),
        ),
    ),
    Passage(
        "Dr. Ferreira has a practice for animals in the harbour district. Most of her patients are cats and dogs."
        " Last week, however, somebody brought a parrot that had stopped talking. After a few days with other "
        'birds it said "good morning" again.',
        (
            Question(
                "Which animal had stopped talking?", "It was a parrot.", ("parrot",), ("cat", "dog", "cats", "dogs")
            ),
            Question("What did the animal say in the end?", 'It said "good morning".', ("good morning",)),
        ),
    ),
    Passage(
        "Our house has two floors. Downstairs are the kitchen and the living room. Upstairs are three bedrooms "
        "and a bathroom. My desk stands in the smallest bedroom, below a window that looks out on a pear tree.",
        (
            Question("How many bedrooms does the house have?", "It has three bedrooms.", value=3),
            Question(
                "What can one see from the window above the desk?",
                "One can see a pear tree.",
                ("pear tree", "tree"),
            ),
        ),
    ),
    Passage(
        "In spring the storks come back from Africa to the village of Rust. They build their nests on the "
        "chimneys. The people like them, for storks are said to bring luck. In late August the birds fly south "
        "again.",
        (
            Question(
                "Where do the storks build their nests?",
                "They build them on the chimneys.",
                ("chimneys", "chimney"),
                ("trees",),
            ),
            Question("In which month do they fly south?", "They fly south in August.", ("August", "late August")),
        ),
    ),
    Passage(
        "Samir forgot his lunch on the kitchen table. At noon his friend Noor shared her cheese sandwich with "
        "him. To thank her, Samir bought two apples after school. They ate them on the way home.",
        (
            Question("Who shared a sandwich with Samir?", "Noor shared her sandwich with him.", ("Noor", "his friend")),
            Question("What did Samir buy after school?", "He bought two apples.", ("apples", "two apples", "2 apples")),
        ),
    ),
    Passage(
        "The new bridge over the Vell is 340 metres long. It took four years to build and was paid for by the two"
        " towns on its banks. Bicycles may use it, but heavy trucks have to take the tunnel. At night it is lit "
        "in blue.",
        (
            Question("How long is the bridge in metres?", "It is 340 metres long.", value=340),
            Question("What must heavy trucks use?", "They must use the tunnel.", ("tunnel",)),
        ),
    ),
    Passage(
        "Grandmother keeps her keys in a blue bowl by the door. Her glasses are usually on the piano. Yesterday "
        "she found both in the fridge. She blamed the cat.",
        (
            Question(
                "Where did she find her keys and glasses yesterday?", "In the fridge.", ("fridge",), ("bowl", "piano")
            ),
            Question("Whom did she blame?", "She blamed the cat.", ("cat",)),
        ),
    ),
    Passage(
        "Yusuf works at night in a bakery. He starts at two in the morning and bakes rolls until eight. After "
        "work he sleeps until the early afternoon. On Sundays the bakery is closed, and he goes swimming with his"
        " daughter.",
        (
            Question("Where does Yusuf work?", "He works in a bakery.", ("bakery",)),
            Question(
                "What does he do on Sundays?",
                "He goes swimming with his daughter.",
                ("swimming", "goes swimming", "swims", "swim"),
            ),
        ),
    ),
    Passage(
        "The city library lends books for four weeks and films for one week. Whoever returns an item late pays "
        "fifty cents a day. Members under eighteen pay nothing for their card. Adults pay twelve euros a year.",
        (
            Question("For how many weeks are books lent?", "Books are lent for four weeks.", value=4),
            Question("How many euros does the card cost for adults each year?", "It costs 12 euros a year.", value=12),
        ),
    ),
    Passage(
        "Before the storm the fishermen pulled their boats onto the beach. The wind blew all night and broke the "
        "roof of the chapel. In the morning the boats were safe. Everyone in the village came to help to repair "
        "the roof.",
        (
            Question(
                "What did the wind break?",
                "It broke the roof of the chapel.",
                ("roof of chapel", "roof", "chapel roof"),
            ),
            Question(
                "Where were the boats during the storm?",
                "They were on the beach.",
                ("beach", "on beach"),
                ("sea", "harbour"),
            ),
        ),
    ),
    Passage(
        "Hana has collected stamps since she was eight. Her oldest stamp is from Greece and shows an owl. The "
        "most valuable one is from Japan. She keeps them in a green album that her uncle gave her.",
        (
            Question("What does the oldest stamp show?", "It shows an owl.", ("owl",)),
            Question("From which country is the most valuable stamp?", "It is from Japan.", ("Japan",), ("Greece",)),
        ),
    ),
    Passage(
        "A school class planted a garden. The girls planted beans and the boys planted carrots. In June slugs ate"
        " all the beans, but the carrots grew well. The class sold them at the summer party and bought a "
        "football.",
        (
            Question("What did the slugs eat?", "They ate the beans.", ("beans",), ("carrots",)),
            Question("What did the class buy?", "The class bought a football.", ("football",)),
        ),
    ),
    Passage(
        "Viktor phoned the hotel to change his booking. He had booked a room for two nights from Friday. Now he "
        "needs it for three nights from Thursday. The clerk said that this was possible, but breakfast would cost"
        " extra.",
        (
            Question("For how many nights does Viktor need the room now?", "He needs it for three nights.", value=3),
            Question("What costs extra?", "Breakfast costs extra.", ("breakfast",)),
        ),
    ),
    Passage(
        "Lake Minna is deep and cold. Trout live in it, but no other fish. In the middle lies an island with a "
        "ruined tower. People say that a king once hid his gold there, though nobody has ever found a coin.",
        (
            Question("Which fish live in the lake?", "Trout live in the lake.", ("trout",)),
            Question("What stands on the island?", "A ruined tower.", ("tower", "ruined tower")),
        ),
    ),
    Passage(
        "Priya, Tessa and Wanda share a flat. Priya cooks, Tessa cleans and Wanda does the shopping. Last week "
        "Wanda was ill, so Tessa went shopping for her. This week all three do their usual work again.",
        (
            Question("Who cooks in the flat?", "Priya cooks.", ("Priya",), ("Tessa", "Wanda")),
            Question("Who was ill last week?", "Wanda was ill.", ("Wanda",), ("Priya", "Tessa")),
        ),
    ),
    Passage(
        "The parcel arrived on Wednesday instead of Monday. The box was wet, but the lamp inside was not broken. "
        "Only the bulb was missing. The shop sent one by post and apologised.",
        (
            Question(
                "On which day did the parcel arrive?", "It arrived on Wednesday.", ("Wednesday",), ("Monday", "Tuesday")
            ),
            Question("What was missing?", "The bulb was missing.", ("bulb", "light bulb"), ("lamp",)),
        ),
    ),
    Passage(
        "Tariq drives a taxi in Leeds. His longest trip took him to Glasgow, with a musician who had missed the "
        "last train. They talked about football the whole way. At the end the musician gave him two tickets for a"
        " concert.",
        (
            Question("What is Tariq's job?", "He is a taxi driver.", ("taxi driver", "drives taxi", "taxi")),
            Question("What did they talk about?", "They talked about football.", ("football",), ("music", "trains")),
        ),
    ),
    Passage(
        "The apple harvest was poor this year. A late frost in April had killed most of the blossoms. The pears "
        "did better, because they bloomed two weeks later. So the farmer sold pear juice instead of apple juice.",
        (
            Question("What killed the apple blossoms?", "A late frost killed them.", ("frost", "late frost")),
            Question(
                "Which juice did the farmer sell?",
                "He sold pear juice.",
                ("pear juice", "pear"),
                ("apple juice", "apple"),
            ),
        ),
    ),
    Passage(
        "Every child got one balloon at the party. Ines took a red one, Milan a yellow one and Rosa a green one. "
        "The yellow balloon burst at once. Rosa gave hers to Milan, so that he would stop crying.",
        (
            Question("Whose balloon burst?", "Milan's balloon burst.", ("Milan", "Milan's"), ("Ines", "Rosa")),
            Question("What colour was the balloon of Ines?", "It was red.", ("red",), ("yellow", "green")),
        ),
    ),
    Passage(
        "The mountain hut has room for 40 guests. It has no road, so all food is carried up by mules. Hot water "
        "is only there in the evening. From the terrace one can see five lakes.",
        (
            Question("How is the food brought to the hut?", "Mules carry it up.", ("mules", "mule", "by mules")),
            Question("How many lakes can one see from the terrace?", "One can see five lakes.", value=5),
        ),
    ),
)
