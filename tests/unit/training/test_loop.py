"""The loop is TRL's: same numbers on the same work, and the hooks we replace are still there."""

import inspect
import json

import pytest
import torch
import trl
from datasets import Dataset
from peft import LoraConfig
from torch.distributed.utils import _to_kwargs
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer, Trainer, TrainerCallback, set_seed
from trl import SFTConfig
from trl.experimental.sdft import SDFTConfig, SDFTTrainer
from trl.generation.vllm_generation import VLLMGeneration
from trl.models.utils import _ForwardRedirection, unwrap_model_for_generation

from trainer.data.encoding import encode
from trainer.data.prompts import DemonstratedPrompts, PromptEncoder
from trainer.data.rows.row import Row
from trainer.data.showing import Showing
from trainer.errors import TrainerError, UsageError
from trainer.run import checkpoint
from trainer.run.directory import RunDirectory
from trainer.settings.options import TEACHER_PROMPT_TEMPLATE
from trainer.teachers.demonstrations import answered
from trainer.training.arguments import CHECKPOINTING
from trainer.training.assemble import supervised_rows
from trainer.training.callbacks import StopOnSignal
from trainer.training.microbatches import MicrobatchLimit
from trainer.training.rollout import Rollout
from trainer.training.self_distillation import SelfDistillationTrainer
from trainer.training.supervised import SupervisedTrainer

TEXTS = [(f"what is {a} plus {b} ?", f"Action: answer\nAction_Input: {a + b}") for a in range(4) for b in range(2)]
ROWS = [(Row(str(i), [{"role": "user", "content": q}], a), a) for i, (q, a) in enumerate(TEXTS)]


ONLY_ROWS = [row for row, _ in ROWS]


def load(path):
    set_seed(0)
    model = AutoModelForCausalLM.from_pretrained(path, dtype=torch.float32)
    return model, AutoTokenizer.from_pretrained(path, padding_side="left")


def config(folder, kind=SDFTConfig, **changes):
    values = {
        "output_dir": str(folder), "report_to": "none", "disable_tqdm": True, "bf16": False, "seed": 3,
        CHECKPOINTING: False, "learning_rate": 1e-3, "per_device_train_batch_size": 2,
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
        showing=Showing(),
    )


PAIRS = MicrobatchLimit(max_sequences=2)


def ours(
    path,
    folder,
    callbacks=(),
    peft=None,
    limit=PAIRS,
    normalization="sequence",
    engine="generate",
    initial=False,
    teacher=None,
    **changes,
):
    model, tokenizer = load(path)
    changes = {"per_device_train_batch_size": 4, "gradient_accumulation_steps": 1} | changes
    return SelfDistillationTrainer(
        model=model, args=config(folder, **changes),
        train_dataset=encode(ONLY_ROWS, encoder(tokenizer), "rows")[1].prompts(),
        processing_class=tokenizer, run_directory=RunDirectory(folder), peft_config=peft, callbacks=list(callbacks),
        limit=limit, normalization=normalization, engine=engine, needs_initial=initial, teacher=teacher,
        contexts=DemonstratedPrompts(encoder(tokenizer), ONLY_ROWS, answered([text for _, text in ROWS])),
    )  # fmt: skip


def theirs(path, folder, peft=None, **changes):
    model, tokenizer = load(path)
    rows = [{"prompt": row.prompt, "privileged_context": text} for row, text in ROWS]
    template = TEACHER_PROMPT_TEMPLATE.replace("{demonstration}", "{privileged_context}")
    args = config(folder, teacher_prompt_template=template, **changes)
    return SDFTTrainer(
        model=model, args=args, train_dataset=Dataset.from_list(rows), processing_class=tokenizer, peft_config=peft
    )


def train(trainer, resume=None):
    set_seed(3)
    trainer.train(resume_from_checkpoint=resume)
    return [record["loss"] for record in trainer.state.log_history if "loss" in record]


