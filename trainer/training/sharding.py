"""Training with weights, gradients, optimizer and teacher spread over processes: FSDP2, as accelerate drives it.

A checkpoint has the student whole, as plain transformers load it, and what each process holds of the optimizer and of
an EMA teacher in `shards/`, written by all processes at once (`torch.distributed.checkpoint`). Any number of processes
goes on from it, a single plain one too, and sharded ones from a checkpoint that a plain one wrote.
"""

import os
from pathlib import Path
from typing import Any

import torch
import torch.distributed.checkpoint as dcp
from accelerate import PartialState
from accelerate.utils import DistributedType, is_peft_model, set_seed
from accelerate.utils.fsdp_utils import fsdp2_prepare_model
from peft.utils import load_peft_weights
from torch import nn
from torch.distributed.checkpoint.api import CheckpointException
from torch.distributed.checkpoint.state_dict import get_optimizer_state_dict, set_optimizer_state_dict
from torch.distributed.fsdp import MixedPrecisionPolicy, register_fsdp_forward_method
from transformers import TrainerCallback, TrainingArguments

from .. import __name__ as MODULE
from ..errors import UsageError
from ..models.sharded import (
    SHARDS,
    bare_copy,
    fill_from,
    reshard,
    settle_shards,
    spread_as,
    take,
    whole_weights,
)
from ..run.checkpoint import WholeCheckpoints
from ..settings.options import Train

TORCHRUN = f"`torchrun --nproc_per_node N -m {MODULE} train … --fsdp true`"
ASKED = "found FSDP (`--fsdp`, or `accelerate launch` with a configuration that says it)"


def is_asked_for(arguments: TrainingArguments) -> bool:
    """Whether `--fsdp true`, or `accelerate launch` with such a configuration, wants the weights spread."""
    return bool(arguments.fsdp) or os.environ.get("ACCELERATE_USE_FSDP", "false").lower() == "true"


def require_shardable(settings: Train, arguments: TrainingArguments) -> None:
    """Refuse what can't be combined with sharding.

    Raises:
        UsageError: one process that was started alone, or a setting that sharded training does not follow.
    """
    if os.environ.get("ACCELERATE_USE_DEEPSPEED", "false").lower() == "true":
        raise UsageError(f"found DeepSpeed, expected FSDP2: {TORCHRUN}.")
    if not is_asked_for(arguments):
        if settings.rollout_engine == "sharded":
            raise UsageError(f"--rollout_engine sharded is for weights that are spread: {TORCHRUN}.")
        return
    if "LOCAL_RANK" not in os.environ:
        raise UsageError(
            f"{ASKED} and a process that was started alone. Start as many as there are devices: {TORCHRUN}."
        )
    if fault := _fault(settings, arguments):
        raise UsageError(f"{ASKED} and {fault}")
    _take_effect(arguments)


def _fault(settings: Train, arguments: TrainingArguments) -> str | None:
    """The first setting that sharded training does not follow, and what to type."""
    given = arguments.fsdp_config if isinstance(arguments.fsdp_config, dict) else {}
    wanted = {
        name: str(given.get(name) if given.get(name) is not None else os.environ.get(f"FSDP_{variable}", "")).lower()
        for name, variable in (
            ("version", "VERSION"),
            ("cpu_offload", "OFFLOAD_PARAMS"),
            ("cpu_ram_efficient_loading", "CPU_RAM_EFFICIENT_LOADING"),
            ("activation_checkpointing", "ACTIVATION_CHECKPOINTING"),
        )
    }
    if (wanted["version"] or ("2" if arguments.fsdp else "1")) != "2":
        return f"version {wanted['version'] or 1} of it, expected 2. Set `fsdp_version: 2`."
    for name in ("cpu_offload", "cpu_ram_efficient_loading"):
        if wanted[name] == "true":
            return f"its {name}, which is not supported. Set it to false."
    if wanted["activation_checkpointing"] == "true":
        return "its own activation checkpointing. Set it to false, and pass --activation_checkpointing true."
    if settings.load_in_4bit:
        return "--load_in_4bit, whose packed weights can't be spread. Leave one of the two out."
    if settings.rollout_engine == "vllm":
        return "--rollout_engine vllm, which is not supported. Use auto, generate, continuous or sharded."
    if settings.teacher_model_name_or_path is not None:
        return (
            "--teacher_model_name_or_path, which every process would hold whole. Serve that model, and pass its URL "
            "and --objective served."
        )
    if arguments.device.type == "cpu" and torch.accelerator.is_available():
        return "--use_cpu where there is a GPU. Hide it: `CUDA_VISIBLE_DEVICES= torchrun …`."
    return None


