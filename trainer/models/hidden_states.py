"""What a model says about each token of given completions: its last hidden states and its output head.

Shapes: B sequences, T tokens of a sequence, N tokens in the loss, V vocabulary, H hidden.
"""

import math
from collections.abc import Iterable, Sequence
from typing import Any

import torch
from peft import PeftModel
from peft.tuners.tuners_utils import BaseTunerLayer
from torch import Tensor, nn
from torch.distributed.fsdp import FSDPModule

from ..errors import UsageError
from .output_head import OutputHead

TOKENS_AT_ONCE = 64  # of which logits exist together when only the likeliest are looked at
TOLERANCE = 1e-3  # of logits that are made in two ways, relative to the largest


def transformer_of(model: nn.Module) -> Any:
    """The model without a LoRA wrapper; adapters stay active inside its layers."""
    return model.get_base_model() if isinstance(model, PeftModel) else model


def head_of(model: nn.Module) -> OutputHead:
    """The output head of a causal language model, with what its configuration says of scale and cap.

    Of a sharded model it is gathered, until the backward pass or `reshard`.

    Raises:
        UsageError: the head carries a LoRA adapter, or is none that can be applied to a part of the tokens.
    """
    transformer = transformer_of(model)
    layer = transformer.get_output_embeddings()
    if isinstance(layer, FSDPModule):
        layer.unshard()
    if isinstance(layer, BaseTunerLayer):
        raise _adapted_head()
    if not isinstance(layer, nn.Linear):
        raise UsageError(
            f"the output head of this model is a {type(layer).__name__}, expected a linear layer (nn.Linear). Use "
            "another student model."
        )
    config = transformer.config.get_text_config()
    return OutputHead(layer.weight, layer.bias, _scale(config), _cap(config))


def _cap(config: Any) -> float | None:
    """The bound of the logits (Gemma), under one name or another (RecurrentGemma)."""
    return getattr(config, "final_logit_softcapping", None) or getattr(config, "logits_soft_cap", None)


def require_plain_head(model: nn.Module, targets: Iterable[str]) -> None:
    """Raise UsageError where LoRA adapters on modules of the names `targets` would be on the output head too."""
    head = transformer_of(model).get_output_embeddings()
    path = next((name for name, module in model.named_modules() if module is head), "")
    if any(f".{path}".endswith(f".{name}") for name in targets):
        raise _adapted_head(path)


def _adapted_head(name: str = "lm_head") -> UsageError:
    return UsageError(
        f"--lora_target_modules puts an adapter on the output head ({name}), and the losses are computed with the "
        "head's own weight. Leave it out of --lora_target_modules; all-linear does."
    )


def _scale(config: Any) -> float:
    """The factor of the logits: under one name or another (Cohere, Falcon-H1), or a divisor (Granite)."""
    for name in ("logit_scale", "output_multiplier", "lm_head_multiplier"):
        if getattr(config, name, None) is not None:
            return float(getattr(config, name))
    divisor = getattr(config, "logits_scaling", None)
    if divisor is None:
        return 1.0
    return float(divisor) if config.model_type == "hyperclovax" else 1 / float(divisor)


@torch.no_grad()
def check_head(model: nn.Module, device: torch.device) -> None:
    """Compare the logits of our head with the model's own.

    Raises:
        UsageError: they differ: the model makes its logits in a way that we don't know.
    """
    transformer = transformer_of(model)
    was_training = transformer.training
    transformer.eval()
    ids = torch.arange(2, 5, device=device).unsqueeze(0)
    hidden_TH = transformer.base_model(input_ids=ids).last_hidden_state[0]
    head = head_of(model)
    fits = hidden_TH.shape[-1] == head.weight_VH.shape[-1]
    ours = head.logits(hidden_TH).float() if fits else None
    theirs = transformer(input_ids=ids).logits[0].float()  # last: of a sharded model this frees what was gathered
    transformer.train(was_training)
    difference = math.inf if ours is None else float((ours - theirs).abs().max() / theirs.abs().max().clamp(min=1e-6))
    if difference > TOLERANCE:
        found = f"its own and ours differ by {difference:.2g} of the largest" if fits else "not from its last states"
        raise UsageError(
            f"a model of type {transformer.config.model_type!r} makes its logits in a way that this trainer does not "
            f"know: {found}. Use another student model."
        )


def predicting_states(
    model: nn.Module, prompts: Sequence[list[int]], completions: Sequence[list[int]], skip: int, padding: int
) -> Tensor:
    """Last hidden states [N, H] that predict the completions' tokens from the `skip`-th on, row after row.

    Prompt and completion are one sequence, padded on the right to the longest of the rows.
    """
    transformer = transformer_of(model)
    device = transformer.get_output_embeddings().weight.device
    rows = [[*prompt, *completion[:-1]] for prompt, completion in zip(prompts, completions, strict=True)]
    ids_BT = pad_right(rows, padding, device)
    hidden_BTH = transformer.base_model(input_ids=ids_BT, use_cache=False).last_hidden_state
    wanted = [
        row * ids_BT.shape[1] + len(prompts[row]) - 1 + position
        for row in range(len(rows))
        for position in range(skip, len(completions[row]))
    ]
    return hidden_BTH.flatten(0, 1).index_select(0, torch.tensor(wanted, dtype=torch.int64, device=device))


def pad_right(sequences: Sequence[Sequence[int]], padding: int, device: torch.device) -> Tensor:
    """Token ids [B, T], int64, each row followed by `padding` up to the longest.

    In a causal model nothing to the left of the padding sees it, so that no attention mask is needed.
    """
    rows = [torch.tensor(sequence, dtype=torch.int64) for sequence in sequences]
    return torch.nn.utils.rnn.pad_sequence(rows, batch_first=True, padding_value=padding).to(device)


@torch.no_grad()
def likeliest(hidden_NH: Tensor, head: OutputHead, temperature: float, count: int) -> tuple[Tensor, Tensor]:
    """The `count` likeliest tokens, int64 [N, count], and their log-probabilities in nats, float32 of the same shape.

    Projected block by block, so that logits of a whole sequence never exist.
    """
    found = []
    for block_CH in hidden_NH.split(TOKENS_AT_ONCE):
        logp_CV = (head.logits(block_CH).float() / temperature).log_softmax(-1)
        found.append(logp_CV.topk(min(count, logp_CV.shape[-1]), dim=-1))
    return torch.cat([top.indices for top in found]), torch.cat([top.values for top in found])
