"""Instruments, samples, reagents and incubators; none of these tools occurs in training."""

from functools import partial

from ..facts import (
    choice,
    clock,
    code,
    count,
    day,
    either,
    full_name,
    may,
    measure,
    need,
    pick,
    record,
    several,
)
from ..tool import Tool
from ..words import FIRST_NAMES, INSTRUMENTS, LAST_NAMES, REAGENTS

tool = partial(Tool, domain="laboratory", unseen=True)
SAMPLE = code("S-####")

TOOLS = (
    tool(
        name="reserve_instrument",
        does="Reserves a laboratory instrument.",
        parameters=(
            need("instrument", "Name of the instrument", pick(INSTRUMENTS)),
            need("researcher", "Full name", full_name(FIRST_NAMES, LAST_NAMES)),
            need("date", "Day", day()),
            need("start", "Start", clock(8, 17)),
            need("hours", "Length in hours", measure(1.5, 6, 0.5, "{} hours")),
            may(
                "operator",
                "Whether an operator helps",
                either("with an operator", "without an operator"),
                "The work happens {operator}.",
            ),
        ),
        do=(
            "reserve the {instrument} for {researcher} on {date} from {start} for {hours}",
            "book the {instrument}, {date}, {start}, {hours}, for {researcher}",
        ),
        say=(
            "{instrument}, {researcher}, {date}, {start}, {hours}.",
            "{researcher} has samples that will not keep. Please reserve the {instrument} on {date} at "
            "{start}; it takes {hours}.",
            "On {date} the {instrument} should be kept free for {researcher}, starting at {start} for {hours}.",
        ),
        goal=("time on the {instrument}", "the {instrument} for {researcher}"),
        aside="Someone has drawn a face on the ice machine.",
    ),
    tool(
        name="register_sample",
        does="Registers a sample and where it is stored.",
        parameters=(
            need("sample", "Number of the sample", SAMPLE),
            need(
                "material",
                "What it is",
                choice({"blood": ["blood"], "soil": ["soil"], "water": ["water"], "tissue": ["tissue"]}),
            ),
            need("volume_ml", "Volume in millilitres", measure(0.5, 25, 0.5, "{} ml")),
            need(
                "storage",
                "Where it is kept",
                record(
                    ("freezer {freezer}, shelf {shelf}", "freezer {freezer} on shelf {shelf}"),
                    need("freezer", "Letter of the freezer", code("@")),
                    need("shelf", "Number of the shelf", measure(1, 9, 1, "{}")),
                ),
            ),
            may(
                "collected_on",
                "Day of collection",
                day(),
                "It was collected on {collected_on}.",
                "Date of collection: {collected_on}.",
            ),
        ),
        do=(
            "register sample {sample}, {volume_ml} of {material}, stored in {storage}",
            "enter {volume_ml} of {material} as sample {sample}, kept in {storage}",
        ),
        say=(
            "Sample {sample}: {material}, {volume_ml}, {storage}.",
            "I have just put {volume_ml} of {material} into {storage}. Please register it as sample {sample}.",
            "You will find sample {sample} in {storage}. It is {volume_ml} of {material} and still has to "
            "be registered.",
        ),
        goal=("the registration of sample {sample}", "an entry for {volume_ml} of {material}"),
        aside="The labels never stick on cold glass.",
    ),
    tool(
        name="order_reagent",
        does="Orders a chemical for the laboratory.",
        parameters=(
            need("reagent", "Name of the chemical", pick(REAGENTS)),
            need(
                "grade",
                "Purity",
                choice(
                    {
                        "technical": ["technical grade"],
                        "analytical": ["analytical grade"],
                        "molecular": ["molecular grade"],
                    }
                ),
            ),
            need("bottles", "Number of bottles", count("bottle", 1, 8)),
            need("grant", "Code of the grant that pays", code("G@-####")),
            may(
                "hazard_form",
                "Number of the hazard form",
                code("HF-###"),
                "The hazard form is {hazard_form}.",
                "Hazard form: {hazard_form}.",
            ),
        ),
        do=(
            "order {bottles} of {reagent}, {grade}, on the grant {grant}",
            "buy {bottles} of {reagent} in {grade} and charge the grant {grant}",
        ),
        say=(
            "Reagent: {reagent}, {grade}, {bottles}, grant {grant}.",
            "We are nearly out of {reagent}. Please order {bottles} in {grade}; grant {grant} pays.",
            "Grant {grant} has money left, so let's get {bottles} of {reagent}, {grade}.",
        ),
        goal=("{bottles} of {reagent}", "{grade} {reagent}"),
        aside="The fume hood hums in B flat.",
    ),
    tool(
        name="start_incubation",
        does="Starts an incubator with samples.",
        parameters=(
            need("incubator", "Number of the incubator", code("INC-#")),
            need("samples", "Numbers of the samples", several(SAMPLE, 1, 4)),
            need(
                "conditions",
                "Climate inside",
                record(
                    ("{celsius} and {co2_percent} of CO2", "{co2_percent} of CO2 and {celsius}"),
                    need(
                        "celsius",
                        "Temperature in degrees Celsius",
                        measure(28, 42, 0.5, "{} degrees Celsius"),
                    ),
                    need("co2_percent", "Carbon dioxide in percent", measure(3, 10, 0.5, "{} percent")),
                ),
            ),
            need("hours", "Duration in hours", measure(4, 72, 2, "{} hours")),
            may(
                "alarm_to",
                "Full name of the person to alert",
                full_name(FIRST_NAMES, LAST_NAMES),
                "If anything goes wrong, alert {alarm_to}.",
                "Alarms go to {alarm_to}.",
            ),
        ),
        do=(
            "start {incubator} with {samples} at {conditions} for {hours}",
            "incubate {samples} in {incubator} for {hours} at {conditions}",
        ),
        say=(
            "{incubator}: {samples}, {conditions}, {hours}.",
            "The plates are in {incubator} and labelled {samples}. Please start it at {conditions} for {hours}.",
            "{samples} need {hours} at {conditions}. Use {incubator}.",
        ),
        goal=("{hours} in {incubator}", "an incubation at {conditions}"),
        aside="I ate lunch at my desk, outside the lab of course.",
    ),
)
