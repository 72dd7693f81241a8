"""A model whose weights FSDP2 has spread over processes: each holds a shard of every parameter.

All processes have to call these functions in the same order, except those that say that they need no communication.
"""

import copy
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from torch.distributed.fsdp import FSDPModule
from torch.distributed.tensor import DTensor, distribute_tensor

from ..errors import TrainerError

SHARDS = "shards"  # the folder of a checkpoint with what each process holds

T = TypeVar("T")


def is_sharded(model: Any) -> bool:
    """Whether FSDP2 has spread the weights of a model."""
    return isinstance(model, FSDPModule)


def settle_shards(model: Any) -> None:
    """Let `reshard` free everything: a group whose head is not called counts as within its forward pass for ever.

    Raises:
        TrainerError: some weights are not spread: a copy of all on each process is what nobody asked for.
    """
    model.set_reshard_after_forward(True)
    whole = [name for name, weight in model.named_parameters() if not isinstance(weight, DTensor)]
    if whole:
        raise TrainerError(
            f"FSDP left {len(whole)} weights whole on each process ({', '.join(whole[:3])}). Train without --fsdp."
        )


def bare_copy(model: nn.Module, device: torch.device | str = "meta", dtype: torch.dtype | None = None) -> Any:
    """The modules and buffers of a model, with parameters of the same shapes and no values; tied ones stay tied."""
    empty = {
        id(weight): nn.Parameter(torch.empty_like(weight, device=device, dtype=dtype), requires_grad=False)
        for weight in model.parameters()
    }
    return copy.deepcopy(model, empty)  # deepcopy takes what it is given for copied already


def fill_from(twin: nn.Module, model: nn.Module) -> None:
    """Give a bare copy, spread as the model is, its weights in float32; needs no communication."""
    source, state = model.state_dict(), twin.state_dict()
    for name, weight in state.items():
        if isinstance(weight, DTensor):
            state[name] = source[name].detach().clone().float()
    twin.load_state_dict(state, assign=True)
    if hasattr(twin, "tie_weights"):
        twin.tie_weights()  # pyright: ignore[reportCallIssue]
    reshard(twin)


def reshard(model: nn.Module) -> None:
    """Free what was gathered; needs no communication.

    After a forward pass without a backward pass FSDP keeps some weights whole, and would use them again when the
    shards have changed.
    """
    for module in model.modules():
        if isinstance(module, FSDPModule):
            module.reshard()


def shard_of(weight: Tensor) -> Tensor:
    """The part of a weight that this process holds; all of it where it is not spread. Needs no communication."""
    return weight.to_local() if isinstance(weight, DTensor) else weight


def whole(weight: Tensor) -> Tensor:
    """All of a weight, gathered where it is spread."""
    return weight.full_tensor() if isinstance(weight, DTensor) else weight


def spread_as(weight: Tensor, value: Tensor) -> Tensor:
    """A whole value, spread as a weight is if it is; needs no communication."""
    if not isinstance(weight, DTensor):
        return value
    return distribute_tensor(value.to(weight.device), weight.device_mesh, weight.placements, src_data_rank=None)


@torch.no_grad()
def take(weight: Tensor, value: Tensor) -> None:
    """Copy this process's part of a whole value into a weight; needs no communication."""
    shard_of(weight).copy_(shard_of(spread_as(weight, value)))


def whole_weights(model: nn.Module, *, wanted: Callable[[str], bool], keep: bool) -> dict[str, Tensor]:
    """The wanted weights by name on the CPU, gathered one after another; none where this process keeps none."""
    found = {}
    tied = {name for name, _ in model.named_parameters(remove_duplicate=False)} - {*dict(model.named_parameters())}
    for name, weight in model.state_dict().items():
        if name not in tied and wanted(name):
            value = whole(weight.detach())
            if keep:
                found[name] = value.cpu()
    return found


def in_step(parts: Iterator[T], device: torch.device) -> Iterator[T | None]:
    """Each part, and None as long as another process has one more: a pass through a sharded model takes all."""
    while True:
        part = next(parts, None)
        left = torch.tensor(float(part is not None), device=device)
        torch.distributed.all_reduce(left, op=torch.distributed.ReduceOp.MAX)
        if not left:
            return
        yield part
