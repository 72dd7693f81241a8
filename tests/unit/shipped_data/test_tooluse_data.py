"""The shipped tool-use data: made by its script, valid, answerable from the prompt, and free of leaks."""

import importlib.util
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from datetime import date
from pathlib import Path

import pytest

DATA = Path(__file__).resolve().parents[3] / "data" / "tooluse_data"
SHIPPED = ("train_data.json", "eval_data.json", "sample_train.json", "tools.json")
FIELDS = {"id", "prompt", "golden_response", "golden_answer", "tools", "num_steps", "seen_tools", "domain"}
CALL = re.compile(r"Thought: (.+)\nAction: (\w+)\nAction_Input: (\{.*\})")

# What a request may say in other words than the answer holds.
NUMBER_WORDS = [
    "one",
    "two",
    "three",
    "four",
    "five",
    "six",
    "seven",
    "eight",
    "nine",
    "ten",
    "eleven",
    "twelve",
]
SPAN_WORDS = {
    "half an hour": 30,
    "an hour and a half": 90,
    "an hour": 60,
    "two hours": 120,
    "three hours": 180,
}
MONTHS = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
]
PLACEHOLDER = "<result>"  # its documentation says when to write it

MONTH = f"({'|'.join(MONTHS)})"
ISO_DATE = re.compile(r"\b(\d{4})-(\d\d)-(\d\d)\b")
DAY_FIRST = re.compile(rf"\b(\d{{1,2}})(?:st|nd|rd|th)? (?:of )?{MONTH} (\d{{4}})\b")
MONTH_FIRST = re.compile(rf"\b{MONTH} (\d{{1,2}}), (\d{{4}})\b")
CLOCK = re.compile(r"(?<![\d:])(\d{1,2})(?::(\d\d))? ?(am\b|pm\b|AM\b|PM\b|in the morning|in the afternoon)?(?!:?\d)")


def load(name: str) -> list[dict]:
    return json.loads((DATA / name).read_text(encoding="utf-8"))


