"""Translations, units, images, PDF files and recordings."""

from functools import partial

from ..facts import choice, count, either, may, measure, need, pick, quoted, several
from ..tool import Tool
from ..words import AUDIO_FILES, IMAGE_FILES, PDF_FILES, PDF_OUTPUTS, PHRASES

tool = partial(Tool, domain="documents")
LANGUAGES = {
    "cs": ["Czech"],
    "de": ["German"],
    "es": ["Spanish"],
    "fi": ["Finnish"],
    "fr": ["French"],
    "it": ["Italian"],
    "ja": ["Japanese"],
    "nl": ["Dutch"],
    "pl": ["Polish"],
    "pt": ["Portuguese"],
    "sv": ["Swedish"],
    "tr": ["Turkish"],
}
LENGTHS = {
    "km": ["kilometres"],
    "mi": ["miles"],
    "m": ["metres"],
    "ft": ["feet"],
    "cm": ["centimetres"],
    "in": ["inches"],
}

TOOLS = (
    tool(
        name="translate_text",
        does="Translates an English text.",
        parameters=(
            need("text", "Text to translate", quoted(PHRASES)),
            need("language", "Language wanted, ISO 639-1 code", choice(LANGUAGES)),
            may(
                "tone",
                "How it should sound",
                choice({"formal": ["formal"], "informal": ["informal"]}),
                "The tone should be {tone}.",
                "Keep it {tone}.",
            ),
        ),
        do=(
            "translate {text} into {language}",
            "put {text} into {language}",
            "give me the {language} for {text}",
        ),
        say=(
            "{text} in {language}?",
            "How do you say {text} in {language}?",
            "I have to make a sign in {language}. It should say {text}, so please translate that.",
            "My {language} is rusty, so please translate {text} into it.",
        ),
        goal=("{text} in {language}", "a translation into {language}"),
        aside="My old teacher would shake her head at me.",
        answers=True,
    ),
    tool(
        name="convert_length",
        does="Converts a length to another unit.",
        parameters=(
            need("value", "Number to convert", measure(2.5, 950, 0.5, "{}")),
            need("from_unit", "Unit of the number", choice(LENGTHS)),
            need("to_unit", "Unit wanted", choice(LENGTHS)),
            may(
                "decimals",
                "Decimal places of the result",
                count("decimal place", 1, 4),
                "Round to {decimals}.",
                "I need {decimals}.",
            ),
        ),
        do=(
            "convert {value} {from_unit} to {to_unit}",
            "work out how many {to_unit} there are in {value} {from_unit}",
            "turn {value} {from_unit} into {to_unit}",
        ),
        say=(
            "{value} {from_unit} in {to_unit}?",
            "The plan gives {value} {from_unit}, while my ruler shows {to_unit}. Please convert it.",
            "How many {to_unit} are {value} {from_unit}?",
            "A friend abroad wrote {value} {from_unit}. What is that in {to_unit}?",
        ),
        goal=("{value} {from_unit} in {to_unit}", "a length in {to_unit}"),
        aside="School was a long time ago.",
        answers=True,
    ),
    tool(
        name="resize_image",
        does="Changes the size of an image file.",
        parameters=(
            need("file", "Name of the file", pick(IMAGE_FILES)),
            need("width", "New width in pixels", measure(320, 2560, 80, "{}")),
            need("height", "New height in pixels", measure(240, 1920, 40, "{}")),
            may(
                "format",
                "Format of the new file",
                choice({"jpeg": ["JPEG"], "png": ["PNG"], "webp": ["WebP"]}),
                "Save it as {format}.",
                "The result should be a {format} file.",
            ),
            may(
                "crop",
                "Whether to crop rather than distort",
                either("crop it", "do not crop it"),
                "If the shape does not fit, {crop}.",
            ),
        ),
        do=(
            "resize {file} to {width} by {height} pixels",
            "change the size of {file} to {width} x {height} pixels",
            "scale the image {file} to a width of {width} and a height of {height} pixels",
        ),
        say=(
            "{file}: {width} x {height} pixels.",
            "The website refuses {file}. It has to be {width} pixels wide and {height} pixels high.",
            "I need {file} at {width} by {height} pixels.",
            "Height {height}, width {width}, both in pixels: that is what {file} should have.",
        ),
        goal=("{file} at {width} by {height} pixels", "a new size for {file}"),
        aside="I took far too many pictures this summer.",
    ),
    tool(
        name="merge_pdfs",
        does="Joins PDF files into one.",
        parameters=(
            need("files", "Files in order", several(pick(PDF_FILES), 2, 4)),
            need("output", "Name of the new file", pick(PDF_OUTPUTS)),
            may(
                "bookmarks",
                "Whether to add bookmarks",
                either("with bookmarks", "without bookmarks"),
                "Do it {bookmarks}.",
                "I want the file {bookmarks}.",
            ),
            may(
                "page_size",
                "Page format",
                choice({"a4": ["A4"], "letter": ["US Letter"]}),
                "Pages in {page_size}.",
                "The page size is {page_size}.",
            ),
        ),
        do=(
            "merge {files} into {output}",
            "join {files}, in that order, and save the result as {output}",
            "combine the files {files} into one PDF called {output}",
        ),
        say=(
            "PDF {output} from {files}.",
            "The office accepts only one file. Please join {files} and call it {output}.",
            "I have {files} and want them as a single PDF in that order. The name should be {output}.",
            "{output} should contain {files}, in this order.",
        ),
        goal=("one PDF called {output}", "the merged file {output}"),
        aside="The scanner makes a sound like a small aeroplane.",
    ),
    tool(
        name="transcribe_audio",
        does="Writes down what is said in a recording.",
        unseen=True,
        parameters=(
            need("file", "Name of the file", pick(AUDIO_FILES)),
            need("language", "Language spoken, ISO 639-1 code", choice(LANGUAGES)),
            may(
                "speakers",
                "Number of speakers",
                count("speaker", 2, 6),
                "There are {speakers}.",
                "You will hear {speakers}.",
            ),
            may(
                "timestamps",
                "How to mark the time",
                choice(
                    {
                        "none": ["no time marks"],
                        "sentence": ["a time mark for each sentence"],
                        "word": ["a time mark for each word"],
                    }
                ),
                "I want {timestamps}.",
                "Set {timestamps}.",
            ),
        ),
        do=(
            "transcribe {file}, which is in {language}",
            "write down what is said in the {language} recording {file}",
        ),
        say=(
            "Transcript of {file}, {language}.",
            "The recording {file} is in {language} and my ears are tired. Please transcribe it.",
            "I need the words of {file} on paper. The language spoken is {language}.",
        ),
        goal=("a transcript of {file}", "the spoken {language} of {file}"),
        aside="There was a hammer drill next door all week.",
    ),
)
