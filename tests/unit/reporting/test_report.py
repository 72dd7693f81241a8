"""The report: honest intervals, curves that keep their extremes, a page that no text in the data can break."""

import base64
import hashlib
import json
import re
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from made_runs import make_run, write_lines
from PIL import Image
from scipy.stats import bootstrap

from trainer.commands.report import run as run_report
from trainer.errors import UsageError
from trainer.evaluation.intervals import paired_bootstrap, wilson
from trainer.reporting import cards, heatmap
from trainer.reporting.changes import changes
from trainer.reporting.curves import MOST_MEANS, MOST_POINTS, bucket_means, keep_extremes, payload, values
from trainer.reporting.headline import change, measures
from trainer.reporting.page import Limits, page
from trainer.reporting.plots import figures, save, save_plots
from trainer.reporting.runs import read_runs
from trainer.settings.options import Report
from trainer.settings.resolve import Resolved

LIMITS = Limits(samples=4, changes=3)
EVIL = "<script>alert('x')</script><img src=x onerror=alert(1)>&amp;\"'</pre>"


class Elements(HTMLParser):
    """The start tags of a page and the text within each of its elements' names."""

    def __init__(self, html: str):
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[str] = []
        self.feed(html)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data):
        self.texts.append(data)

    def all(self, tag):
        return [attributes for name, attributes in self.tags if name == tag]


def report(*folders: Path, limits: Limits = LIMITS) -> str:
    return page(read_runs([str(folder) for folder in folders]), limits)


def only(folder: Path):
    return read_runs([str(folder)])[0]


def resolved(runs: list[Path], **changes) -> Resolved:
    settings = {"runs": tuple(map(str, runs)), "output_file": None, "plots": None, "max_samples": 4, "max_changes": 3}
    return Resolved(Report(**settings | changes), {}, {})


# ---- intervals


@pytest.mark.parametrize(
    ("right", "rows", "low", "high"), [(0, 10, 0.0, 0.2775), (8, 10, 0.4902, 0.9433), (5, 5, 0.5655, 1.0)]
)
def test_the_interval_of_an_accuracy_is_wilsons(right, rows, low, high):
    interval = wilson(right / rows, rows)
    assert (interval.low, interval.high) == pytest.approx((low, high), abs=1e-4)


def test_the_interval_of_a_change_is_that_of_scipys_paired_bootstrap():
    chance = np.random.default_rng(3)
    before_R, after_R = chance.random(200) < 0.4, chance.random(200) < 0.6
    differences_R = after_R.astype(float) - before_R
    expected = bootstrap(
        (differences_R,), np.mean, method="percentile", rng=np.random.default_rng(1)
    ).confidence_interval
    found = paired_bootstrap(before_R, after_R)
    assert found is not None
    assert (found.low, found.high) == pytest.approx((expected.low, expected.high), abs=0.011)
    assert found == paired_bootstrap(before_R, after_R)


@settings(deadline=None)
@given(st.lists(st.tuples(st.booleans(), st.booleans()), min_size=2, max_size=60))
def test_the_interval_of_a_change_holds_the_change_and_is_missing_only_where_all_rows_changed_alike(pairs):
    before_R, after_R = (np.array(column) for column in zip(*pairs, strict=True))
    differences_R = after_R.astype(float) - before_R
    interval = paired_bootstrap(before_R, after_R)
    assert (interval is None) == (len(set(differences_R)) == 1)
    if interval is not None:
        assert -1 <= interval.low <= differences_R.mean() <= interval.high <= 1


def test_the_headline_says_better_worse_or_that_the_rows_cannot_show_a_change(tmp_path):
    run = only(make_run(tmp_path / "run"))
    new, prior = change(run, "new_skill"), change(run, "prior_skills")
    assert (new.before.accuracy, new.after.accuracy, new.rows, new.verdict) == (0.0, 0.75, 40, "better")
    assert (prior.difference, prior.verdict) == (pytest.approx(-0.1), "worse")
    assert change(run, "other").verdict == "not measured"


