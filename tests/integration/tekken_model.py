"""A tiny random model with a tokenizer in Mistral's own format (tekken.json): the 256 bytes, and nothing merged."""

import base64
import json
from pathlib import Path

import torch
from transformers import MistralConfig, MistralForCausalLM

SPECIAL_TOKENS = 32  # of which the format gives 20 a name
PATTERN = r"\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+|\s+"
SEED = 3


def make(folder: Path) -> None:
    """Write both."""
    torch.manual_seed(SEED)
    config = MistralConfig(
        vocab_size=SPECIAL_TOKENS + 256, hidden_size=64, intermediate_size=64, num_hidden_layers=1,
        num_attention_heads=2, num_key_value_heads=1, head_dim=32, max_position_embeddings=2048, bos_token_id=1,
        eos_token_id=2, pad_token_id=11,
    )  # fmt: skip
    model = MistralForCausalLM(config)
    # It writes at random: one token in eight ends an answer, so that nearly all of them end.
    model.generation_config.eos_token_id = [2, *range(config.vocab_size - 36, config.vocab_size)]
    model.save_pretrained(folder)
    (folder / "tekken.json").write_text(json.dumps(tekken()))


def tekken() -> dict[str, object]:
    """The file's contents, in the third version of the format."""
    vocabulary = [
        {"rank": byte, "token_bytes": base64.b64encode(bytes([byte])).decode(), "token_str": None}
        for byte in range(256)
    ]
    return {
        "config": {
            "pattern": PATTERN,
            "num_vocab_tokens": len(vocabulary),
            "default_vocab_size": SPECIAL_TOKENS + len(vocabulary),
            "default_num_special_tokens": SPECIAL_TOKENS,
            "version": "v3",
        },
        "vocab": vocabulary,
    }
