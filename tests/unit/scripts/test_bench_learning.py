"""The benchmark of learning: figures of trajectories, how sure they are, rows kept apart, runs that are known."""

import dataclasses
import importlib
import json
import math
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from trainer.settings.resolve import resolve
from trainer.training.arguments import training_arguments

ROOT = Path(__file__).parents[3]
FOLDERS = [str(ROOT / "scripts" / "bench"), str(ROOT / "scripts" / "bench" / "worlds")]


@pytest.fixture(scope="module")
def bench():
    """learning.py, imported as it imports its parts; it changes the environment of what it starts."""
    with pytest.MonkeyPatch.context() as patch:
        for name in ("HF_HUB_OFFLINE", "TRL_EXPERIMENTAL_SILENCE", "OMP_NUM_THREADS", "CUDA_VISIBLE_DEVICES"):
            patch.setenv(name, "")  # so that it is undone
        patch.setattr(sys, "path", [*FOLDERS, *sys.path])
        yield importlib.import_module("learning")


@pytest.fixture(scope="module")
def figures(bench):
    return bench.trajectories


@pytest.fixture(scope="module")
def rows(bench):
    return bench.tiny_rows.all_files()


def trajectory(figures, new: list[list[int]], prior: list[list[int]]):
    return figures.Trajectory(tuple(range(len(new))), np.array(new, bool), np.array(prior, bool))


def run_of(figures, lost: int):
    """A run of two points that learns all of 20 new rows and loses `lost` of 20 prior ones."""
    return trajectory(figures, [[0] * 20, [1] * 20], [[1] * 20, [0] * lost + [1] * (20 - lost)])


def test_between_two_checkpoints_the_level_is_reached_where_a_straight_line_reaches_it(figures):
    place = figures.first_reached(0.75, [0.0, 0.5, 1.0])
    assert place == pytest.approx(1.5)
    assert figures.at(place, [1.0, 0.8, 0.4]) == pytest.approx(0.6)


def test_the_first_time_counts_though_the_skill_falls_again(figures):
    assert figures.first_reached(0.9, [0.0, 0.9, 0.5, 1.0]) == 1


def test_an_accuracy_of_exactly_the_level_reaches_it(figures):
    assert figures.first_reached(0.9, [0.0, 0.1 * 9]) == 1


def test_a_skill_that_was_there_before_costs_nothing_and_one_that_never_comes_has_no_cost(figures):
    assert figures.first_reached(0.9, [0.95, 0.99]) == 0
    assert math.isnan(figures.first_reached(0.9, [0.0, 0.5]))
    assert math.isnan(figures.at(float("nan"), [1.0, 0.5]))


def test_losses_of_the_sample_itself_stand_in_front_and_are_those_of_the_whole_rows(figures):
    runs = [run_of(figures, 10), run_of(figures, 4)]
    losses_MS = figures.losses(0.5, runs, figures.draw(20, 20, 2))
    assert losses_MS[0] == pytest.approx([0.25, 0.1])
    assert losses_MS.shape == (figures.RESAMPLES + 1, 2)


def test_an_interval_of_a_mean_is_about_as_wide_as_theory_says(figures):
    right = np.arange(400)[None, :] < 200
    found = figures.accuracy(right)
    assert found.value == 0.5
    assert found.high - found.low == pytest.approx(2 * 1.96 * (0.25 / 400) ** 0.5, rel=0.1)


def test_seeds_that_differ_make_an_interval_wider_than_their_rows_alone(figures):
    same = figures.accuracy(np.tile(np.arange(100) < 50, (2, 1)))
    apart = figures.accuracy(np.array([np.arange(100) < 10, np.arange(100) < 90]))
    assert same.value == apart.value == 0.5
    assert apart.high - apart.low > 2 * (same.high - same.low)


def test_an_arm_beside_itself_has_the_ratio_one_in_every_resample(bench, figures):
    draws = figures.draw(20, 20, 2)
    losses_MS = figures.losses(0.9, [run_of(figures, 10), run_of(figures, 12)], draws)
    told = bench.ratio({"sft": losses_MS, "sdft": losses_MS}, draws.seeds_MS)
    assert [told[name] for name in ("estimate", "low", "high", "median", "min", "max")] == [1.0] * 6


def test_a_ratio_is_unbounded_where_ours_loses_nothing_and_claims_nothing_where_theirs_loses_nothing_either(figures):
    found = figures.quotients(np.array([0.5, 0.5, 0.0, -0.1, 0.2]), np.array([0.1, 0.0, 0.0, 0.1, np.nan]))
    assert found[:4].tolist() == [5.0, math.inf, 0.0, 0.0]
    assert math.isnan(found[4])


