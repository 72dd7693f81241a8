"""Which checkpoint is the best, and when a model is scored while it trains."""

from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trainer.run.directory import RunDirectory
from trainer.training.midway import MidwayScores, best_step

fractions = st.integers(0, 20).map(lambda rows: rows / 20)
records = st.lists(
    st.fixed_dictionaries({"step": st.integers(1, 10**6), "eval/new_skill": fractions, "eval/prior_skills": fractions}),
    unique_by=lambda record: record["step"],
)


def scored(step: int, new: float, prior: float | None = None) -> dict:
    return {"step": step, "eval/new_skill": new} | ({} if prior is None else {"eval/prior_skills": prior})


def test_the_best_checkpoint_has_the_best_new_skill_of_those_that_forgot_no_more_than_allowed():
    found = [scored(10, 0.5, 1.0), scored(20, 0.8, 0.95), scored(30, 0.9, 0.94)]
    assert best_step(found, {"new_skill": 0.0, "prior_skills": 1.0}, max_forgetting=0.05) == 20
    assert best_step(found, {"new_skill": 0.0, "prior_skills": 1.0}, max_forgetting=0.06) == 30
    assert best_step(found, {"new_skill": 0.0, "prior_skills": 1.0}, max_forgetting=0.0) == 10


def test_similarity_stands_for_an_accuracy_that_there_is_not():
    records = [
        {"step": step, "eval/new_skill/similarity": new, "eval/prior_skills/similarity": prior}
        for step, new, prior in ((1, 0.4, 0.9), (2, 0.6, 0.88), (3, 0.8, 0.5))
    ]
    assert best_step(records, {"prior_skills/similarity": 0.9}, 0.05) == 2


def test_there_is_no_best_checkpoint_where_each_forgot_more():
    assert best_step([scored(10, 0.9, 0.5)], {"prior_skills": 1.0}, max_forgetting=0.05) is None
    assert best_step([], {"prior_skills": 1.0}, max_forgetting=0.05) is None


def test_without_prior_skills_the_new_skill_alone_decides():
    assert best_step([scored(10, 0.2), scored(20, 0.4), scored(30, 0.3)], {"new_skill": 0.0}, max_forgetting=0.0) == 20


def test_of_equally_good_ones_the_one_that_knows_more_of_the_prior_skills_wins_and_then_the_first():
    assert best_step([scored(10, 0.9, 0.96), scored(20, 0.9, 0.98)], {"prior_skills": 1.0}, 0.05) == 20
    assert best_step([scored(10, 0.9, 0.98), scored(20, 0.9, 0.98)], {"prior_skills": 1.0}, 0.05) == 10


@given(records, fractions, fractions)
def test_whatever_was_scored_nothing_that_was_allowed_is_better_than_the_best(found, before, allowed):
    best = best_step(found, {"prior_skills": before}, allowed)
    good = [record for record in found if record["eval/prior_skills"] >= before - allowed - 1e-9]
    assert (best is None) == (not good)
    if best is not None:
        chosen = next(record for record in good if record["step"] == best)
        assert chosen["eval/new_skill"] == max(record["eval/new_skill"] for record in good)


@pytest.fixture
def protected() -> list:
    return []


@pytest.fixture
def midway(tmp_path, protected):
    """Scores each 2 steps: at the first time 40 %, then 20 %, then 60 %."""
    values = iter([0.4, 0.2, 0.6])
    score, before = (lambda: {"new_skill": next(values)}), {"new_skill": 0.0}
    return MidwayScores(RunDirectory(tmp_path), 2, score, before, 0.05, protected.append)


def at(step: int, steps: int = 6) -> SimpleNamespace:
    return SimpleNamespace(global_step=step, max_steps=steps, is_world_process_zero=True)


def test_a_model_is_scored_each_so_many_steps_but_after_the_last_which_is_scored_anyway(midway):
    for step in range(1, 7):
        control = SimpleNamespace(should_save=False)
        midway.on_step_end(None, at(step), control)
        assert control.should_save == (step in (2, 4))
        midway.on_save(None, at(step), control)
    assert [record["step"] for record in midway.directory.read_metrics()] == [2, 4]


def test_the_best_checkpoint_so_far_outlives_the_limit_of_checkpoints(midway, protected):
    for step in (2, 4):
        midway.on_save(None, at(step), None)
    assert protected == [midway.directory.path / "checkpoint-2"] * 2


def test_a_run_that_goes_on_scores_a_checkpoint_that_was_saved_only_and_no_other_again(midway, protected):
    midway.on_train_begin(None, at(0), None)
    midway.on_train_begin(None, at(3), None)
    assert midway.directory.read_metrics() == []
    midway.on_train_begin(None, at(2), None)
    midway.on_train_begin(None, at(2), None)
    assert [record["eval/new_skill"] for record in midway.directory.read_metrics()] == [0.4]
    assert protected == [None, None, *[midway.directory.path / "checkpoint-2"] * 2]
