"""Weights that are held in four bits and not trained (QLoRA, arXiv 2305.14314): by bitsandbytes, as NF4."""

import importlib.util
from typing import Any

import torch
from transformers import BitsAndBytesConfig, PreTrainedModel

from ..errors import UsageError

OTHER_LAYOUT = "support_avx512bf16_for_cpu"  # a layer's attribute


def require_bitsandbytes() -> None:
    """Raise UsageError where the package is missing that holds weights in four bits."""
    if importlib.util.find_spec("bitsandbytes") is None:
        raise UsageError(
            "--load_in_4bit needs the package bitsandbytes, which is missing. Type `pip install bitsandbytes`, or "
            "leave the flag out."
        )


def loading_options(device: torch.device | None) -> dict[str, Any]:
    """What makes transformers' `from_pretrained` hold linear layers in four bits, all but the output head.

    They compute in bfloat16 where the device does, else in float32. Everything else stays in float32.

    Args:
        device: Where the model will be used; it can't be moved as others can. None: a GPU where there is one.

    Raises:
        UsageError: bitsandbytes is missing.
    """
    require_bitsandbytes()
    device = device or torch.device("cuda" if torch.cuda.is_available() else "cpu")
    half = device.type == "cuda" and torch.cuda.is_bf16_supported()
    quantization = BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=torch.bfloat16 if half else torch.float32,
    )
    return {"quantization_config": quantization, "device_map": {"": device}}


def keep_trainable(model: PreTrainedModel) -> None:
    """Let the layers keep the layout of their weights: on some CPUs bitsandbytes changes it at the first rollout, and
    what it computes from then on has no gradient (0.50)."""
    for module in model.modules():
        if getattr(module, OTHER_LAYOUT, False):
            setattr(module, OTHER_LAYOUT, False)


def is_in_four_bits(model: PreTrainedModel) -> bool:
    """Whether a model was loaded with `loading_options`."""
    return getattr(model, "is_loaded_in_4bit", False)
