"""On which layers of a student the adapters of `--use_peft` are put."""

from pathlib import Path

import pytest
import torch
from families import FAMILIES, save_tiny
from peft import get_peft_model

from trainer.errors import UsageError
from trainer.models.loading import load_student
from trainer.settings.options import Eval, Train
from trainer.training.adapters import lora_config


def adapted(model, names="all-linear"):
    """The modules that get adapters, by their last names."""
    found = get_peft_model(model, lora_config(Train(lora_target_modules=names), model))
    found(input_ids=torch.tensor([[3, 4, 5]]))
    return {
        name.split(".lora_A")[0].rpartition(".")[2] for name, _ in found.named_modules() if ".lora_A.default" in name
    }


@pytest.fixture
def tiny(student_path, tmp_path):
    def make(name):
        save_tiny(FAMILIES[name], tmp_path, Path(student_path))
        return load_student(Eval(model_name_or_path=str(tmp_path), local_files_only=True))

    return make


def test_all_linear_is_every_linear_layer_but_the_head(student):
    projections = {"q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"}
    assert adapted(student) == projections


@pytest.mark.parametrize(
    ("family", "left_out", "kept"),
    [("Llama 4 text", {"router"}, "q_proj"), ("Mamba", {"out_proj", "dt_proj"}, "in_proj")],
)
def test_layers_that_are_used_as_more_than_linear_ones_get_none_and_that_is_told(tiny, family, left_out, kept, capsys):
    found = adapted(tiny(family))
    assert kept in found and not found & left_out
    assert f"all-linear without {', '.join(sorted(left_out))}" in capsys.readouterr().out


def test_a_layer_by_name_that_can_have_none_is_refused(tiny):
    with pytest.raises(UsageError, match=r"names out_proj\. This model uses it as more than a linear layer"):
        adapted(tiny("Mamba"), "in_proj,out_proj")


@pytest.mark.parametrize(
    ("names", "absent"),
    [
        ("q_proj,v_projj", "'v_projj'"),
        ("q_proj,", "''"),
        ("all-linear,q_proj", "'all-linear'"),
        ("nothing", "'nothing'"),
    ],
)
def test_every_name_has_to_be_one_of_the_models(student, names, absent):
    with pytest.raises(UsageError, match=f"{absent} names no module of this model.*it has .*q_proj"):
        adapted(student, names)