def test_one_changed_row_of_forty_is_no_change_that_the_rows_can_show(tmp_path):
    folder = make_run(tmp_path / "run")
    content = json.loads((folder / "scores_before.json").read_text())
    content["answers"]["new_skill"][0]["right"] = True
    content["scores"]["new_skill"]["accuracy"] = 1 / 40
    (folder / "scores_after.json").write_text(json.dumps(content))
    assert change(only(folder), "new_skill").verdict == "no change that 40 rows can show"
    assert change(only(folder), "prior_skills").verdict == "no row changed"


def test_rows_of_reference_texts_have_no_level_and_the_verdict_tells_their_similarity(tmp_path):
    folder = make_run(tmp_path / "run")
    for moment, near in (("before", 0.25), ("after", 0.5)):
        content = json.loads((folder / f"scores_{moment}.json").read_text())
        content["scores"]["new_skill"] |= {"accuracy": None, "similarity": near, "judged": 0}
        content["answers"]["new_skill"] = [a | {"right": None} for a in content["answers"]["new_skill"]]
        (folder / f"scores_{moment}.json").write_text(json.dumps(content))
    found = change(only(folder), "new_skill")
    assert (found.before, found.after, found.rows, found.difference) == (None, None, 0, None)
    assert found.verdict == "no accuracy, only reference texts: similarity 25.0% → 50.0%"


def test_scores_without_answers_have_levels_and_no_interval_of_the_change(tmp_path):
    found = change(only(make_run(tmp_path / "run", answers=False)), "new_skill")
    assert found.after.interval == wilson(0.75, 40) and found.interval is None
    assert found.verdict == "the run kept no answers, so there is no interval"


def test_measures_within_measures_are_listed_one_by_one(tmp_path):
    folder = make_run(tmp_path / "run", answers=False)
    scores = {"new_skill": {"accuracy": 0.5, "rows": 4, "per_tool": {"clock": 0.25}, "note": "x"}}
    (folder / "scores_after.json").write_text(json.dumps(scores))
    found = measures(only(folder), "new_skill")
    assert ("per_tool · clock", None, 0.25) in found and "note" not in {name for name, _, _ in found}


# ---- run directories


def test_lines_of_a_step_become_one_and_the_later_value_counts(tmp_path):
    folder = make_run(tmp_path / "run", steps=3)
    with (folder / "metrics.jsonl").open("a") as file:
        file.write('{"step": 2, "loss": 9.0}\n{"step": 2, "eval/new_skill": 0.5}\n{"step": 3, "lo')
    steps, losses = only(folder).series("loss")
    assert steps.tolist() == [1, 2, 3] and losses[1] == 9.0
    assert values(only(folder), "eval/new_skill")[0].tolist() == [0, 2, 3]


def test_values_that_are_no_numbers_are_left_out_of_curves_and_page(tmp_path):
    folder = make_run(tmp_path / "run", steps=4)
    with (folder / "metrics.jsonl").open("a") as file:
        file.write('{"step": 2, "loss": NaN}\n{"step": 3, "loss": null}\n{"step": 4, "loss": Infinity}\n')
    assert only(folder).series("loss")[0].tolist() == [1]
    assert "NaN" not in report(folder).split('id="chart-data">')[1].split("</script>")[0]


@pytest.mark.parametrize("line", ["{nonsense", "[1]", '{"loss": 1}', '{"step": true}'])
def test_a_damaged_line_is_an_error_that_names_file_and_line(tmp_path, line):
    folder = make_run(tmp_path / "run", steps=2)
    with (folder / "metrics.jsonl").open("a") as file:
        file.write(f"{line}\n")
    with pytest.raises(UsageError, match=r"metrics\.jsonl, line 3: .*Remove the line"):
        only(folder)


def test_a_damaged_file_is_an_error_that_names_it(tmp_path):
    folder = make_run(tmp_path / "run")
    (folder / "summary.json").write_text("{")
    with pytest.raises(UsageError, match=r"summary\.json is damaged .*Move it away"):
        only(folder)