def test_an_unbounded_ratio_is_null_in_the_record_and_its_lower_bound_is_kept(bench, figures):
    draws = figures.draw(20, 20, 1)
    losses = {name: figures.losses(0.9, [run_of(figures, lost)], draws) for name, lost in (("sft", 20), ("sdft", 1))}
    told = bench.ratio(losses, draws.seeds_MS)
    assert told["estimate"] == pytest.approx(20.0)
    assert told["high"] is None  # in a third of the resamples the one row is not drawn
    assert told["low"] > 4
    assert "unbounded" in bench.ratio_table(told)


def test_there_is_no_ratio_where_an_arm_never_reaches_the_level(bench, figures):
    draws = figures.draw(20, 20, 1)
    never = trajectory(figures, [[0] * 20] * 2, [[1] * 20] * 2)
    losses = {name: figures.losses(0.9, [run], draws) for name, run in (("sft", run_of(figures, 20)), ("sdft", never))}
    assert bench.ratio(losses, draws.seeds_MS) is None
    assert bench.in_percent(figures.estimate(losses["sdft"][:, 0])) == "not reached"


def test_the_share_of_resamples_that_reach_the_level_is_told(bench, figures):
    found = figures.estimate(np.array([0.5, 0.4, 0.6, np.nan, np.nan]))
    assert (found.value, found.low, found.high, found.known) == (0.5, 0.4, 0.6, 0.5)
    assert bench.in_percent(found) == "50.0 (40.0 to 60.0, of 50% of resamples)"


def test_the_best_rate_keeps_most_of_the_prior_skills_among_those_that_always_reach_the_level(figures):
    reaches = [([0.0, 0.95], [1.0, 0.7]), ([0.0, 0.95], [1.0, 0.7])]
    forgets = [([0.0, 0.99], [1.0, 0.2]), ([0.0, 0.99], [1.0, 0.2])]
    misses = [([0.0, 0.95], [1.0, 0.9]), ([0.0, 0.5], [1.0, 0.9])]
    assert figures.best_rate(0.9, {1e-4: misses, 5e-4: reaches, 1e-3: forgets}) == 5e-4


def test_of_rates_that_keep_equally_much_the_one_that_is_sooner_at_the_level_is_the_best_in_whatever_order(figures):
    late, soon = ([0.0, 0.0, 0.9], [1.0, 0.5, 0.5]), ([0.0, 0.9, 0.9], [1.0, 0.5, 0.4])
    assert figures.best_rate(0.9, {1e-4: [late], 1e-3: [soon]}) == 1e-3
    assert figures.best_rate(0.9, {1e-3: [soon], 1e-4: [late]}) == 1e-3


def test_where_no_rate_reaches_the_level_the_one_that_gets_furthest_is_chosen(figures):
    curves = {rate: [([0.0, best, 0.1], [1.0, 1.0, 1.0])] for rate, best in ((1e-4, 0.2), (1e-3, 0.6))}
    assert figures.best_rate(0.9, curves) == 1e-3


def test_validation_and_test_share_no_entity_and_no_prompt_with_each_other_or_with_any_shipped_or_training_row(
    bench, rows
):
    shipped = [
        row
        for name in ("train_data", "eval_data", "prior_data")
        for row in json.loads((ROOT / "data" / "tiny_world" / f"{name}.json").read_text(encoding="utf-8"))
    ]
    learnt = [row for name, some in rows.items() if name.startswith("train") for row in some]
    chosen, told = ([r for n, some in rows.items() if n.startswith(p) for r in some] for p in ("validation", "test"))
    for one, other in ((chosen, shipped + learnt), (told, shipped + learnt), (told, chosen)):
        assert not bench.tiny_rows.entities_of(one) & bench.tiny_rows.entities_of(other)
        assert not {row["prompt"] for row in one} & {row["prompt"] for row in other}


def test_the_rows_that_are_learnt_are_the_shipped_ones_and_in_own_style_they_have_a_line_of_reasoning_more(rows):
    shipped = json.loads((ROOT / "data" / "tiny_world" / "train_data.json").read_text(encoding="utf-8"))
    assert rows["train.json"] == shipped
    for bare, own in zip(rows["train.json"], rows["train_own_style.json"], strict=True):
        assert own["golden_response"][0].startswith("Thought: I need the ")
        assert own | {"golden_response": own["golden_response"][1:]} == bare


def test_three_new_skills_share_no_name(bench):
    names = [bench.tiny_rows.names_of_tools(tools) for tools in bench.tiny_rows.SKILLS]
    assert len(names) == 3
    assert len(frozenset().union(*names)) == sum(map(len, names))


