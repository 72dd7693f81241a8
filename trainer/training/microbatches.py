"""Regrouping a step's rollouts into micro-batches that pay for little padding.

The loss and its gradient do not depend on the grouping: every token has its weight before the split.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from transformers import PreTrainedConfig, PreTrainedModel

from ..models.architecture import is_plain, saved_bytes
from ..models.four_bits import is_in_four_bits
from ..run.machine import BYTES_PER_PARAMETER, machine_memory

MEMORY_SHARE = 0.5  # of what the weights and the optimizer leave, for the activations of one micro-batch
SMALLEST, LARGEST = 2**11, 2**14  # tokens; a larger micro-batch gains no more speed
OVERHEAD = 512  # tokens whose work is about that of one more micro-batch: starting kernels, the embedding's gradient


@dataclass(frozen=True)
class MicrobatchLimit:
    """What bounds a micro-batch: its tokens, padding included, or its number of sequences.

    A sequence that is longer than `max_tokens` is a micro-batch of its own.
    """

    max_tokens: int | None = None
    max_sequences: int | None = None

    def admits(self, sequences: int, longest: int) -> bool:
        """Whether so many sequences, padded to the longest, may go together."""
        within_tokens = self.max_tokens is None or sequences * longest <= self.max_tokens
        return within_tokens and (self.max_sequences is None or sequences <= self.max_sequences)


def group_by_length(lengths: Sequence[int], limit: MicrobatchLimit) -> list[list[int]]:
    """Indices of sequences in groups of similar length, the longest first.

    Of all ways to cut the sorted sequences into groups within the limit it is the one that computes the fewest
    tokens, padding included, where a micro-batch itself counts as `OVERHEAD` tokens. The longest go first so that
    memory that does not suffice shows at once. The grouping is a function of its arguments alone.
    """
    order = sorted(range(len(lengths)), key=lambda i: -lengths[i])
    cost, begin = [0.0], [0]  # of the best grouping of the first sequences, and where its last group begins
    for end in range(1, len(order) + 1):
        starts = [start for start in range(end) if end - start == 1 or limit.admits(end - start, lengths[order[start]])]
        costs = [cost[start] + lengths[order[start]] * (end - start) + OVERHEAD for start in starts]
        cost.append(min(costs))
        begin.append(starts[costs.index(cost[-1])])
    groups, end = [], len(order)
    while end:
        groups.append(order[begin[end] : end])
        end = begin[end]
    return groups[::-1]


def token_weights(counts: Sequence[int], normalization: str, tokens_of_the_step: float) -> list[float]:
    """The share in the loss of each token of each sequence.

    Args:
        counts: Tokens in the loss of each sequence; a sequence of none still counts as a sequence, as in TRL.
        normalization: `sequence`: mean over sequences of the mean over their tokens, as published. `token`: mean
            over all tokens.
        tokens_of_the_step: Sum of all counts; with several processes the mean of their sums.
    """
    if normalization == "token":
        return [1 / max(tokens_of_the_step, 1)] * len(counts)
    return [1 / (len(counts) * max(count, 1)) for count in counts]


def fitting_limit(
    model: PreTrainedModel, device: torch.device, checkpointing: bool, shards: int = 1, beside: int = 0
) -> MicrobatchLimit:
    """A limit in tokens from the sizes of the model and of the device's memory; printed with its reason.

    It rests on the whole memory, not on what happens to be free, so that a resumed run regroups in the same way.

    Args:
        checkpointing: Whether layers are computed again in the backward pass.
        shards: Processes that the weights, and what goes with them, are spread over.
        beside: Parameters in float32 of other models than the student and its own teacher.
    """
    memory, per_token = device_memory(device), token_bytes(model, checkpointing)
    frozen = is_in_four_bits(model)
    weights = model.get_memory_footprint() if frozen else BYTES_PER_PARAMETER * model.num_parameters()
    room = MEMORY_SHARE * (memory - (weights + 4 * beside) // shards)
    tokens = int(min(LARGEST, max(SMALLEST, room / per_token)))
    print(
        f"max_tokens_per_microbatch: {tokens} (auto: {device.type} has {memory / 2**30:.0f} GiB, "
        f"a token takes about {per_token / 2**20:.2g} MiB; at most {LARGEST})"
    )
    return MicrobatchLimit(max_tokens=tokens)


def token_bytes(model: PreTrainedModel, checkpointing: bool) -> int:
    """What one token of a micro-batch holds until its backward pass.

    Estimated for layers of attention and one network each; measured for recurrent layers and mixtures of experts.
    """
    config = model.config.get_text_config()
    experts = getattr(config, "num_experts_per_tok", None) or getattr(config, "num_local_experts", None)
    if is_plain(model) and not experts and not isinstance(getattr(config, "intermediate_size", None), list):
        return activation_bytes(config, checkpointing)
    held, layers = saved_bytes(model), config.num_hidden_layers
    return held // layers + 4 * config.hidden_size * layers if checkpointing else held


def activation_bytes(config: PreTrainedConfig, checkpointing: bool) -> int:
    """An estimate, on the safe side, of what one token of a micro-batch holds until its backward pass."""
    width = config.hidden_size
    inner = getattr(config, "intermediate_size", None) or 4 * width
    layer = 4 * (12 * width + 4 * inner)
    return layer + 4 * width * config.num_hidden_layers if checkpointing else layer * config.num_hidden_layers


def device_memory(device: torch.device) -> int:
    """Bytes of a GPU's memory, or of the machine's, or of the container's where that is less."""
    if device.type == "cuda":
        return torch.cuda.get_device_properties(device).total_memory
    return machine_memory()