def test_a_folder_that_is_no_run_directory_is_an_error_with_the_command_to_type(tmp_path):
    make_run(tmp_path / "outputs" / "first")
    with pytest.raises(UsageError, match=r"it has no config.yaml\. Type `python -m trainer report .*outputs/first`"):
        read_runs([str(tmp_path / "outputs")])
    with pytest.raises(UsageError, match=r"no folder is there\. Pass the --output_dir of a `train`"):
        read_runs([str(tmp_path / "nowhere")])
    with pytest.raises(UsageError, match="no run is named"):
        read_runs([])


def test_runs_of_the_same_folder_name_are_told_apart_and_a_run_named_twice_is_one(tmp_path):
    for parent in ("a", "b"):
        make_run(tmp_path / parent / "sdft")
    paths = [str(tmp_path / parent / "sdft") for parent in ("a", "b", "a")]
    assert [run.name for run in read_runs(paths)] == ["a/sdft", "b/sdft"]


# ---- curves


@settings(deadline=None)
@given(st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=400), st.integers(4, 60))
def test_a_condensed_curve_is_short_and_keeps_first_last_least_and_greatest(numbers, most):
    values_S = np.array(numbers)
    kept_P = keep_extremes(values_S, most)
    assert len(kept_P) <= max(most, 4) and (np.diff(kept_P) > 0).all()
    assert kept_P[0] == 0 and kept_P[-1] == len(numbers) - 1
    assert values_S[kept_P].min() == values_S.min() and values_S[kept_P].max() == values_S.max()


@settings(deadline=None)
@given(st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=400), st.integers(1, 60))
def test_the_means_of_a_curve_are_few_and_every_value_counts_once(numbers, most):
    values_S = np.array(numbers)
    steps_P, means_P = bucket_means(np.arange(len(numbers)), values_S, most)
    counts_P = np.diff(np.unique(np.linspace(0, len(numbers), min(most, len(numbers)) + 1).astype(int)))
    assert len(means_P) == len(steps_P) <= most
    assert (means_P * counts_P).sum() == pytest.approx(values_S.sum(), abs=1e-3)


def test_ten_thousand_steps_stay_a_few_hundred_kilobytes_and_a_lone_spike_is_seen(tmp_path):
    folder = make_run(tmp_path / "run", steps=10_000)
    with (folder / "metrics.jsonl").open("a") as file:
        file.write('{"step": 7001, "loss": 99.0}\n')
    charts = payload(read_runs([str(folder)]))
    curves = [curve for chart in charts for curve in chart.get("curves", [])]
    points = [len(curve["raw"][0]) + len(curve["mean"][0] if curve["mean"] else []) for curve in curves]
    assert max(points) <= MOST_POINTS + MOST_MEANS
    loss = next(chart for chart in charts if chart["id"] == "loss")["curves"][0]["raw"]
    assert dict(zip(*loss, strict=True))[7001] == 99
    assert len(json.dumps(charts)) < 600_000


def test_accuracy_starts_with_the_score_before_and_ends_with_the_one_after(tmp_path):
    folder = make_run(tmp_path / "run", steps=30)
    with (folder / "metrics.jsonl").open("a") as file:
        file.write('{"step": 10, "eval/new_skill": 0.5}\n')
    steps, accuracies = values(only(folder), "eval/new_skill")
    assert (steps.tolist(), accuracies.tolist()) == ([0, 10, 30], [0.0, 0.5, 0.75])


def test_the_stages_of_a_step_add_up_to_its_seconds(tmp_path):
    folder = make_run(tmp_path / "run", steps=5)
    chart = next(chart for chart in payload(read_runs([str(folder)])) if chart["id"] == "seconds-0")
    assert chart["lines"] == ["rollout", "waiting", "student", "optimizer", "other"]
    sums = [sum(at) for at in zip(*chart["stages"].values(), strict=True)]
    assert sums == pytest.approx(only(folder).series("seconds")[1].tolist(), rel=1e-3)


