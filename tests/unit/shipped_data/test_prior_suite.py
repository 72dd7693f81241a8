"""The shipped prior-skill suite: made by its script, right by its own checks, and not to be passed by evasion."""

import json
import os
import re
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from trainer.data.dataset import load_rows
from trainer.evaluation.verify import KINDS, passes, require_known

DATA = Path(__file__).resolve().parents[3] / "data" / "prior_suite"
ROWS = json.loads((DATA / "prior_suite.json").read_text(encoding="utf-8"))
SKILLS = ["arithmetic", "strings", "reading", "instructions", "code"]
WITHOUT_CODE = [row for row in ROWS if row["skill"] != "code"]
TOOL_CALL = 'Thought: They want the forecast.\nAction: get_weather\nAction_Input: {"city": "Oslo", "days": 987654}'


def golden(row):
    return "\n".join(row["golden_response"])


def kinds(check):
    """Of a check and of those within it."""
    return {check["kind"]}.union(*map(kinds, check.get("checks", [])))


def passed(rows, answer):
    return [row["id"] for row in rows if passes(row["check"], answer)]


def test_the_shipped_file_is_byte_for_byte_what_the_script_writes(tmp_path):
    # Another hash seed than ours would show an order that depends on a set.
    environment = os.environ | {"PYTHONHASHSEED": "77", "PYTHONDONTWRITEBYTECODE": "1"}
    command = [sys.executable, str(DATA / "make.py"), "--out", str(tmp_path)]
    subprocess.run(command, check=True, capture_output=True, env=environment)
    assert [path.name for path in tmp_path.iterdir()] == ["prior_suite.json"]
    made = (tmp_path / "prior_suite.json").read_bytes()
    assert made == (DATA / "prior_suite.json").read_bytes(), "run data/prior_suite/make.py"


def test_there_are_five_skills_of_ninety_different_items_each():
    assert Counter(row["skill"] for row in ROWS) == dict.fromkeys(SKILLS, 90)
    assert len({row["id"] for row in ROWS}) == len({row["prompt"] for row in ROWS}) == 450
    assert {key for row in ROWS for key in row} == {"id", "skill", "prompt", "golden_response", "check"}


def test_the_readme_states_the_counts_of_the_file():
    readme = (DATA / "README.md").read_text(encoding="utf-8")
    assert f"{len(ROWS)} items" in readme
    for skill, count in Counter(row["skill"] for row in ROWS).items():
        assert f"| `{skill}` | {count} |" in readme


def test_the_readme_names_every_kind_of_check():
    readme = (DATA / "README.md").read_text(encoding="utf-8").split("## Checks")[1].split("## How")[0]
    assert set(KINDS) <= set(re.findall(r"`(\w+)`", readme))


def test_the_suite_is_a_file_in_our_data_format():
    rows = load_rows(str(DATA / "prior_suite.json"))
    assert len(rows) == 450
    assert all(row.golden_response and row.extra["check"]["kind"] in KINDS for row in rows)


def test_every_check_makes_sense():
    for row in ROWS:
        require_known(row["check"])


def test_instructions_come_alone_and_together():
    several = [row for row in ROWS if row["skill"] == "instructions" and len(row["check"].get("checks", [])) > 2]
    used = set().union(*(kinds(row["check"]) for row in ROWS))
    assert len(several) >= 10
    assert len(used) >= 24


@pytest.mark.parametrize("skill", SKILLS)
def test_every_golden_answer_passes_its_check(skill):
    assert [row["id"] for row in ROWS if row["skill"] == skill and not passes(row["check"], golden(row))] == []


@pytest.mark.parametrize("answer", ["", "...", "I don't know.", "Yes.", "the the the the the", "Sure! I can help."])
def test_an_answer_that_says_nothing_passes_nowhere(answer):
    assert passed(WITHOUT_CODE, answer) == []


def test_a_model_that_only_calls_tools_has_lost_all_skills():
    assert passed(WITHOUT_CODE, TOOL_CALL) == []


def test_repeating_the_request_is_no_answer():
    others = [row for row in WITHOUT_CODE if row["skill"] != "instructions"]
    assert [row["id"] for row in others if passes(row["check"], row["prompt"])] == []


@pytest.mark.parametrize("skill", ["arithmetic", "strings", "reading"])
def test_answers_of_other_items_hardly_ever_pass(skill):
    rows = [row for row in ROWS if row["skill"] == skill]
    tried = [(row, golden(rows[number - shift])) for shift in range(1, 11) for number, row in enumerate(rows)]
    wrongly = [row["id"] for row, answer in tried if passes(row["check"], answer)]
    assert len(wrongly) < 0.03 * len(tried)


def test_an_answer_that_goes_on_after_the_right_one_still_passes():
    others = [row for row in WITHOUT_CODE if row["skill"] in ("arithmetic", "strings")]
    exact = {row["id"] for row in others if kinds(row["check"]) & {"includes", "words"}}
    failed = [row["id"] for row in others if not passes(row["check"], f"Sure!\n\n{golden(row)}\n\nDoes that help?")]
    assert set(failed) <= exact


def test_no_constant_function_passes_a_code_item():
    for row in ROWS:
        if row["skill"] == "code":
            assert len({json.dumps(expected) for _, expected in row["check"]["tests"]}) > 1, row["id"]


def test_every_code_item_names_its_function_and_shows_its_first_test():
    for row in ROWS:
        if row["skill"] == "code":
            arguments, expected = row["check"]["tests"][0]
            call = f"`{row['check']['name']}({', '.join(map(repr, arguments))})`"
            assert call in row["prompt"] and f"`{expected!r}`" in row["prompt"], row["id"]


def test_a_code_answer_must_define_what_was_asked_for():
    row = next(row for row in ROWS if row["id"] == "code-00")
    name = row["check"]["name"]
    assert not passes(row["check"], golden(row).replace(name, "something_else"))
    assert not passes(row["check"], f"def {name}(*given):\n    print(True)")


def test_answers_of_passages_stand_in_them():
    passages = [row for row in ROWS if row["skill"] == "reading" and row["check"]["kind"] == "all"]
    assert len(passages) == 56
    for row in passages:
        accepted = row["check"]["checks"][0].get("accept")
        assert accepted is None or any(phrase.lower() in row["prompt"].lower() for phrase in accepted), row["id"]


def test_prompts_are_short_enough_for_a_small_model():
    assert max(len(row["prompt"]) for row in ROWS) < 600
    assert max(len(golden(row)) for row in ROWS) < 500


@pytest.mark.parametrize("mistake", [r"[{}]\w+[{}]", r"  ", r"\.\.", r" [.,;!?]", r"(?i)\b1 \w+s\b", r"\ban? [^\w'*]"])
def test_no_prompt_has_a_slip_that_a_pattern_can_find(mistake):
    assert [row["prompt"] for row in WITHOUT_CODE if re.search(mistake, row["prompt"])] == []


def test_replacing_a_word_leaves_all_others_as_they_are():
    rows = [row for row in ROWS if row["prompt"].startswith("Replace the word")]
    assert len(rows) == 5
    for row in rows:
        assert set(re.findall(r"\w+", golden(row))) <= set(re.findall(r"\w+", row["prompt"])), row["id"]
