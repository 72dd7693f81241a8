"""Everything a user can get wrong ends in one plain message and the right exit code, before anything expensive."""

import json
import shutil

import pytest
from fake_teacher import FakeTeacher

from trainer.__main__ import main

ROW = {"prompt": "q", "golden_response": ["Action: a"]}


@pytest.fixture
def data(tmp_path):
    path = tmp_path / "train.json"
    path.write_text(json.dumps([ROW] * 4))
    return path


@pytest.fixture
def run(student_path, data, tmp_path, capsys, monkeypatch):
    """Runs `train` on the tiny student and gives its exit code and what it printed as an error."""

    def never(*arguments, **keywords):
        raise AssertionError("the weights were loaded before the mistake was found")

    monkeypatch.setattr("trainer.commands.train.load_student", never)
    defaults = {
        "--model_name_or_path": student_path, "--train_data_path": str(data), "--output_dir": str(tmp_path / "run"),
        "--num_prompts_per_batch": "4", "--max_prompt_length": "128", "--max_completion_length": "64",
    }  # fmt: skip

    def run(*argv):
        given = defaults | {argv[i]: argv[i + 1] for i in range(0, len(argv), 2)}
        code = main(["train", *(word for pair in given.items() for word in pair)])
        captured = capsys.readouterr()
        assert captured.err.splitlines()[-1].startswith("error: ")
        return code, captured.err.splitlines()[-1]

    return run


def test_a_missing_field_names_file_row_and_field(run, data):
    data.write_text(json.dumps([ROW, {"prompt": "q"}]))
    code, error = run()
    assert code == 2
    assert f"{data}, row 2: field 'golden_response' is missing" in error


def test_an_empty_dataset(run, data):
    data.write_text("[]")
    code, error = run()
    assert code == 2 and "has no rows; expected at least one" in error


def test_fewer_rows_than_a_step_needs(run):
    code, error = run("--num_prompts_per_batch", "5")
    assert code == 2 and "4 rows to train on, fewer than the 5 of one step" in error


def test_a_prompt_longer_than_the_limit(run, data):
    data.write_text(json.dumps([ROW] * 3 + [{"prompt": "word " * 3000, "golden_response": ["x"], "id": "long"}]))
    code, error = run()
    assert code == 2 and "row long" in error and "leaves room for" in error


def test_lengths_that_the_context_does_not_hold(run):
    code, error = run("--max_prompt_length", "4000")
    assert code == 2 and "has a context of" in error and "Lower one" in error


def test_an_unknown_flag(run):
    code, error = run("--lerning_rate", "1")
    assert code == 2 and "unknown setting 'lerning_rate'" in error and "Did you mean 'learning_rate'" in error


def test_an_output_folder_that_cannot_be_written(run, data):
    code, error = run("--output_dir", str(data / "run"))
    assert code == 2 and "can't write to the output folder" in error and "--output_dir" in error


def test_a_student_folder_without_a_tokenizer(run, student_path, tmp_path):
    bare = tmp_path / "bare"
    shutil.copytree(student_path, bare, ignore=shutil.ignore_patterns("tokenizer*"))
    code, error = run("--model_name_or_path", str(bare))
    assert code == 2 and f"no tokenizer at '{bare}'" in error and "tokenizer.json" in error


def test_a_student_that_is_not_there(run, tmp_path):
    code, error = run("--model_name_or_path", str(tmp_path / "none"))
    assert code == 2 and "the folder does not exist" in error


def test_an_objective_that_contradicts_its_demonstrations(run):
    code, error = run("--objective", "sft", "--demonstrations", "teacher")
    assert code == 2 and "learns from golden texts" in error


@pytest.mark.parametrize("argv", [("--objective", "seqkd"), ("--demonstrations", "teacher")])
def test_a_teacher_that_is_needed_and_not_named(run, argv):
    code, error = run(*argv)
    assert code == 2 and "needs its URL" in error and "train http://localhost:8000" in error


