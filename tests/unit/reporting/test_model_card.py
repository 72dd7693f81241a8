"""The model card: figures with their intervals, what was lost, and metadata that the model hub takes."""

import json
from pathlib import Path

import pytest
import yaml
from huggingface_hub import ModelCard
from made_runs import make_run

from trainer.reporting.headline import change
from trainer.reporting.model_card import model_card
from trainer.reporting.runs import read_run
from trainer.run.chosen import Chosen
from trainer.settings.options import Export


def card_of(folder: Path, settings: Export | None = None, *, is_best: bool = False, is_last: bool = True) -> ModelCard:
    chosen = Chosen(folder / "checkpoint-30", 30, "the last", is_last, is_best)
    return ModelCard(
        model_card(read_run(folder, folder.name), chosen, settings or Export(output_dir="m"), "as it was.")
    )


def line_of(card: ModelCard, beginning: str) -> list[str]:
    return next(line for line in card.text.splitlines() if line.startswith(f"| {beginning}")).strip("| ").split(" | ")


def test_accuracies_and_their_difference_have_the_intervals_of_the_report(tmp_path):
    folder = make_run(tmp_path / "run")
    card, told = card_of(folder), change(read_run(folder, "run"), "new_skill")
    assert told.interval is not None and told.after is not None and told.after.interval is not None
    title, rows, before, after, difference, verdict = line_of(card, "New skill")
    assert (title, rows, verdict) == ("New skill", "40", "better")
    low, high = 100 * told.after.interval.low, 100 * told.after.interval.high
    assert before.startswith("0.0") and after.replace("\u00a0", " ") == f"75.0 % ({low:.1f}–{high:.1f})"
    assert difference == f"+75.0 (+{100 * told.interval.low:.1f} to +{100 * told.interval.high:.1f})"
    result = {each.dataset_name.split(" (")[0]: each for each in card.data.eval_results}["New skill"]
    assert (result.metric_value, result.metric_args["before"], result.metric_args["rows"]) == (0.75, 0.0, 40)


def test_what_was_lost_stands_among_what_it_must_not_be_taken_for(tmp_path):
    text = card_of(make_run(tmp_path / "run")).text
    limits = text.partition("## What it must not be taken for")[2].partition("##")[0]
    assert "It forgot: prior skills changed by −10.0 points" in limits
    assert "Of the new skill's rows it gets 25.0" in limits
    assert "rounded to bfloat16" in limits and "safe, fair or true was not measured" in limits


def test_groups_of_prior_skills_that_fell_by_much_are_named(tmp_path):
    folder = make_run(tmp_path / "run")
    for moment, accuracy in (("before", 1.0), ("after", 0.5)):
        file = folder / f"scores_{moment}.json"
        content = json.loads(file.read_text())
        groups = {"sums": {"rows": 20, "accuracy": accuracy}, "few": {"rows": 2, "accuracy": accuracy}}
        content["scores"]["prior_skills"]["by"] = {"skill": groups}
        file.write_text(json.dumps(content))
    text = card_of(folder).text
    assert "skill sums: 100.0" in text and "skill few" not in text


def test_a_run_without_scores_says_that_nothing_was_measured(tmp_path):
    card = card_of(make_run(tmp_path / "run", scores=False))
    assert card.data.eval_results is None
    for sentence in ("Not measured for this checkpoint.", "What it forgot was not measured"):
        assert sentence in card.text


def test_a_checkpoint_that_was_chosen_by_its_scores_says_that_these_flatter_it(tmp_path):
    assert "chosen by these very rows" in card_of(make_run(tmp_path / "run"), is_best=True).text


@pytest.mark.parametrize(
    ("config", "metadata"),
    [
        ({"model_name_or_path": "Qwen/Qwen3-0.6B"}, {"base_model": "Qwen/Qwen3-0.6B"}),
        ({"model_name_or_path": "/models/mine"}, {"base_model": None}),
        ({"train_data_path": "openai/gsm8k:main#train"}, {"datasets": ["openai/gsm8k"]}),
        ({"train_data_path": "/data/rows.json"}, {"datasets": None}),
        ({"use_peft": True}, {"tags": ["self-distillation", "sdft", "lora"]}),
    ],
)
def test_the_metadata_names_what_is_on_the_hub_and_nothing_else(tmp_path, config, metadata):
    data = card_of(make_run(tmp_path / "run", config=config)).data.to_dict()
    assert {name: data.get(name) for name in metadata} == metadata


def test_the_licence_is_what_the_base_models_card_names(tmp_path):
    base = tmp_path / "base"
    base.mkdir()
    (base / "README.md").write_text("---\nlicense: apache-2.0\n---\n# Base\n")
    (base / "config.json").write_text("{}")
    card = card_of(make_run(tmp_path / "run", config={"model_name_or_path": str(base)}))
    assert card.data.license == "apache-2.0" and "licence" not in card.text


def test_the_settings_make_a_run_again_and_hold_no_defaults_and_no_secrets(tmp_path):
    more = {"alpha": 0.5, "hub_token": "hf_secret", "vllm_server_base_url": "http://inner:8000", "seed": 42}
    text = card_of(make_run(tmp_path / "run", config=more)).text
    settings = yaml.safe_load(text.partition("```yaml\n")[2].partition("```")[0])
    assert settings["alpha"] == 0.5 and settings["hub_token"] == "***"
    assert not {"seed", "vllm_server_base_url", "output_dir"} & settings.keys()
    assert "sdft train http://localhost:8000 --config config.yaml" in text  # its demonstrations were the teacher's
    assert "inner" not in text and "hf_secret" not in text


def test_a_text_of_the_data_can_not_break_the_tables(tmp_path):
    folder = make_run(tmp_path / "run")
    (folder / "environment.json").write_text(json.dumps({"device": "a | b\n| c |", "files": {"x|y.json": "12"}}))
    text = card_of(folder).text
    assert "1 × a \\| b \\| c \\|" in text and "| x\\|y.json | `12` |" in text
