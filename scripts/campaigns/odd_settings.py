"""Settings, and variables of the environment, with values at the edge, of a wrong type, or that mean nothing."""

import random
from collections.abc import Callable
from typing import Any

from campaigns.mutations import NUMBERS, TEXTS, odd_value

WHERE = {"output_dir", "out_dir", "output_file", "plots", "push_to_hub", "teacher_cache"}  # where commands write
TRLS = """
    warmup_steps warmup_ratio optim lr_scheduler_type logging_steps eval_strategy save_strategy bf16 fp16
    gradient_accumulation_steps per_device_train_batch_size max_grad_norm weight_decay adam_beta2 fsdp fsdp_config
    deepspeed gradient_checkpointing dataloader_num_workers report_to num_generations top_p top_k max_steps
    load_best_model_at_end torch_compile group_by_length ddp_backend accelerator_config lr_scheduler_kwargs
    neftune_noise_alpha resume_from_checkpoint use_vllm vllm_mode steps_per_generation num_iterations
    label_smoothing_factor use_cpu tf32 metric_for_best_model remove_unused_columns include_for_metrics
    hub_model_id disable_tqdm distillation_mode beta xyz
""".split()  # noqa: SIM905
ODD_ENVIRONMENT = [
    ("RANK", "abc"),
    ("LOCAL_RANK", "-1"),
    ("LOCAL_WORLD_SIZE", "x"),
    ("WORLD_SIZE", "one"),
    ("COLUMNS", "abc"),
    ("COLUMNS", "1"),
    ("COLUMNS", "0"),
    ("TERM", ""),
    ("HTTP_PROXY", "::"),
    ("http_proxy", "socks9://x"),
    ("ALL_PROXY", "http://[::"),
    ("NO_PROXY", ",,*"),
    ("SSL_CERT_FILE", "/proc/none"),
    ("TMPDIR", "/proc/none"),
    ("HOME", ""),
    ("HOME", None),
    ("PATH", ""),
    ("PATH", None),
    ("HF_TOKEN", "\n"),
    ("SDFT_", "x"),
    ("SDFT_X", ""),
    ("SDFT_TRAINER_PORT", "tcp://1:1"),
    ("SDFT_lr", "1"),
    ("NO_COLOR", "1"),
    ("FORCE_COLOR", "1"),
    ("LANG", "xx"),
    ("TZ", "No/Where"),
    ("CUDA_VISIBLE_DEVICES", "9"),
    ("ACCELERATE_USE_FSDP", "true"),
    ("ACCELERATE_MIXED_PRECISION", "fp99"),
    ("WANDB_DISABLED", "maybe"),
    ("TQDM_DISABLE", "x"),
    ("OMP_NUM_THREADS", "abc"),
]


def odd_setting(f: Any, draw: random.Random) -> Any:
    """A value for a setting: at its bounds, of its choices, a path that is none, or of another kind."""
    from trainer.settings.resolve import value_type

    low, high, choices = f.metadata["at_least"], f.metadata["at_most"], f.metadata["choices"]
    near = [bound for bound in (low, high) if bound is not None]
    near += [bound + by for bound in near for by in (-1, 1, 0.5)]
    kinds: list[Callable[[], Any]] = [lambda: draw.choice(NUMBERS), lambda: draw.choice(TEXTS), lambda: odd_value(draw)]
    if near:
        kinds += [lambda: draw.choice(near)] * 3
    if choices:
        kinds += [lambda: draw.choice(choices)] * 3
    if value_type(f) is bool:
        kinds += [lambda: draw.choice(("true", "false", "yes", "1", "maybe"))] * 3
    if value_type(f) in (str, tuple):
        places = (
            "none.json",
            "data",
            "data/tiny_world",
            "/dev/null",
            ".",
            "data/tiny_world/student",
            "Qwen/none",
            "x" * 300,
            "data/tiny_world/train_data.json",
            "pyproject.toml",
            "os:getcwd",
            "json:nothing",
            "none:x",
            "a:b:c",
        )
        kinds += [lambda: draw.choice(places)] * 4
    value = draw.choice(kinds)()
    if f.name.endswith("_samples") and isinstance(value, int | float) and value > 100:
        return 3  # so many rows take long with good reason
    return "deep" if isinstance(value, str) and "\x00deep" in value else value
