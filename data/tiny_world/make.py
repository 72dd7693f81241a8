"""Rebuilds everything in this folder: tokenizer, data, tiny student, tiny teacher, teacher with another tokenizer.

python data/tiny_world/make.py [--only data|tokenizer|student|teacher|teacher_other_tokenizer] [--out DIR]
"""

import argparse
import json
import random
from collections.abc import Callable
from pathlib import Path

import torch
from byte_pair_tokenizer import ENDS, USER, train_tokenizer
from pretrain import new_model, pretrain, student_episode, teacher_episode
from tiny_tokenizer import build_tokenizer, save_tokenizer
from transformers import AutoTokenizer, PreTrainedTokenizerFast, Qwen3ForCausalLM
from world import NEW_NAMES, NEW_TOOLS, PRIOR_SKILLS, Exercise, Names, Tool, ask_tool

SEED = 20260119
TRAIN_ROWS_PER_TOOL, EVAL_ROWS_PER_TOOL, PRIOR_ROWS_PER_SKILL = 100, 16, 40
CONTEXT_TOOL, CONTEXT_EVAL_ROWS = NEW_TOOLS[0], 128
STUDENT_STEPS, TEACHER_STEPS, OTHER_TEACHER_STEPS = 1300, 300, 1600
TOKENIZER_EPISODES = 4000


def row(exercise: Exercise, number: int, *, own_style: bool = False) -> dict:
    golden = exercise.own_style if own_style else exercise.bare
    return {
        "id": f"{exercise.skill}-{number:04d}",
        "skill": exercise.skill,
        "prompt": exercise.prompt,
        "golden_response": golden.split("\n"),
        "golden_answer": [{"Action": name, "Action_Input": value} for name, value in exercise.calls],
    }


def draw_unique(draw: Callable[[], Exercise], count: int, taken: set[str]) -> list[Exercise]:
    """`count` exercises whose prompts are new to `taken`, which they join."""
    drawn: list[Exercise] = []
    while len(drawn) < count:
        exercise = draw()
        if exercise.prompt not in taken:
            taken.add(exercise.prompt)
            drawn.append(exercise)
    return drawn


def new_tool_rows(
    names: Names, per_tool: int, tools: tuple[Tool, ...] = NEW_TOOLS, *, own_style: bool = False
) -> list[dict]:
    """Shuffled questions for each of the tools; the golden responses are bare, or in the models' own style."""
    exercises = [
        exercise
        for tool in tools
        for exercise in draw_unique(lambda tool=tool: ask_tool(names, tool, "new_tool"), per_tool, set())
    ]
    names.rng.shuffle(exercises)
    return [row(exercise, number, own_style=own_style) for number, exercise in enumerate(exercises)]


def entities_of(rows: list[dict]) -> frozenset[str]:
    return frozenset(
        entity for each in rows for call in each["golden_answer"] for entity in call["Action_Input"].values()
    )


def eval_data() -> list[dict]:
    return new_tool_rows(Names(random.Random(SEED)), EVAL_ROWS_PER_TOOL)


def reserved_names() -> frozenset[str]:
    """Names that no drawn name may take: those of the new skill and the entities kept for evaluation."""
    return NEW_NAMES | entities_of(eval_data())


def train_data(*, own_style: bool = False) -> list[dict]:
    names = Names(random.Random(SEED + 1), reserved_names())
    return new_tool_rows(names, TRAIN_ROWS_PER_TOOL, own_style=own_style)


def prior_rows(names: Names, per_skill: int, taken: set[str]) -> list[dict]:
    """Questions on each prior skill, none of which is in `taken`; they join it."""
    return [
        row(exercise, number)
        for skill in PRIOR_SKILLS.values()
        for number, exercise in enumerate(draw_unique(lambda skill=skill: skill(names), per_skill, taken))
    ]


def prior_data() -> list[dict]:
    return prior_rows(Names(random.Random(SEED + 2)), PRIOR_ROWS_PER_SKILL, set())


def context() -> str:
    """A call of one new tool, which the student is shown beside prompts that it may answer as it likes."""
    return ask_tool(Names(random.Random(SEED + 7), reserved_names()), CONTEXT_TOOL, "new_tool").bare


def context_prompts() -> list[dict]:
    """The training prompts that take this tool, and nothing of their answers."""
    rows = [row for row in train_data() if row["golden_answer"][0]["Action"] == CONTEXT_TOOL.name]
    return [{"id": row["id"], "prompt": row["prompt"]} for row in rows]


