"""The families that people train, as tiny random models: each loads, rolls out by every engine that can, and learns.

What an engine can't do is said in a sentence, which stands in the table.
"""

import dataclasses
import json
import math
import shutil
from pathlib import Path

import pytest
import torch
from families import FAMILIES, Family, save_tiny
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, GenerationConfig

from trainer.__main__ import main
from trainer.errors import UsageError
from trainer.models import decoding
from trainer.models.architecture import cache_size, compile_obstacle, keeps_rows_apart, paging_obstacle, sees_padding
from trainer.models.decoding import generate
from trainer.models.hidden_states import check_head, predicting_states
from trainer.models.loading import load_student
from trainer.settings.options import Eval
from trainer.teachers.ema import EmaTeacher
from trainer.training.continuous import continuous
from trainer.training.engine_choice import choose_engine
from trainer.training.microbatches import token_bytes

CPU = torch.device("cpu")
RESUMED = ["Gemma 3 text", "Qwen3.5", "Granite 4 hybrid", "DeepSeek", "RecurrentGemma"]


@pytest.fixture(params=FAMILIES)
def family(request) -> Family:
    return request.param if isinstance(request.param, Family) else FAMILIES[request.param]


@pytest.fixture
def folder(family, student_path, tmp_path) -> Path:
    """A model of the family, saved with the tiny world's tokenizer."""
    folder = tmp_path / "student"
    save_tiny(family, folder, Path(student_path))
    return folder


@pytest.fixture
def model(folder):
    """The same, loaded by our loader."""
    return load_student(Eval(model_name_or_path=str(folder), local_files_only=True))


PROMPTS = [[*range(3, 20)], [*range(30, 36)], [7]]


def greedy(ends=(2,), **more):
    return GenerationConfig(max_new_tokens=6, do_sample=False, pad_token_id=0, eos_token_id=[*ends], **more)


@torch.no_grad()
def test_each_engine_writes_what_the_model_alone_writes_or_says_why_it_can_not(family, model):
    alone = [generate(model, [prompt], greedy())[0] for prompt in PROMPTS]
    if sees_padding(model):
        assert family.config == "RecurrentGemma"
    else:
        assert generate(model, PROMPTS, greedy()) == alone
    obstacle = paging_obstacle(model)
    if family.no_paging:
        assert obstacle and family.no_paging in obstacle
        assert choose_engine("auto", model, CPU, 1) == "generate"
        with pytest.raises(UsageError, match="Use --rollout_engine generate"):
            choose_engine("continuous", model, CPU, 1)
    else:
        assert obstacle is None and continuous(model, PROMPTS, greedy()) == alone
    assert (compile_obstacle(model) is not None) == family.no_compiling
    if not family.no_compiling:
        assert generate(model, PROMPTS, greedy(cache_implementation="static", disable_compile=True)) == alone


@torch.no_grad()
def test_what_has_ended_is_taken_out_of_the_batch_and_the_others_write_the_same(family, model, monkeypatch):
    prompts = PROMPTS[:1] if sees_padding(model) else PROMPTS
    ends = {generate(model, [prompt], greedy())[0][1 + 2 * index] for index, prompt in enumerate(prompts[1:])}
    alone = [generate(model, [prompt], greedy({2, *ends}))[0] for prompt in prompts]
    monkeypatch.setattr(decoding, "MANY", 1)
    read = []
    model.register_forward_hook(lambda module, inputs, output: read.append(len(output.logits)))
    assert generate(model, prompts, greedy({2, *ends})) == alone
    if keeps_rows_apart(model) and len({*map(len, alone)}) > 1:
        assert read[-1] < read[0]


def test_what_is_loaded_is_what_was_saved(folder, model):
    theirs = dict(AutoModelForCausalLM.from_pretrained(folder).named_parameters())
    assert all(torch.equal(weight, theirs[name]) for name, weight in model.named_parameters())


