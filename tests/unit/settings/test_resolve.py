"""Where settings come from, and what happens to a key that means nothing."""

import dataclasses
import subprocess
import sys

import pytest

from trainer.__main__ import main
from trainer.errors import UsageError
from trainer.settings.options import Train
from trainer.settings.resolve import resolve, show
from trainer.settings.server_url import read_urls


def test_the_command_line_wins_over_the_file_the_file_over_the_environment_and_that_over_defaults(tmp_path):
    file = tmp_path / "run.yaml"
    file.write_text("seed: 2\nlearning_rate: 2.0e-4\n")
    environ = {"SDFT_SEED": "3", "SDFT_LEARNING_RATE": "3e-4", "SDFT_SAVE_STEPS": "33"}
    resolved = resolve("train", ["--config", str(file), "--seed", "1"], environ)
    settings = resolved.settings
    assert (settings.seed, settings.learning_rate, settings.save_steps) == (1, 2e-4, 33)
    assert settings.num_prompts_per_batch == Train().num_prompts_per_batch
    origins = [resolved.origins[key] for key in ("seed", "learning_rate", "save_steps", "num_prompts_per_batch")]
    assert origins == ["command line", f"file {file}", "SDFT_SAVE_STEPS", "default"]


@pytest.mark.parametrize(
    "url", ["http://localhost:8000", "localhost:8000", "http://localhost:8000/v1/", "localhost:8000/"]
)
def test_the_first_positional_argument_is_the_teachers_url_in_any_common_spelling(url):
    assert resolve("train", [url, "--seed", "1"], {}).settings.vllm_server_base_url == "http://localhost:8000"
    assert read_urls("https://teacher.example/v1") == "https://teacher.example"


def test_several_urls_of_a_teacher_are_each_taken_in_any_common_spelling():
    assert read_urls("a:8000, https://b/v1/ ,http://c:1/,") == "http://a:8000,https://b,http://c:1"
    resolved = resolve("train", ["localhost:8000,localhost:8001", "--seed", "1"], {})
    assert resolved.settings.vllm_server_base_url == "http://localhost:8000,http://localhost:8001"


def test_the_value_of_a_flag_of_trl_is_not_taken_for_the_url():
    resolved = resolve("train", ["--logging_steps", "5", "--bf16", "--seed", "1"], {})
    assert resolved.settings.vllm_server_base_url is None
    assert resolved.extra == {"logging_steps": "5", "bf16": "true"}


@pytest.mark.parametrize("argv", [["--modle", "x"], ["--modl=x"], ["--base-ulr", "x"]])
def test_an_unknown_flag_is_an_error_that_names_the_nearest_known_one(argv):
    with pytest.raises(UsageError, match=r"Did you mean '(model|base_url)'"):
        resolve("generate", argv, {})


def test_an_unknown_key_of_the_file_or_the_environment_is_an_error_that_names_its_origin(tmp_path):
    file = tmp_path / "eval.yaml"
    file.write_text("max_eval_sample: 3\n")
    with pytest.raises(UsageError, match=r"max_eval_sample.*eval\.yaml.*max_eval_samples"):
        resolve("eval", ["--config", str(file)], {})
    with pytest.raises(UsageError, match=r"SDFT_LERNING_RATE.*learning_rate"):
        resolve("train", [], {"SDFT_LERNING_RATE": "1"})


SERVICE = {
    "SDFT_TRAINER_PORT": "tcp://10.0.0.7:6006",
    "SDFT_TRAINER_SERVICE_HOST": "10.0.0.7",
    "SDFT_TRAINER_SERVICE_PORT": "6006",
    "SDFT_TRAINER_SERVICE_PORT_HTTP": "6006",
    "SDFT_TRAINER_PORT_6006_TCP": "tcp://10.0.0.7:6006",
    "SDFT_TRAINER_PORT_6006_TCP_ADDR": "10.0.0.7",
    "SDFT_TRAINER_PORT_6006_TCP_PROTO": "tcp",
    "SDFT_SEED_PORT": "tcp://10.0.0.8:80",
}


def test_what_a_platform_puts_into_the_environment_for_a_service_is_ignored(capsys):
    assert resolve("check", [], SERVICE).settings == resolve("check", [], {}).settings
    assert capsys.readouterr().err == ""


def test_a_variable_that_is_no_setting_and_resembles_none_is_told_of_and_ignored(capsys):
    assert resolve("check", [], {"SDFT_HOME": "/srv"}).settings == resolve("check", [], {}).settings
    assert capsys.readouterr().err == "warning: the environment variable SDFT_HOME is no setting, and is ignored\n"


def test_a_variable_for_another_subcommand_or_an_empty_one_is_no_error():
    resolve("check", [], {"SDFT_OUT_DIR": "x", "SDFT_SEED": ""})


