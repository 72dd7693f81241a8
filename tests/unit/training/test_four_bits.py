"""Runs of adapters beside weights in four bits: the checkpoint is the adapter, and a resumed run has the same bits."""

import importlib.util
import json
import os
import shutil

import pytest
import torch
from safetensors.torch import load_file

from trainer.__main__ import main


@pytest.fixture
def command(student_path, tmp_path):
    """`train` with 4 rows, 2 steps and a checkpoint each."""
    rows = [{"prompt": f"Room {n}, please.", "golden_response": [f"ROOM {n};"]} for n in range(4)]
    (tmp_path / "rows.json").write_text(json.dumps(rows))
    return ["train", "--model_name_or_path", student_path, "--train_data_path", str(tmp_path / "rows.json"),
            "--output_dir", str(tmp_path / "run"), "--num_prompts_per_batch", "2", "--max_steps", "2",
            "--save_steps", "1", "--max_completion_length", "8", "--max_prompt_length", "64", "--use_cpu", "true",
            "--learning_rate", "1e-3", "--warmup_steps", "0", "--load_in_4bit"]  # fmt: skip


@pytest.fixture
def bitsandbytes():
    if importlib.util.find_spec("bitsandbytes") is None:
        missing = "bitsandbytes is not installed; type scripts/setup"
        pytest.fail(missing) if os.environ.get("CI") == "true" else pytest.skip(missing)


def scores(path):
    return json.loads(path.read_text())["scores"]["new_skill"]


@pytest.mark.parametrize("objective", ["sdft", "sft"])
def test_a_run_in_four_bits_learns_resumes_to_the_bit_and_is_evaluated_as_it_was(
    bitsandbytes, command, objective, student_path, tmp_path, capsys
):
    rows = str(tmp_path / "rows.json")
    command += ["--use_peft", "--objective", objective, "--eval_data_path", rows]
    assert main(command) == 0, capsys.readouterr()
    run, last = tmp_path / "run", tmp_path / "run" / "checkpoint-2"
    assert not [*last.glob("model*")] and (last / "adapter_model.safetensors").is_file()
    adapter, first = (load_file(folder / "adapter_model.safetensors") for folder in (last, run / "checkpoint-1"))
    assert {weight.dtype for weight in adapter.values()} == {torch.float32}
    assert all(not torch.equal(weight, first[name]) for name, weight in adapter.items() if "lora_B" in name)
    if objective == "sdft":
        assert all("lora_" in name for name in load_file(last / "teacher.ema"))
    before, after = scores(run / "scores_before.json"), scores(run / "scores_after.json")
    assert after["nll"] != before["nll"] and (objective == "sdft" or after["nll"] < before["nll"])

    run.rename(tmp_path / "ended")  # whose lock this process holds
    without = shutil.ignore_patterns("checkpoint-2", "summary.json", "scores_after.json")
    shutil.copytree(tmp_path / "ended", run, ignore=without)
    assert main(command) == 0, capsys.readouterr()
    again = load_file(last / "adapter_model.safetensors")
    assert all(torch.equal(weight, again[name]) for name, weight in adapter.items())

    evaluation = ["eval", "--model_name_or_path", str(last), "--eval_data_path", rows, "--max_completion_length", "8",
                  "--max_prompt_length", "64", "--output_file", str(tmp_path / "eval.json")]  # fmt: skip
    assert main([*evaluation, "--load_in_4bit"]) == 0, capsys.readouterr()
    assert scores(tmp_path / "eval.json")["nll"] == pytest.approx(after["nll"], rel=1e-4)
    assert main(evaluation) == 0, capsys.readouterr()  # the same adapter beside the weights as they were
    assert scores(tmp_path / "eval.json")["nll"] != pytest.approx(after["nll"], rel=1e-4)


def test_weights_in_four_bits_can_not_be_trained_themselves(command, capsys):
    assert main(command) == 2
    assert "Add --use_peft, or leave --load_in_4bit out." in capsys.readouterr().err
