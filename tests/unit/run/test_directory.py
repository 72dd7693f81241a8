"""The run directory: refuses what it must not overwrite, keeps secrets out, forgets what was not saved."""

import json
import os

import pytest
import yaml

from trainer.errors import UsageError
from trainer.run.directory import RunDirectory
from trainer.run.environment import environment
from trainer.settings.resolve import resolve


def settings(*argv):
    return resolve("train", list(argv), {})


def test_the_written_configuration_is_the_resolved_one_without_secrets_and_can_be_given_back(tmp_path):
    resolved = settings("--seed", "7", "--vllm_server_api_key", "sk-secret", "--weight_decay", "0.1")
    directory = RunDirectory.open(str(tmp_path / "run"), resolved)
    text = (directory.path / "config.yaml").read_text()
    assert "sk-secret" not in text
    again = resolve("train", ["--config", str(directory.path / "config.yaml")], {})
    assert again.settings.seed == 7 and again.extra == {"weight_decay": "0.1"}
    assert yaml.safe_load(text)["objective"] == "sdft"


def test_a_run_of_other_settings_is_refused_with_the_setting_that_differs(tmp_path):
    RunDirectory.open(str(tmp_path), settings("--seed", "7")).append_metrics({"step": 1})
    with pytest.raises(UsageError, match=r"seed=7, this one has 8\. Pass another --output_dir"):
        RunDirectory.open(str(tmp_path), settings("--seed", "8"))


def test_a_command_that_was_refused_may_be_mended_in_the_same_folder(tmp_path):
    first = RunDirectory.open(str(tmp_path), settings("--lora_target_modules", "nothing"))
    first.write_json("environment.json", {"files": {"rows.json": "0"}})
    first.write_json("summary.json", {"status": "unfinished"})
    first.close()
    again = RunDirectory.open(str(tmp_path), settings("--lora_target_modules", "q_proj"))
    again.require_same_files({"rows.json": "1"}, accepted=False)
    assert yaml.safe_load((tmp_path / "config.yaml").read_text())["lora_target_modules"] == "q_proj"


def test_a_run_of_a_version_without_a_setting_goes_on_where_that_has_its_default(tmp_path):
    RunDirectory.open(str(tmp_path), settings()).append_metrics({"step": 1})
    config = tmp_path / "config.yaml"
    config.write_text("".join(line for line in config.read_text().splitlines(True) if not line.startswith("turns:")))
    RunDirectory.open(str(tmp_path), settings())
    with pytest.raises(UsageError, match=r"turns=None, this one has 'last'"):
        config.write_text("".join(x for x in config.read_text().splitlines(True) if not x.startswith("turns:")))
        RunDirectory.open(str(tmp_path), settings("--turns", "last"))


def test_what_decides_nothing_may_differ_when_a_run_goes_on(tmp_path):
    RunDirectory.open(str(tmp_path), settings("--save_steps", "5"))
    directory = RunDirectory.open(str(tmp_path), settings("localhost:9", "--save_steps", "6", "--local_files_only"))
    assert yaml.safe_load((directory.path / "config.yaml").read_text())["save_steps"] == 6


def test_a_finished_run_keeps_its_configuration_to_the_byte(tmp_path):
    directory = RunDirectory.open(str(tmp_path), settings("--save_steps", "5"))
    directory.write_json("summary.json", {"status": "finished"})
    before = (tmp_path / "config.yaml").read_bytes()
    RunDirectory.open(str(tmp_path), settings("--save_steps", "6"))
    assert (tmp_path / "config.yaml").read_bytes() == before


def test_a_folder_that_cannot_be_written_is_an_error_before_anything_is_done(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageError, match=r"can't write to the output folder .*file/run.*--output_dir"):
        RunDirectory.open(str(tmp_path / "file" / "run"), settings())


def test_a_file_in_the_folders_place_is_told_without_making_anything(tmp_path):
    (tmp_path / "file").write_text("")
    (tmp_path / "loop").symlink_to("loop")
    (tmp_path / "dangling").symlink_to("nowhere")
    for name in ("file", "file/run", "loop", "loop/run", "dangling/run"):
        what = "no folder" if name.startswith("file") else "a link that leads to no folder"
        with pytest.raises(UsageError, match=rf"can't write to the output folder .* is {what}\. Pass --output_dir"):
            RunDirectory(tmp_path / name).require_no_file()
    (tmp_path / "link").symlink_to(tmp_path)
    RunDirectory(tmp_path / "link" / "a" / "run").require_no_file()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["dangling", "file", "link", "loop"]


def test_a_folder_whose_name_is_no_utf_8_is_refused_before_any_work(tmp_path):
    with pytest.raises(UsageError, match=r"is no UTF-8\. Pass --output_dir FOLDER with another name"):
        RunDirectory(tmp_path / os.fsdecode(b"run_\xff")).require_no_file()


def test_resuming_forgets_later_steps_and_a_torn_last_line(tmp_path):
    directory = RunDirectory(tmp_path)
    for step in (1, 2, 3):
        directory.append_metrics({"step": step})
        directory.append_sample({"step": step, "tokens": ["\u2028", "\x85"]})
    with (tmp_path / "metrics.jsonl").open("a") as file:
        file.write('{"step": 2, "lo')
    directory.forget_after(2)
    assert [record["step"] for record in directory.read_metrics()] == [1, 2]
    assert (tmp_path / "samples.jsonl").read_text().count("\n") == 2


def test_a_run_is_finished_when_its_summary_says_so(tmp_path):
    directory = RunDirectory(tmp_path)
    assert not directory.is_finished()
    directory.write_json("summary.json", {"status": "stopped"})
    assert not directory.is_finished()
    directory.write_json("summary.json", {"status": "finished"})
    assert directory.is_finished()


def test_the_environment_names_versions_device_and_teacher():
    record = json.loads(json.dumps(environment({"model": "glm-4.7"}, {"rows.json": "ab"})))
    assert record["packages"]["trl"] == "1.16.0"
    assert record["device"] and record["python"] and record["teacher"] == {"model": "glm-4.7"}


@pytest.mark.parametrize(
    ("now", "words"),
    [
        ({"rows.json": "b", "model/x": "m"}, "rows.json has changed since"),
        ({"rows.json": "a"}, "model/x is gone since"),
        ({"rows.json": "a", "model/x": "m", "more.json": "c"}, "more.json is new since"),
    ],
)
def test_a_run_goes_on_with_the_files_that_it_began_with_or_says_which_differ(tmp_path, capsys, now, words):
    directory = RunDirectory(tmp_path)
    directory.require_same_files(now, accepted=False)  # nothing was begun
    directory.write_json("environment.json", {"files": {"rows.json": "a", "model/x": "m"}})
    directory.append_metrics({"step": 1})
    directory.require_same_files({"rows.json": "a", "model/x": "m"}, accepted=False)
    with pytest.raises(UsageError, match=f"{words} the run in {tmp_path} began.*--accept_changed_data"):
        directory.require_same_files(now, accepted=False)
    directory.require_same_files(now, accepted=True)
    assert words in capsys.readouterr().out
