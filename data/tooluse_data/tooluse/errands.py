"""Two-step requests told as one story, where both calls share facts.

In a story {1.date} is the date of the first call and {2.text} the text of the second. `shared` says which
arguments of the second call repeat a fact of the first one; the story states such a fact once.
"""

from dataclasses import dataclass, field


@dataclass(frozen=True)
class Errand:
    first: str
    second: str
    stories: tuple[str, ...]
    shared: dict[str, str] = field(default_factory=dict)


ERRANDS = (
    Errand(
        "book_train",
        "set_reminder",
        (
            "I travel by train from {1.origin} to {1.destination} on {1.date}, so book {1.seats}. "
            "Afterwards set a reminder {2.text} for {2.time} on that same day.",
            "Book {1.seats} for the train ride {1.origin} to {1.destination} on {1.date}. Once we have the "
            "seats, create a reminder for the same date at {2.time} that says {2.text}.",
        ),
        {"date": "date"},
    ),
    Errand(
        "search_flights",
        "set_reminder",
        (
            "The trip is on {1.date}. Start by looking for flights from {1.from_airport} to {1.to_airport} "
            "for {1.adults}. Then set a reminder {2.text} for {2.time} on the day of the flight.",
        ),
        {"date": "date"},
    ),
    Errand(
        "check_visa_rules",
        "set_reminder",
        (
            "A trip to {1.destination} is on my mind: {1.stay_days}, with a passport from {1.passport}. "
            "First check the visa rules, then set a reminder {2.text} for {2.date} at {2.time}.",
        ),
    ),
    Errand(
        "book_hotel_room",
        "reserve_table",
        (
            "Our little holiday in {1.city} begins on {1.check_in}. Book a hotel room from that day for "
            "{1.guests}, {1.nights}, and then a table at {2.restaurant} for {2.party_size} on the evening "
            "we arrive, at {2.time}.",
        ),
        {"date": "check_in"},
    ),
    Errand(
        "reserve_table",
        "send_text_message",
        (
            "Please get a table at {1.restaurant} on {1.date} at {1.time} for {1.party_size}. When that is "
            "done, {2.to} should get a text message with the words {2.text}.",
            "Dinner plans! {1.restaurant}, {1.date}, {1.time}, {1.party_size}: reserve that first. Then "
            "text {2.to} {2.text}.",
        ),
    ),
    Errand(
        "book_cinema_tickets",
        "reserve_table",
        (
            "We make an evening of it on {1.date}. First cinema: {1.tickets} for {1.film} at the "
            "{1.cinema}, show at {1.time}. Second, a table for {2.party_size} at {2.restaurant} on the "
            "same day at {2.time}.",
        ),
        {"date": "date"},
    ),
    Errand(
        "book_meeting_room",
        "send_email",
        (
            "We meet on {1.date}. Book a room in {1.building} for {1.people} from {1.start} to {1.end}, "
            "then email {2.to} with the subject {2.subject} and the text {2.body}",
        ),
    ),
    Errand(
        "request_leave",
        "send_email",
        (
            "{1.employee} is going to be away: {1.working_days} of {1.kind} from {1.first_day}. File the "
            "leave request, and after that send {2.to} an email. Its subject is {2.subject}, its text "
            "{2.body}",
        ),
    ),
    Errand(
        "convert_currency",
        "transfer_money",
        (
            "I want to know what {1.amount} {1.from_currency} are in {1.to_currency}. Whatever comes out, "
            "then transfer those {1.amount} {1.from_currency} from the {2.from_account} account to "
            "{2.recipient}, without converting them.",
        ),
        {"amount": "amount", "currency": "from_currency"},
    ),
    Errand(
        "pay_bill",
        "set_reminder",
        (
            "{1.company} wants {1.amount} {1.currency} for bill {1.bill_number}. Pay it, and then set a "
            "reminder for {2.date} at {2.time} that says {2.text}.",
        ),
    ),
    Errand(
        "set_thermostat",
        "set_lights",
        (
            "I'm on my way home. The {1.room} should be heated to {1.celsius} first, and then the lights "
            "in the same room set to {2.brightness}.",
            "Make the {1.room} cosy: first {1.celsius} on the thermostat, then the lights in there at {2.brightness}.",
        ),
        {"room": "room"},
    ),
    Errand(
        "set_lights",
        "play_song",
        (
            "It's time to relax in the {1.room}. Lights to {1.brightness} first. Then play {2.title} by "
            "{2.artist} in that room.",
        ),
        {"room": "room"},
    ),
    Errand(
        "book_doctor_appointment",
        "refill_prescription",
        (
            "Two things for {1.patient}. First an appointment with {1.specialty} on {1.date} at {1.time}. "
            "Then a refill of {2.medicine}: {2.tablets} of {2.strength_mg}.",
        ),
        {"patient": "patient"},
    ),
    Errand(
        "log_workout",
        "log_meal",
        (
            "Diary time for {1.date}. The workout was {1.minutes} of {1.activity}; log that first. Then "
            "log what I ate that day as {2.meal}: {2.foods}.",
        ),
        {"date": "date"},
    ),
    Errand(
        "get_weather_forecast",
        "create_event",
        (
            "I'm planning {2.title} in {1.city} for {1.date}. Look up the weather forecast there for that "
            "day, and then, rain or shine, put the event into the calendar on that date from {2.start} for "
            "{2.minutes}.",
        ),
        {"date": "date"},
    ),
    Errand(
        "get_tide_times",
        "get_weather_forecast",
        (
            "Our club is out and about on {1.date}. First I need the tide times at {1.harbour} for one "
            "group, then the weather forecast for {2.city} for the other, both for that day.",
        ),
        {"date": "date"},
    ),
    Errand(
        "return_item",
        "place_order",
        (
            "Article {1.sku} of order {1.order_number} goes back because {1.reason}, so register the "
            "return. Then order {2.items} with {2.shipping}; my customer number is {2.customer}.",
        ),
    ),
    Errand(
        "deploy_service",
        "query_metrics",
        (
            "Release time: put {1.service} {1.version} on {1.environment}. Right after that, check the "
            "{2.metric} of the same service over the past {2.window_minutes}.",
            "Please deploy {1.service} in version {1.version} to {1.environment} and then look at the "
            "{2.metric} of that service, going back {2.window_minutes}.",
        ),
        {"service": "service"},
    ),
    Errand(
        "create_issue",
        "post_to_channel",
        ("Open an issue with the title {1.title} in {1.repository}. After that, post {2.text} to {2.channel}.",),
    ),
    Errand(
        "resize_image",
        "send_email",
        (
            "The image {1.file} is too large. Make it {1.width} by {1.height} pixels. When it has its new "
            "size, email {2.to}, subject {2.subject}, with the text {2.body}",
        ),
    ),
    Errand(
        "book_airport_transfer",
        "schedule_interview",
        (
            "Two things for the hiring round. First book a driver {1.direction} ({1.airport}) on "
            "{1.pickup} for {1.passengers}; the street address is {1.address}. Then schedule an interview "
            "{2.format} with {2.candidate}, role {2.role}, on {2.date} at {2.time}.",
        ),
    ),
    Errand(
        "register_sample",
        "start_incubation",
        (
            "Please register sample {1.sample} first. It is {1.volume_ml} of {1.material} and is kept in "
            "{1.storage}. Then start {2.incubator} with {2.samples} for {2.hours} at {2.conditions}.",
        ),
    ),
    Errand(
        "check_stock",
        "move_pallet",
        (
            "Look up how much of {1.sku} is in stock at {1.site}. Regardless of the number, then have "
            "pallet {2.pallet} moved from {2.source} to {2.target}.",
        ),
    ),
    Errand(
        "report_damage",
        "check_stock",
        (
            "Shipment {1.shipment} arrived in bad shape. The damage is {1.severity} and affects {1.items}; "
            "report it. Then check the stock of {2.sku} at {2.site}.",
        ),
    ),
    Errand(
        "reserve_instrument",
        "order_reagent",
        (
            "{1.researcher} needs the {1.instrument} on {1.date} from {1.start} for {1.hours}; reserve it "
            "first. Then order {2.bottles} of {2.reagent} in {2.grade}, paid by grant {2.grant}.",
        ),
    ),
    Errand(
        "order_catering",
        "create_invoice",
        (
            "{1.event} takes place on {1.date}. Order {1.menu} for {1.guests} first. Then write the "
            "invoice in {2.currency} to {2.client}, due on that same day: {2.lines}.",
        ),
        {"due": "date"},
    ),
    Errand(
        "set_feature_flag",
        "schedule_interview",
        (
            "Before I forget: turn the flag {1.flag} {1.enabled} in {1.environment}. Then schedule an "
            "interview {2.format} with {2.candidate}, role {2.role}, on {2.date} at {2.time}.",
        ),
    ),
)
