"""The shipped house rules: made by their script, right by their own checks, and split by what they are about."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from trainer.data.dataset import load_rows
from trainer.evaluation.verify import passes

DATA = Path(__file__).resolve().parents[3] / "data" / "house_rules"
RULES = ["act", "calling", "codewords", "reasons", "room_codes"]
COUNTS = {"train_data": 96, "validation_data": 40, "eval_data": 40}
ROWS = {
    rule: {split: json.loads((DATA / rule / f"{split}.json").read_text(encoding="utf-8")) for split in COUNTS}
    for rule in RULES
}
ALL = [row for splits in ROWS.values() for rows in splits.values() for row in rows]


def golden(row):
    return "\n".join(row["golden_response"])


def right(row, answer):
    """As the rule is checked: `check`, or the one call of `golden_answer` as the whole answer."""
    if "check" in row:
        return passes(row["check"], answer)
    try:
        call = json.loads(answer)
    except ValueError:
        return False
    return [{"Action": call["name"], "Action_Input": call["arguments"]}] == row["golden_answer"]


def about(rule, row):
    """What must not be in two splits, read off the answer."""
    answer = golden(row)
    if rule == "calling":
        return json.dumps(row["golden_answer"])
    if rule in ("reasons", "codewords"):
        return frozenset(re.findall(r"[a-z]+", answer.split("because")[-1]))
    return re.search(r"ACT (\S+)", answer)[1] if rule == "act" else re.search(r"[A-Z]\w+ .*[A-Z]\w+", row["prompt"])[0]


def test_the_shipped_files_are_byte_for_byte_what_the_script_writes(tmp_path):
    environment = os.environ | {"PYTHONHASHSEED": "77", "PYTHONDONTWRITEBYTECODE": "1"}
    command = [sys.executable, str(DATA / "make.py"), "--out", str(tmp_path)]
    subprocess.run(command, check=True, capture_output=True, env=environment)
    made = sorted(path.relative_to(tmp_path) for path in tmp_path.rglob("*.*"))
    names = [*(f"{split}.json" for split in COUNTS), "context.txt"]
    assert made == sorted(Path(rule, name) for rule in RULES for name in names)
    for path in made:
        assert (tmp_path / path).read_bytes() == (DATA / path).read_bytes(), "run data/house_rules/make.py"


@pytest.mark.parametrize("rule", RULES)
def test_every_rule_is_a_file_of_each_split_in_our_data_format(rule):
    for split, count in COUNTS.items():
        rows = load_rows(str(DATA / rule / f"{split}.json"))
        assert len(rows) == count and all(row.has_demonstration for row in rows)
    assert (DATA / rule / "context.txt").read_text(encoding="utf-8").strip()


def test_golden_answers_are_right_and_those_of_other_rows_wrong():
    assert [row["id"] for row in ALL if not right(row, golden(row))] == []
    for row in ALL:
        others = {golden(other) for other in ALL} - {golden(row)}
        assert not any(right(row, answer) for answer in others), row["id"]


@pytest.mark.parametrize("answer", ["", "Yes.", "I'm sorry, but I can't assist with that.", "ACT;", "{}"])
def test_an_answer_that_keeps_no_rule_is_right_nowhere(answer):
    assert [row["id"] for row in ALL if "check" in row and right(row, answer)] == []


@pytest.mark.parametrize("rule", RULES)
def test_no_two_rows_share_a_prompt(rule):
    prompts = [row["prompt"] for rows in ROWS[rule].values() for row in rows]
    assert len(set(prompts)) == len(prompts) == 176


@pytest.mark.parametrize("rule", RULES)
def test_no_two_splits_ask_about_the_same(rule):
    train, validation, held_out = ({about(rule, row) for row in ROWS[rule][split]} for split in COUNTS)
    assert not train & validation and not train & held_out and not validation & held_out


@pytest.mark.parametrize("rule", ["act", "calling", "reasons", "room_codes"])
def test_half_of_eval_names_what_training_never_names(rule):
    known = set(re.findall(r"\w+", " ".join(row["prompt"] for row in ROWS[rule]["train_data"])))
    strange = [row for row in ROWS[rule]["eval_data"] if not known.issuperset(re.findall(r"\w+", row["prompt"]))]
    assert len(strange) == 20 and all(row["entities"] == "unseen" for row in strange)


def test_training_covers_the_table_of_code_words():
    table = dict(re.findall(r"(\w+) = (\w+)", (DATA / "codewords" / "context.txt").read_text(encoding="utf-8")))
    alone = {golden(row) for row in ROWS["codewords"]["train_data"] if "-" not in golden(row)}
    assert len(table) == 12 and alone == set(table.values())


def test_no_context_gives_an_answer_of_validation_or_eval():
    for rule, splits in ROWS.items():
        context = (DATA / rule / "context.txt").read_text(encoding="utf-8")
        asked = splits["validation_data"] + splits["eval_data"]
        assert [row["id"] for row in asked if row["prompt"] in context or golden(row) in context] == []


def test_prompts_and_answers_are_short():
    assert max(len(row["prompt"]) for row in ALL) < 80
    assert max(len(golden(row)) for row in ALL) < 80