@pytest.mark.parametrize(
    ("argv", "expected"),
    [
        (["--seed", "x"], "a whole number"),
        (["--seed", "1.5"], "a whole number"),
        (["--dry_run", "maybe"], "true or false"),
        (["--objective", "sftt"], "sdft, served, seqkd, sft"),
        (["--alpha", "2"], "at least 0 and at most 1"),
        (["--temperature", "nan"], "at least"),
    ],
)
def test_a_value_of_a_wrong_kind_is_an_error_that_says_what_was_expected(argv, expected):
    with pytest.raises(UsageError, match=expected):
        resolve("train", argv, {})


@pytest.mark.parametrize(
    ("subcommand", "argv", "name"),
    [
        ("train", ["--output_dir", ""], "output_dir"),
        ("train", ["--eval_data_path", " "], "eval_data_path"),
        ("train", ["--vllm_server_api_key", ""], "vllm_server_api_key"),
        ("check", [""], "vllm_server_base_url"),
        ("report", ["outputs/sdft", ""], "runs"),
    ],
)
def test_an_empty_text_as_a_variable_that_is_not_set_gives_it_is_refused(subcommand, argv, name):
    with pytest.raises(UsageError, match=rf"{name}=.*this is empty\. Perhaps a variable of the shell is not set"):
        resolve(subcommand, argv, {})


def test_a_file_that_is_missing_or_no_mapping_is_an_error_that_names_it(tmp_path):
    with pytest.raises(UsageError, match=r"none\.yaml"):
        resolve("train", ["--config", str(tmp_path / "none.yaml")], {})
    (tmp_path / "list.yaml").write_text("- 1\n")
    with pytest.raises(UsageError, match=r"list\.yaml holds a list"):
        resolve("train", ["--config", str(tmp_path / "list.yaml")], {})


def test_secrets_are_never_shown():
    resolved = resolve("train", ["--vllm_server_api_key", "sk-very-secret"], {})
    assert resolved.settings.vllm_server_api_key == "sk-very-secret"
    assert "sk-very-secret" not in show(resolved)


def test_every_setting_is_shown_with_its_origin():
    lines = show(resolve("train", ["--seed", "7", "--warmup_steps", "3"], {})).splitlines()
    assert len(lines) == len(dataclasses.fields(Train)) + 1
    assert any(line.split() == ["seed", "7", "(command", "line)"] for line in lines)
    assert any(line.split() == ["warmup_steps", "3", "(command", "line)"] for line in lines)


@pytest.mark.parametrize("argv", [["--help"], ["train", "--help"], ["generate", "--help"]])
def test_help_answers_without_importing_torch(argv):
    code = (
        f"import sys\nfrom trainer.__main__ import main\n"
        f"try:\n    main({argv!r})\nfinally:\n    assert 'torch' not in sys.modules"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "usage: python -m trainer" in done.stdout


@pytest.mark.parametrize("words", [
    ["http://h:1", "--max_steps", "2"], ["--max_steps", "2", "http://h:1"], ["--dry_run", "http://h:1", "--seed", "3"],
    ["--seed=3", "http://h:1"], ["--vllm_server_base_url", "http://h:1"], ["--vllm-server-base-url", "http://h:1"],
])  # fmt: skip
def test_the_servers_url_counts_wherever_it_stands(words):
    assert str(resolve("train", words, {}).settings.vllm_server_base_url) == "http://h:1"


def test_a_url_behind_a_flag_is_that_flags_value():
    found = resolve("train", ["--hub_place", "http://h:1", "--train_data_path", "https://x/y.json"], {})
    assert found.settings.vllm_server_base_url is None and found.settings.train_data_path == "https://x/y.json"
    assert found.extra == {"hub_place": "http://h:1"}


def test_dashes_in_flags_are_underscores_and_those_in_values_stay():
    words = ["--teacher_prompt_template", "--- {prompt} - {demonstration}"]
    found = resolve("train", [*words, "--learning-rate", "1e-5", "--lr-scheduler-type=cosine-x"], {})
    assert found.settings.teacher_prompt_template == words[1]
    assert found.settings.learning_rate == 1e-5 and found.extra == {"lr_scheduler_type": "cosine-x"}


@pytest.mark.parametrize(("subcommand", "flag", "name"), [
    ("train", "lr", "learning_rate"), ("train", "model", "model_name_or_path"),
    ("check", "url", "vllm_server_base_url"), ("eval", "max_tokens", "max_completion_length"),
    ("train", "lora", "use_peft"),
])  # fmt: skip
def test_a_name_from_elsewhere_is_answered_with_ours(subcommand, flag, name):
    with pytest.raises(UsageError, match=f"unknown setting '{flag}' .* Did you mean '{name}'"):
        resolve(subcommand, [f"--{flag}", "1"], {})


@pytest.mark.parametrize(("words", "said"), [
    (["--version"], "self-distillation 0."), (["help"], "usage: python -m trainer SUBCOMMAND"),
])  # fmt: skip
def test_the_version_and_the_help_are_told(capsys, words, said):
    assert main(words) == 0 and capsys.readouterr().out.startswith(said)


def test_help_of_a_subcommand_is_its_help(capsys):
    with pytest.raises(SystemExit) as ended:
        main(["help", "check"])
    assert ended.value.code == 0 and "check [URL]" in capsys.readouterr().out