def test_a_run_is_known_by_its_settings_and_by_the_run_it_starts_from(bench):
    sdft = bench.ARMS["sdft"]
    (alone,) = bench.chain(sdft, 5e-4, 1)
    (of_ablation,) = bench.chain(bench.ABLATIONS[bench.AS_IN_TABLE], 5e-4, 1)
    assert alone.name == of_ablation.name
    first, second, third = bench.chain(bench.in_sequence(sdft, 5e-4), 5e-4, 1)
    assert first.name == alone.name
    assert (second.start, third.start) == (first.name, second.name)
    others = [bench.chain(bench.ABLATIONS[bench.ROUNDED], 5e-4, 1), bench.chain(sdft, 5e-4, 2)]
    assert len({alone.name, *(some[0].name for some in others)}) == 3


def test_every_arm_of_the_table_gets_the_same_tuning_effort(bench):
    assert {len(set(arm.rates)) for arm in bench.ARMS.values()} == {4}


def test_every_arm_is_a_command_line_that_the_trainer_takes(bench, tmp_path, capsys):
    folder = bench.Folder.made(tmp_path)
    arms = bench.ARMS | bench.ABLATIONS | bench.WHY
    for arm in arms.values():
        for stage in bench.chain(arm, 5e-4, 1)[:1]:
            words = folder.command(stage, "http://127.0.0.1:1")
            arguments = training_arguments(resolve("train", words[words.index("train") + 1 :], {}))
            assert arguments.learning_rate == 5e-4


@pytest.mark.parametrize("argv", ["--level 90", "--seeds 1 1", "--quick --arms sft"])
def test_what_would_train_for_hours_in_vain_is_refused_at_once(bench, monkeypatch, argv):
    monkeypatch.setattr(sys, "argv", ["learning.py", *argv.split()])
    with pytest.raises(SystemExit, match=r"found --level 90|expected different|--quick has its own"):
        bench.main()


def test_what_headroom_foretold_stands_beside_what_the_shown_student_taught_itself(bench, figures, tmp_path):
    folder = bench.Folder.made(tmp_path)
    scores = {"student": {"accuracy": 0.1}, "student shown the demonstration": {"accuracy": 0.9}}
    (folder.path / "scores" / "headroom.json").write_text(json.dumps({"scores": scores}), encoding="utf-8")
    learnt = bench.Finding(bench.ARMS["sdft"], {}, 5e-4, [run_of(figures, 0)])
    found = {name: dataclasses.replace(learnt, arm=bench.ARMS[name]) for name in ("sft", "sdft", "sdft_own_style")}
    (pair,) = bench.pairs_of(bench.Options(folder, {}, None, [1], 0.9, None), bench.Section(found))
    assert (pair.arm, round(pair.lift, 3), pair.gain) == ("sdft", 0.8, 1.0)


@pytest.mark.parametrize(("name", "most"), [("clip_each_entry", 0.05), ("clip_each_token", 1.0)])
def test_a_clipped_divergence_that_was_tried_has_the_gradient_of_autograd(bench, monkeypatch, name, most):
    losses = importlib.import_module("trainer.losses.divergence")
    monkeypatch.setattr(losses, "_compare", losses._compare)  # so that the change is undone
    getattr(importlib.import_module("variants"), name)(most)
    draw = torch.Generator().manual_seed(0)
    hidden, weight, other = (
        torch.randn(*size, generator=draw, dtype=torch.float64) for size in ((9, 5), (7, 5), (7, 5))
    )
    hidden.requires_grad_()
    head, teacher = (importlib.import_module("trainer.models.output_head").OutputHead(w) for w in (weight, other))
    tokens, weights = torch.zeros(9, dtype=torch.int64), torch.ones(9, dtype=torch.float64)
    loss, _ = losses.chunked_divergence(
        hidden, head, hidden.detach(), teacher, tokens, weights, losses.Divergence(), chunk_bytes=4 * 7 * 2
    )
    logp_s, logp_t = (hidden @ weight.t()).log_softmax(-1), (hidden.detach() @ other.t()).log_softmax(-1)
    summands = logp_t.exp() * (logp_t - logp_s)
    per_token = summands.sum(-1)
    scale = (most / per_token.detach()).clamp(max=1)
    expected = summands.clamp(max=most).sum() if name == "clip_each_entry" else (per_token * scale).sum()
    assert (summands > most).any() and (per_token > most).any()
    assert float(loss) == pytest.approx(float(expected), rel=1e-9)
    wanted = torch.autograd.grad(expected, hidden)[0]
    torch.testing.assert_close(torch.autograd.grad(loss, hidden)[0], wanted)
