"""The benchmark of real models: what it reads from its folder, which rate it chooses, what it does not do twice."""

import importlib
import json
import sys
from pathlib import Path

import pytest
import yaml

from trainer.settings.resolve import resolve
from trainer.training.arguments import training_arguments

ROOT = Path(__file__).parents[3]
FOLDERS = [str(ROOT / "scripts" / "bench"), str(ROOT / "scripts" / "bench" / "worlds")]
MODEL = "some-model"
PRIOR = [f"prior-{number}" for number in range(20)]
ROWS = json.loads((ROOT / "data" / "house_rules" / "act" / "eval_data.json").read_text(encoding="utf-8"))
NEW = [row["id"] for row in ROWS]
UNSEEN = [row["id"] for row in ROWS if row["entities"] == "unseen"]


@pytest.fixture(scope="module")
def bench():
    """real_model.py, imported as it imports its parts."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "path", [*FOLDERS, *sys.path])
        yield importlib.import_module("real_model")


@pytest.fixture(scope="module")
def results(bench):
    return bench.real_results


def write(file, content):
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(content), encoding="utf-8")


def answered(new, prior, new_ids=NEW):
    """A file as `eval` writes it, of so many right answers."""
    told = {}
    for title, ids, right in (("new_skill", new_ids, new), ("prior_skills", PRIOR, prior)):
        some = [{"id": row, "right": number < right} for number, row in enumerate(ids)]
        told[title] = some
    scores = {title: {"accuracy": sum(a["right"] for a in some) / len(some)} for title, some in told.items()}
    scores["prior_skills"] |= {"nll": 1.5 + (20 - prior) / 10, "cut_off": 0.1}
    return {"scores": scores, "answers": told}


def place_run(work, arm, rate=2e-5, seed=42, *, new=40, prior=20, validation=40, steps=36, midway=()):
    """A finished and scored run."""
    skill = work / MODEL / "act"
    run = skill / arm / f"rate-{rate:g}" / f"seed-{seed}"
    write(skill / "before.json", answered(0, 20))
    write(run / "scores.json", answered(validation, prior))
    write(run / "scores_before.json", answered(0, 20))
    write(run / "scores_after.json", answered(new, prior))
    write(run / "summary.json", {"status": "finished", "steps": steps})
    lines = [
        {"step": 1, "loss": 0.5},
        *({"step": s, "eval/new_skill": n, "eval/prior_skills": p} for s, n, p in midway),
    ]
    (run / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    return run


def place_headroom(work):
    """As `check --headroom` writes it: turns lift the student, the template does not, the teacher halfway."""
    folder, scores = work / MODEL / "act" / "headroom", {"student": {"accuracy": 0.1, "rows": 40}}
    ways = {"template": {"accuracy": 0.1, "rows": 40}, "turns": {"accuracy": 0.9, "rows": 40}}
    write(folder / "demonstration.json", {"scores": scores, "shown_as": ways})
    taught = {
        "teacher": {"accuracy": 0.0, "rows": 40},
        "teacher shown the demonstration": {"accuracy": 0.5, "rows": 40},
    }
    write(folder / "served.json", {"scores": scores | taught, "shown_as": {"turns": ways["turns"]}})


def told(bench, work, more=()):
    text = bench.real_results.write(work, bench.ARMS, 0.9, more, None)
    return text, json.loads((work / "results.json").read_text(encoding="utf-8"))


def sizes(bench, **changed):
    least = {"scored": 40, "prompt": 256, "answer": 64, "prior": 256, "prompts": 8, "steps": 36, "midway": None}
    return bench.Sizes(**least | changed)


def place(bench, work):
    return bench.Place(work, Path(MODEL), "act")


# ---- what is run


def test_every_arm_is_a_command_line_that_the_trainer_takes(bench, tmp_path):
    for name, arm in bench.ARMS.items():
        flags = bench.real_runs.flags_of_training(place(bench, tmp_path), sizes(bench), arm, 3e-5, 7)
        words = [word for flag, value in flags.items() if value is not None for word in (f"--{flag}", str(value))]
        resolved = resolve("train", [*(["http://127.0.0.1:1"] if arm.served else []), *words], {})
        arguments = training_arguments(resolved)
        assert (arguments.learning_rate, arguments.seed, arguments.max_steps) == (3e-5, 7, 36), name
        assert resolved.settings.replay_share == (arm.flags.get("replay_share") or None), name


def test_a_finished_run_is_not_trained_again_and_its_checkpoints_go(bench, tmp_path, monkeypatch):
    monkeypatch.setattr(bench.real_runs, "trainer", lambda *words: pytest.fail(f"ran {words}"))
    run = finished(bench, tmp_path)
    train(bench, tmp_path, run)
    assert not list(run.glob("checkpoint-*"))
    assert (run / "scores.json").exists()


@pytest.mark.parametrize("how", ["kept", "linked"])
def test_checkpoints_stay_where_they_are_asked_for_or_the_run_lies_elsewhere(bench, tmp_path, how):
    run = finished(bench, tmp_path)
    if how == "linked":
        elsewhere = tmp_path / "elsewhere"
        run.rename(elsewhere)
        run.symlink_to(elsewhere)
    train(bench, tmp_path, run, keep=how == "kept")
    assert (run / "checkpoint-36" / "model.safetensors").exists()


@pytest.mark.parametrize(("flag", "value"), [("max_steps", "12"), ("learning_rate", 1e-5), ("replay_share", None)])
def test_a_finished_run_of_other_settings_ends_the_measurement(bench, tmp_path, flag, value):
    run = finished(bench, tmp_path, **{flag: value})
    with pytest.raises(SystemExit, match=f"has a run with --{flag} {value}, expected .* Name another folder"):
        train(bench, tmp_path, run)


def finished(bench, work, **changed):
    """A finished run of `sdft_replay25` with a checkpoint; its config.yaml has the steps as text, as usual."""
    run = place_run(work, "sdft_replay25")
    flags = bench.real_runs.flags_of_training(place(bench, work), sizes(bench), bench.ARMS["sdft_replay25"], 2e-5, 42)
    settings = {name: str(value) if isinstance(value, Path) else value for name, value in flags.items()}
    settings |= {"max_steps": "36", "train_data_path": "data/elsewhere.json"} | changed
    (run / "config.yaml").write_text(yaml.safe_dump(settings), encoding="utf-8")
    (run / "checkpoint-36").mkdir()
    (run / "checkpoint-36" / "model.safetensors").write_bytes(b"weights")
    return run


def train(bench, work, run, *, keep=False):
    arm = bench.ARMS["sdft_replay25"]
    bench.real_runs.train(place(bench, work), sizes(bench), arm, run, 2e-5, 42, lambda: "", keep=keep)


def test_a_command_that_fails_ends_the_measurement_with_its_code(bench, capfd):
    with pytest.raises(SystemExit, match="ended with exit code 2"):
        bench.real_runs.trainer("eval", {"model_name_or_path": "no/such/folder", "eval_data_path": "no.json"})
    assert "$ trainer eval --local_files_only --model_name_or_path no/such/folder" in capfd.readouterr().out


# ---- which rate


def outcomes(bench, work):
    return bench.real_outcomes.outcomes(work)


def test_the_lowest_rate_that_reaches_the_level_on_validation_rows_is_chosen(bench, tmp_path):
    for rate, validation in ((1e-5, 20), (2e-5, 36), (4e-5, 40)):
        place_run(tmp_path, "sft", rate, validation=validation)
    assert bench.real_outcomes.best_rate(0.9, outcomes(bench, tmp_path)) == 2e-5


def test_where_no_rate_reaches_it_the_one_that_gets_furthest_is_chosen_and_of_equal_ones_the_lowest(bench, tmp_path):
    for rate, validation in ((1e-5, 10), (2e-5, 20), (4e-5, 20)):
        place_run(tmp_path, "sft", rate, validation=validation)
    assert bench.real_outcomes.best_rate(0.9, outcomes(bench, tmp_path)) == 2e-5


def test_rates_are_compared_by_the_seeds_that_all_of_them_have(bench, tmp_path):
    place_run(tmp_path, "sft", 1e-5, 1, validation=40)
    place_run(tmp_path, "sft", 1e-5, 2, validation=0)
    place_run(tmp_path, "sft", 2e-5, 1, validation=39)
    assert bench.real_outcomes.best_rate(0.9, outcomes(bench, tmp_path)) == 1e-5


# ---- what is told


def test_a_run_tells_what_it_gained_and_lost_and_what_of_it_is_of_unseen_things(bench, tmp_path):
    place_run(tmp_path, "sft", new=30, prior=15)
    (run,) = told(bench, tmp_path)[1]["runs"]
    right_unseen = sum(row in UNSEEN for row in NEW[:30])
    assert (run["new"]["rows"], run["new"]["before"], run["new"]["after"]) == (40, 0.0, 0.75)
    assert (run["unseen"]["rows"], run["unseen"]["after"]) == (20, right_unseen / 20)
    assert run["prior"]["difference"] == -0.25
    assert run["prior"]["low"] < -0.25 < run["prior"]["high"] < 0
    assert run["nll"] == [1.5, 2.0] and run["chosen"] and run["steps"] == 36


def test_an_unfinished_or_unscored_run_is_not_told(bench, tmp_path):
    for arm, file in (("sft", "summary.json"), ("sdft_turns", "scores.json")):
        (place_run(tmp_path, arm) / file).unlink()
    write(tmp_path / MODEL / "act" / "sft" / "rate-2e-05" / "seed-42" / "summary.json", {"status": "stopped"})
    assert told(bench, tmp_path)[1]["runs"] == []


def test_what_the_prior_skills_lost_at_the_level_lies_between_two_scores(bench, tmp_path):
    place_run(tmp_path, "sft", new=40, prior=10, midway=[(12, 0.8, 0.9), (24, 1.0, 0.7)])
    (run,) = outcomes(bench, tmp_path)
    assert run.curve.steps == (0, 12, 24, 36)
    assert run.curve.prior_lost(0.9) == pytest.approx(0.2)
    assert told(bench, tmp_path)[0].split("### learning rates")[0].rstrip().endswith("| 20.0 |")


def test_seeds_are_told_together(bench, tmp_path):
    for seed, new in ((1, 40), (2, 20)):
        place_run(tmp_path, "sdft_turns", seed=seed, new=new)
    text, record = told(bench, tmp_path)
    assert f"| {MODEL} | act | sdft_turns | 2e-05 | 2 | 36 | – | 0.0 → 75.0 | +75.0 (" in text
    assert record["ratios"]["new_skill_gain_points"] == {"median": 75.0, "min": 50.0, "max": 100.0}


def test_ratios_tell_what_replay_lost_beside_sft(bench, tmp_path):
    for arm, prior in (("sft", 10), ("sdft_replay25", 19), ("sdft_turns", 15)):
        place_run(tmp_path, arm, prior=prior)
    ratios = told(bench, tmp_path)[1]["ratios"]
    assert ratios["prior_loss_points"]["median"] == pytest.approx(5.0)
    assert ratios["sft_prior_loss_points"]["median"] == pytest.approx(50.0)


def test_headroom_is_told_for_every_way_to_show_with_its_interval(bench, tmp_path):
    place_headroom(tmp_path)
    text = told(bench, tmp_path)[0]
    assert f"| {MODEL} | act | student alone | 40 | 10.0 (4.0 to 23.1) |" in text
    assert f"| {MODEL} | act | shown the row's own as turns | 40 | 90.0 (" in text
    assert f"| {MODEL} | act | served teacher, shown the row's own as turns | 40 | 50.0 (" in text


# ---- does headroom foretell


def test_each_arm_is_foretold_by_what_its_teacher_could_do_and_sft_by_nobody(bench, tmp_path):
    place_headroom(tmp_path)
    for arm, new in (("sft", 40), ("sdft_template", 0), ("sdft_replay25", 36), ("seqkd", 20)):
        place_run(tmp_path, arm, new=new)
    text, record = told(bench, tmp_path)
    pairs = {pair["arm"]: (round(pair["lift"], 3), pair["gain"]) for pair in record["pairs"]}
    assert pairs == {"sdft_template": (0.0, 0.0), "sdft_replay25": (0.8, 0.9), "seqkd": (0.4, 0.5)}
    assert "Spearman's ρ 1.00" in text and "n = 3" in text
    assert (tmp_path / "foretold.png").stat().st_size > 10_000 and (tmp_path / "foretold.pdf").exists()


def test_pairs_of_another_benchmark_count_too(bench, tmp_path):
    place_headroom(tmp_path / "work")
    place_run(tmp_path / "work", "sdft_turns")
    more = [{"model": "tiny", "skill": "x", "arm": str(n), "lift": n / 9, "gain": -n / 9, "low": -1, "high": 1}
            for n in range(6)]  # fmt: skip
    write(tmp_path / "other.json", {"pairs": more})
    write(tmp_path / "without.json", {"runs": []})
    text, record = told(bench, tmp_path / "work", [tmp_path / "other.json", tmp_path / "without.json"])
    assert "n = 7" in text and len(record["pairs"]) == 1


def pairs_of(results, lifts, gains):
    return [
        results.foretold.Pair("m", "s", str(n), lift, gain, gain, gain)
        for n, (lift, gain) in enumerate(zip(lifts, gains, strict=True))
    ]


def test_the_correlation_is_of_ranks_and_its_p_value_counts_all_orders(results):
    found = results.foretold.correlation(pairs_of(results, [0.1, 0.2, 0.3, 0.9], [0.0, 0.01, 0.02, 1.0]))
    assert found.rho == pytest.approx(1.0)
    assert found.p == pytest.approx(2 / 24)  # of 24 orders one is as far above 0, and one as far below


@pytest.mark.parametrize("gains", [[0.1, 0.2], [0.5, 0.5, 0.5, 0.5]])
def test_of_two_pairs_or_of_equal_gains_there_is_no_correlation(results, gains):
    assert results.foretold.correlation(pairs_of(results, [n / 10 for n in range(len(gains))], gains)) is None


# ---- the command line


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("--level 90", "found --level 90, expected a share"),
        ("--seeds 1 1", "found --seeds 1 1, expected different ones"),
        ("--models no-such-model", "found no model no-such-model, .*scripts/fetch_small_model no-such-model"),
    ],
)
def test_what_would_train_for_hours_in_vain_is_refused_at_once(bench, monkeypatch, words, message):
    monkeypatch.setattr(sys, "argv", ["real_model.py", *words.split()])
    with pytest.raises(SystemExit, match=message):
        bench.main()


def test_quick_leaves_what_was_asked_for(bench, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["real_model.py", "--quick", "--arms", "seqkd", "--rates", "1e-3"])
    given = bench.parse()
    assert (given.arms, given.rates, given.steps, given.skills) == (["seqkd"], [1e-3], 2, ["act"])
    assert given.work.name == "quick"
