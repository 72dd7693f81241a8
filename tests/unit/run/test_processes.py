"""Of processes that were started together one may work for all; none waits for one that is gone."""

import pytest

from trainer.__main__ import main
from trainer.run.processes import from_main_process


def test_one_process_alone_computes_for_itself():
    assert from_main_process(lambda: 7) == 7


@pytest.mark.parametrize("subcommand", ["check", "generate", "eval", "report", "export", "compare"])
def test_a_command_that_one_process_does_is_left_to_the_first(subcommand, monkeypatch, capsys):
    monkeypatch.setenv("RANK", "1")
    assert main([subcommand, "--no_such_flag"]) == 0
    assert f"`{subcommand}` is done by the first process; this one (RANK=1) ends." in capsys.readouterr().err


def test_half_of_what_a_launcher_sets_is_told(monkeypatch, capsys):
    monkeypatch.delenv("RANK", raising=False)
    monkeypatch.setenv("LOCAL_RANK", "0")
    assert main(["train"]) == 2
    assert "found LOCAL_RANK=0 in the environment without RANK" in capsys.readouterr().err


def test_a_folder_that_is_gone_is_told_before_any_library_stumbles_over_it(monkeypatch, capsys, tmp_path):
    (tmp_path / "gone").mkdir()
    monkeypatch.chdir(tmp_path / "gone")
    (tmp_path / "gone").rmdir()
    try:
        assert main(["check"]) == 2
    finally:
        monkeypatch.undo()
    assert "the folder that you are in is gone. Type `cd`" in capsys.readouterr().err