def weights(trainer):
    return {name: w.detach().clone() for name, w in trainer.model.named_parameters() if "teacher" not in name}


@pytest.mark.parametrize("alpha", [0.0, 0.5, 1.0])
def test_losses_and_weights_equal_those_of_trl_on_the_same_rollouts(student_path, tmp_path, alpha):
    same = {"distillation_alpha": alpha, "shuffle_dataset": False, "max_steps": 5, "learning_rate": 1e-4}
    mine, reference = ours(student_path, tmp_path, **same), theirs(student_path, tmp_path / "trl", **same)
    assert train(mine) == pytest.approx(train(reference), rel=1e-4, abs=1e-7)
    for (name, a), b in zip(weights(mine).items(), weights(reference).values(), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-3, atol=1e-4, msg=name)


@pytest.mark.parametrize(
    ("mode", "more"),
    [
        ("topk_logits", {"distillation_topk": 20, "distillation_add_tail": True}),
        ("topk_logits", {"distillation_topk": 20, "distillation_add_tail": False}),
        ("sampled_token", {"distillation_alpha": 1.0}),
    ],
)
def test_the_other_modes_of_trl_have_the_same_losses_too(student_path, tmp_path, mode, more):
    same = {"distillation_mode": mode, "shuffle_dataset": False, "max_steps": 5, "learning_rate": 2e-5} | more
    mine, reference = ours(student_path, tmp_path, **same), theirs(student_path, tmp_path / "trl", **same)
    assert train(mine) == pytest.approx(train(reference), rel=1e-4, abs=1e-5)  # a signed sum may be near 0


@pytest.mark.parametrize("peft", [None, LoraConfig(r=4, target_modules="all-linear")], ids=["full", "lora"])
def test_the_loss_of_what_is_replayed_is_the_forward_kl_from_the_student_before_the_run(student_path, tmp_path, peft):
    trainer = ours(student_path, tmp_path, peft=peft, initial=True)
    model, rollout = trainer.model, Rollout(9, [5, 6, 7], [8, 9, 10, 11, 12])
    ids = torch.tensor([rollout.prompt_ids + rollout.completion_ids])

    def logps_NV():
        with torch.no_grad():
            return model.eval()(ids).logits[0, 2 + 3 : -1].log_softmax(-1)  # the first 3 tokens are not in the loss

    before_NV = logps_NV()
    torch.manual_seed(0)
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if weight.requires_grad and "teacher" not in name:
                weight += 0.05 * torch.randn_like(weight)
    after_NV = logps_NV()
    loss, seen = trainer._replay_loss([rollout], [0.5], None)
    expected_N = (before_NV.exp() * (before_NV - after_NV)).sum(-1)
    torch.testing.assert_close(seen.loss_N, expected_N, atol=1e-4, rtol=1e-3)
    assert float(loss.detach()) == pytest.approx(0.5 * float(expected_N.sum()), rel=1e-3) and expected_N.max() > 1e-3
    loss.backward()
    assert any(w.grad is not None and w.grad.abs().max() > 0 for w in model.parameters() if w.requires_grad)


@pytest.mark.parametrize("teacher_kind", ["base", "live"])
@pytest.mark.parametrize("peft", [None, LoraConfig(r=4, target_modules="all-linear")])
def test_frozen_and_live_teachers_have_the_same_losses_too(student_path, tmp_path, teacher_kind, peft):
    same = {"teacher_model_kind": teacher_kind, "shuffle_dataset": False, "max_steps": 5, "learning_rate": 1e-4}
    mine = ours(student_path, tmp_path, peft=peft, **same)
    reference = theirs(student_path, tmp_path / "trl", peft=peft, **same)
    assert train(mine) == pytest.approx(train(reference), rel=1e-4, abs=1e-7)