def _take_effect(arguments: TrainingArguments) -> None:
    """Let accelerate shard on a CPU too: it takes FSDP there for plain data parallelism, without a word."""
    if arguments.device.type == "cpu":
        PartialState._shared_state["distributed_type"] = DistributedType.MULTI_GPU


class ShardedTraining(WholeCheckpoints):
    """A `Trainer` that spreads its model when it is asked to; put it before a TRL trainer in the list of bases.

    transformers does that when training begins. Here it is done when the trainer is built, so that also what is scored
    before fits the devices.

    Attributes:
        bare: The student without values, to make copies of; None where weights are not spread.
    """

    bare: Any = None

    @property
    def is_sharding(self) -> bool:
        """Whether weights are spread, or will be when the trainer is built."""
        return bool(self.is_fsdp_enabled)

    def shard(self) -> None:
        """Spread the student, if that is asked for.

        The weights stay float32 on their way too, whatever `--bf16` says: that is autocast, as on one device.
        """
        if not self.is_sharding or self.bare is not None:
            return
        self.bare = bare_copy(self.model)
        plugin: Any = self.accelerator.state.fsdp_plugin
        plugin.mixed_precision_policy = MixedPrecisionPolicy()
        if plugin.transformer_cls_names_to_wrap is None:  # a text model may name layers that only its images have
            plugin.transformer_cls_names_to_wrap = layers_of(self.model)
        self.create_optimizer()
        self.model, self.optimizer = self.accelerator.prepare(self.model, self.optimizer)
        self.model_wrapped = self.model
        settle_shards(self.model)
        register_fsdp_forward_method(self.model, "generate")
        self._resharding = Resharding([self.model])
        self.add_callback(self._resharding)

    def sharded_twin(self) -> Any:
        """A float32 copy of the student's weights, spread as they are; no process ever has all of it."""
        twin = fsdp2_prepare_model(self.accelerator, bare_copy(self.bare, dtype=torch.float32))
        fill_from(twin, self.model)
        settle_shards(twin)
        self._resharding.models.append(twin)
        return twin.eval()

    def _prepare_for_training(self, *args: Any, **kwargs: Any) -> Any:
        """The model is prepared already: accelerate would look for the optimizer's weights a second time."""
        prepare = self.accelerator.prepare
        if self.is_sharding:
            self.accelerator.prepare = lambda *prepared: prepared  # pyright: ignore[reportAttributeAccessIssue]
        try:
            return super()._prepare_for_training(*args, **kwargs)
        finally:
            if self.is_sharding:
                del self.accelerator.prepare
            assert self.accelerator.prepare == prepare

    # ---- checkpoints

    def save_model(self, output_dir: str | None = None, _internal_call: bool = False) -> None:
        """The whole student, or its adapters; the main process gathers and writes them."""
        if not self.is_sharding:
            return super().save_model(output_dir, _internal_call)
        main = self.is_world_process_zero()
        adapters = {*self.model.peft_config} if is_peft_model(self.model) else None
        weights = whole_weights(
            self.model,
            wanted=lambda name: adapters is None or not adapters.isdisjoint(name.split(".")),
            keep=main,
        )
        if main:
            self._save(output_dir, state_dict=weights)

    def _shards(self) -> dict[str, Any]:
        """Hook: what else is spread and belongs into a checkpoint, by name."""
        return {}

    def _save_optimizer_and_scheduler(self, output_dir: str) -> None:
        if not self.is_sharding:
            return super()._save_optimizer_and_scheduler(output_dir)
        scheduler: Any = self.lr_scheduler
        optimizer = get_optimizer_state_dict(self.model, self.optimizer)
        try:
            dcp.save({"optimizer": optimizer, **self._shards()}, checkpoint_id=Path(output_dir) / SHARDS)
        except CheckpointException as error:  # not an Exception; every process gets those of all
            reason, _ = next(iter(error.failures.values()))
            raise reason from error
        if self.is_world_process_zero():
            torch.save(scheduler.state_dict(), Path(output_dir) / "scheduler.pt")

    def _load_optimizer_and_scheduler(self, checkpoint: str | None) -> None:
        shards = Path(checkpoint or "") / SHARDS
        if checkpoint is None or not (self.is_sharding or shards.exists()):
            return super()._load_optimizer_and_scheduler(checkpoint)
        if shards.exists():
            state = {"optimizer": get_optimizer_state_dict(self.model, self.optimizer)}
            dcp.load(state, checkpoint_id=shards)
            set_optimizer_state_dict(self.model, self.optimizer, state["optimizer"])
        else:
            take_optimizer(self.optimizer, torch.load(Path(checkpoint) / "optimizer.pt", weights_only=True, mmap=True))
        scheduler: Any = self.lr_scheduler
        scheduler.load_state_dict(torch.load(Path(checkpoint) / "scheduler.pt", weights_only=True))

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: Any = None) -> None:
        if not self.is_sharding:
            return super()._load_from_checkpoint(resume_from_checkpoint, model)
        reshard(self.model)
        folder = Path(resume_from_checkpoint)
        if is_peft_model(self.model):
            values = load_peft_weights(str(folder), device="cpu")
            adapter = str(self.model.active_adapter)
        else:
            loaded = type(self.bare).from_pretrained(folder, dtype=torch.float32, local_files_only=True)
            values, adapter = dict(loaded.named_parameters()), None
        for name, weight in self.model.named_parameters():
            parts = name.split(".")
            if adapter is None or adapter in parts:  # whose it is a file of adapters leaves out
                take(weight, values[".".join(part for part in parts if part != adapter)])

    def _load_rng_state(self, checkpoint: str | None) -> None:
        """Other processes than those that wrote a checkpoint draw numbers that none of them has drawn."""
        if checkpoint is not None:
            written = len([*Path(checkpoint).glob("rng_state*.pth")])
            if written != self.args.world_size:
                set_seed(self.args.seed + self.state.global_step, device_specific=True)
                return
        super()._load_rng_state(checkpoint)