# ---- tokens


def test_the_colour_of_a_token_grows_with_its_divergence_up_to_ten_nats():
    sizes = [0.0, 0.01, 0.1, 0.3, 1.0, 3.0, 9.0]
    levels = [int(heatmap.colour(size)[1:]) for size in sizes]
    assert levels == [0, 0, 3, 6, 10, 15, 20]
    assert heatmap.colour(10.0) == heatmap.colour(1e9) == "p20"
    assert heatmap.colour(-10.0) == "n20" and heatmap.colour(-1e-6) == "p0"
    assert heatmap.colour(None) == "out"


@settings(deadline=None)
@given(st.floats(0, 50), st.floats(0, 50))
def test_a_larger_divergence_never_has_a_paler_colour(one, other):
    paler, stronger = sorted([one, other])
    assert int(heatmap.colour(paler)[1:]) <= int(heatmap.colour(stronger)[1:])


def test_what_is_not_seen_of_a_token_is_shown_by_a_sign():
    assert heatmap.visible(" a\tb\n") == "·a⇥b⏎"
    assert heatmap.visible("") == heatmap.visible("\x07") == "◌"
    assert heatmap.token("x\n\n", None).newlines == 2


@settings(deadline=None)
@given(st.integers(0, 500), st.integers(1, 50))
def test_samples_are_spread_from_the_first_to_the_last(count, limit):
    chosen = heatmap.spread(count, limit)
    assert len(chosen) == min(count, limit) == len(set(chosen))
    assert not chosen or (limit == 1 and chosen == [0]) or (chosen[0], chosen[-1]) == (0, count - 1)


def test_a_sample_with_missing_or_infinite_divergences_and_tops_is_shown_with_what_it_has():
    sample = heatmap.parse_sample(
        {
            "step": 1,
            "tokens": ["a", "b", "c"],
            "divergence": [0.5, float("inf")],
            "student_top": [None, [["b ", -0.1], ["c", float("-inf")]]],
        }
    )
    assert [token.colour for token in sample.tokens] == [heatmap.colour(0.5), "out", "out"]
    assert sample.mean == 0.5
    assert json.loads(heatmap.details_json([[sample]])) == [[[[0.5], [None, [["b·", -0.1]], None], [None]]]]


# ---- changed answers


def test_changed_answers_are_counted_and_those_whose_golden_text_gained_most_come_first(tmp_path):
    folder = make_run(tmp_path / "run")
    after = json.loads((folder / "scores_after.json").read_text())
    after["answers"]["new_skill"][7]["nll"] = -3.0
    (folder / "scores_after.json").write_text(json.dumps(after))
    found = changes(only(folder), ["new_skill", "prior_skills"], limit=3)
    assert found.counts["New skill"] == {"better": 30, "worse": 0, "right": 0, "wrong": 10}
    assert found.counts["Prior skills"] == {"better": 0, "worse": 6, "right": 54, "wrong": 0}
    assert len(found.better) == len(found.worse) == 3
    first = found.better[0]
    assert (first.id, first.prompt, first.golden, first.after) == (
        "new_skill-7",
        "Question 7 ",
        "golden 7 ",
        "after 7 ",
    )


def test_answers_whose_data_file_is_gone_are_shown_without_prompts_and_the_page_says_why(tmp_path):
    folder = make_run(tmp_path / "run", config={"eval_data_path": "gone/eval.json"})
    found = changes(only(folder), ["new_skill"], limit=3)
    assert found.better[0].prompt is None and found.better[0].after
    assert "gone/eval.json is not here" in report(folder)


# ---- cards


def test_no_secret_reaches_the_page(tmp_path):
    config = {"hub_token": "hf_verysecret", "wandb_api_key": "k-verysecret", "max_tokens_per_microbatch": 4096}
    config["vllm_server_base_url"] = "http://user:verysecret@teacher:8000"
    html = report(make_run(tmp_path / "run", config=config))
    assert "verysecret" not in html
    assert "4096" in html and "http://***@teacher:8000" in html