def context_eval_data() -> list[dict]:
    """Questions that take it, about entities that occur in no training prompt."""
    names = Names(random.Random(SEED + 8), reserved_names() | entities_of(train_data()))
    return new_tool_rows(names, CONTEXT_EVAL_ROWS, (CONTEXT_TOOL,))


def write_data(out: Path) -> None:
    for name, rows in (("train", train_data()), ("eval", eval_data()), ("prior", prior_data())):
        write_rows(out / f"{name}_data.json", rows)
    folder = out / "context"
    folder.mkdir(exist_ok=True)
    (folder / "context.txt").write_text(context() + "\n")
    write_rows(folder / "prompts.json", context_prompts())
    write_rows(folder / "eval_data.json", context_eval_data())


def write_rows(path: Path, rows: list[dict]) -> None:
    path.write_text(json.dumps(rows, indent=1, ensure_ascii=False) + "\n")
    print(f"{path.name}: {len(rows)} rows")


def save_model(model: Qwen3ForCausalLM, folder: Path) -> None:
    model.save_pretrained(folder)
    for file in folder.iterdir():
        file.chmod(0o644)  # the containers read these files as another user


def make_student(out: Path, tokenizer: PreTrainedTokenizerFast) -> None:
    torch.manual_seed(SEED)
    model = new_model(tokenizer)
    print(f"student: {model.num_parameters():,} parameters, {STUDENT_STEPS} steps")
    names = Names(random.Random(SEED + 3), reserved_names())
    pretrain(model, tokenizer, student_episode, names, STUDENT_STEPS)
    save_model(model, out / "student")


def make_teacher(out: Path, tokenizer: PreTrainedTokenizerFast) -> None:
    """The teacher is the student, trained on with the new skill among the rest."""
    torch.manual_seed(SEED)
    model = Qwen3ForCausalLM.from_pretrained(out / "student", dtype=torch.float32)
    print(f"teacher: the student and {TEACHER_STEPS} more steps")
    names = Names(random.Random(SEED + 4), reserved_names())
    pretrain(model, tokenizer, teacher_episode, names, TEACHER_STEPS)
    save_model(model, out / "teacher")


def other_tokenizer() -> PreTrainedTokenizerFast:
    names = Names(random.Random(SEED + 5), reserved_names())
    episodes = [teacher_episode(names) for _ in range(TOKENIZER_EPISODES)]
    texts = [message["content"] for episode in episodes for message in episode]
    return train_tokenizer([*texts, *([str(number) for number in range(10, 100)] * 1000)])


def make_other_teacher(out: Path) -> None:
    """A teacher of the same skills, trained from scratch, that reads and writes other tokens."""
    folder = out / "teacher_other_tokenizer"
    save_tokenizer(other_tokenizer(), folder)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    torch.manual_seed(SEED)
    model = new_model(tokenizer)
    model.config.eos_token_id = model.generation_config.eos_token_id = tokenizer.convert_tokens_to_ids(list(ENDS))
    print(f"teacher with another tokenizer: {model.num_parameters():,} parameters, {OTHER_TEACHER_STEPS} steps")
    names = Names(random.Random(SEED + 6), reserved_names())
    pretrain(model, tokenizer, teacher_episode, names, OTHER_TEACHER_STEPS, end_of_turn=USER)
    save_model(model, folder)


PARTS = ("data", "tokenizer", "student", "teacher", "teacher_other_tokenizer")


def main() -> None:
    parser = argparse.ArgumentParser(description="Rebuild the tiny world: tokenizers, data, models.")
    parser.add_argument("--only", choices=PARTS, help="rebuild only this; the teacher starts from the student")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent, help="folder to write to")
    args = parser.parse_args()
    torch.set_num_threads(2)  # sums split over more threads round differently, and the weights with them
    wanted = (args.only,) if args.only else PARTS
    args.out.mkdir(parents=True, exist_ok=True)
    if "data" in wanted:
        write_data(args.out)
    if "tokenizer" in wanted:
        for name in ("student", "teacher"):
            save_tokenizer(build_tokenizer(), args.out / name)
    if "student" in wanted:
        make_student(args.out, AutoTokenizer.from_pretrained(args.out / "student"))
    if "teacher" in wanted:
        make_teacher(args.out, AutoTokenizer.from_pretrained(args.out / "student"))
    if "teacher_other_tokenizer" in wanted:
        make_other_teacher(args.out)


if __name__ == "__main__":
    main()
