"""What no nearer place has a message for ends in one all the same: odd paths, odd machines, very long values."""

import errno
import json
import os
import time
from itertools import pairwise

import pytest

from trainer.__main__ import main
from trainer.commands.train import result_of
from trainer.errors import UsageError
from trainer.settings.yaml_files import read_yaml_file

LONG_NAME = "x" * 300


@pytest.mark.parametrize(
    "words",
    [
        ["report", LONG_NAME],
        ["export", LONG_NAME, "--output_dir", "out"],
        ["eval", "--served", "http://127.0.0.1:9", "--tools", LONG_NAME],
        ["generate", "--prompts", LONG_NAME],
        ["train", "--dry_run", "--local_files_only", "--model_name_or_path", LONG_NAME],
    ],
)
def test_a_name_that_is_too_long_for_a_file_is_wrong_usage(words, capsys):
    assert main(words) == 2
    said = capsys.readouterr().err
    assert said.splitlines()[-1].startswith("error: ") and "File name too long" in said


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EFBIG])
def test_a_library_that_finds_no_room_for_a_temporary_file_ends_in_a_message(number, monkeypatch, capsys):
    def full(*_):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr("trainer.commands.report.run", full)
    assert main(["report", "run"]) == 1
    said = capsys.readouterr().err
    assert said.startswith(f"error: {os.strerror(number)}: a file could not be written") and "TMPDIR" in said


def test_half_an_address_is_no_server_and_is_not_waited_for(capsys):
    began = time.monotonic()
    assert main(["eval", "--served", "http://0.0", "--eval_data_path", "data/tiny_world/eval_data.json"]) == 3
    said = capsys.readouterr().err
    assert "no address of a server: 0.0" in said and "http://127.0.0.1:8000" in said
    assert time.monotonic() - began < 60  # --teacher_patience is 120


BOMB = "a: &a [1, 2, 3, 4, 5, 6, 7, 8, 9]\n" + "".join(
    f"{name}: &{name} [{', '.join([f'*{before}'] * 9)}]\n" for before, name in pairwise("abcdefghij")
)


@pytest.mark.parametrize(
    "words",
    [
        ["generate", "--recipe", "tooluse", "--tools"],
        ["generate", "--recipe"],
        ["train", "--dry_run", "--config"],
    ],
)
def test_aliases_that_stand_for_billions_of_values_are_refused_wherever_yaml_is_read(words, tmp_path, capsys):
    (tmp_path / "bomb.yaml").write_text(BOMB)
    assert main([*words, str(tmp_path / "bomb.yaml")]) == 2
    assert "its aliases (*name) stand for 4,412,961,506 values, expected at most 1,000,000" in capsys.readouterr().err


def test_a_few_aliases_are_followed(tmp_path):
    (tmp_path / "few.yaml").write_text("- &a {learning_rate: 1}\n- *a\n")
    assert read_yaml_file(tmp_path / "few.yaml") == [{"learning_rate": 1}] * 2


def test_a_summary_whose_parts_are_something_else_is_damaged(tmp_path):
    with pytest.raises(UsageError, match=r"summary.json is damaged: scores is no object"):
        result_of(tmp_path, {"scores": "none"})


def test_a_message_that_quotes_much_loses_its_middle(capsys):
    assert main(["train", "--seed", "word " * 5000]) == 2
    said = capsys.readouterr().err
    assert (
        said.startswith("error: seed='word word") and said.endswith("expected a whole number.\n") and len(said) < 2100
    )


@pytest.mark.parametrize(("name", "value"), [("WORLD_SIZE", "one"), ("LOCAL_WORLD_SIZE", "0"), ("LOCAL_RANK", "x")])
def test_what_tells_processes_of_each_other_and_is_no_number_is_named(monkeypatch, capsys, name, value):
    monkeypatch.setenv(name, value)
    assert main(["check"]) == 2
    assert f"error: found {name}={value} in the environment, expected a whole number" in capsys.readouterr().err


@pytest.mark.parametrize("size", [None, "1"])
def test_a_rank_that_no_process_of_so_many_has_is_refused_before_anything_is_trained(monkeypatch, capsys, size):
    monkeypatch.setenv("RANK", "1")
    if size:
        monkeypatch.setenv("WORLD_SIZE", size)
    assert main(["train", "--train_data_path", "rows.json"]) == 2
    assert "found RANK=1 in the environment, expected less than WORLD_SIZE" in capsys.readouterr().err


def test_a_reporter_that_is_no_name_is_refused(student_path, tmp_path, capsys):
    rows = tmp_path / "rows.json"
    rows.write_text(json.dumps([{"prompt": "q?", "golden_response": "a."}] * 4))
    words = ["train", "--dry_run", "--local_files_only", "--model_name_or_path", student_path]
    words += ["--train_data_path", str(rows), "--num_prompts_per_batch", "2", "--max_prompt_length", "128"]
    words += ["--max_completion_length", "16"]
    assert main([*words, "--report_to", "data/x.y"]) == 2
    assert "found --report_to data/x.y, expected none, all, or names" in capsys.readouterr().err
    assert main([*words, "--accelerator_config", str(tmp_path / "none.json")]) == 2
    assert "TRL refuses these training arguments: " in capsys.readouterr().err
