"""The loop is TRL's: same numbers on the same work, and the hooks we replace are still there."""

import inspect
import json

import pytest
import torch
import trl
from datasets import Dataset
from peft import LoraConfig
from transformers import AutoModelForCausalLM, AutoTokenizer, TrainerCallback, set_seed
from trl import SFTConfig
from trl.experimental.sdft import SDFTConfig, SDFTTrainer
from trl.experimental.sdft.sdft_trainer import DemonstrationTeacherContextBuilder

from trainer import checkpoint
from trainer.config import TEACHER_PROMPT_TEMPLATE
from trainer.dataset import Row
from trainer.errors import TrainerError
from trainer.loop import SelfDistillationTrainer, StopOnSignal, SupervisedTrainer
from trainer.prompts import PromptEncoder
from trainer.runlog import RunDirectory
from trainer.train import distillation_rows, supervised_rows

TEXTS = [(f"what is {a} plus {b} ?", f"Action: answer\nAction_Input: {a + b}") for a in range(4) for b in range(2)]
ROWS = [(Row(str(i), [{"role": "user", "content": q}], a), a) for i, (q, a) in enumerate(TEXTS)]


def load(path):
    set_seed(0)
    model = AutoModelForCausalLM.from_pretrained(path, dtype=torch.float32)
    return model, AutoTokenizer.from_pretrained(path, padding_side="left")


def config(folder, kind=SDFTConfig, **changes):
    values = {
        "output_dir": str(folder), "report_to": "none", "disable_tqdm": True, "bf16": False, "seed": 3,
        "activation_checkpointing": False, "learning_rate": 1e-3, "per_device_train_batch_size": 2,
        "gradient_accumulation_steps": 2, "max_steps": 4, "logging_steps": 1, "save_steps": 1,
        "dataloader_pin_memory": False,
    }  # fmt: skip
    if kind is SDFTConfig:
        values |= {
            "distillation_mode": "full_logits", "distillation_alpha": 0.0, "num_loss_tokens_to_skip": 3,
            "teacher_model_kind": "ema", "teacher_update_rate": 0.05, "num_generations": 1,
            "max_prompt_length": None, "max_completion_length": 16,
        }  # fmt: skip
    return kind(**(values | changes))


def encoder(tokenizer):
    return PromptEncoder(
        tokenizer,
        max_prompt_length=128,
        context_room=400,
        max_completion_length=64,
        template=TEACHER_PROMPT_TEMPLATE,
    )


def ours(path, folder, callbacks=(), peft=None, **changes):
    model, tokenizer = load(path)
    return SelfDistillationTrainer(
        model=model, args=config(folder, **changes), train_dataset=distillation_rows(encoder(tokenizer), ROWS),
        processing_class=tokenizer, run_directory=RunDirectory(folder), peft_config=peft, callbacks=list(callbacks),
    )  # fmt: skip


def theirs(path, folder, **changes):
    model, tokenizer = load(path)
    rows = [{"prompt": row.prompt, "privileged_context": text} for row, text in ROWS]
    template = TEACHER_PROMPT_TEMPLATE.replace("{demonstration}", "{privileged_context}")
    args = config(folder, teacher_prompt_template=template, **changes)
    return SDFTTrainer(model=model, args=args, train_dataset=Dataset.from_list(rows), processing_class=tokenizer)


def train(trainer, resume=None):
    set_seed(3)
    trainer.train(resume_from_checkpoint=resume)
    return [record["loss"] for record in trainer.state.log_history if "loss" in record]


def weights(trainer):
    return {name: w.detach().clone() for name, w in trainer.model.named_parameters() if "teacher" not in name}


@pytest.mark.parametrize("alpha", [0.0, 0.5, 1.0])
def test_losses_and_weights_equal_those_of_trl_on_the_same_rollouts(student_path, tmp_path, alpha):
    same = {"distillation_alpha": alpha, "shuffle_dataset": False}
    mine, reference = ours(student_path, tmp_path, **same), theirs(student_path, tmp_path / "trl", **same)
    assert train(mine) == pytest.approx(train(reference), rel=1e-4, abs=1e-7)
    for (name, a), b in zip(weights(mine).items(), weights(reference).values(), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-3, atol=1e-4, msg=name)


@pytest.mark.parametrize("split", [(1, 8), (8, 1)])
def test_the_split_into_microbatches_does_not_change_the_first_loss(student_path, tmp_path, split):
    whole = ours(
        student_path, tmp_path / "a", per_device_train_batch_size=4, gradient_accumulation_steps=2, max_steps=1
    )
    size, steps = split
    other = ours(
        student_path, tmp_path / "b", per_device_train_batch_size=size, gradient_accumulation_steps=steps, max_steps=1
    )
    assert train(whole) == pytest.approx(train(other), rel=1e-4)


class StopWithin(TrainerCallback):
    """Plays a signal that arrives in the middle of a step."""

    def __init__(self, stop, step):
        self.stop, self.step = stop, step

    def on_step_begin(self, args, state, control, **kwargs):
        self.stop.requested = state.global_step == self.step


LORA = LoraConfig(r=4, target_modules="all-linear")


