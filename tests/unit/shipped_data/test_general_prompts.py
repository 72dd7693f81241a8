"""The shipped general prompts: made by their script, of many kinds, none like another or like the prior suite's."""

import json
import os
import subprocess
import sys
from collections import Counter
from itertools import combinations, product
from pathlib import Path

from trainer.data.dataset import load_rows
from trainer.generation.duplicates import Duplicates, jaccard, sketch_of

DATA = Path(__file__).resolve().parents[3] / "data"
FOLDER = DATA / "general_prompts"
ROWS = json.loads((FOLDER / "general_prompts.json").read_text(encoding="utf-8"))
PROMPTS = [row["prompt"] for row in ROWS]
PRIOR = [row["prompt"] for row in json.loads((DATA / "prior_suite" / "prior_suite.json").read_text(encoding="utf-8"))]
LIKE = 0.5  # of the word trigrams


def sketches(texts):
    return [(text, sketch_of(text)[0]) for text in texts]


def like(pairs):
    return [(one, other) for (one, first), (other, second) in pairs if jaccard(first, second) >= LIKE]


def test_the_shipped_file_is_byte_for_byte_what_the_script_writes(tmp_path):
    environment = os.environ | {"PYTHONHASHSEED": "77", "PYTHONDONTWRITEBYTECODE": "1"}
    command = [sys.executable, str(FOLDER / "make.py"), "--out", str(tmp_path)]
    subprocess.run(command, check=True, capture_output=True, env=environment)
    made = (tmp_path / "general_prompts.json").read_bytes()
    assert made == (FOLDER / "general_prompts.json").read_bytes(), "run data/general_prompts/make.py"


def test_they_are_a_file_in_our_data_format_without_answers():
    rows = load_rows(str(FOLDER / "general_prompts.json"), needs_golden=False)
    assert len(rows) == len(ROWS) >= 400
    assert {key for row in ROWS for key in row} == {"id", "kind", "prompt"}
    assert not any(row.golden_response for row in rows)


def test_each_kind_has_as_many_and_the_first_hundred_are_of_all_kinds():
    counts = Counter(row["kind"] for row in ROWS)
    assert set(counts.values()) == {20} and len(counts) == 21
    assert {row["kind"] for row in ROWS[:100]} == set(counts)


def test_no_two_look_like_each_other():
    assert like(combinations(sketches(PROMPTS), 2)) == []


def test_none_is_one_of_the_prior_suite_or_like_one():
    known = Duplicates(near=LIKE)
    for prompt in PRIOR:
        known.add(prompt, prompt)
    assert [prompt for prompt in PROMPTS if known.of(prompt)] == []
    assert like(product(sketches(PROMPTS), sketches(PRIOR))) == []


def test_none_asks_for_what_a_house_rule_answers():
    files = (DATA / "house_rules").glob("*/*_data.json")
    asked = [row["prompt"] for file in files for row in json.loads(file.read_text(encoding="utf-8"))]
    assert like(product(sketches(PROMPTS), sketches(asked))) == []


def test_they_are_short_and_begin_like_a_sentence():
    assert max(len(prompt.split()) for prompt in PROMPTS) <= 30
    assert [p for p in PROMPTS if p[0].islower() or p != p.strip() or "  " in p or "{" in p.replace("{}; d", "")] == []


def test_the_readme_states_the_counts_and_every_kind():
    readme = (FOLDER / "README.md").read_text(encoding="utf-8")
    assert f"{len(ROWS)} prompts of {len({row['kind'] for row in ROWS})} kinds" in readme
    assert all(f"`{row['kind']}`" in readme for row in ROWS)
