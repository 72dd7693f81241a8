"""Our settings as TRL's training arguments: the published values of SDFT, and what a user passed on."""

import contextlib
import dataclasses
import importlib.util
import json
import os
from typing import Any, NoReturn

import torch
from transformers import HfArgumentParser, TrainingArguments
from trl import SFTConfig
from trl.experimental.sdft import SDFTConfig

from .. import __name__ as MODULE
from ..errors import UsageError
from ..settings.options import DISTILLING, Train
from ..settings.resolve import Resolved, as_text, unknown_key
from .engine_choice import wants_vllm
from .microbatches import MicrobatchLimit
from .order import TeacherShare
from .sharding import require_shardable

# Computing layers again in the backward pass; older releases of transformers know the second name alone.
CHECKPOINTING = next(
    name for name in ("activation_checkpointing", "gradient_checkpointing") if hasattr(TrainingArguments, name)
)

LOOP_DEFAULTS: dict[str, Any] = {
    "lr_scheduler_type": "cosine",
    "warmup_steps": 0.1,
    "per_device_train_batch_size": 1,
    "logging_steps": 1,
    "logging_nan_inf_filter": False,
    "save_strategy": "steps",
}
# The last two keep a model's own generation_config.json from changing the law that rollouts are sampled by.
DISTILLATION_DEFAULTS: dict[str, Any] = {
    "num_generations": 1,
    "distillation_mode": "full_logits",
    "min_p": 0.0,
    "generation_kwargs": {"no_repeat_ngram_size": 0},
}

SUPERVISED_VALUES: dict[str, Any] = {"max_length": None, "dataset_kwargs": {"skip_prepare_dataset": True}}

STAND_IN = {
    "distillation_alpha": "--alpha",
    "teacher_model_kind": "--teacher_kind",
    "generate_from_teacher": "--rollouts",
    "chat_template_kwargs": "--enable_thinking",
    "max_length": "--max_prompt_length and --max_completion_length",
    "model_init_kwargs": "--model_name_or_path",
    "steps_per_generation": "--num_prompts_per_batch",
    "generation_batch_size": "--num_prompts_per_batch",
    "resume_from_checkpoint": "--output_dir of the unfinished run",
    "disable_tqdm": "a pipe: progress is plain lines there",
    "save_strategy": "--save_steps",
    "logging_strategy": "--logging_steps",
    "eval_strategy": "--eval_steps",
    "eval_delay": "--eval_steps",
    "metric_for_best_model": "--eval_steps and --max_forgetting",
    "greater_is_better": "--eval_steps and --max_forgetting",
    "load_best_model_at_end": "--eval_steps, and `best` in summary.json",
    "teacher_sync_steps": "--teacher_update_rate, which holds at every step",
    "use_vllm": "--rollout_engine vllm",
    "disable_dropout": "--lora_dropout",
    "auto_find_batch_size": "--max_tokens_per_microbatch",
    "eval_on_start": "--eval_data_path, which is scored before and after",
    "save_only_model": "no flag: a run can go on from whole checkpoints alone",
    "ignore_data_skip": "no flag: a run goes on where it was",
    "fp16": "--bf16, or float32",
    "push_to_hub": "`hf upload` after the run",
    "deepspeed": "--fsdp true",
    "hub_token": "the environment variable HF_TOKEN",
    "trust_remote_code": "a model that needs no code of its own",
}


# What the step with rollouts does in its own way; `sft` and `seqkd` leave these to TRL.
SDFT_STAND_IN = {
    "torch_compile": "no flag: decoding on a GPU is compiled by itself",
    "use_teacher_server": "--teacher_kind",
    "train_sampling_strategy": "no flag: rollouts are grouped by length",
    "num_generations_eval": "--eval_data_path, which is decoded greedily",
    "cache_implementation": "--rollout_engine",
}
SERVED_STAND_IN = {
    "distillation_mode": "--tokenizer_route and --byte_route",
    "distillation_topk": "--teacher_top_k",
    "distillation_add_tail": "no flag: the rest of the vocabulary is one outcome",
}