@pytest.mark.parametrize(
    ("seconds", "said"), [(8.44, "8.4 s"), (65, "1 min 5 s"), (3600, "1 h 0 min"), (10_980, "3 h 3 min")]
)
def test_durations_are_said_as_people_say_them(seconds, said):
    assert cards.duration(seconds) == said


def test_the_data_card_says_what_generate_left_beside_the_training_rows(tmp_path):
    folder = make_run(tmp_path / "run")
    beside = {"model": "glm-4.7", "recipe": "qa", "accepted": 0.81}
    (tmp_path / "run-data" / "generation_report.json").write_text(json.dumps(beside))
    card = cards.data(only(folder))
    assert card["Generated by"] == "glm-4.7, recipe qa, 81% of candidates good"
    assert card["Demonstrations"] == "teacher: 40 written, 2 replaced, 0 dropped"


# ---- the page


def test_every_text_of_the_data_stays_a_text(tmp_path):
    named = tmp_path / "<b onclick=alert(1)>"
    html = report(make_run(named, text=EVIL, config={"output_dir": EVIL, "objective": EVIL}, objective=EVIL))
    elements = Elements(html)
    assert len(elements.all("script")) == 4 and not elements.all("img")
    assert not any(name.startswith("on") for _, attributes in elements.tags for name in attributes)
    assert any(EVIL in text for text in elements.texts)


def test_the_page_needs_no_network_and_allows_only_its_own_two_scripts(tmp_path):
    html = report(make_run(tmp_path / "run"))
    elements = Elements(html)
    assert not [a for _, a in elements.tags if {"src", "srcset", "action"} & a.keys()] and not elements.all("link")
    assert all(a["href"].startswith("#") for a in elements.all("a"))
    policy = next(a["content"] for a in elements.all("meta") if a.get("http-equiv") == "Content-Security-Policy")
    assert policy.startswith("default-src 'none'; script-src 'sha256-")
    assert "unsafe" not in policy.split("script-src")[1].split(";")[0]
    own = html.rsplit("<script>", 1)[1].split("</script>")[0]
    assert base64.b64encode(hashlib.sha256(own.encode()).digest()).decode() in policy


def test_the_same_run_gives_the_same_page(tmp_path):
    folder = make_run(tmp_path / "run")
    assert report(folder) == report(folder)


def test_an_unfinished_run_without_scores_samples_or_steps_says_what_is_missing(tmp_path):
    folder = make_run(tmp_path / "run", scores=False, summary=False, samples=0)
    (folder / "metrics.jsonl").unlink()
    (folder / "environment.json").unlink()
    html = report(folder)
    for said in ("unfinished", "No scores", "has logged no step yet", "no sample rollouts yet", "no answers from both"):
        assert said in html
    assert "There is no environment.json" in html


def test_a_run_that_was_scored_before_and_has_not_trained_yet_is_reported(tmp_path):
    folder = make_run(tmp_path / "run", steps=1, summary=False)
    (folder / "metrics.jsonl").unlink()
    (folder / "scores_after.json").unlink()
    assert "measured before training only" in report(folder)
    assert payload(read_runs([str(folder)])) == []


def test_an_sft_run_says_that_it_has_no_rollouts(tmp_path):
    html = report(make_run(tmp_path / "run", objective="sft"))
    assert "sft learns given texts, so there are no rollouts" in html
    assert "Token accuracy" in html


def test_runs_stand_side_by_side_in_the_order_given(tmp_path):
    folders = [make_run(tmp_path / name, objective=name) for name in ("sdft", "sft", "served")]
    elements = Elements(report(*folders))
    heads = [text.strip() for text in elements.texts if text.strip() in ("sdft", "sft", "served")]
    assert heads[:3] == ["sdft", "sft", "served"]
    assert [a["value"] for a in elements.all("input") if a.get("name") == "tokens-of"] == ["0", "1", "2"]