def test_an_unreachable_teacher(run):
    code, error = run("--vllm_server_base_url", "http://127.0.0.1:9", "--teacher_patience", "0")
    assert code == 3 and "127.0.0.1:9" in error and "docker compose up" in error


def test_a_teacher_that_serves_another_model(run):
    with FakeTeacher(served=["qwen"]) as teacher:
        code, error = run("--vllm_server_base_url", teacher.url)
    assert code == 3 and "does not serve 'glm-4.7'; it serves qwen" in error and "--vllm_server_model" in error


def test_a_teacher_that_refuses_the_key(run):
    with FakeTeacher(api_key="right") as teacher:
        code, error = run("--vllm_server_base_url", teacher.url, "--vllm_server_api_key", "sk-wrong")
    assert code == 3 and "401" in error and "SDFT_VLLM_SERVER_API_KEY" in error and "sk-wrong" not in error


def test_a_folder_of_adapters_as_the_student_to_train(run, student_path, tmp_path):
    (tmp_path / "adapter_config.json").write_text(json.dumps({"base_model_name_or_path": student_path}))
    code, error = run("--model_name_or_path", str(tmp_path))
    assert code == 2 and "holds LoRA adapters" in error and "merge_and_unload" in error


def test_adapters_of_an_earlier_run_as_the_student_to_train(run, student_path, tmp_path):
    checkpoint = tmp_path / "first" / "checkpoint-2"
    checkpoint.mkdir(parents=True)
    (checkpoint / "adapter_config.json").write_text(json.dumps({"base_model_name_or_path": student_path}))
    (checkpoint.parent / "config.yaml").touch()
    code, error = run("--model_name_or_path", str(checkpoint))
    assert code == 2 and f"trainer export {checkpoint.parent} --checkpoint 2 --output_dir MODEL`." in error


def test_checkpoints_of_an_unknown_run(run, tmp_path):
    (tmp_path / "run" / "checkpoint-2").mkdir(parents=True)
    code, error = run()
    assert code == 2 and "no config.yaml says which run it is of" in error


@pytest.mark.parametrize("value", ["-1", "99999999999"])
def test_a_seed_out_of_range(run, value):
    code, error = run("--seed", value)
    assert code == 2 and "seed" in error and "at least 0" in error


def test_a_micro_batch_of_nothing(run):
    code, error = run("--per_device_train_batch_size", "0")
    assert code == 2 and "expected at least 1" in error


def test_a_template_without_its_places(run):
    code, error = run("--teacher_prompt_template", "no places")
    assert code == 2 and "{demonstration}" in error


def test_no_subcommand_and_an_unknown_one_show_the_usage(capsys):
    assert main([]) == 2 and "usage: python -m trainer" in capsys.readouterr().out
    assert main(["trian"]) == 2 and "unknown subcommand 'trian'" in capsys.readouterr().err


def test_a_row_that_the_chat_template_refuses_is_named_or_dropped_before_the_weights_load(run, data, tmp_path):
    template = tmp_path / "strict.jinja"
    template.write_text(
        "{% if messages[0].role == 'system' %}{{ raise_exception('System role not supported') }}{% endif %}"
        "{% for m in messages %}{{ m.content }}<|im_end|>{% endfor %}"
    )
    prompt = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "q"}]
    data.write_text(json.dumps([ROW] * 3 + [ROW | {"prompt": prompt}]))
    code, error = run("--chat_template", str(template))
    assert code == 2 and f"{data}, row 4: " in error and "roles system, user: System role not supported" in error
    code, error = run("--chat_template", str(template), "--skip_bad_rows", "true")
    assert code == 2 and "there are 3 rows to train on, fewer than the 4 of one step" in error


def test_half_a_character_is_named_by_row_and_field(run, data):
    data.write_text(json.dumps([ROW] * 3 + [ROW | {"golden_response": ["\ud83d"]}]))
    code, error = run()
    assert code == 2 and f"{data}, row 4: field 'golden_response' has half of a surrogate pair" in error
