"""What sequence.py learns one after another: five new skills of the tiny world, or the house rules for a real model.

Test rows of the tiny world share no entity and no prompt with any row that is learnt.
"""

import json
import random
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tiny_rows
from tiny_rows import Rows, Tool

ROOT = Path(__file__).resolve().parents[3]
DATA = ROOT / "data"
HOUSE_RULES = ("act", "calling", "codewords", "reasons", "room_codes")  # first what a small model can learn
# Two more sets of new tools, drawn once from the world's syllables; learning.py's rows don't know them.
MORE_TOOLS = (
    (
        Tool("keri", "deme", ("taki",)),
        Tool("kiki", "tememi", ("loli",)),
        Tool("ranedo", "dora", ("vala",)),
        Tool("rata", "nire", ("gove",)),
        Tool("lenoro", "danile", ("misi",)),
        Tool("ranila", "samasi", ("seme",)),
        Tool("kotada", "dota", ("toma", "soro")),
        Tool("kime", "doda", ("doso", "doko")),
    ),
    (
        Tool("rino", "sinoli", ("nidi",)),
        Tool("dilo", "nosoka", ("gina",)),
        Tool("nisa", "domiro", ("vire",)),
        Tool("riva", "tego", ("gido",)),
        Tool("sisilo", "noniko", ("kome",)),
        Tool("takimi", "nogo", ("soso",)),
        Tool("tila", "sisoge", ("rave", "nedi")),
        Tool("keseka", "sira", ("siro", "goko")),
    ),
)
SETS = (*tiny_rows.SKILLS, *MORE_TOOLS)
NAMES = frozenset().union(*map(tiny_rows.names_of_tools, SETS))
SEED = 20271000
TEST_ROWS_PER_TOOL, TEST_ROWS_PER_PRIOR_SKILL = 16, 40


@dataclass(frozen=True)
class World:
    """A student and what it learns in turn.

    Attributes:
        student: The model before the first skill.
        skills: Their titles, in order; each has the files `TITLE_train.json` and `TITLE_test.json`.
        files: The rows of each file; beside those of the skills `prior.json`.
        general: Prompts that every run with replay replays beside those of earlier runs; None: none.
        train: Flags of `train`, beside those that all worlds have.
        score: Flags of `eval`.
        at_once: Runs side by side at most; None: as many as there are cores.
    """

    student: Path
    skills: tuple[str, ...]
    files: dict[str, Rows]
    general: Path | None
    train: dict[str, Any]
    score: dict[str, Any]
    at_once: int | None = None

    def first(self, count: int) -> "World":
        """The world with so many skills."""
        return World(**vars(self) | {"skills": self.skills[:count]})


def tiny_world() -> World:
    titles = tuple(f"skill_{number}" for number in range(1, len(SETS) + 1))
    lengths = {"max_prompt_length": 256, "max_completion_length": 64}
    return World(
        ROOT / "data" / "tiny_world" / "student",
        titles,
        tiny_files(titles),
        None,
        lengths | {"num_prompts_per_batch": 32, "num_train_epochs": 6, "learning_rate": 3e-4, "rollouts": "mixed"},
        lengths | {"per_device_eval_batch_size": 128},
    )


def tiny_files(titles: tuple[str, ...]) -> dict[str, Rows]:
    """800 rows to learn of each skill, the first those that are shipped; test rows of all, and of the prior skills."""
    make, files = tiny_rows.make, {f"{titles[0]}_train.json": tiny_rows.make.train_data()}
    reserved = make.reserved_names() | NAMES
    for number, tools in enumerate(SETS[1:], 1):
        names = tiny_rows.Names(random.Random(SEED + number), reserved)
        files[f"{titles[number]}_train.json"] = named(
            titles[number], make.new_tool_rows(names, make.TRAIN_ROWS_PER_TOOL, tools)
        )
    learnt = [row for rows in files.values() for row in rows]
    seen = [*make.eval_data(), *make.prior_data(), *learnt]
    names = tiny_rows.Names(random.Random(SEED + 10), NAMES | tiny_rows.entities_of(seen))
    for title, tools in zip(titles, SETS, strict=True):
        files[f"{title}_test.json"] = named(title, make.new_tool_rows(names, TEST_ROWS_PER_TOOL, tools))
    prior = make.prior_rows(names, TEST_ROWS_PER_PRIOR_SKILL, {row["prompt"] for row in seen})
    return files | {"prior.json": prior}


def named(title: str, rows: Rows) -> Rows:
    """The rows with ids that no other skill has."""
    return [row | {"id": f"{title}-{row['id']}"} for row in rows]


def house_rules(model: Path) -> World:
    """For a real model with LoRA, on two cores or a GPU; an epoch of a rule are 12 steps of 8 rows."""
    files = {
        f"{rule}_{kind}.json": read(DATA / "house_rules" / rule / f"{name}_data.json")
        for rule in HOUSE_RULES
        for kind, name in (("train", "train"), ("test", "eval"))
    }
    suite = read(DATA / "prior_suite" / "prior_suite.json")
    files["prior.json"] = random.Random(SEED).sample(suite, 80)
    return World(
        model,
        HOUSE_RULES,
        files,
        DATA / "general_prompts" / "general_prompts.json",
        {
            "max_prompt_length": 384, "max_completion_length": 40, "num_prompts_per_batch": 8, "num_train_epochs": 3,
            "use_peft": True, "learning_rate": 2e-4, "show_context": "turns", "num_loss_tokens_to_skip": 0,
        },
        {
            "max_prompt_length": 384, "max_completion_length": 128, "show_context": "turns",
            "per_device_eval_batch_size": 40,
        },
        at_once=1,
    )  # fmt: skip


def read(path: Path) -> Rows:
    return json.loads(path.read_text(encoding="utf-8"))
