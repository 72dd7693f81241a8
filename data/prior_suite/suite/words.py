"""The plain words that string items are made of."""

SHORT = (
    *("cat", "dog", "sun", "map", "pen", "cup", "box", "net", "log", "bus", "hat", "fog", "jam", "rug", "tip"),
    *("lamp", "fish", "bird", "moon", "desk", "milk", "rope", "salt", "wind", "gold", "ship", "farm", "snow"),
)
LONG = (
    *("garden", "window", "orange", "bottle", "castle", "silver", "monkey", "planet", "button", "carpet", "dinner"),
    *("forest", "guitar", "hammer", "island", "jacket", "kitten", "ladder", "market", "needle", "pencil", "rabbit"),
    *("summer", "tunnel", "valley", "winter", "yellow", "bridge", "candle", "dragon", "banana", "butterfly"),
    *("elephant", "mountain", "notebook", "sandwich", "umbrella", "computer", "hospital", "strawberry"),
)
SENTENCES = (
    "Seven brown horses ran across wet fields",
    "My brother plays football every Sunday morning",
    "Fresh bread smells good before breakfast",
    "Two boats crossed that calm lake yesterday",
    "Our teacher lost her green umbrella again",
    "Small children built towers from old boxes",
    "Heavy rain fell during last summer night",
    "Nobody noticed his broken window until Friday",
    "Strong winds moved white clouds over mountains",
    "Their grandmother bakes sweet cakes every weekend",
    "Young doctors often work long quiet nights",
    "Black cats sleep under warm kitchen tables",
)
PHRASES = (
    "good morning",
    "red apple",
    "open the door",
    "ten small steps",
    "hello world",
    "blue water",
    "never give up",
    "bring some bread",
    "quiet night",
    "over the hill",
)
SWAPS = (
    ("The red car is parked near the house.", "red", "blue"),
    ("She drinks tea in the evening.", "tea", "milk"),
    ("We travel to Rome by train.", "train", "bus"),
    ("The meeting starts on Monday.", "Monday", "Friday"),
    ("He bought two tickets for the concert.", "two", "four"),
    ("Our dog sleeps under the table.", "dog", "cat"),
    ("The lake is warm in July.", "warm", "cold"),
    ("They sold the old house last year.", "old", "small"),
)
ACRONYMS = (
    "North Sea Oil",
    "World Chess League",
    "Green Paper Box",
    "Central Rail Union",
    "Daily Weather Forecast",
    "Friends Of Trees",
    "Junior Book Club",
    "Mountain Rescue Team",
)
COMPOUNDS = (
    ("sun", "flower"),
    ("foot", "ball"),
    ("rain", "bow"),
    ("bed", "room"),
    ("tooth", "brush"),
    ("book", "shop"),
    ("snow", "man"),
    ("butter", "fly"),
    ("grand", "mother"),
    ("week", "end"),
)