def training_arguments(resolved: Resolved) -> SDFTConfig | SFTConfig:
    """The arguments of the trainer that serves `--objective`.

    Raises:
        UsageError: a key that neither we nor TRL know, a TRL argument that a setting of ours stands for, a
            value of a wrong type, a step that can't be split into equal micro-batches, or processes that would train
            in the same folder without knowing of each other.
    """
    settings: Train = resolved.settings
    kind = SDFTConfig if settings.objective in DISTILLING else SFTConfig
    given = passed_on(kind, resolved)
    defaults = LOOP_DEFAULTS | (DISTILLATION_DEFAULTS if kind is SDFTConfig else {}) | fitting_the_device(given)
    # The order of rows rests on it. accelerate would take the seed of this process, which is another in each.
    values: dict[str, Any] = {"data_seed": settings.seed} | defaults | given | our_values(settings)
    values |= split_of_a_step(settings, values, resolved.origins)
    if kind is SDFTConfig:
        values |= distillation_values(settings)
        check_distillation(settings, values)
    check_reporters(values["report_to"])
    try:
        arguments = kind(**values)
    except (AttributeError, ImportError, LookupError, OSError, RuntimeError, TypeError, ValueError) as error:
        raise UsageError(f"TRL refuses these training arguments: {error}") from error
    if arguments.n_gpu > 1:
        raise UsageError(
            f"found {arguments.n_gpu} GPUs and one process. Set CUDA_VISIBLE_DEVICES=0, or start one process for each: "
            f"`accelerate launch -m {MODULE} train …`."
        )
    started = int(os.environ.get("WORLD_SIZE", "1"))
    if started > arguments.world_size:
        raise UsageError(
            f"{started} processes were started, and each sees itself alone: expected a GPU for each. Start one "
            "process, or for processes on the CPU pass --use_cpu true."
        )
    require_shardable(settings, arguments)
    return arguments


def prompts_per_step(arguments: SDFTConfig | SFTConfig) -> int:
    """Different prompts of one optimizer step, over all devices."""
    sequences = arguments.per_device_train_batch_size * arguments.gradient_accumulation_steps * arguments.world_size
    return sequences // getattr(arguments, "num_generations", 1)


def require_known(resolved: Resolved) -> None:
    """Raise UsageError for a key that neither we nor TRL know, or that a setting of ours stands for."""
    kind = SDFTConfig if resolved.settings.objective in DISTILLING else SFTConfig
    known = {f.name for f in dataclasses.fields(kind)}
    stand_in = STAND_IN | (SDFT_STAND_IN if kind is SDFTConfig else {})
    if resolved.settings.objective == "served":
        stand_in |= SERVED_STAND_IN
    for key in resolved.extra:
        if key in stand_in:
            raise UsageError(f"--{key} (from {resolved.origins[key]}) is not passed on; use {stand_in[key]}.")
        if key not in known:
            ours = {f.name for f in dataclasses.fields(resolved.settings)}
            raise unknown_key(key, resolved.origins[key], sorted(known | ours))


def passed_on(kind: type[TrainingArguments], resolved: Resolved) -> dict[str, Any]:
    """The user's further TRL arguments with their types."""
    require_known(resolved)
    words = [word for key, value in resolved.extra.items() for word in as_words(key, value)]
    parser = HfArgumentParser(kind)  # pyright: ignore[reportArgumentType]
    parser.error = _refuse
    with contextlib.redirect_stderr(None):
        namespace = parser.parse_args([*words, "--output_dir", resolved.settings.output_dir])
    found = {key: getattr(namespace, key) for key in resolved.extra}
    return found | ({"fsdp": is_true("fsdp", found["fsdp"])} if "fsdp" in found else {})


