"""`--replay_data_path`: on prompts of another kind the student is held to what it was before the run."""

import json

import pytest
import torch
import yaml

from trainer.__main__ import main
from trainer.training.replay import InitialStudent

QUESTIONS = [f"What is the velora of {name}?" for name in ("Katolo", "Sona", "Nake", "Tamiko")]
OTHERS = ["Say hello.", "Count to three.", "What day is it?"]


def test_the_initial_student_stays_what_it_was_and_has_no_gradient(student_path, tmp_path):
    model = torch.nn.Linear(2, 2)
    initial = InitialStudent(model)
    with torch.no_grad():
        model.weight += 1
    with initial.model() as asked:
        assert not torch.equal(asked.weight, model.weight) and not asked(torch.ones(2)).requires_grad


@pytest.fixture
def train(student_path, tmp_path, monkeypatch):
    rows = [{"prompt": question, "golden_response": "Action: tamiko"} for question in QUESTIONS * 2]
    (tmp_path / "rows.json").write_text(json.dumps(rows))
    (tmp_path / "others.jsonl").write_text("".join(json.dumps({"prompt": text}) + "\n" for text in OTHERS))
    monkeypatch.chdir(tmp_path)

    def run(output, *words):
        flags = {
            "model_name_or_path": student_path, "train_data_path": "rows.json", "output_dir": output,
            "max_prompt_length": 128, "max_completion_length": 12, "num_prompts_per_batch": 4, "learning_rate": 3e-3,
            "logging_steps": 1, "warmup_steps": 0,
        }  # fmt: skip
        given = [word for name, value in flags.items() for word in (f"--{name}", str(value))]
        code = main(["train", "--local_files_only", *given, *map(str, words)])
        file = tmp_path / output / "metrics.jsonl"
        return code, [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []

    return run


def test_a_share_of_each_step_is_replayed_and_told_apart(train, tmp_path):
    code, steps = train("run", "--replay_data_path", "others.jsonl", "--replay_share", 0.25)
    told = [step["replay/kl"] for step in steps if "replay/kl" in step]
    assert code == 0 and len(told) == 2 and told[0] == pytest.approx(0, abs=1e-5) and told[1] > 1e-4
    samples = [json.loads(line) for line in (tmp_path / "run" / "samples.jsonl").read_text().splitlines()]
    assert all(any(question in sample["prompt"] for question in QUESTIONS) for sample in samples)
    files = json.loads((tmp_path / "run" / "environment.json").read_text())["files"]
    assert any(name.endswith("others.jsonl") for name in files)


def test_steps_of_replay_alone_and_of_none_are_steps_too(train):
    sizes = ["--num_prompts_per_batch", 1, "--max_steps", 8]
    code, steps = train("run", "--replay_data_path", "others.jsonl", "--replay_share", 0.7, *sizes)
    told = [step for step in steps if "loss" in step]
    assert code == 0 and len(told) == 8 and {step.get("replay/kl") is not None for step in told} == {True, False}


def test_a_finished_run_is_replayed_with_what_it_replayed_itself(train, tmp_path, capsys):
    assert train("first", "--replay_data_path", "others.jsonl")[0] == 0
    assert "--teacher_kind" not in capsys.readouterr().out
    (tmp_path / "new.json").write_text(json.dumps([{"prompt": "New?", "golden_response": "n"}] * 8))
    code, _ = train("second", "--train_data_path", "new.json", "--replay_data_path", "first")
    said = capsys.readouterr().out
    assert code == 0 and "rows.json: 8 rows" in said and "others.jsonl: 3 rows" in said
    assert "--teacher_kind ema follows the student" in said
    config = yaml.safe_load((tmp_path / "second" / "config.yaml").read_text())
    assert (config["replay_data_path"], config["replay_share"]) == ("first", 0.1)
    (tmp_path / "rows.json").write_text(json.dumps([{"prompt": "changed", "golden_response": "c"}] * 8))
    assert train("third", "--train_data_path", "new.json", "--replay_data_path", "first")[0] == 2
    assert "rows.json changed since the run first learnt it" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--replay_data_path", "others.jsonl", "--objective", "sft"], "--objective sft has no rollouts"),
        (
            ["--replay_share", "0.1"],
            "general_prompts.json, which is not here",
        ),
        (["--rollouts", "mixed", "--teacher_rollouts", "2"], "expected a share from 0 to 1"),
        (["--replay_data_path", "none.jsonl"], "none.jsonl"),
    ],
)
def test_what_can_not_be_replayed_is_told_before_anything_is_trained(train, words, said, capsys):
    assert train("run", *words) == (2, [])
    assert said in capsys.readouterr().err


def test_mixed_rollouts_fall_over_the_run_and_are_logged(train):
    code, steps = train("run", "--rollouts", "mixed", "--num_train_epochs", 2)
    shares = [step["rollouts/by_teacher"] for step in steps if "rollouts/by_teacher" in step]
    assert code == 0 and len(shares) == 4 and shares == sorted(shares, reverse=True)
    assert sum(shares) == pytest.approx(2) and shares[0] >= 0.75 and shares[-1] <= 0.25


def test_a_run_of_one_kind_of_prompts_without_replay_is_warned_and_told_what_to_type(train, capsys):
    assert train("run", "--dry_run", "True")[0] == 0
    said = [line for line in capsys.readouterr().out.splitlines() if line.startswith("warning: all prompts")]
    assert len(said) == 1 and "they begin “What is …”" in said[0] and "--replay_share 0.1 holds" in said[0]


@pytest.mark.parametrize("words", [["--replay_data_path", "others.jsonl"], ["--objective", "sft"]])
def test_it_is_not_warned_where_something_is_replayed_or_could_not_be(train, words, capsys):
    assert train("run", "--dry_run", "True", *words)[0] == 0
    assert "all prompts" not in capsys.readouterr().out


def test_prompts_of_several_kinds_are_learnt_without_a_warning(train, tmp_path, capsys):
    rows = [{"prompt": text, "golden_response": "g"} for text in (*OTHERS, QUESTIONS[0])]
    (tmp_path / "varied.json").write_text(json.dumps(rows))
    assert train("run", "--dry_run", "True", "--train_data_path", "varied.json")[0] == 0
    assert "all prompts" not in capsys.readouterr().out


@pytest.mark.parametrize(("words", "is_warned"), [([], True), (["--objective", "sft"], False)])
def test_thinking_aloud_is_warned_of_where_the_student_learns_from_itself(train, words, is_warned, capsys):
    assert train("run", "--dry_run", "True", "--enable_thinking", "True", *words)[0] == 0
    assert ("warning: --enable_thinking with --objective sdft" in capsys.readouterr().out) == is_warned
