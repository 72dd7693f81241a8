"""Text messages, email, channels, calls and postcards."""

from functools import partial

from ..facts import (
    choice,
    clock,
    code,
    day,
    email,
    full_name,
    may,
    need,
    pick,
    quoted,
    record,
    several,
    span,
    yes,
)
from ..tool import Tool
from ..words import (
    ADDRESSES,
    ANNOUNCEMENTS,
    CHANNELS,
    CITIES,
    EMAIL_BODIES,
    EMAIL_HOSTS,
    EMAIL_SUBJECTS,
    FIRST_NAMES,
    LAST_NAMES,
    POSTCARD_TEXTS,
    TEXTS,
)

tool = partial(Tool, domain="messages")
EMAIL = email(FIRST_NAMES, EMAIL_HOSTS)
PASS_ON = 'exactly "<result>" passes on what the previous action returned'

TOOLS = (
    tool(
        name="send_text_message",
        does="Sends a text message to a contact.",
        parameters=(
            need("to", "First name of the contact", pick(FIRST_NAMES)),
            need("text", f"The message; {PASS_ON}", quoted(TEXTS)),
            may(
                "send_at",
                "Time of day at which to send it",
                clock(8, 21),
                "Send it at {send_at}, not before.",
                "It should go out at {send_at}.",
            ),
        ),
        do=(
            "text {to} {text}",
            "send a text message to {to} that says {text}",
            "send {to} the text message {text}",
        ),
        say=(
            "Text {to}: {text}.",
            "I'm driving and can't type. Please text {to} these words: {text}.",
            "{to} is waiting to hear from me. A text message with {text} will do.",
            "The text message is for {to} and reads {text}.",
        ),
        goal=("a text message to {to}", "a text that {to} should get"),
        aside="My phone screen is cracked from top to bottom.",
        relays="text",
        relay=(
            "text the result to {to}",
            "send the result to {to} in a text message",
            "let {to} know the result by text message",
        ),
    ),
    tool(
        name="send_email",
        does="Sends an email.",
        parameters=(
            need("to", "Addresses of the recipients", several(EMAIL, 1, 3)),
            need("subject", "Subject line", quoted(EMAIL_SUBJECTS)),
            need("body", f"The text; {PASS_ON}", quoted(EMAIL_BODIES)),
            may(
                "cc",
                "Addresses that get a copy",
                several(EMAIL, 1, 2),
                "Put {cc} in copy.",
                "Copy goes to {cc}.",
            ),
            may(
                "priority",
                "Importance",
                choice({"high": ["high"], "low": ["low"]}),
                "Set the priority to {priority}.",
                "Mark it as {priority} priority.",
            ),
        ),
        do=(
            "send an email to {to} with the subject {subject} and the text {body}",
            "email {to}, subject {subject}, saying {body}",
            "write to {to} by email; the subject is {subject} and the text is {body}",
        ),
        say=(
            "Email to {to}. Subject: {subject}. Text: {body}",
            "Please email {to}. As subject use {subject}, and write {body}",
            "{body} That is all the email to {to} has to say; its subject line is {subject}.",
            "An email is overdue: {to} should get one with the subject {subject} that says {body}",
        ),
        goal=("an email to {to}", "an email with the subject {subject}"),
        aside="My inbox has passed four thousand unread messages.",
        relays="body",
        relay=(
            "email the result to {to} with the subject {subject}",
            "send the result by email to {to}, subject {subject}",
        ),
    ),
    tool(
        name="post_to_channel",
        does="Posts a message to a team channel.",
        parameters=(
            need("channel", "Name of the channel, with #", pick(CHANNELS)),
            need("text", f"The message; {PASS_ON}", quoted(ANNOUNCEMENTS)),
            may("pin", "Whether to pin the message", yes(), "Pin it, too.", "The message should be pinned."),
            may(
                "mention",
                "First names of people to mention",
                several(pick(FIRST_NAMES), 1, 2),
                "Mention {mention}.",
                "Please mention {mention} in it.",
            ),
        ),
        do=(
            "post {text} to {channel}",
            "post the message {text} in the channel {channel}",
            "tell everyone in the channel {channel} {text}",
        ),
        say=(
            "{channel}: post {text}.",
            "Everyone who follows {channel} should read this: {text}. Please post it there.",
            "People in {channel} keep asking, so please post {text} there.",
            "New message for the channel {channel}: {text}.",
        ),
        goal=("a post in {channel}", "a message for the channel {channel}"),
        aside="Half of the team is on the train right now.",
        relays="text",
        relay=("post the result to {channel}", "share the result in the channel {channel}"),
    ),
    tool(
        name="schedule_call",
        does="Schedules a call with a contact.",
        parameters=(
            need("contact", "Full name of the contact", full_name(FIRST_NAMES, LAST_NAMES)),
            need("date", "Day", day()),
            need("time", "Start", clock(8, 18)),
            need("medium", "Kind of call", choice({"phone": ["a phone call"], "video": ["a video call"]})),
            may(
                "minutes",
                "Length in minutes",
                span(10, 20, 30, 45, 60),
                "Plan {minutes} for it.",
                "It should last {minutes}.",
            ),
        ),
        do=(
            "schedule {medium} with {contact} on {date} at {time}",
            "set up {medium} with {contact} for {date}, {time}",
            "arrange {medium} with {contact} at {time} on {date}",
        ),
        say=(
            "{contact}, {medium}, {date}, {time}: please schedule.",
            "{contact} and I keep missing each other. Let's fix {medium} for {date} at {time}.",
            "I have a free slot on {date} at {time} and would like {medium} with {contact} then.",
            "Please schedule {medium}. Who: {contact}. When: {time} on {date}.",
        ),
        goal=("{medium} with {contact}", "a call on {date}"),
        aside="My headset makes everyone sound like a robot.",
    ),
    tool(
        name="send_postcard",
        does="Prints and posts a postcard.",
        unseen=True,
        parameters=(
            need(
                "recipient",
                "Who gets it",
                record(
                    (
                        "{name}, {street}, {postcode} {city}",
                        "{name} in {city} (postcode {postcode}, {street})",
                    ),
                    need("name", "Full name", full_name(FIRST_NAMES, LAST_NAMES)),
                    need("street", "Street and number", pick(ADDRESSES)),
                    need("postcode", "Postcode", code("#####")),
                    need("city", "City", pick(CITIES)),
                ),
            ),
            need("text", "Text on the back", quoted(POSTCARD_TEXTS)),
            may(
                "design",
                "Picture on the front",
                choice({"mountains": ["mountains"], "sea": ["the sea"], "flowers": ["flowers"]}),
                "The front should show {design}.",
                "Choose the design with {design}.",
            ),
        ),
        do=(
            "send a postcard with the text {text} to {recipient}",
            "post a card to {recipient}, with {text} on the back",
        ),
        say=(
            "Postcard to {recipient}. Text: {text}.",
            "I promised to write a real postcard. It goes to {recipient}, and on the back it says {text}.",
            "On the back of the postcard write {text}, and address it to {recipient}.",
        ),
        goal=("a postcard", "a postcard with the text {text}"),
        aside="Stamps have become so expensive.",
    ),
)