def is_true(key: str, value: Any) -> bool:
    """A switch that transformers declares as a text, for what it once was.

    Raises:
        UsageError: it is neither true nor false.
    """
    word = str(value).lower()
    if word not in ("true", "false"):
        raise UsageError(f"found --{key} {value}, expected true or false. What tunes it goes into --{key}_config FILE.")
    return word == "true"


def check_reporters(report_to: list[str]) -> None:
    """Raise UsageError for a `--report_to` whose package is not installed; each is named as its package is."""
    for name in report_to:
        if not name.isidentifier():
            raise UsageError(f"found --report_to {name}, expected none, all, or names such as tensorboard or wandb.")
        if name not in ("all", "none") and importlib.util.find_spec(name) is None:
            raise UsageError(f"--report_to {name} needs the package {name}, which is missing: `pip install {name}`.")


def as_words(key: str, value: Any) -> list[str]:
    """A setting as command-line words."""
    values = value if isinstance(value, list) else [value]
    return [f"--{key}", *(json.dumps(item) if isinstance(item, dict) else str(as_text(item)) for item in values)]


def _refuse(message: str) -> NoReturn:
    raise UsageError(f"TRL's training arguments: {message}.")


def fitting_the_device(given: dict[str, Any]) -> dict[str, Any]:
    """bfloat16 autocast where a GPU computes in it, gradient checkpointing where memory is scarce.

    Each choice is printed with its reason; a user's own flag wins, under either name of checkpointing. A CPU computes
    in bfloat16 only where it is asked to, so that figures of different CPUs compare.
    """
    gpu = torch.cuda.is_available() and not given.get("use_cpu", False)
    name = torch.cuda.get_device_name() if gpu else "the CPU"
    bf16 = gpu and torch.cuda.is_bf16_supported()
    checkpointing = given.pop("gradient_checkpointing", given.get(CHECKPOINTING, gpu))
    if "bf16" not in given:
        why = f"{name} {'computes in it' if bf16 else 'trains in float32'}"
        faster = (
            "; it has instructions for bfloat16: --bf16 true is faster" if not gpu and has_bf16_instructions() else ""
        )
        print(f"bf16: {'on' if bf16 else 'off'} ({why}{faster})")
    print(f"{CHECKPOINTING}: {'on' if checkpointing else 'off'} (trades time for memory; auto: on with a GPU)")
    asked = {} if gpu or not given.get("bf16") else {"use_cpu": True}  # else transformers looks for a GPU
    return {"bf16": bf16, CHECKPOINTING: checkpointing, "dataloader_pin_memory": gpu} | asked


def has_bf16_instructions() -> bool:
    """Whether this CPU multiplies bfloat16 faster than float32."""
    able = torch.cpu.get_capabilities()
    return any(able.get(name, False) for name in ("avx512_bf16", "amx_bf16", "bf16"))


def our_values(settings: Train) -> dict[str, Any]:
    """TRL arguments that our settings decide, for every objective."""
    return {
        "output_dir": settings.output_dir,
        "learning_rate": settings.learning_rate,
        "num_train_epochs": settings.num_train_epochs,
        "seed": settings.seed,
        "save_steps": settings.save_steps,
        "save_total_limit": settings.save_total_limit,
        "report_to": [name for name in map(str.strip, settings.report_to.split(",")) if name],
        "disable_tqdm": True,
    } | (SUPERVISED_VALUES if settings.objective not in DISTILLING else {})


def distillation_values(settings: Train) -> dict[str, Any]:
    """TRL arguments of the objectives with rollouts."""
    return {
        "distillation_alpha": settings.alpha,
        "teacher_model_kind": settings.teacher_kind if settings.objective == "sdft" else "live",
        "teacher_update_rate": settings.teacher_update_rate,
        "num_loss_tokens_to_skip": settings.num_loss_tokens_to_skip,
        "temperature": settings.temperature,
        "max_prompt_length": None,
        "max_completion_length": settings.max_completion_length,
        "generate_from_teacher": settings.rollouts == "teacher",
        "use_vllm": wants_vllm(settings.rollout_engine),
        "disable_dropout": settings.lora_dropout == 0,
    }