def validator():
    spec = importlib.util.spec_from_file_location("tooluse_schema", DATA / "tooluse" / "schema.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.problems


TRAIN, EVAL, SAMPLE = (load(name) for name in SHIPPED[:3])
TOOLS = {tool["name"]: tool for tool in load("tools.json")}
ROWS = TRAIN + EVAL
problems = validator()


def request_of(row: dict) -> str:
    return row["prompt"].rsplit("\n\nRequest: ", 1)[1]


def outside_quotes(text: str) -> str:
    return re.sub(r'"[^"]*"', '""', text)


def leaves(schema: dict, value: object) -> Iterator[tuple[dict, object]]:
    if schema["type"] == "object":
        for name, inner in value.items():
            yield from leaves(schema["properties"][name], inner)
    elif schema["type"] == "array":
        for item in value:
            yield from leaves(schema["items"], item)
    else:
        yield schema, value


def golden_leaves(row: dict) -> Iterator[tuple[dict, object]]:
    for call in row["golden_answer"]:
        yield from leaves(TOOLS[call["Action"]]["parameters"], call["Action_Input"])


def dates_in(text: str) -> set[str]:
    found = {match[0] for match in ISO_DATE.finditer(text)}
    for day, month, year in DAY_FIRST.findall(text):
        found.add(date(int(year), MONTHS.index(month) + 1, int(day)).isoformat())
    for month, day, year in MONTH_FIRST.findall(text):
        found.add(date(int(year), MONTHS.index(month) + 1, int(day)).isoformat())
    return found


def times_in(text: str) -> set[str]:
    found = {"12:00"} if re.search(r"\bnoon\b", text) else set()
    for hour, minute, half in CLOCK.findall(text):
        if not minute and not half:
            continue
        afternoon = half.lower() in ("pm", "in the afternoon")
        value = int(hour) % 12 + 12 * afternoon if half else int(hour)
        found.add(f"{value:02}:{minute or '00'}")
    return found


def numbers_in(text: str) -> set[float]:
    found = {float(digits.replace(",", "")) for digits in re.findall(r"\d+(?:,\d{3})*(?:\.\d+)?", text)}
    found |= {NUMBER_WORDS.index(word) + 1 for word in re.findall(r"\w+", text) if word in NUMBER_WORDS}
    found |= {NUMBER_WORDS.index(word.lower()) + 1 for word in text.split() if word.lower() in NUMBER_WORDS}
    return found | {minutes for words, minutes in SPAN_WORDS.items() if words in text.lower()}


def is_stated(schema: dict, value: object, request: str) -> bool:
    """Enums and booleans are exempt: their words stand in the documentation, not always in the request."""
    if "enum" in schema or schema["type"] == "boolean" or value == PLACEHOLDER:
        return True
    if schema.get("format") == "date":
        return value in dates_in(request)
    if schema.get("format") == "time":
        return value in times_in(request)
    return value in request if schema["type"] == "string" else value in numbers_in(request)


def test_the_shipped_files_are_byte_for_byte_what_the_script_writes(tmp_path):
    # Another hash seed than ours would show an order that depends on a set.
    environment = os.environ | {"PYTHONHASHSEED": "77", "PYTHONDONTWRITEBYTECODE": "1"}
    command = [sys.executable, str(DATA / "make.py"), "--out", str(tmp_path)]
    subprocess.run(command, check=True, capture_output=True, env=environment)
    assert {path.name for path in tmp_path.iterdir()} == set(SHIPPED)
    for name in SHIPPED:
        assert (tmp_path / name).read_bytes() == (DATA / name).read_bytes(), f"{name}: run data/tooluse_data/make.py"


def test_there_are_as_many_rows_and_tools_as_promised():
    assert len(TRAIN) >= 2000
    assert len(EVAL) == 300
    assert len(SAMPLE) == 8
    assert sum(row["seen_tools"] for row in EVAL) == 150
    assert len(TOOLS) >= 72
    assert sum(not tool["seen"] for tool in TOOLS.values()) >= 18
    assert sum(path.stat().st_size for path in map(DATA.joinpath, SHIPPED)) < 12e6


def test_the_readme_states_the_counts_of_the_files():
    readme = (DATA / "README.md").read_text(encoding="utf-8")
    two_steps = [sum(row["num_steps"] == 2 for row in rows) for rows in (TRAIN, EVAL)]
    for number in (
        len(TRAIN),
        len(EVAL),
        len(TOOLS),
        *two_steps,
        len({tool["domain"] for tool in TOOLS.values()}),
    ):
        assert re.search(rf"\b{number:,}\b", readme), f"README.md does not say {number:,}"


def test_every_row_has_the_documented_fields_and_no_other():
    for row in ROWS + SAMPLE:
        assert set(row) == FIELDS
        assert row["num_steps"] == len(row["golden_answer"]) in (1, 2)
        assert row["domain"] == TOOLS[row["golden_answer"][0]["Action"]]["domain"]


def test_every_golden_answer_uses_offered_tools_and_fits_their_schema():
    for row in ROWS:
        for call in row["golden_answer"]:
            assert call["Action"] in row["tools"], row["id"]
            assert not list(problems(TOOLS[call["Action"]]["parameters"], call["Action_Input"])), row["id"]


@pytest.mark.parametrize(
    "arguments",
    [
        {},
        {"city": "Oslo", "date": "2026-02-30"},
        {"city": "Oslo", "date": "1 May 2026"},
        {"city": 7, "date": "2026-05-01"},
        {"city": "", "date": "2026-05-01"},
        {"city": "Oslo", "date": "2026-05-01", "unit": "kelvin"},
        {"city": "Oslo", "date": "2026-05-01", "mood": "sunny"},
    ],
)
def test_the_validator_refuses_wrong_arguments(arguments):
    assert list(problems(TOOLS["get_weather_forecast"]["parameters"], arguments))


def test_the_prompt_documents_exactly_the_offered_tools():
    for row in ROWS:
        documented = re.findall(
            r"^(\w+): ", row["prompt"].split("\n\nTools:\n\n")[1].rsplit("\n\nRequest: ", 1)[0], re.M
        )
        assert documented == row["tools"], row["id"]
        needed = {call["Action"] for call in row["golden_answer"]}
        assert 2 <= len(set(row["tools"]) - needed) <= 4, row["id"]


def test_the_golden_response_parses_to_exactly_the_golden_answer():
    for row in ROWS + SAMPLE:
        text = "\n".join(row["golden_response"])
        calls = [{"Action": name, "Action_Input": json.loads(given)} for _, name, given in CALL.findall(text)]
        assert calls == row["golden_answer"], row["id"]
        assert len(row["golden_response"]) == 3 * row["num_steps"], row["id"]


def test_every_golden_value_is_stated_in_the_request():
    for row in ROWS:
        for schema, value in golden_leaves(row):
            assert is_stated(schema, value, request_of(row)), f"{row['id']}: {value!r} not in {request_of(row)}"


def test_lists_of_names_keep_the_order_of_the_request():
    for row in ROWS:
        for call in row["golden_answer"]:
            schema = TOOLS[call["Action"]]["parameters"]["properties"]
            for name, value in call["Action_Input"].items():
                if schema[name]["type"] == "array" and schema[name]["items"] == {"type": "string"}:
                    places = [request_of(row).rindex(item) for item in value]
                    assert places == sorted(places), f"{row['id']}: {value}"


def test_every_date_time_and_quotation_of_a_request_is_needed_by_its_answer():
    for row in ROWS:
        request, values = request_of(row), [value for _, value in golden_leaves(row)]
        plain = outside_quotes(request)
        stated = dates_in(plain) | times_in(plain) | set(re.findall(r'"([^"]*)"', request))
        assert stated <= set(values), f"{row['id']}: {stated - set(values)} in {request}"


def test_the_placeholder_is_only_used_for_the_second_call_and_where_it_is_documented():
    relayed = [row for row in ROWS if PLACEHOLDER in json.dumps(row["golden_answer"])]
    assert len(relayed) > 50
    for row in relayed:
        assert PLACEHOLDER not in json.dumps(row["golden_answer"][0])
        assert PLACEHOLDER in row["prompt"]
        assert re.search(r"\bresult\b", request_of(row)), row["id"]


def test_no_prompt_request_or_answer_occurs_twice_in_train_and_eval_together():
    for part in (lambda row: row["prompt"], request_of, lambda row: json.dumps(row["golden_answer"])):
        assert len({part(row) for row in ROWS}) == len(ROWS)
    assert len({row["id"] for row in ROWS}) == len(ROWS)


def test_the_sample_is_a_varied_part_of_the_training_rows():
    assert all(row in TRAIN for row in SAMPLE)
    assert len({row["domain"] for row in SAMPLE}) == len(SAMPLE)
    assert {row["num_steps"] for row in SAMPLE} == {1, 2}


def test_the_unseen_tools_are_absent_from_every_training_prompt():
    unseen = [name for name, tool in TOOLS.items() if not tool["seen"]]
    text = "\n".join(row["prompt"] for row in TRAIN)
    assert not [name for name in unseen if name in text]
    assert {name for row in TRAIN for name in row["tools"]} == set(TOOLS) - set(unseen)


def test_eval_rows_are_marked_by_whether_training_needs_their_tools():
    trained = {call["Action"] for row in TRAIN for call in row["golden_answer"]}
    needed = [{call["Action"] for call in row["golden_answer"]} for row in EVAL]
    for row, names in zip(EVAL, needed, strict=True):
        assert (names <= trained) if row["seen_tools"] else not (names & trained), row["id"]
    assert trained | set().union(*needed) == set(TOOLS)


def test_prompts_are_short_enough_for_a_small_model():
    lengths = sorted(len(row["prompt"]) for row in ROWS)
    assert lengths[-1] <= 3600
    assert lengths[int(0.9 * len(lengths))] < 2500


@pytest.mark.parametrize(
    "mistake",
    [
        r"[{}]",
        r"  |\n",
        r"\.\.| [.,;!?]|[,;:]\.",
        r"(?i)\ba (?!unit|one)[aeiou8]",
        r"(?i)\ban (?!hour)[^aeiou8]",
        r"(?i)(?<![-.,:/\d])\b(?:1|one) (?!is\b|has\b|this\b)\w+s\b(?! of the)",
        r"(?i)\b(?:two|three|[2-9]) (?:seat|guest|night|portion|piece|person|hour|minute|ticket|adult)\b",
    ],
)
def test_no_request_has_a_grammar_slip_that_a_pattern_can_find(mistake):
    slips = [text for text in (outside_quotes(request_of(row)) for row in ROWS) if re.search(mistake, text)]
    assert not slips[:3]


def test_the_wording_is_varied():
    openings = {" ".join(request_of(row).split()[:4]) for row in TRAIN}
    thoughts = [line for row in TRAIN for line in row["golden_response"] if line.startswith("Thought: ")]
    assert len(openings) > len(TRAIN) / 3
    assert len(set(thoughts)) > 0.95 * len(thoughts)
