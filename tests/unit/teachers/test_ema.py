"""The EMA teacher: closed form, float32 under a bfloat16 student, equal to the student at the start."""

import pytest
import torch
from peft import LoraConfig, get_peft_model

from trainer.errors import UsageError
from trainer.teachers.ema import EmaTeacher


def shift(student, amount):
    with torch.no_grad():
        for weight in student.parameters():
            if weight.requires_grad:
                weight.add_(amount)


def test_after_n_updates_towards_a_fixed_student_the_teacher_is_the_closed_form(student):
    ema = EmaTeacher.of_model(student, rate=0.01)
    start = {name: teacher.clone() for name, (teacher, _) in ema.pairs.items()}
    shift(student, 0.5)
    for _ in range(10):
        ema.update()
    for name, (teacher, _) in ema.pairs.items():
        torch.testing.assert_close(teacher, start[name] + 0.5 * (1 - 0.99**10), rtol=1e-5, atol=1e-6)


def test_a_small_step_moves_the_teacher_of_a_bfloat16_student(student):
    student = student.to(torch.bfloat16)
    ema = EmaTeacher.of_model(student, rate=0.01)
    before = {name: teacher.clone() for name, (teacher, _) in ema.pairs.items()}
    with torch.no_grad():
        for weight in student.parameters():
            weight.mul_(1.02)
    ema.update()
    for name, (teacher, weight) in ema.pairs.items():
        assert teacher.dtype == torch.float32
        moved = weight.float() != before[name]
        assert (teacher != before[name])[moved].all()
        rounded = torch.lerp(before[name].bfloat16(), weight, 0.01)
        assert (rounded == before[name]).float().mean() > 0.9, "bfloat16 would have kept it, or this test is empty"


def lora(student):
    return get_peft_model(student, LoraConfig(r=4, target_modules="all-linear", init_lora_weights=False))


def test_the_teacher_of_adapters_starts_equal_and_follows_the_adapters_alone(student):
    model = lora(student)
    ids = torch.arange(20)[None]
    ema = EmaTeacher.of_adapter(model, rate=0.5)
    as_student = model(ids).logits
    model.set_adapter("teacher")
    torch.testing.assert_close(model(ids).logits, as_student, rtol=0, atol=0)
    model.set_adapter("default")
    shift(model, 0.1)
    ema.update()
    for name, (teacher, weight) in ema.pairs.items():
        assert "lora_" in name and not teacher.requires_grad
        torch.testing.assert_close(teacher, weight - 0.05, rtol=1e-4, atol=1e-6)


def test_no_server_takes_the_teachers_weights_for_the_models(student, tmp_path):
    """vLLM loads each *.safetensors of a folder, one over the other."""
    ema = EmaTeacher.of_model(student, rate=0.5)
    ema.save(tmp_path)
    assert [file.suffix for file in tmp_path.iterdir()] == [".ema"]
    next(tmp_path.iterdir()).rename(tmp_path / "teacher.safetensors")  # as earlier releases called it
    EmaTeacher.of_model(student, rate=0.5).load(tmp_path)


def test_a_saved_teacher_is_loaded_to_the_bit(student, tmp_path):
    ema = EmaTeacher.of_model(student, rate=0.3)
    shift(student, 0.123)
    ema.update()
    ema.save(tmp_path)
    other = EmaTeacher.of_model(student, rate=0.3)
    other.load(tmp_path)
    for name, (teacher, _) in ema.pairs.items():
        assert torch.equal(teacher, other.pairs[name][0])


@pytest.mark.parametrize(
    "more",
    [
        {"target_modules": ["q_proj", "embed_tokens"]},
        {"target_modules": ["q_proj"], "use_dora": True},
        {"target_modules": ["q_proj"], "modules_to_save": ["input_layernorm"]},
        {"target_modules": ["q_proj"], "trainable_token_indices": [3, 4]},
    ],
    ids=["embeddings", "magnitudes", "whole modules", "tokens"],
)
def test_whatever_an_adapter_trains_has_a_twin_that_follows_it(student, more):
    model = get_peft_model(student, LoraConfig(r=4, **more))
    trained = {name for name, weight in model.named_parameters() if weight.requires_grad}
    ema = EmaTeacher.of_adapter(model, rate=1.0)
    assert set(ema.pairs) == trained
    ids = torch.arange(20)[None]
    shift(model, 0.1)
    before = model(ids).logits
    model.set_adapter("teacher")
    assert not torch.allclose(model(ids).logits, before)
    ema.update()
    torch.testing.assert_close(model(ids).logits, before, rtol=0, atol=0)


def test_a_trained_weight_outside_the_adapter_is_refused_with_its_name(student):
    model = get_peft_model(student, LoraConfig(r=4, target_modules=["q_proj"]))
    model.get_base_model().model.norm.weight.requires_grad_(True)
    with pytest.raises(UsageError, match=r"1 of 7 trained weights are of no adapter.*: base_model.model.model.norm"):
        EmaTeacher.of_adapter(model, rate=0.5)
