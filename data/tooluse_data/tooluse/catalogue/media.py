"""Music, playlists, cinema, television and the library."""

from functools import partial

from ..facts import (
    choice,
    clock,
    code,
    count,
    day,
    either,
    may,
    measure,
    need,
    pick,
    quoted,
    record,
    several,
    span,
)
from ..tool import Tool
from ..words import (
    ARTISTS,
    BOOK_TITLES,
    CHANNELS_TV,
    CINEMAS,
    FILMS,
    LIBRARIES,
    PLAYLISTS,
    PROGRAMMES,
    ROOMS,
    SONGS,
)

tool = partial(Tool, domain="media")
TRACKS = several(
    record(
        ("{title} by {artist}", "{title} ({artist})"),
        need("title", "Title of the song", quoted(SONGS)),
        need("artist", "Artist", pick(ARTISTS)),
    ),
    2,
    3,
)
TICKETS = several(
    record(
        ("{count} in the category {category}",),
        need(
            "category",
            "Price category",
            choice({"adult": ["adult"], "child": ["child"], "student": ["student"], "senior": ["senior"]}),
        ),
        need("count", "How many", count("ticket", 1, 5)),
    ),
    1,
    2,
)

TOOLS = (
    tool(
        name="play_song",
        does="Plays a song on the speaker of a room.",
        parameters=(
            need("title", "Title of the song", quoted(SONGS)),
            need("artist", "Artist", pick(ARTISTS)),
            need("room", "Room of the speaker", pick(ROOMS)),
            may(
                "volume",
                "Volume in percent",
                measure(10, 90, 5, "{} percent"),
                "Volume at {volume}.",
                "Set the volume to {volume}.",
            ),
            may("repeat", "Whether to repeat it", either("on repeat", "just once"), "Play it {repeat}."),
        ),
        do=(
            "play {title} by {artist} in the {room}",
            "put on {title} by {artist} on the {room} speaker",
            "start the song {title} by {artist} in the {room}",
        ),
        say=(
            "Music, {room}: {title}, {artist}.",
            "{artist} made my favourite song, {title}. I'd like to hear it in the {room}.",
            "The {room} is far too silent. How about {title} by {artist}?",
            "In the {room}, please: {title}. The artist is {artist}.",
        ),
        goal=("{title} in the {room}", "a song by {artist}"),
        aside="I sing only when nobody listens.",
    ),
    tool(
        name="create_playlist",
        does="Creates a playlist.",
        parameters=(
            need("name", "Name of the playlist", quoted(PLAYLISTS)),
            need("tracks", "Songs in order", TRACKS),
            may(
                "visibility",
                "Who sees it",
                choice({"public": ["public"], "private": ["private"]}),
                "Make it {visibility}.",
                "The playlist should be {visibility}.",
            ),
        ),
        do=(
            "create a playlist {name} with {tracks}",
            "make a playlist called {name} out of {tracks}",
            "put together the playlist {name}: {tracks}",
        ),
        say=(
            "New playlist {name}: {tracks}.",
            "For the evening I want a playlist. It is called {name} and consists of {tracks}.",
            "{tracks}: these belong on a new playlist with the name {name}.",
            "I can never find the right music. Please start a playlist named {name} with {tracks}.",
        ),
        goal=("the playlist {name}", "a new playlist called {name}"),
        aside="The record player gathers dust since we moved.",
    ),
    tool(
        name="book_cinema_tickets",
        does="Books cinema tickets.",
        parameters=(
            need("film", "Title of the film", pick(FILMS)),
            need("cinema", "Name of the cinema", pick(CINEMAS)),
            need("date", "Day", day()),
            need("time", "Start of the show", clock(14, 22)),
            need("tickets", "Tickets by category", TICKETS),
            may("row", "Letter of the row", code("@"), "Row {row}, please.", "We'd like to sit in row {row}."),
        ),
        do=(
            "book {tickets} for {film} at the {cinema} cinema on {date} at {time}",
            "get cinema tickets for {film} at the {cinema}, {date}, {time}: {tickets}",
            "reserve {tickets} at the {cinema} cinema to see {film} on {date} at {time}",
        ),
        say=(
            "Cinema {cinema}, {film}, {date}, {time}: {tickets}.",
            "Everyone talks about the film {film}. The {cinema} cinema shows it on {date} at {time}, so "
            "please book {tickets}.",
            "We'd love to see {film}. It should be {tickets}, at the {cinema} cinema, {time} on {date}.",
        ),
        goal=("cinema tickets for {film}", "a show at the {cinema}"),
        aside="Somebody always eats the loudest crisps behind us.",
    ),
    tool(
        name="record_programme",
        does="Records a television programme.",
        parameters=(
            need("channel", "Name of the channel", pick(CHANNELS_TV)),
            need("programme", "Title", pick(PROGRAMMES)),
            need("date", "Day", day()),
            need("start", "Start", clock(12, 22)),
            need("minutes", "Length in minutes", span(30, 45, 50, 60, 90, 120)),
            may(
                "quality",
                "Picture quality",
                choice({"hd": ["HD"], "sd": ["SD"]}),
                "Record it in {quality}.",
                "Quality: {quality}.",
            ),
        ),
        do=(
            "record {programme} on {channel} on {date} from {start} for {minutes}",
            "tape {programme} on {channel}, {date}, {start}, length {minutes}",
            "set the recorder to {channel} on {date} at {start} for {minutes}, programme {programme}",
        ),
        say=(
            "Record {programme}, {channel}, {date}, {start}, {minutes}.",
            "I won't be home when {channel} shows {programme}. It starts at {start} on {date} and runs for "
            "{minutes}. Please record it.",
            "Could the recorder catch {programme}? Channel {channel}, {date}, {start}, length {minutes}.",
            "{programme} is on television on {date}: {channel}, {start}, lasting {minutes}. I want it recorded.",
        ),
        goal=("a recording of {programme}", "{programme} on {channel}"),
        aside="The remote control hides between the cushions.",
    ),
    tool(
        name="reserve_library_book",
        does="Reserves a book at a library.",
        unseen=True,
        parameters=(
            need("title", "Title of the book", quoted(BOOK_TITLES)),
            need("branch", "Branch of the library", pick(LIBRARIES)),
            need("card_number", "Number of the library card", code("L-######")),
            may(
                "format",
                "Form of the book",
                choice(
                    {
                        "large_print": ["in large print"],
                        "audio": ["as an audiobook"],
                        "paperback": ["as a paperback"],
                    }
                ),
                "I want it {format}.",
                "Please reserve it {format}.",
            ),
            may("pickup_by", "Last day for collecting it", day(), "I will collect it by {pickup_by}."),
        ),
        do=(
            "reserve the book {title} at the {branch} branch on library card {card_number}",
            "put {title} on hold at the {branch} library for card {card_number}",
        ),
        say=(
            "Library {branch}, {title}, card {card_number}.",
            "My book club reads {title} next. Please reserve it at the {branch} branch; my card number is "
            "{card_number}.",
            "Library card {card_number} here. I'd like the book {title} from the {branch} branch.",
        ),
        goal=("the book {title}", "a hold on {title} at the {branch} branch"),
        aside="I have never paid a late fee in my life.",
    ),
)
