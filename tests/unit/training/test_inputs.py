"""What is said of settings before anything is trained."""

import json

import pytest

from trainer.commands.train import run
from trainer.errors import UsageError
from trainer.settings.resolve import resolve
from trainer.training.inputs import read_inputs


@pytest.fixture
def said(tiny_world, tmp_path, capsys):
    """The warnings of a dry run, those that hold a text."""

    def warnings(text, *words):
        files = ("--model_name_or_path", tiny_world / "student", "--train_data_path", tiny_world / "train_data.json")
        more = ("--local_files_only", "--use_cpu", "true", "--output_dir", tmp_path / "run", "--dry_run")
        run(resolve("train", [str(word) for word in (*files, *more, *words)], {}))
        return [line for line in capsys.readouterr().out.splitlines() if text in line]

    return warnings


@pytest.mark.parametrize(
    ("words", "warning"),
    [
        (("--objective", "sft", "--alpha", "0.5"), "--alpha has no effect with --objective sft"),
        (("--teacher_top_k", "10"), "--teacher_top_k has no effect with --objective sdft"),
        (("--objective", "sft", "--show_context", "auto"), "--show_context has no effect with --objective sft"),
        (
            ("--objective", "sft", "--teacher_kind", "base", "--temperature", "0.7"),
            "--teacher_kind, --temperature have no effect with --objective sft",
        ),
    ],
)
def test_what_was_asked_for_and_does_nothing_is_named(said, words, warning):
    assert said("no effect", *words) == [f"warning: {warning}"]


def test_a_setting_of_adapters_without_adapters_is_refused(said):
    with pytest.raises(UsageError, match="found --lora_r 8 without --use_peft: all weights would be trained"):
        said("", "--lora_r", "8")
    assert said("without --use_peft", "--lora_r", "16") == []


def test_a_name_that_no_setting_has_is_told_before_the_model_is_looked_for(said):
    with pytest.raises(UsageError, match="vllm_server_api_keyy"):
        said("", "--model_name_or_path", "nowhere/nothing", "--vllm_server_api_keyy", "x")


@pytest.mark.parametrize("words", [(), ("--alpha", "0.5"), ("--objective", "sft", "--alpha", "0.0")])
def test_nothing_is_named_that_has_an_effect_or_is_as_it_was(said, words):
    assert said("no effect", *words) == []


def test_adapters_at_the_learning_rate_of_all_weights_are_told_what_they_usually_get(said):
    (found,) = said("LoRA adapters", "--use_peft")
    assert found.startswith("warning: --learning_rate 2e-05 is ") and found.endswith(
        "ten times as much: --learning_rate 0.0002"
    )


@pytest.mark.parametrize(
    "words", [(), ("--use_peft", "--learning_rate", "2e-5"), ("--use_peft", "--learning_rate", "1e-4")]
)
def test_nothing_is_said_of_a_learning_rate_that_was_chosen_or_is_for_all_weights(said, words):
    assert said("LoRA adapters", *words) == []


@pytest.fixture
def short(tmp_path):
    """Rows whose answers have a few tokens."""
    rows = [{"prompt": f"Turn device {n} on.", "golden_response": [f"ACT {n};"]} for n in range(40)]
    path = tmp_path / "short.json"
    path.write_text(json.dumps(rows))
    return ("--train_data_path", path)


def test_answers_of_which_a_good_part_is_left_out_of_the_loss_are_told_with_what_to_type(said, short):
    (found,) = said("left out of the loss", *short)
    assert found.startswith("warning: half of the golden responses have ") and "--num_loss_tokens_to_skip 0" in found


def test_nothing_is_said_of_answers_that_are_long_or_wholly_in_the_loss(said, short):
    assert said("left out of the loss") == []
    assert said("left out of the loss", *short, "--num_loss_tokens_to_skip", "0") == []
    assert said("left out of the loss", *short, "--objective", "sft") == []


TEACHES = ("--teacher_kind", "base", "--teacher_model_name_or_path")


def test_another_model_that_teaches_is_one_of_the_files_that_decide(tiny_world, tmp_path):
    files = ("--model_name_or_path", tiny_world / "student", "--train_data_path", tiny_world / "train_data.json")
    more = ("--local_files_only", "--use_cpu", "true", "--output_dir", tmp_path / "run", *TEACHES)
    resolved = resolve("train", [str(word) for word in (*files, *more, tiny_world / "teacher")], {})
    assert str(tiny_world / "teacher" / "model.safetensors") in read_inputs(resolved).files


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (
            ("--teacher_model_name_or_path", "teacher"),
            "found --objective sdft --teacher_kind ema. Pass --objective sdft --teacher_kind base",
        ),
        (
            ("--objective", "sft", *TEACHES, "teacher"),
            "found --objective sft --teacher_kind base. Pass --objective sdft --teacher_kind base",
        ),
        (
            ("--objective", "auto", *TEACHES, "teacher"),
            "--objective auto measures what the student makes of a demonstration, and --teacher_model_name_or_path is",
        ),
        ((*TEACHES, "teacher_other_tokenizer"), "Serve it with vLLM, and pass its URL and --objective served"),
        ((*TEACHES, "context"), "no model at .*context': there is no config.json. Pass FOLDER|HUB_NAME of one"),
    ],
)
def test_a_model_that_can_not_teach_is_refused(said, tiny_world, words, message):
    *flags, name = words
    with pytest.raises(UsageError, match=message):
        said("", *flags, tiny_world / name)
