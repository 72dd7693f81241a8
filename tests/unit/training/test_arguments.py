"""Our settings as TRL's arguments: the published values, the user's own, and refusals."""

import pytest
import torch

from trainer.errors import UsageError
from trainer.settings.resolve import resolve
from trainer.training.arguments import microbatch_limit, training_arguments
from trainer.training.microbatches import MicrobatchLimit


def arguments(*argv, tmp="outputs/none"):
    return training_arguments(resolve("train", ["--output_dir", tmp, *argv], {}))


def test_the_defaults_are_the_published_ones():
    values = arguments()
    assert (values.distillation_alpha, values.distillation_mode) == (0.0, "full_logits")
    assert (values.teacher_model_kind, values.teacher_update_rate, values.teacher_sync_steps) == ("ema", 0.01, 1)
    assert (values.num_loss_tokens_to_skip, values.num_generations, values.temperature) == (3, 1, 1.0)
    assert (values.per_device_train_batch_size, values.gradient_accumulation_steps) == (32, 1)
    assert (values.learning_rate, values.lr_scheduler_type, values.warmup_steps) == (2e-5, "cosine", 0.1)
    assert values.max_completion_length == 1024
    assert not values.trust_remote_code and values.report_to == []


def test_any_further_training_argument_is_passed_on_with_its_type():
    values = arguments("--weight_decay", "0.1", "--logging_steps", "5", "--bf16", "false", "--gradient_checkpointing")
    assert (values.weight_decay, values.logging_steps, values.bf16) == (0.1, 5, False)
    assert values.gradient_checkpointing is True


@pytest.mark.parametrize(("able", "hint"), [({"avx512_bf16": True}, True), ({"amx_bf16": True}, True), ({}, False)])
def test_a_cpu_computes_in_bfloat16_where_it_is_asked_to_and_one_that_is_faster_so_is_told(
    monkeypatch, capsys, able, hint
):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: able)
    assert arguments().bf16 is False
    assert ("--bf16 true is faster" in capsys.readouterr().out) is hint
    asked = arguments("--bf16", "true")
    assert asked.bf16 is True and asked.device.type == "cpu"
    assert "bf16:" not in capsys.readouterr().out


def test_arguments_of_a_file_are_those_of_the_command_line(tmp_path):
    (tmp_path / "run.yaml").write_text("max_steps: 3\nbf16: false\nlr_scheduler_kwargs: {num_cycles: 1}\n")
    from_file = resolve("train", ["--config", str(tmp_path / "run.yaml")], {})
    typed_in = resolve("train", ["--max_steps", "3", "--bf16", "false"], {})
    assert {key: from_file.extra[key] for key in typed_in.extra} == typed_in.extra
    values = training_arguments(from_file)
    assert (values.max_steps, values.bf16, values.lr_scheduler_kwargs) == (3, False, {"num_cycles": 1})


@pytest.mark.parametrize(
    ("argv", "sequences"),
    [
        (["--num_prompts_per_batch", "8", "--per_device_train_batch_size", "3"], 8),
        (["--num_prompts_per_batch", "8", "--num_generations", "4", "--per_device_train_batch_size", "2"], 32),
        (["--gradient_accumulation_steps", "5"], 5),
        (["--gradient_accumulation_steps", "5", "--per_device_train_batch_size", "2"], 10),
    ],
)
def test_a_step_of_sdft_is_one_batch_of_all_its_rollouts(argv, sequences):
    values = arguments(*argv)
    assert (values.per_device_train_batch_size, values.gradient_accumulation_steps) == (sequences, 1)


@pytest.mark.parametrize(
    ("argv", "split"),
    [
        (["--num_prompts_per_batch", "8", "--per_device_train_batch_size", "4"], (4, 2)),
        (["--gradient_accumulation_steps", "5"], (1, 5)),
    ],
)
def test_a_step_of_sft_is_split_into_equal_micro_batches(argv, split):
    values = arguments("--objective", "sft", *argv)
    assert (values.per_device_train_batch_size, values.gradient_accumulation_steps) == split


def test_processes_that_know_nothing_of_each_other_are_refused(monkeypatch):
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(UsageError, match=r"2 processes were started.*--use_cpu true"):
        arguments()


def test_two_ways_of_saying_the_size_of_a_step_at_once_are_an_error():
    with pytest.raises(UsageError, match="say the same"):
        arguments("--num_prompts_per_batch", "8", "--gradient_accumulation_steps", "8")
    with pytest.raises(UsageError, match="can't be split into micro-batches of 3"):
        arguments("--objective", "sft", "--num_prompts_per_batch", "8", "--per_device_train_batch_size", "3")


@pytest.mark.parametrize(
    ("argv", "limit"),
    [
        ([], None),
        (["--per_device_train_batch_size", "1"], MicrobatchLimit(max_sequences=1)),
        (["--max_tokens_per_microbatch", "4096"], MicrobatchLimit(max_tokens=4096)),
    ],
)
def test_a_micro_batch_is_bounded_as_asked(argv, limit):
    assert microbatch_limit(resolve("train", argv, {})) == limit


def test_two_bounds_of_a_micro_batch_at_once_are_an_error():
    with pytest.raises(UsageError, match="both bound a micro-batch"):
        microbatch_limit(
            resolve("train", ["--per_device_train_batch_size", "1", "--max_tokens_per_microbatch", "9"], {})
        )


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        (["--wieght_decay", "1"], "Did you mean 'weight_decay'"),
        (["--lerning_rate", "1"], "Did you mean 'learning_rate'"),
        (["--distillation_alpha", "1"], "use --alpha"),
        (["--weight_decay", "much"], "weight_decay"),
        (["--lr_scheduler_type", "zigzag"], "zigzag"),
        (["--trust_remote_code"], "is not passed on"),
        (["--report_to", "wandb"], "pip install wandb"),
        (["--use_vllm"], "use --rollout_engine vllm"),
        (["--auto_find_batch_size"], "use --max_tokens_per_microbatch"),
        (["--save_only_model"], "whole checkpoints"),
        (["--ignore_data_skip"], "goes on where it was"),
        (["--fp16"], "use --bf16"),
        (["--push_to_hub"], "hf upload"),
        (["--eval_on_start"], "use --eval_data_path"),
        (["--torch_compile"], "compiled by itself"),
        (["--cache_implementation", "static"], "use --rollout_engine"),
        (["--optim", "lomo"], "updates within the backward pass"),
        (["--vllm_mode", "server"], "needs the --vllm_server_port"),
        (["--max_completion_length", "3"], "leaves no token in the loss"),
    ],
)
def test_an_argument_that_trl_does_not_take_is_a_usage_error(argv, words, capsys):
    with pytest.raises(UsageError, match=words):
        arguments(*argv)


def test_supervised_objectives_get_supervised_arguments():
    values = arguments("--objective", "sft")
    assert type(values).__name__ == "SFTConfig"
    assert values.max_length is None and values.gradient_accumulation_steps == 32