def test_rollouts_are_first_shown_of_a_run_that_has_some(tmp_path):
    folders = [make_run(tmp_path / name, objective=name) for name in ("sft", "sdft")]
    picked = {a["name"]: a.get("value") for a in Elements(report(*folders)).all("input") if "checked" in a}
    assert (picked["tokens-of"], picked["answers-of"]) == ("1", "0")


def test_no_more_samples_and_answers_than_asked_for_are_in_the_page(tmp_path):
    html = report(make_run(tmp_path / "run", samples=50), limits=Limits(samples=7, changes=2))
    assert html.count('<figure class="sample"') == 7
    assert html.count('<article class="changed') == 4
    assert re.search(r"Came right <small>2 of 30</small>", html)


# ---- files


def test_the_subcommand_writes_the_page_into_the_run_directory_and_says_where(tmp_path, capsys):
    folder = make_run(tmp_path / "run")
    assert run_report(resolved([folder])) == 0
    assert (folder / "report.html").read_text().startswith("<!doctype html>")
    assert re.match(rf"report: {folder}/report\.html \(2\.\d MB\)\n", capsys.readouterr().out)


def test_a_report_that_cannot_be_written_is_an_error_that_names_the_flag(tmp_path):
    folder = make_run(tmp_path / "run")
    with pytest.raises(UsageError, match=r"can't write .*gone/r\.html: .*--output_file FILE"):
        run_report(resolved([folder], output_file=str(tmp_path / "gone" / "r.html")))
    with pytest.raises(UsageError, match=r"can't write to .*config\.yaml: .*--plots FOLDER"):
        run_report(resolved([folder], plots=str(folder / "config.yaml")))


def test_plots_are_written_at_the_resolution_of_papers_and_again_to_the_same_bytes(tmp_path):
    runs = read_runs([str(make_run(tmp_path / name, objective=name)) for name in ("sdft", "sft")])
    files = save_plots(runs, tmp_path / "plots")
    names = [f"{name}.{kind}" for name in ("loss", "kl", "accuracy", "seconds", "headline") for kind in ("png", "pdf")]
    assert [file.name for file in files] == names
    with Image.open(tmp_path / "plots" / "loss.png") as image:
        assert image.width == 1800 and image.info["dpi"][0] == pytest.approx(300, abs=0.1)
    name, figure = next(figures(runs))
    assert [file.read_bytes() for file in save(figure, tmp_path, name)] == [file.read_bytes() for file in files[:2]]


def test_plots_that_have_nothing_to_show_are_left_out(tmp_path):
    folder = make_run(tmp_path / "run", objective="sft", scores=False)
    write_lines(folder / "metrics.jsonl", [{"step": 1, "loss": 2.0}])
    assert [file.name for file in save_plots(read_runs([str(folder)]), tmp_path / "plots")] == ["loss.png", "loss.pdf"]


def test_config_values_of_any_kind_are_shown(tmp_path):
    card = cards.configuration(
        only(make_run(tmp_path / "run", config={"betas": [0.9, 0.95], "note": None, "deep": {"a": 1}}))
    )
    assert (card["betas"], card["note"], card["deep"], card["objective"]) == ("[0.9, 0.95]", "null", '{"a": 1}', "sdft")


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("summary.json", {"status": "finished", "tokens_per_second": "fast"}),
        ("summary.json", {"wall_seconds": {"train": [1]}}),
        ("scores_after.json", {"scores": {"new_skill": {"rows": 1}}, "answers": {"new_skill": [5]}}),
        ("scores_after.json", {"scores": "none"}),
    ],
)
def test_a_file_that_was_edited_to_another_kind_of_value_is_told_in_one_message(tmp_path, name, content):
    run = make_run(tmp_path / "run")
    (run / name).write_text(json.dumps(content))
    with pytest.raises(UsageError, match="holds another kind of value than `train` writes"):
        run_report(
            Resolved(Report(runs=(str(run),), output_file=None, plots=None, max_samples=2, max_changes=2), {}, {})
        )
