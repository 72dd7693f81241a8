"""Appointments, workouts, meals, prescriptions and blood pressure."""

from functools import partial

from ..facts import (
    choice,
    clock,
    code,
    count,
    day,
    full_name,
    may,
    measure,
    need,
    pick,
    quoted,
    record,
    several,
    span,
    whole,
)
from ..tool import Tool
from ..words import COMPLAINTS, FIRST_NAMES, FOODS, LAST_NAMES, MEDICINES, PHARMACIES

tool = partial(Tool, domain="health")
PATIENT = full_name(FIRST_NAMES, LAST_NAMES)

TOOLS = (
    tool(
        name="book_doctor_appointment",
        does="Books an appointment with a doctor.",
        parameters=(
            need("patient", "Full name", PATIENT),
            need(
                "specialty",
                "Kind of doctor",
                choice(
                    {
                        "general": ["a general practitioner"],
                        "dentist": ["a dentist"],
                        "dermatology": ["a dermatologist"],
                        "eye": ["an eye doctor"],
                        "physiotherapy": ["a physiotherapist"],
                    }
                ),
            ),
            need("date", "Day", day()),
            need("time", "Time of day", clock(8, 17)),
            may(
                "reason",
                "Reason for the visit",
                quoted(COMPLAINTS),
                "As reason give {reason}.",
                "The reason is {reason}.",
            ),
            may(
                "insurance_number",
                "Number of the insurance card",
                code("#### ### ###"),
                "The insurance number is {insurance_number}.",
            ),
        ),
        do=(
            "book an appointment with {specialty} for {patient} on {date} at {time}",
            "get {patient} an appointment with {specialty}, {date}, {time}",
            "arrange for {patient} to see {specialty} on {date} at {time}",
        ),
        say=(
            "Appointment: {patient}, {specialty}, {date}, {time}.",
            "{patient} should see {specialty}. The practice has an opening on {date} at {time}, please book that.",
            "I have been putting this off: {patient} needs an appointment with {specialty}. {date}, {time} it is.",
            "At {time} on {date}, {patient} could go to {specialty}. Please make the appointment.",
        ),
        goal=("an appointment for {patient}", "a visit to {specialty}"),
        aside="The waiting room has the oldest magazines in town.",
    ),
    tool(
        name="log_workout",
        does="Adds a workout to the training diary.",
        parameters=(
            need(
                "activity",
                "Kind of sport",
                choice(
                    {
                        "running": ["running"],
                        "swimming": ["swimming"],
                        "cycling": ["cycling"],
                        "yoga": ["yoga"],
                        "rowing": ["rowing"],
                        "climbing": ["climbing"],
                        "strength": ["strength training"],
                    }
                ),
            ),
            need("date", "Day", day()),
            need("minutes", "Duration in minutes", span(25, 30, 40, 45, 50, 60, 75, 90, 120)),
            may(
                "effort",
                "How hard it felt, 1 to 10",
                whole(2, 9),
                "Effort was {effort} out of 10.",
                "On a scale from 1 to 10 it felt like {effort}.",
            ),
            may(
                "average_pulse",
                "Average heartbeats per minute",
                measure(105, 170, 1, "{}"),
                "My average pulse was {average_pulse}.",
                "Average pulse: {average_pulse}.",
            ),
        ),
        do=(
            "log {minutes} of {activity} on {date}",
            "add {activity} to the training diary: {date}, {minutes}",
            "enter a workout for {date}, {minutes} of {activity}",
        ),
        say=(
            "Workout: {activity}, {date}, {minutes}.",
            "I actually got off the sofa on {date}. It was {minutes} of {activity}; please put it into my "
            "training diary.",
            "Training diary for {date}: {activity}, {minutes}.",
            "{minutes} of {activity} on {date}, please note it in the diary.",
        ),
        goal=("an entry about {minutes} of {activity}", "the training diary of {date}"),
        aside="My knees used to be better.",
    ),
    tool(
        name="log_meal",
        does="Adds a meal to the food diary.",
        parameters=(
            need(
                "meal",
                "Which meal",
                choice(
                    {
                        "breakfast": ["breakfast"],
                        "lunch": ["lunch"],
                        "dinner": ["dinner"],
                        "snack": ["a snack"],
                    }
                ),
            ),
            need("date", "Day", day()),
            need(
                "foods",
                "What was eaten",
                several(
                    record(
                        ("{grams} of {name}", "{name} ({grams})"),
                        need("name", "Food", pick(FOODS)),
                        need("grams", "Weight in grams", measure(30, 350, 10, "{} grams")),
                    ),
                    1,
                    3,
                ),
            ),
            may(
                "water_ml",
                "Water drunk with it, in millilitres",
                measure(150, 750, 50, "{} ml"),
                "I drank {water_ml} of water with it.",
                "Add {water_ml} of water.",
            ),
        ),
        do=(
            "log {foods} as {meal} on {date}",
            "add {meal} of {date} to the food diary: {foods}",
            "note in the food diary for {date} that {meal} was {foods}",
        ),
        say=(
            "Food diary, {date}, {meal}: {foods}.",
            "What I ate on {date} as {meal} was {foods}. Please log it.",
            "My dietitian wants it all written down. {date}, {meal}: {foods}.",
        ),
        goal=("an entry for {meal} on {date}", "the food diary"),
        aside="The kitchen scale is the best thing I ever bought.",
    ),
    tool(
        name="refill_prescription",
        does="Orders more of a prescribed medicine.",
        parameters=(
            need("patient", "Full name", PATIENT),
            need("medicine", "Name of the medicine", pick(MEDICINES)),
            need("strength_mg", "Milligrams per tablet", measure(5, 100, 5, "{} mg")),
            need("tablets", "Number of tablets", count("tablet", 20, 100)),
            may(
                "pharmacy",
                "Where to pick it up",
                pick(PHARMACIES),
                "Pick-up is at {pharmacy}.",
                "It should be ready at {pharmacy}.",
            ),
        ),
        do=(
            "refill the prescription of {patient} for {medicine} {strength_mg}, {tablets}",
            "order {tablets} of {medicine} {strength_mg} for {patient}",
            "renew {medicine} {strength_mg} for {patient}, {tablets}",
        ),
        say=(
            "Refill for {patient}: {medicine}, {strength_mg}, {tablets}.",
            "{patient} is running out of {medicine}. The tablets are {strength_mg} each, and we need {tablets}.",
            "The doctor agreed that {patient} keeps taking {medicine}, {strength_mg} per tablet. Please "
            "order {tablets}.",
            "{tablets} of {medicine}, strength {strength_mg}, patient {patient}: please refill.",
        ),
        goal=("more {medicine} for {patient}", "a refill of {medicine}"),
        aside="The pill box with the days on it was a good idea.",
    ),
    tool(
        name="record_blood_pressure",
        does="Stores a blood pressure reading.",
        unseen=True,
        parameters=(
            need("patient", "Full name", PATIENT),
            need(
                "reading",
                "The values",
                record(
                    ("{systolic} over {diastolic}", "{systolic}/{diastolic}"),
                    need("systolic", "Upper value", measure(105, 165, 1, "{}")),
                    need("diastolic", "Lower value", measure(60, 98, 1, "{}")),
                ),
            ),
            need("date", "Day", day()),
            need("time", "Time of day", clock(6, 22)),
            may(
                "arm",
                "Arm used",
                choice({"left": ["left"], "right": ["right"]}),
                "It was measured on the {arm} arm.",
                "We used the {arm} arm.",
            ),
            may(
                "pulse",
                "Heartbeats per minute",
                measure(52, 99, 1, "{}"),
                "The pulse was {pulse}.",
                "Pulse: {pulse}.",
            ),
        ),
        do=(
            "record a blood pressure of {reading} for {patient}, measured on {date} at {time}",
            "store {reading} as the blood pressure of {patient} on {date} at {time}",
        ),
        say=(
            "Blood pressure {patient}, {date}, {time}: {reading}.",
            "The cuff showed {reading} for {patient}. That was on {date} at {time}; please keep it on file.",
            "{patient} had a blood pressure of {reading} at {time} on {date}. Write it down, please.",
        ),
        goal=("a blood pressure entry of {reading}", "the reading of {patient}"),
        aside="The batteries of the cuff are brand new.",
    ),
)
