"""Rollouts are regrouped by length under a limit; every token keeps its weight."""

import itertools
import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from transformers import Qwen3Config, Qwen3ForCausalLM

from trainer.models.hidden_states import pad_right
from trainer.run import machine
from trainer.training import microbatches
from trainer.training.microbatches import OVERHEAD, MicrobatchLimit, fitting_limit, group_by_length, token_weights

LIMITS = st.builds(MicrobatchLimit, st.none() | st.integers(1, 400), st.none() | st.integers(1, 9))
LENGTHS = st.lists(st.integers(0, 120), max_size=40)


@given(LENGTHS, LIMITS)
def test_every_sequence_is_in_one_group_and_every_group_within_the_limit(lengths, limit):
    groups = group_by_length(lengths, limit)
    assert sorted(index for group in groups for index in group) == list(range(len(lengths)))
    for group in groups:
        assert len(group) == 1 or limit.admits(len(group), max(lengths[index] for index in group))


@given(LENGTHS, LIMITS)
def test_groups_go_from_long_to_short_and_equal_lengths_keep_their_order(lengths, limit):
    flat = [index for group in group_by_length(lengths, limit) for index in group]
    assert flat == sorted(flat, key=lambda index: (-lengths[index], index))


def computed(lengths, groups):
    """Tokens with their padding, and what the micro-batches themselves cost."""
    return sum(len(group) * max(lengths[index] for index in group) + OVERHEAD for group in groups)


@given(st.lists(st.integers(1, 2000), min_size=1, max_size=7), LIMITS)
def test_no_other_cut_of_the_sorted_sequences_computes_less(lengths, limit):
    order = sorted(range(len(lengths)), key=lambda index: -lengths[index])
    best = math.inf
    for cuts in itertools.product([False, True], repeat=len(order) - 1):
        edges = [0, *(place + 1 for place, cut in enumerate(cuts) if cut), len(order)]
        groups = [order[start:end] for start, end in itertools.pairwise(edges)]
        if all(len(group) == 1 or limit.admits(len(group), lengths[group[0]]) for group in groups):
            best = min(best, computed(lengths, groups))
    assert computed(lengths, group_by_length(lengths, limit)) == best


def test_a_long_tail_is_not_padded_away():
    lengths = [2000, 1800, *[200] * 30]
    assert [len(group) for group in group_by_length(lengths, MicrobatchLimit())] == [2, 30]


def test_one_sequence_a_micro_batch_and_no_limit_mean_what_they_say():
    assert group_by_length([5, 9, 7], MicrobatchLimit(max_sequences=1)) == [[1], [2], [0]]
    assert group_by_length([5, 9, 7], MicrobatchLimit()) == [[1, 2, 0]]


def test_a_sequence_over_the_limit_goes_alone():
    assert group_by_length([50, 4, 4], MicrobatchLimit(max_tokens=10)) == [[0], [1, 2]]


def test_rows_are_padded_on_the_right_to_the_longest():
    padded = pad_right([[1, 2, 3], [4]], 9, torch.device("cpu"))
    assert padded.tolist() == [[1, 2, 3], [4, 9, 9]]


@given(st.lists(st.integers(0, 50), min_size=1, max_size=12))
def test_the_weights_of_all_tokens_sum_to_one_for_each_sequence_or_over_the_step(counts):
    by_sequence = token_weights(counts, "sequence", sum(counts))
    for weight, count in zip(by_sequence, counts, strict=True):
        assert count == 0 or weight * count * len(counts) == pytest.approx(1)
    by_token = token_weights(counts, "token", sum(counts))
    assert sum(by_token[i] * counts[i] for i in range(len(counts))) == pytest.approx(1 if sum(counts) else 0)


@pytest.mark.parametrize(("gib", "least", "most"), [(1, 2**11, 2**11), (40, 2**11 + 1, 2**14 - 1), (400, 2**14, 2**14)])
def test_the_limit_fits_the_memory_and_says_why(gib, least, most, monkeypatch, capsys):
    config = Qwen3Config(
        vocab_size=32, hidden_size=1024, intermediate_size=3072, num_hidden_layers=28, num_attention_heads=1,
        num_key_value_heads=1, head_dim=8,
    )  # fmt: skip
    with torch.device("meta"):
        model = Qwen3ForCausalLM(config)
    monkeypatch.setattr(microbatches, "device_memory", lambda device: int(gib * 2**30))
    limit = fitting_limit(model, torch.device("cpu"), checkpointing=False)
    assert least <= limit.max_tokens <= most
    assert f"max_tokens_per_microbatch: {limit.max_tokens} (auto: cpu has" in capsys.readouterr().out
    with_checkpointing = fitting_limit(model, torch.device("cpu"), checkpointing=True)
    assert with_checkpointing.max_tokens >= limit.max_tokens
    with_a_copy = fitting_limit(model, torch.device("cpu"), checkpointing=False, beside=model.num_parameters())
    assert with_a_copy.max_tokens < limit.max_tokens or limit.max_tokens in (2**11, 2**14)


@pytest.mark.parametrize(("text", "is_less"), [("1073741824\n", True), ("max\n", False), (f"{2**63}\n", False)])
def test_the_memory_of_a_container_counts_where_it_is_less(text, is_less, tmp_path, monkeypatch):
    monkeypatch.setattr(machine, "CONTAINER_LIMITS", [str(tmp_path / "none"), str(tmp_path / "limit")])
    whole = microbatches.device_memory(torch.device("cpu"))
    (tmp_path / "limit").write_text(text)
    assert microbatches.device_memory(torch.device("cpu")) == (2**30 if is_less else whole)