def layers_of(model: nn.Module) -> list[str]:
    """The classes of a model's layers that it has, of those that it says must stay whole.

    Raises:
        UsageError: there is none, so that all weights would be gathered at once.
    """
    present = {type(module).__name__ for module in model.modules()}
    told = {name for module in model.modules() for name in getattr(module, "_no_split_modules", None) or ()}
    if not present & told:
        raise UsageError(
            f"FSDP finds no layers to spread in a {type(model).__name__}: it names {', '.join(sorted(told)) or 'none'} "
            "and has none of them. Train without --fsdp, or name them: `transformer_layer_cls_to_wrap` in "
            "--fsdp_config."
        )
    return sorted(present & told)


def take_optimizer(optimizer: Any, saved: dict[str, Any]) -> None:
    """Load the state of an optimizer of whole weights into one of the same weights, spread."""
    weights = [weight for group in optimizer.param_groups for weight in group["params"]]
    state = {
        number: {
            name: spread_as(weights[number], value) if value.shape == weights[number].shape else value
            for name, value in values.items()
        }
        for number, values in saved["state"].items()
    }
    optimizer.load_state_dict({"state": state, "param_groups": saved["param_groups"]})


class Resharding(TrainerCallback):
    """Frees what passes without gradient have gathered, before the shards of it change."""

    def __init__(self, models: list[Any]):
        self.models = models

    def on_pre_optimizer_step(self, args, state, control, **kwargs):
        for model in self.models:
            reshard(model)
