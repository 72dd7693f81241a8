"""The benchmark of skills in turn: its rows, its runs, and what it says was kept."""

import importlib
import json
import math
import sys
from pathlib import Path

import pytest

from trainer.settings.resolve import resolve

ROOT = Path(__file__).parents[3]
FOLDERS = [str(ROOT / "scripts" / "bench"), str(ROOT / "scripts" / "bench" / "worlds")]


@pytest.fixture(scope="module")
def bench():
    """sequence.py, imported as it imports its parts."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "path", [*FOLDERS, *sys.path])
        yield importlib.import_module("sequence")


@pytest.fixture(scope="module")
def tiny(bench):
    return bench.skills_in_turn.tiny_world()


def test_the_tiny_world_has_five_skills_whose_names_are_no_other_skills(bench, tiny):
    sets = [bench.skills_in_turn.tiny_rows.names_of_tools(tools) for tools in bench.skills_in_turn.SETS]
    assert len(tiny.skills) == len(sets) == 5
    assert sum(map(len, sets)) == len(frozenset().union(*sets)) == 5 * (8 * 2 + 10)


def test_the_first_skill_is_learnt_from_the_shipped_rows_and_each_has_as_many(tiny):
    shipped = json.loads((ROOT / "data" / "tiny_world" / "train_data.json").read_text(encoding="utf-8"))
    assert tiny.files["skill_1_train.json"] == shipped
    assert {len(tiny.files[f"{title}_train.json"]) for title in tiny.skills} == {800}


def test_no_entity_and_no_prompt_of_a_test_row_is_learnt(bench, tiny):
    kinds = {"train": [], "test": []}
    for name, rows in tiny.files.items():
        if name != "prior.json":
            kinds[name.rpartition("_")[2].removesuffix(".json")] += rows
    entities = bench.skills_in_turn.tiny_rows.entities_of
    assert not entities(kinds["train"]) & entities(kinds["test"])
    prompts = {row["prompt"] for row in kinds["train"]}
    assert not prompts & {row["prompt"] for row in (*kinds["test"], *tiny.files["prior.json"])}


def test_each_run_starts_from_the_one_before_and_replays_all_earlier_ones(bench, tiny):
    runs = bench.chain(tiny, bench.Arm(0.1), seed=1)
    assert [run.start for run in runs] == [None, *(run.name for run in runs[:-1])]
    assert "replayed" not in runs[0].flags
    assert [run.flags["replayed"] for run in runs[1:]] == [[r.name for r in runs[:n]] for n in range(1, 5)]
    assert [run.flags["learnt"] for run in runs] == [[f"{title}_train.json"] for title in tiny.skills]


def test_mixed_learns_all_rows_so_far_and_arms_share_the_first_run(bench, tiny):
    chains = [bench.chain(tiny, arm, seed=1) for arm in bench.ARMS.values()]
    assert len({runs[0].name for runs in chains}) == 1 and len({runs[1].name for runs in chains}) == 6
    assert [len(run.flags["learnt"]) for run in chains[-1]] == [1, 2, 3, 4, 5]


def test_the_model_before_all_skills_teaches_every_run_behind_the_first(bench, tiny):
    first, *later = bench.chain(tiny, bench.Arm(0.1, "first"), seed=1)
    assert "teacher_model_name_or_path" not in first.flags
    taught = [(run.flags["teacher_kind"], run.flags["teacher_model_name_or_path"]) for run in later]
    assert taught == [("base", str(tiny.student))] * 4
    first, *later = bench.chain(tiny, bench.Arm(0.1, "base"), seed=1)
    assert "teacher_kind" not in first.flags
    assert {(run.flags["teacher_kind"], run.flags.get("teacher_model_name_or_path")) for run in later} == {
        ("base", None)
    }


def test_fewer_skills_are_the_beginning_of_more(bench, tiny):
    runs = bench.chain(tiny, bench.Arm(0.1), seed=1)
    assert bench.chain(tiny.first(3), bench.Arm(0.1), seed=1) == runs[:3]


def test_a_real_model_replays_general_prompts_in_every_run(bench, tmp_path):
    world = bench.skills_in_turn.house_rules(tmp_path)
    first, second, *_ = bench.chain(world, bench.Arm(0.1), seed=1)
    general = str(ROOT / "data" / "general_prompts" / "general_prompts.json")
    assert first.flags["replayed"] == [general] and second.flags["replayed"] == [general, first.name]
    assert [len(world.files[f"{rule}_test.json"]) for rule in world.skills] == [40] * 5


@pytest.mark.parametrize("name", ["tiny", "house_rules"])
def test_every_flag_of_a_run_is_one_that_the_trainer_takes(bench, tiny, tmp_path, monkeypatch, name):
    world = tiny if name == "tiny" else bench.skills_in_turn.house_rules(tmp_path)
    folder, told = bench.Folder(tmp_path, world), []
    monkeypatch.setattr(bench.Folder, "command", lambda self, sub, _, flags: told.append((sub, flags)))
    monkeypatch.setattr(bench.tiny_runs, "newest", lambda run: run / "checkpoint-1")
    runs = bench.chain(world, bench.Arm(0.1, "first"), seed=1)
    folder.train(runs[2])
    with pytest.raises(FileNotFoundError):  # nobody has answered
        folder.score(runs[2], world.skills[3])
    (_, train), (subcommand, score) = told
    for sub, flags in (("train", train), (subcommand, score)):
        words = [word for key, value in flags.items() for word in (f"--{key}", str(value))]
        assert resolve(sub, words, {}).extra.keys() <= {"max_steps"}
    assert [Path(part).name for part in train["replay_data_path"].split(",")][-2:] == [run.name for run in runs[:2]]
    assert Path(train["train_data_path"]).is_file() and Path(train["model_name_or_path"]).name == "checkpoint-1"


def test_what_is_kept_is_told_by_what_a_skill_was_when_it_was_learnt(bench):
    skills = ("a", "b", "c")

    def right(*shares):
        return dict(zip((*skills, bench.PRIOR), ([n < share for n in range(10)] for share in shares), strict=True))

    after = [right(0, 0, 0, 10), right(10, 0, 0, 10), right(8, 10, 0, 9), right(5, 8, 9, 9)]
    assert bench.kept(skills, after, 3) == {"a": 0.5, "b": 0.8, "c": 1.0, bench.PRIOR: 0.9, "newest": 0.9}
    assert bench.ratios(skills, {bench.HEADLINE_ARM: [after]}) == {
        name: {"median": value, "min": value, "max": value}
        for name, value in (("first_skill_kept", 0.5), ("second_skill_kept", 0.8), ("prior_skills_kept", 0.9))
    }
    assert bench.ratios(skills[:2], {bench.HEADLINE_ARM: [after[:3]]}) == {}
    never = [right(0, 0, 0, 10)] * 4
    assert math.isnan(bench.kept(skills, never, 3)["a"])


def test_the_matrix_has_a_line_for_each_moment_and_no_figure_where_nothing_was_asked(bench):
    moments = [{"a": [True] * 20, "b": [False] * 20, bench.PRIOR: [True] * 20, bench.SHOWN: [True] * 20}] * 2
    moments.append({title: right for title, right in moments[0].items() if title != bench.SHOWN})
    lines = bench.matrix(("a", "b"), {"none": bench.accuracies([moments])}).splitlines()
    assert len(lines) == 5
    assert lines[-1] == "| none | 2 | 100.0 (100.0 to 100.0) | 0.0 (0.0 to 0.0) | 100.0 (100.0 to 100.0) | – |"
