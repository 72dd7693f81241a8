"""Does one model answer as another does, token by token? Asked greedily, in float32."""

from collections.abc import Sequence

import torch
from transformers import PreTrainedModel

from ..data.prompts import PromptEncoder
from ..models.student import end_token_ids
from .judge import decode_greedily

# Adapters beside a layer and the same adapters in its weights round differently. Where the model finds two tokens as
# likely as that, rounding decides which one it says.
TIE = 1e-3  # of two logits


def greedy_answers(model: PreTrainedModel, encoder: PromptEncoder, prompts: Sequence[list[int]]) -> list[list[int]]:
    """Token ids of the answer to each prompt, computed in the dtype of the weights."""
    tokenizer, limit = encoder.tokenizer, encoder.max_completion_length
    model.eval()
    with torch.no_grad():
        return decode_greedily(model, tokenizer, list(prompts), end_token_ids(model, tokenizer), limit)


def first_difference(
    model: PreTrainedModel,
    prompts: Sequence[list[int]],
    expected: Sequence[list[int]],
    found: Sequence[list[int]],
    *,
    ties: bool,
) -> tuple[int, int] | None:
    """Prompt and token where the answers begin to differ, by number; None where all are the same.

    Args:
        model: The one that gave the answers `found`.
        ties: Whether to let pass, with the rest of the answer, a token that `model` found as likely as the expected.
    """
    for number, (wanted, said) in enumerate(zip(expected, found, strict=True)):
        place = _where_they_part(wanted, said)
        if place is None:
            continue
        both = place < min(len(wanted), len(said))
        if not (ties and both and _is_tie(model, prompts[number] + said[:place], wanted[place], said[place])):
            return number, place
    return None


def _where_they_part(wanted: list[int], said: list[int]) -> int | None:
    if wanted == said:
        return None
    pairs = enumerate(zip(wanted, said, strict=False))
    return next((place for place, (one, other) in pairs if one != other), min(len(wanted), len(said)))


@torch.no_grad()
def _is_tie(model: PreTrainedModel, ids: list[int], one: int, other: int) -> bool:
    logits_V = model(input_ids=torch.tensor([ids], device=model.device)).logits[0, -1]
    return float((logits_V[one] - logits_V[other]).abs()) < TIE