@pytest.mark.parametrize("peft", [None, LoraConfig(r=4, target_modules="all-linear")], ids=["full", "lora"])
def test_another_model_teaches_by_its_own_view_of_what_it_is_shown_and_stays_as_it_is(student_path, tmp_path, peft):
    torch.manual_seed(1)
    wider = AutoConfig.from_pretrained(student_path, hidden_size=96)
    teacher = AutoModelForCausalLM.from_config(wider).eval()
    before = {name: weight.clone() for name, weight in teacher.named_parameters()}
    same = {"teacher_model_kind": "base", "max_steps": 2, "num_loss_tokens_to_skip": 1}
    trainer = ours(student_path, tmp_path, peft=peft, teacher=teacher, **same)
    rollout = Rollout(0, trainer.train_dataset[0]["prompt"], [8, 9, 10, 11, 12])

    def logps_NV(model, prompt):
        with torch.no_grad():
            return model.eval()(torch.tensor([prompt + rollout.completion_ids])).logits[0, -5:-1].log_softmax(-1)

    teacher_NV, student_NV = logps_NV(teacher, trainer.contexts.ids(0)), logps_NV(trainer.model, rollout.prompt_ids)
    [(_, view)] = trainer._teacher_views([rollout], [[0]])
    _, seen = trainer._microbatch_loss([rollout], [1.0], view)
    expected_N = (teacher_NV.exp() * (teacher_NV - student_NV)).sum(-1)
    torch.testing.assert_close(seen.loss_N, expected_N, atol=1e-4, rtol=1e-4)
    assert all(loss > 0 for loss in train(trainer))
    for name, weight in teacher.named_parameters():
        assert torch.equal(weight, before[name]) and weight.grad is None


@pytest.mark.parametrize("from_teacher", [False, True])
def test_rollouts_used_for_several_iterations_have_the_same_losses_too(student_path, tmp_path, from_teacher):
    same = {"num_iterations": 3, "generate_from_teacher": from_teacher, "shuffle_dataset": False}
    same |= {"max_steps": 6, "learning_rate": 1e-4}
    mine, reference = ours(student_path, tmp_path, **same), theirs(student_path, tmp_path / "trl", **same)
    assert train(mine) == pytest.approx(train(reference), rel=1e-4, abs=1e-7)
    weighted = ["importance/ratio" in record for record in mine.state.log_history if "loss" in record]
    assert weighted == ([False] * 6 if from_teacher else [False, True, True, False, True, True])


@pytest.mark.parametrize(
    ("peft", "kind"), [(None, "ema"), (None, "live"), (None, "base"), (LoraConfig(r=4, lora_dropout=0.3), "ema")]
)
def test_a_teacher_that_reads_what_the_student_reads_has_nothing_to_teach(student_path, tmp_path, peft, kind):
    trainer = ours(student_path, tmp_path, peft=peft, teacher_model_kind=kind, max_steps=3, learning_rate=0.0)
    trainer.contexts.ids = lambda row: trainer.train_dataset[row]["prompt"]
    assert train(trainer) == [0, 0, 0]


def test_with_bf16_both_models_compute_in_bfloat16_and_the_weights_stay_float32(student_path, tmp_path):
    trainer = ours(student_path, tmp_path, bf16=True, use_cpu=True, max_steps=1)
    seen = {}
    for name, model in {"student": trainer.model, "teacher": trainer.teacher_model}.items():
        layer = model.model.layers[0].mlp.up_proj
        layer.register_forward_hook(lambda _, inputs, output, name=name: seen.update({name: output.dtype}))
    train(trainer)
    assert seen == {"student": torch.bfloat16, "teacher": torch.bfloat16}
    assert {weight.dtype for weight in trainer.model.parameters()} == {torch.float32}


def test_with_bf16_rollouts_are_sampled_from_weights_in_bfloat16(student_path, tmp_path):
    trainer = ours(student_path, tmp_path, bf16=True, use_cpu=True, max_steps=1)
    sampled_from, seen = trainer.sampler.copy.model, set()
    assert {weight.dtype for weight in sampled_from.parameters()} == {torch.bfloat16}
    sampled_from.register_forward_hook(lambda _, inputs, output: seen.add(output.logits.dtype))
    train(trainer)
    assert seen == {torch.bfloat16}


