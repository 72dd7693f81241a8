"""What can't be combined with spread weights is refused before anything is loaded, with what to type."""

from types import SimpleNamespace
from typing import Any

import pytest
import torch

from trainer.errors import UsageError
from trainer.settings.options import Train
from trainer.training.arguments import is_true
from trainer.training.sharding import layers_of, require_shardable


def require(settings: Train, fsdp: bool = False, **config: Any) -> None:
    """With what is read of TRL's arguments; real ones would look for the other processes."""
    arguments: Any = SimpleNamespace(fsdp=fsdp, fsdp_config=config, device=torch.device("cpu"))
    require_shardable(settings, arguments)


@pytest.fixture
def launched(monkeypatch):
    """As in a process that torchrun started."""
    monkeypatch.setenv("LOCAL_RANK", "0")


def test_a_process_that_was_started_alone_is_told_how_to_start_several(monkeypatch):
    monkeypatch.delenv("LOCAL_RANK", raising=False)
    with pytest.raises(UsageError, match=r"started alone.*`torchrun --nproc_per_node N -m trainer train"):
        require(Train(), fsdp=True)


@pytest.mark.parametrize("value", ["full_shard", "1", ""])
def test_a_switch_of_older_releases_is_refused(value):
    with pytest.raises(UsageError, match="expected true or false"):
        is_true("fsdp", value)


@pytest.mark.usefixtures("launched")
@pytest.mark.parametrize(
    ("settings", "told"),
    [
        (Train(use_peft=True, load_in_4bit=True), "--load_in_4bit, whose packed weights can't be spread"),
        (
            Train(teacher_model_name_or_path="big", teacher_kind="base"),
            "--teacher_model_name_or_path, which every process would hold whole. Serve that model",
        ),
        (Train(rollout_engine="vllm"), "--rollout_engine vllm, which is not supported. Use auto"),
    ],
)
def test_a_setting_that_sharding_does_not_follow_is_named(settings, told):
    with pytest.raises(UsageError, match=told):
        require(settings, fsdp=True)


@pytest.mark.usefixtures("launched")
@pytest.mark.parametrize(
    ("config", "told"),
    [
        ({"version": 1}, "version 1 of it, expected 2"),
        ({"version": 2, "cpu_offload": True}, "its cpu_offload, which is not supported"),
        ({"version": 2, "activation_checkpointing": True}, "pass --activation_checkpointing true"),
    ],
)
def test_a_configuration_that_is_not_followed_is_named(config, told):
    with pytest.raises(UsageError, match=told):
        require(Train(), fsdp=True, **config)


def test_the_sharded_engine_needs_spread_weights():
    with pytest.raises(UsageError, match="--rollout_engine sharded is for weights that are spread"):
        require(Train(rollout_engine="sharded"))


def test_deepspeed_is_refused(monkeypatch):
    monkeypatch.setenv("ACCELERATE_USE_DEEPSPEED", "true")
    with pytest.raises(UsageError, match="found DeepSpeed, expected FSDP2"):
        require(Train())


class Layer(torch.nn.Module):
    pass


class Model(torch.nn.Module):
    """A text model whose class also names the layers of its images."""

    def __init__(self, names: list[str]):
        super().__init__()
        self._no_split_modules = names
        self.layer = Layer()


def test_only_layers_that_the_model_has_are_spread():
    assert layers_of(Model(["Layer", "VisionBlock"])) == ["Layer"]


def test_a_model_that_names_no_layer_of_its_own_is_refused_with_what_to_type():
    with pytest.raises(UsageError, match=r"no layers to spread in a Model: it names VisionBlock.*--fsdp_config"):
        layers_of(Model(["VisionBlock"]))