def microbatch_limit(resolved: Resolved) -> MicrobatchLimit | None:
    """What the user says bounds a micro-batch of `sdft`; None leaves it to the device's memory.

    Raises:
        UsageError: `--per_device_train_batch_size` and `--max_tokens_per_microbatch` both say it.
    """
    tokens, sequences = resolved.settings.max_tokens_per_microbatch, resolved.extra.get("per_device_train_batch_size")
    if tokens is not None and sequences is not None:
        raise UsageError(
            "--max_tokens_per_microbatch and --per_device_train_batch_size both bound a micro-batch; give one of them."
        )
    if sequences is not None and int(sequences) < 1:
        raise UsageError(f"found --per_device_train_batch_size {sequences}, expected at least 1.")
    if sequences is not None:
        return MicrobatchLimit(max_sequences=int(sequences))
    return None if tokens is None else MicrobatchLimit(max_tokens=tokens)


def check_distillation(settings: Train, values: dict[str, Any]) -> None:
    """Raise UsageError for settings that each are valid and together let nothing be learnt, or not as asked."""
    if settings.max_completion_length <= settings.num_loss_tokens_to_skip:
        raise UsageError(
            f"--max_completion_length {settings.max_completion_length} leaves no token in the loss: the first "
            f"{settings.num_loss_tokens_to_skip} have none. Raise it, or lower --num_loss_tokens_to_skip."
        )
    if settings.objective == "served" and settings.rollouts != "student":
        raise UsageError(
            f"--objective served scores the student's own rollouts, and --rollouts is {settings.rollouts}. Leave it "
            "out, or learn the texts that the served teacher writes: --objective seqkd."
        )
    TeacherShare.parse(settings.teacher_rollouts)
    if "lomo" in str(values.get("optim")):
        raise UsageError(f"--optim {values['optim']} updates within the backward pass; take another for sdft.")
    if values.get("vllm_mode") == "server" and "vllm_server_port" not in values:
        raise UsageError(
            "--vllm_mode server needs the --vllm_server_port of a server for rollouts; the default, 8000, is where "
            "this stack's teacher is."
        )


def split_of_a_step(settings: Train, values: dict[str, Any], origins: dict[str, str]) -> dict[str, int]:
    """How the data loader hands out the `--num_prompts_per_batch` prompts of an optimizer step.

    With rollouts a batch is the whole step, which the trainer itself splits by length; else it is a micro-batch.
    """
    at_once = values["per_device_train_batch_size"]
    if settings.objective not in DISTILLING:
        steps = micro_batches(settings, values, origins, at_once)
        return {"per_device_train_batch_size": at_once, "gradient_accumulation_steps": steps}
    explicit = values.get("gradient_accumulation_steps") is not None
    batches = micro_batches(settings, values, origins, at_once if explicit else 1)
    return {
        "per_device_train_batch_size": batches * (at_once if explicit else 1),
        "gradient_accumulation_steps": 1,
    }


def micro_batches(settings: Train, values: dict[str, Any], origins: dict[str, str], at_once: int) -> int:
    """Micro-batches of `at_once` sequences that make up a step on one device.

    A given `--gradient_accumulation_steps` says the same thing in other units, so both at once is an error.
    """
    explicit = values.get("gradient_accumulation_steps")
    if explicit is not None:
        if origins["num_prompts_per_batch"] != "default":
            raise UsageError(
                "--num_prompts_per_batch and --gradient_accumulation_steps say the same; give one of them."
            )
        return explicit
    sequences = settings.num_prompts_per_batch * values.get("num_generations", 1)
    devices = int(os.environ.get("WORLD_SIZE", "1"))
    if at_once < 1 or sequences % (at_once * devices):
        raise UsageError(
            f"{sequences} sequences a step can't be split into micro-batches of {at_once} on each of {devices} "
            "devices. Make --num_prompts_per_batch a multiple."
        )
    return sequences // (at_once * devices)
