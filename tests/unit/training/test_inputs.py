"""What is said of settings before anything is trained."""

import pytest

from trainer.commands.train import run
from trainer.settings.resolve import resolve


@pytest.fixture
def said(tiny_world, tmp_path, capsys):
    """The warnings of a dry run."""

    def warnings(*words):
        files = ("--model_name_or_path", tiny_world / "student", "--train_data_path", tiny_world / "train_data.json")
        more = ("--local_files_only", "--use_cpu", "true", "--output_dir", tmp_path / "run", "--dry_run")
        run(resolve("train", [str(word) for word in (*files, *more, *words)], {}))
        return [line for line in capsys.readouterr().out.splitlines() if "no effect" in line]

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
    found = said(*words)
    assert found == [f"warning: {warning}"]


@pytest.mark.parametrize("words", [(), ("--alpha", "0.5"), ("--objective", "sft", "--alpha", "0.0")])
def test_nothing_is_named_that_has_an_effect_or_is_as_it_was(said, words):
    assert said(*words) == []
