"""Rows of the tiny world for learning.py: what is learnt, what chooses settings (validation), what is told (test).

Entities and prompts of validation and test occur in no training row, in no file of data/tiny_world and not in each
other. In pretraining the student met no name of the first new skill; of the two further ones it met some, as other
words, so the skills of the part `sequential` are not equally new.
"""

import json
import random
import sys
from pathlib import Path
from typing import Any

sys.path.append(str(Path(__file__).resolve().parents[3] / "data" / "tiny_world"))

import make
from world import FURTHER_TOOLS, NEW_TOOLS, Names, Tool

Rows = list[dict[str, Any]]
SKILLS = (NEW_TOOLS, *FURTHER_TOOLS)  # the new skills, in the order in which they are learnt
SEED = 20270000
VALIDATION, TEST = (16, 20), (32, 80)  # rows of each new tool, rows of each prior skill


def numbered(name: str, skill: int) -> str:
    """The file of a new skill, by its place in `SKILLS`."""
    return f"{name}.json" if skill == 0 else f"{name}_{skill + 1}.json"


def names_of_tools(tools: tuple[Tool, ...]) -> frozenset[str]:
    return frozenset(name for tool in tools for name in (tool.kind, tool.name, *tool.arguments))


ALL_NAMES = frozenset().union(*map(names_of_tools, SKILLS))


def entities_of(rows: Rows) -> frozenset[str]:
    """What questions are about; the inputs of prior skills that call no tool are words, and none of them."""
    inputs = [call["Action_Input"] for row in rows for call in row["golden_answer"]]
    return frozenset(entity for value in inputs if isinstance(value, dict) for entity in value.values())


def training_files() -> dict[str, Rows]:
    """The shipped training rows, bare and in the student's own style, and as many of each further skill."""
    files = {"train.json": make.train_data(), "train_own_style.json": make.train_data(own_style=True)}
    for skill, tools in enumerate(SKILLS[1:], 1):
        names = Names(random.Random(SEED + skill), make.reserved_names() | ALL_NAMES)
        files[numbered("train", skill)] = make.new_tool_rows(names, make.TRAIN_ROWS_PER_TOOL, tools)
    return files


def held_out(name: str, seed: int, counts: tuple[int, int], seen: Rows) -> dict[str, Rows]:
    """Rows of every new skill and of the prior skills whose entities and prompts are not in `seen`."""
    names = Names(random.Random(seed), ALL_NAMES | entities_of(seen))
    per_tool, per_skill = counts
    files = {
        numbered(f"{name}_new", skill): make.new_tool_rows(names, per_tool, tools) for skill, tools in enumerate(SKILLS)
    }
    return files | {f"{name}_prior.json": make.prior_rows(names, per_skill, {row["prompt"] for row in seen})}


def all_files() -> dict[str, Rows]:
    """The rows of each file."""
    training = training_files()
    seen = [*make.eval_data(), *make.prior_data(), *(row for rows in training.values() for row in rows)]
    validation = held_out("validation", SEED + 10, VALIDATION, seen)
    seen += [row for rows in validation.values() for row in rows]
    return training | validation | held_out("test", SEED + 11, TEST, seen)


def text_of(rows: Rows) -> str:
    return json.dumps(rows, indent=1, ensure_ascii=False) + "\n"
