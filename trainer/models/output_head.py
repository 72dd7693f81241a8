"""The products of hidden states with a model's output head, and a loss whose gradient is taken in the forward pass.

Shapes: N tokens of the loss, C tokens of a chunk, V vocabulary, H hidden.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

CHUNK_BYTES = 80 * 2**20  # of the logits of a chunk, for each of the models


@dataclass(frozen=True)
class OutputHead:
    """How a model's last hidden state becomes logits: `softcap * tanh(scale * (h @ weight.T + bias) / softcap)`.

    Args:
        weight_VH: Projection, of any float dtype.
        softcap: Bound of the logits (Gemma); None where the model has none.
    """

    weight_VH: Tensor
    bias_V: Tensor | None = None
    scale: float = 1.0
    softcap: float | None = None

    def logits(self, hidden_NH: Tensor) -> Tensor:
        """Logits [N, V] all at once, for checks."""
        raw_NV = self.scale * torch.nn.functional.linear(hidden_NH, self.weight_VH, self.bias_V)
        return raw_NV if self.softcap is None else self.softcap * torch.tanh(raw_NV / self.softcap)

    def apply_(self, products_CV: Tensor) -> Tensor | None:
        """Turn products into logits, in place; returns the cap's slope [C, V] at each logit where there is a cap."""
        if self.bias_V is not None:
            products_CV += self.bias_V.detach()
        if self.scale != 1:
            products_CV *= self.scale
        if self.softcap is None:
            return None
        products_CV.div_(self.softcap).tanh_()
        slope_CV = 1 - products_CV.square()
        products_CV *= self.softcap
        return slope_CV


class Projection:
    """The products with an output head, with results in the precise dtype whatever the factors have."""

    def __init__(self, head: OutputHead, precise: torch.dtype):
        weight = head.weight_VH.detach()
        factor = factor_dtype(weight.device.type, weight.dtype, precise)
        self.head = head
        self.precise = precise
        self.half = factor != precise
        self.weight_VH = weight.to(factor)

    def operand(self, hidden_CH: Tensor) -> Tensor:
        """Hidden states in the dtype of the product."""
        return hidden_CH.detach().to(self.weight_VH.dtype)

    def project(self, hidden_CH: Tensor, out_CV: Tensor) -> None:
        """The products of hidden states and weight, before bias, scale and cap."""
        self._multiply(hidden_CH, self.weight_VH.t(), out_CV)

    def backward(self, gradient_CV: Tensor, hidden_CH: Tensor, part: slice, into: dict[str, Tensor]) -> None:
        """Add the gradients of hidden states, weight and bias, those of them that are wanted."""
        factor_CV = gradient_CV.to(self.weight_VH.dtype)
        if "hidden" in into:
            self._multiply(factor_CV, self.weight_VH, into["hidden"][part])
        if "weight" in into:
            self._multiply(factor_CV.t(), hidden_CH, into["weight"], add=True)
        if "bias" in into:
            into["bias"] += gradient_CV.sum(0)

    def _multiply(self, a: Tensor, b: Tensor, out: Tensor, *, add: bool = False) -> None:
        if self.half:
            multiply = partial(torch.addmm, out) if add else torch.mm
            multiply(a, b, out_dtype=self.precise, out=out)
        elif add:
            out.addmm_(a, b)
        else:
            torch.mm(a, b, out=out)


def factor_dtype(device: str, dtype: torch.dtype, precise: torch.dtype) -> torch.dtype:
    """The dtype of a product's factors: bfloat16 on CUDA where weights or autocast have it, else the precise one.

    CUDA multiplies bfloat16 many times faster, accumulates in float32 and returns that.
    """
    if device == "cuda" and torch.is_autocast_enabled("cuda"):
        dtype = torch.get_autocast_dtype("cuda")
    return dtype if device == "cuda" and dtype == torch.bfloat16 else precise


def block_rows(logits: Tensor) -> int:
    """Tokens that are compared at once: few on a CPU, so that they stay in its cache; many on a GPU."""
    bytes_at_once = 2**26 if logits.is_cuda else 2**21
    return max(1, bytes_at_once // (4 * logits.shape[-1]))


def precise_dtype(hidden_NH: Tensor) -> torch.dtype:
    """In which everything is reduced: float64 where the hidden states are, else float32."""
    return torch.float64 if hidden_NH.dtype == torch.float64 else torch.float32


def with_gradient(
    hidden_NH: Tensor, head: OutputHead, walk: Callable[[dict[str, Tensor]], tuple[Tensor, Tensor]]
) -> tuple[Tensor, Tensor]:
    """A loss of hidden states and head, whose gradient is taken in the forward pass.

    Args:
        walk: Returns the loss and what else was seen. It adds the loss's gradients to the zeros of the precise dtype
            that it is given: those wanted of `hidden` [N, H], `weight` [V, H] and `bias` [V].

    Returns:
        The loss as a function of hidden states and head, which can be gone back through once, and what else was seen.
    """
    leaves = {"hidden": hidden_NH, "weight": head.weight_VH, "bias": head.bias_V}
    learns = torch.is_grad_enabled()
    wanted = {name: leaf for name, leaf in leaves.items() if learns and leaf is not None and leaf.requires_grad}
    gradients = {name: torch.zeros_like(leaf, dtype=precise_dtype(hidden_NH)) for name, leaf in wanted.items()}
    with torch.no_grad(), torch.autocast(hidden_NH.device.type, enabled=False):
        loss, seen = walk(gradients)
    return _KnownGradient.apply(loss, [gradients.pop(name, None) for name in leaves], *leaves.values()), seen


class _KnownGradient(torch.autograd.Function):
    """A scalar whose gradients for its leaves were taken before."""

    @staticmethod
    def forward(ctx: Any, loss: Tensor, gradients: list[Tensor | None], *leaves: Tensor | None) -> Tensor:
        ctx.gradients = gradients
        ctx.dtypes = [None if leaf is None else leaf.dtype for leaf in leaves]
        return loss.clone()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_loss: Tensor) -> tuple[Tensor | None, ...]:
        if ctx.gradients is None:
            raise RuntimeError("the gradient of this loss was taken before; it can't be taken a second time")
        scaled = [
            None if gradient is None else gradient.mul_(grad_loss).to(dtype)
            for gradient, dtype in zip(ctx.gradients, ctx.dtypes, strict=True)
        ]
        ctx.gradients = None
        return (None, None, *scaled)