def test_a_data_parallel_wrapper_on_gpus_is_called_with_an_argument(student_path, tmp_path):
    trainer = ours(student_path, tmp_path)

    class OnGpus(torch.nn.parallel.DistributedDataParallel):
        def __init__(self, module):
            torch.nn.Module.__init__(self)
            self.module = module

        def forward(self, *inputs, **kwargs):
            moved, moved_kwargs = _to_kwargs(inputs, kwargs, torch.device("cpu"), False)
            return self.module(*moved[0], **moved_kwargs[0])

    assert trainer._through(OnGpus(trainer.model), lambda: 42) == 42


LIMITS = [
    MicrobatchLimit(max_sequences=1),
    MicrobatchLimit(max_sequences=3),
    MicrobatchLimit(max_tokens=150),
    MicrobatchLimit(),
]


@pytest.mark.parametrize("normalization", ["sequence", "token"])
def test_the_grouping_changes_neither_losses_nor_weights(student_path, tmp_path, normalization):
    outcomes = []
    for number, limit in enumerate(LIMITS):
        same = {"max_steps": 3, "learning_rate": 1e-4, "per_device_train_batch_size": 8}
        trainer = ours(student_path, tmp_path / str(number), limit=limit, normalization=normalization, **same)
        outcomes.append((train(trainer), weights(trainer)))
    groups = [r["microbatches"] for r in trainer.state.log_history if "loss" in r]
    assert groups == [1, 1, 1]
    for losses, parameters in outcomes[1:]:
        assert losses == pytest.approx(outcomes[0][0], rel=1e-4)
        for name, weight in parameters.items():
            torch.testing.assert_close(weight, outcomes[0][1][name], rtol=1e-3, atol=3e-5, msg=name)


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
        assert sample["in_loss"][:3] == [False] * min(3, len(sample["tokens"]))
        for divergence, in_loss in zip(sample["divergence"], sample["in_loss"], strict=True):
            assert divergence > -1e-5 if in_loss else divergence is None


@pytest.mark.parametrize("engine", ["generate", "continuous"])
def test_a_student_whose_probabilities_are_not_finite_ends_the_run(student_path, tmp_path, engine):
    trainer = ours(student_path, tmp_path, engine=engine)
    with torch.no_grad():
        trainer.model.model.norm.weight.fill_(float("nan"))
    with pytest.raises(TrainerError, match="the student's probabilities are not finite at step 1"):
        train(trainer)


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


@pytest.mark.parametrize("engine", ["generate", "continuous"])
def test_a_run_with_any_engine_is_repeatable(student_path, tmp_path, engine):
    runs = [ours(student_path, tmp_path / name, engine=engine, max_steps=3) for name in "ab"]
    assert train(runs[0]) == train(runs[1])


def test_stopped_within_reused_rollouts_a_resumed_run_goes_on_with_them(student_path, tmp_path):
    same = {"num_iterations": 3, "max_steps": 6, "learning_rate": 1e-4}
    whole = ours(student_path, tmp_path / "whole", **same)
    losses = train(whole)
    stop = StopOnSignal()
    train(ours(student_path, tmp_path / "parts", callbacks=[StopWithin(stop, 4), stop], **same))
    resumed = ours(student_path, tmp_path / "parts", **same)
    assert train(resumed, str(checkpoint.newest(tmp_path / "parts"))) == losses
    assert all(torch.equal(a, weights(resumed)[name]) for name, a in weights(whole).items())


def test_rollouts_in_use_for_another_number_of_processes_are_refused(student_path, tmp_path):
    same = {"num_iterations": 3, "max_steps": 2, "save_steps": 1}
    train(ours(student_path, tmp_path, **same))
    other = ours(student_path, tmp_path, per_device_train_batch_size=2, **same)
    with pytest.raises(UsageError, match="4 rollouts in use for this process, expected 2"):
        other._load_from_checkpoint(str(tmp_path / "checkpoint-1"))


