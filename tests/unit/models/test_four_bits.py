"""Weights in four bits: frozen, as exact in training as in rollouts, and told of where they can't be had."""

import copy
import importlib.util
import os

import pytest
import torch
from peft import LoraConfig, get_peft_model
from torch import nn

from trainer.errors import UsageError
from trainer.models.four_bits import is_in_four_bits
from trainer.models.loading import load_student, require_loadable
from trainer.settings.options import Eval
from trainer.training.microbatches import fitting_limit
from trainer.training.rollout import HalfCopy, evaluating

IDS = torch.arange(2, 30)[None]


@pytest.fixture
def settings(student_path):
    return Eval(model_name_or_path=student_path, local_files_only=True, load_in_4bit=True)


@pytest.fixture
def packed(settings):
    """The tiny student in four bits."""
    if importlib.util.find_spec("bitsandbytes") is None:
        missing = "bitsandbytes is not installed; type scripts/setup"
        pytest.fail(missing) if os.environ.get("CI") == "true" else pytest.skip(missing)
    return load_student(settings, torch.device("cpu"))


def dequantised(model):
    """The same model with each layer's weights as they are computed with, in float32."""
    import bitsandbytes as bnb

    model = copy.deepcopy(model)
    for name, module in [*model.named_modules()]:
        if isinstance(module, bnb.nn.Linear4bit):
            weight = bnb.functional.dequantize_4bit(module.weight.data, module.weight.quant_state)
            plain = nn.Linear(module.in_features, module.out_features, bias=False)
            plain.weight.data = weight.float()
            parent = model.get_submodule(name.rpartition(".")[0])
            setattr(parent, name.rpartition(".")[2], plain)
    return model


def adapted(model):
    torch.manual_seed(0)
    config = LoraConfig(task_type="CAUSAL_LM", r=4, target_modules="all-linear", init_lora_weights=False)
    return get_peft_model(model, config)


def test_linear_layers_are_in_four_bits_and_the_head_and_the_embeddings_are_not(packed, student):
    assert is_in_four_bits(packed) and not is_in_four_bits(student)
    kinds = {name.rpartition(".")[2]: type(module).__name__ for name, module in packed.named_modules()}
    assert (kinds["q_proj"], kinds["down_proj"]) == ("Linear4bit", "Linear4bit")
    assert (kinds["lm_head"], kinds["embed_tokens"]) == ("Linear", "Embedding")
    layers = sum(weight.numel() for name, weight in student.named_parameters() if "_proj" in name)
    saved = student.get_memory_footprint() - packed.get_memory_footprint()
    assert saved == pytest.approx(3.5 * layers, rel=0.01)  # of 4 bytes a weight


def test_after_a_rollout_the_gradient_of_every_adapter_is_that_of_the_same_weights_in_float32(packed):
    theirs, ours = adapted(dequantised(packed)), adapted(packed)
    with torch.no_grad(), evaluating(ours):
        rolled_out = ours(IDS).logits
    ours.train()
    theirs.train()
    gradients = []
    for model in (ours, theirs):
        logits = model(IDS).logits
        torch.testing.assert_close(logits, rolled_out, rtol=1e-4, atol=1e-3)
        logits.log_softmax(-1)[0, :, 7].mean().backward()
        gradients.append({name: weight.grad for name, weight in model.named_parameters() if weight.requires_grad})
    assert len(gradients[0]) == 3 * 7 * 2
    for name, gradient in gradients[0].items():
        torch.testing.assert_close(gradient, gradients[1][name], rtol=1e-3, atol=1e-5, msg=name)
        assert float(gradient.abs().max()) > 0, name


def test_a_copy_in_half_precision_shares_what_is_packed_and_follows_the_adapters(packed):
    student = adapted(packed)
    half = HalfCopy(student)
    with torch.no_grad():
        for weight in student.parameters():
            if weight.requires_grad:
                weight.mul_(2)
    copied = dict(half.refreshed(student).named_parameters())
    for name, weight in student.named_parameters():
        if weight.is_floating_point():
            assert torch.equal(copied[name], weight.to(torch.bfloat16))
        else:
            assert copied[name] is weight


def test_a_models_share_of_the_memory_is_counted_as_it_is_held(packed, student, capsys, monkeypatch):
    memory = student.get_memory_footprint() + 2**20
    monkeypatch.setattr("trainer.training.microbatches.device_memory", lambda device: memory)
    monkeypatch.setattr("trainer.training.microbatches.SMALLEST", 1)
    rooms = [fitting_limit(model, torch.device("cpu"), checkpointing=True).max_tokens for model in (packed, student)]
    assert rooms[0] > 1 == rooms[1]


def test_without_bitsandbytes_the_package_is_named_before_anything_is_read(settings, monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    for load in (require_loadable, load_student):
        with pytest.raises(UsageError, match="Type `pip install bitsandbytes`"):
            load(settings)