@pytest.mark.parametrize(("peft", "step"), [(None, 0), (None, 1), (None, 2), (LORA, 1)])
def test_a_run_stopped_within_a_step_and_resumed_ends_with_the_same_bits(student_path, tmp_path, peft, step):
    whole = ours(student_path, tmp_path / "whole", peft=peft)
    losses = train(whole)
    stop = StopOnSignal()
    stopped = ours(student_path, tmp_path / "parts", peft=peft, callbacks=[StopWithin(stop, step), stop])
    train(stopped)
    assert stopped.state.global_step == step
    resumed = ours(student_path, tmp_path / "parts", peft=peft)
    assert train(resumed, str(checkpoint.newest(tmp_path / "parts"))) == losses
    assert all(torch.equal(a, weights(resumed)[name]) for name, a in weights(whole).items())
    assert all(torch.equal(t, resumed.ema.pairs[name][0]) for name, (t, _) in whole.ema.pairs.items())


def test_a_save_that_fails_leaves_the_older_checkpoint_the_newest(student_path, tmp_path, monkeypatch):
    trainer = ours(student_path, tmp_path)

    def full_disk(folder):
        if trainer.state.global_step == 2:
            raise OSError(28, "No space left on device")

    monkeypatch.setattr(trainer, "_save_more", full_disk)
    with pytest.raises(OSError, match="No space left"):
        train(trainer)
    assert checkpoint.newest(tmp_path).name == "checkpoint-1"
    assert sorted(path.name for path in tmp_path.iterdir() if path.is_dir()) == ["checkpoint-1"]


def test_a_checkpoint_of_the_same_step_is_kept_and_not_replaced(student_path, tmp_path):
    trainer = ours(student_path, tmp_path, max_steps=1)
    train(trainer)
    inode = (tmp_path / "checkpoint-1").stat().st_ino
    trainer._save_checkpoint(trainer.model, None)
    assert (tmp_path / "checkpoint-1").stat().st_ino == inode


def test_a_gradient_that_is_not_finite_ends_the_run(student_path, tmp_path):
    trainer = ours(student_path, tmp_path)
    next(trainer.model.parameters()).register_hook(lambda gradient: gradient * float("nan"))
    with pytest.raises(TrainerError, match="the gradient norm is nan at step 1"):
        train(trainer)


def test_a_sample_rollout_of_each_step_is_recorded_with_its_divergence(student_path, tmp_path):
    train(ours(student_path, tmp_path))
    samples = [json.loads(line) for line in (tmp_path / "samples.jsonl").read_text().splitlines()]
    assert [sample["step"] for sample in samples] == [1, 2, 3, 4]
    for sample in samples:
        assert len(sample["tokens"]) == len(sample["divergence"]) == len(sample["in_loss"])
        assert min(sample["divergence"]) > -1e-5
        assert sample["in_loss"][:3] == [False] * min(3, len(sample["tokens"]))


def test_a_loss_that_is_not_finite_ends_the_run(student_path, tmp_path):
    trainer = ours(student_path, tmp_path)
    with torch.no_grad():
        trainer.ema.model.model.embed_tokens.weight.fill_(float("nan"))
    with pytest.raises(TrainerError, match="the loss is nan at step 1"):
        train(trainer)


def test_supervised_training_learns_the_target_and_its_end_and_masks_the_prompt(student_path, tmp_path):
    model, tokenizer = load(student_path)
    rows = supervised_rows(encoder(tokenizer), ROWS)
    for ids, labels in zip(rows["input_ids"], rows["labels"], strict=True):
        target = [token for token in labels if token != -100]
        assert ids[-len(target) :] == target and target[-1] == tokenizer.eos_token_id
        assert labels[: -len(target)] == [-100] * (len(ids) - len(target))
    values = {"max_length": None, "dataset_kwargs": {"skip_prepare_dataset": True}, "max_steps": 8}
    trainer = SupervisedTrainer(
        model=model, args=config(tmp_path, SFTConfig, **values), train_dataset=rows, processing_class=tokenizer
    )
    losses = train(trainer)
    assert losses[-1] < losses[0]


def test_the_hooks_of_trl_that_we_replace_are_those_of_the_pinned_version():
    assert trl.__version__ == "1.16.0"
    parameters = lambda function: list(inspect.signature(function).parameters)  # noqa: E731
    assert parameters(SDFTTrainer._setup_teacher_model) == ["self"]
    assert parameters(SDFTTrainer._tokenize_prompts) == ["self", "prompts"]
    assert parameters(SDFTTrainer._get_train_sampler) == ["self", "dataset"]
    assert parameters(SDFTTrainer._compute_self_distillation_loss) == ["self", "model", "inputs", "distillation_logits"]
    assert parameters(SDFTTrainer._save_checkpoint) == ["self", "model", "trial"]
    assert parameters(SDFTTrainer._load_from_checkpoint) == ["self", "resume_from_checkpoint", "model"]
    assert parameters(DemonstrationTeacherContextBuilder._compose_teacher_prompt) == [
        "self",
        "prompt",
        "privileged_context",
    ]
