"""What Python programs import: `from trainer import …`."""

import asyncio
import subprocess
import sys
import threading
from pathlib import Path

import pytest

import trainer
from trainer import CompareSettings, EvalSettings, Stopped, TrainSettings, UsageError, evaluate, train
from trainer.commands import public
from trainer.commands.train import Run
from trainer.settings.options import SUBCOMMANDS
from trainer.settings.resolve import DEFAULT, PROGRAM, made_by_program
from trainer.settings.server_url import ServerUrl
from trainer.teachers.served.batch import run_until_stopped

WORLD = Path(__file__).resolve().parents[3] / "data" / "tiny_world"


def test_everything_that_is_public_can_be_imported_by_its_name():
    assert set(trainer.PUBLIC) == set(public.__all__)
    assert all(getattr(trainer, name) is getattr(public, name) for name in trainer.PUBLIC)
    assert set(trainer.PUBLIC) <= set(dir(trainer))


def test_every_subcommand_has_its_settings_and_its_function():
    assert {f"{name.capitalize()}Settings" for name in SUBCOMMANDS} <= set(trainer.PUBLIC)
    functions = {"eval": "evaluate"}  # `eval` is Python's own
    assert {functions.get(name, name) for name in SUBCOMMANDS} <= set(trainer.PUBLIC)


def test_a_name_that_is_not_there_is_told_as_python_tells_it():
    with pytest.raises(AttributeError, match="module 'trainer' has no attribute 'tarin'"):
        trainer.tarin  # noqa: B018


def test_the_package_itself_is_imported_without_torch():
    code = "import sys, trainer; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


def test_settings_of_a_program_are_checked_as_those_of_a_command():
    with pytest.raises(UsageError, match=r"alpha=2 \(from program\): expected at least 0 and at most 1"):
        train(TrainSettings(alpha=2))
    with pytest.raises(UsageError, match=r"objective='sdtf' \(from program\): expected one of sdft, served"):
        train(TrainSettings(objective="sdtf"))


def test_a_setting_beside_the_settings_is_sent_to_its_place():
    with pytest.raises(UsageError, match=r"found learning_rate beside the settings, expected it in TrainSettings\(…\)"):
        train(TrainSettings(), learning_rate=1e-4)


def test_values_become_what_a_command_would_make_of_them(tmp_path):
    made = made_by_program(
        EvalSettings,
        EvalSettings(model_name_or_path=tmp_path, served="me:secret@host:8000/v1"),  # type: ignore[arg-type]
    )
    assert made.settings.model_name_or_path == str(tmp_path)
    assert isinstance(made.settings.served, ServerUrl) and "secret" not in str(made.settings.served)
    assert made.origins["served"] == PROGRAM and made.origins["scorer"] == DEFAULT
    again = made_by_program(EvalSettings, made.settings).settings
    assert again == made.settings and again.served.full == made.settings.served.full
    two = made_by_program(CompareSettings, CompareSettings(models=("one", "other"))).settings
    assert two.models == ("one", "other")


def test_arguments_of_trl_are_passed_on_as_the_command_line_passes_them():
    assert made_by_program(TrainSettings, TrainSettings(), {"weight_decay": 0.1, "bf16": True}).extra == {
        "weight_decay": "0.1",
        "bf16": "true",
    }


async def answer() -> int:
    await asyncio.sleep(0)
    return 42


def test_a_server_can_be_asked_from_a_notebook_where_a_loop_runs_already():
    async def cell() -> int:
        return run_until_stopped(answer(), "stopped")

    assert asyncio.run(cell()) == 42


def test_a_server_can_be_asked_from_a_thread():
    found = []
    thread = threading.Thread(target=lambda: found.append(run_until_stopped(answer(), "stopped")))
    thread.start()
    thread.join()
    assert found == [42]


@pytest.mark.parametrize("settings", [TrainSettings(), {"model_name_or_path": "x"}, None])
def test_settings_of_another_kind_are_told_with_the_kind_that_is_expected(settings):
    with pytest.raises(UsageError, match=r"found .*, expected EvalSettings\(…\)"):
        evaluate(settings)


def test_a_call_that_was_stopped_can_be_made_again_in_the_same_program(tmp_path, monkeypatch):
    """As in a notebook, which keeps the exception, and with it all that was at work."""

    def stopped(run):
        raise Stopped("stopped")

    monkeypatch.setattr(Run, "complete", stopped)
    settings = TrainSettings(
        model_name_or_path=str(WORLD / "student"),
        train_data_path=str(WORLD / "train_data.json"),
        output_dir=str(tmp_path / "run"),
        max_prompt_length=256,
        max_completion_length=16,
    )
    kept = []
    for _ in range(2):
        with pytest.raises(Stopped) as caught:
            train(settings)
        kept.append(caught)
    assert len(kept) == 2