class StopAt(TrainerCallback):
    """Asks for a stop at the n-th point of a step where it may take effect, and counts these points."""

    def __init__(self, stop, point):
        self.stop, self.point, self.seen = stop, point, 0

    def on_substep_end(self, args, state, control, **kwargs):
        self.seen += 1
        self.stop.requested = self.seen == self.point


@pytest.mark.parametrize("point", [1, 2, 3, 4])
def test_a_stop_takes_effect_after_the_rollouts_and_after_each_micro_batch_of_teacher_and_student(
    student_path, tmp_path, point
):
    stop = StopOnSignal()
    trainer = ours(student_path, tmp_path, callbacks=[StopAt(stop, point), stop], max_steps=1)
    train(trainer)  # of two micro-batches: rollouts, teacher, teacher, student; after the last the step is finished
    assert trainer.state.global_step == 0 and checkpoint.newest(tmp_path).name == "checkpoint-0"
    assert all(weight.grad is None for weight in trainer.model.parameters())


def test_a_step_whose_completions_are_all_shorter_than_the_skipped_tokens_changes_nothing(student_path, tmp_path):
    trainer = ours(student_path, tmp_path, num_loss_tokens_to_skip=16, max_steps=2, weight_decay=0.0)
    before = weights(trainer)
    assert train(trainer) == [0, 0]
    assert all(torch.equal(before[name], weight) for name, weight in weights(trainer).items())


def test_every_step_tells_what_it_learnt_and_where_the_time_went(student_path, tmp_path):
    trainer = ours(student_path, tmp_path, max_steps=2)
    train(trainer)
    record = trainer.state.log_history[0]
    for name in ("rollout", "teacher", "student", "optimizer"):
        assert 0 < record[f"seconds/{name}"] < 100
    assert record["kl/forward"] > 0 and record["kl/reverse"] > 0
    assert 0 < record["entropy/student"] < 7 and 0 < record["entropy/teacher"] < 7
    assert 0 < record["agreement"] <= 1
    assert 0 < record["memory/peak_gib"] < 100
    assert record["loss"] == pytest.approx(record["kl/forward"], rel=1e-3)  # all completions have the same length


def test_the_hooks_of_trl_that_we_rely_on_are_those_of_the_pinned_version():
    assert trl.__version__ == "1.16.0"
    parameters = lambda function: list(inspect.signature(function).parameters)  # noqa: E731
    assert parameters(SDFTTrainer._setup_teacher_model) == ["self"]
    assert parameters(Trainer._get_grad_norm) == ["self", "model", "grad_norm"]
    assert parameters(Trainer.compute_loss_context_manager) == ["self"]
    assert parameters(SDFTTrainer._get_train_sampler) == ["self", "dataset"]
    assert parameters(SDFTTrainer._get_teacher_context_for_self_distillation) == ["self"]
    assert parameters(SDFTTrainer._record_completion_metrics) == ["self", "mode", "batch"]
    assert parameters(SDFTTrainer.training_step) == ["self", "model", "inputs", "num_items_in_batch"]
    assert parameters(SDFTTrainer._save_checkpoint) == ["self", "model", "trial"]
    assert parameters(SDFTTrainer._load_from_checkpoint) == ["self", "resume_from_checkpoint", "model"]
    assert parameters(Trainer._run_epoch)[:2] == ["self", "model"]
    assert parameters(_ForwardRedirection.__call__)[:4] == ["self", "wrapper_module", "original_module", "method"]
    assert parameters(unwrap_model_for_generation)[:2] == ["model", "accelerator"]
    assert "logprobs" in parameters(VLLMGeneration.__init__)
    assert parameters(VLLMGeneration.sync_weights) == ["self"]
    assert {"prompts", "images", "num_generations"} < set(parameters(VLLMGeneration.generate))