def test_states_behind_prompts_do_not_depend_on_the_rows_beside_them_and_a_step_is_finite(model, tmp_path):
    check_head(model, CPU)
    completions = [[5, 6, 7], [8, 9], [10, 11, 12, 13]]
    together = predicting_states(model, PROMPTS, completions, 0, 0)
    pairs = zip(PROMPTS, completions, strict=True)
    alone = torch.cat([predicting_states(model, [prompt], [completion], 0, 0) for prompt, completion in pairs])
    torch.testing.assert_close(together, alone, rtol=1e-3, atol=1e-4)
    together.square().mean().backward()
    gradients = [weight.grad for weight in model.parameters() if weight.grad is not None]
    assert gradients and all(bool(gradient.isfinite().all()) for gradient in gradients)
    assert cache_size(model).token + cache_size(model).sequence > 0
    assert token_bytes(model, checkpointing=False) > token_bytes(model, checkpointing=True) > 0
    teacher = EmaTeacher.of_model(model, rate=0.5)
    teacher.save(tmp_path)
    teacher.load(tmp_path)


@pytest.mark.parametrize("experts", [0, 4])
def test_sft_trains_granite_whose_experts_have_another_name(experts, student_path, tmp_path, capsys):
    family = FAMILIES["Granite 4 hybrid"]
    values = family.values | {"num_local_experts": experts, "num_experts_per_tok": 2}
    save_tiny(dataclasses.replace(family, values=values), tmp_path / "student", Path(student_path))
    rows = [{"prompt": f"Room {n}, please.", "golden_response": [f"ROOM {n};"]} for n in range(2)]
    (tmp_path / "rows.json").write_text(json.dumps(rows))
    command = ["train", "--objective", "sft", "--model_name_or_path", str(tmp_path / "student"), "--use_cpu", "true",
               "--train_data_path", str(tmp_path / "rows.json"), "--output_dir", str(tmp_path / "run"),
               "--num_prompts_per_batch", "2", "--max_steps", "1", "--max_completion_length", "8",
               "--max_prompt_length", "32"]  # fmt: skip
    assert main(command) == 0, capsys.readouterr()
    assert ("router_aux_loss_coef: 0 (TRL can't" in capsys.readouterr().out) == bool(experts)


@pytest.mark.parametrize("family", [FAMILIES[name] for name in RESUMED], ids=RESUMED, indirect=True)
def test_a_run_that_lost_its_last_step_does_it_again_to_the_digit(folder, tmp_path, capsys):
    rows = [{"prompt": f"Room {n}, please.", "golden_response": [f"ROOM {n};"]} for n in range(4)]
    (tmp_path / "rows.json").write_text(json.dumps(rows))
    command = ["train", "--model_name_or_path", str(folder), "--train_data_path", str(tmp_path / "rows.json"),
               "--output_dir", str(tmp_path / "run"), "--num_prompts_per_batch", "2", "--max_steps", "2",
               "--save_steps", "1", "--max_completion_length", "8", "--max_prompt_length", "32", "--use_cpu", "true",
               "--learning_rate", "1e-3", "--warmup_steps", "0", "--rollout_engine", "generate"]  # fmt: skip
    assert main(command) == 0, capsys.readouterr()
    last = tmp_path / "run" / "checkpoint-2"
    before = load_file(last / "model.safetensors")
    metrics = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    assert all(math.isfinite(step["loss"]) for step in metrics if "loss" in step)
    (tmp_path / "run").rename(tmp_path / "ended")  # whose lock this process holds
    without = shutil.ignore_patterns("checkpoint-2", "summary.json")
    shutil.copytree(tmp_path / "ended", tmp_path / "run", ignore=without)
    assert main(command) == 0, capsys.readouterr()
    AutoModelForCausalLM.from_pretrained(last)
    after = load_file(last / "model.safetensors")
    differ = {name: float((after[name] - weight).abs().max()) for name, weight in before.items()}
    assert not any(differ.values()), differ
