"""The families that people train, as configurations of tiny random models.

Heads and latent vectors have widths that vLLM's attention on a CPU takes, so that every tier can use the same models.
"""

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import transformers
from transformers import AutoModelForCausalLM, PreTrainedConfig

SMALL: dict[str, Any] = {
    "vocab_size": 512, "hidden_size": 64, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2,
    "num_key_value_heads": 1, "max_position_embeddings": 512, "pad_token_id": 0, "bos_token_id": None,
    "eos_token_id": 2, "tie_word_embeddings": True,
}  # fmt: skip
MAMBA: dict[str, Any] = {"mamba_n_heads": 8, "mamba_d_head": 16, "mamba_d_state": 8, "mamba_n_groups": 1}
LINEAR: dict[str, Any] = {
    "linear_num_key_heads": 2, "linear_num_value_heads": 2, "linear_key_head_dim": 16, "linear_value_head_dim": 16,
    "head_dim": 32, "layer_types": ["linear_attention", "full_attention"],
}  # fmt: skip
LATENT: dict[str, Any] = {
    "num_key_value_heads": 2, "q_lora_rank": 16, "kv_lora_rank": 512, "qk_rope_head_dim": 64, "qk_nope_head_dim": 64,
    "v_head_dim": 64, "n_routed_experts": 4, "num_experts_per_tok": 2, "n_group": 1, "topk_group": 1,
    "moe_intermediate_size": 32, "topk_method": "noaux_tc", "first_k_dense_replace": 1, "n_shared_experts": 1,
}  # fmt: skip
SLIDING: dict[str, Any] = {"sliding_window": 8, "layer_types": ["sliding_attention", "full_attention"]}
OWN_ATTENTION, LINEAR_LAYERS = (
    "attends in a way that it would not follow",
    "it can't page layers of the kind linear_att",
)


@dataclass(frozen=True)
class Family:
    """A configuration at tiny sizes, and why engines can't sample from such a model, where they can't."""

    config: str
    values: dict[str, Any]
    no_paging: str | None = None
    no_compiling: bool = False

    def make(self) -> PreTrainedConfig:
        return getattr(transformers, f"{self.config}Config")(**{**SMALL, **self.values})


FAMILIES = {
    "Qwen2.5": Family("Qwen2", {}),
    "Qwen3": Family("Qwen3", {"head_dim": 32}),
    "Qwen3 MoE": Family("Qwen3Moe", {"head_dim": 32, "num_experts": 4, "num_experts_per_tok": 2}),
    "Qwen3.5": Family("Qwen3_5Text", LINEAR, LINEAR_LAYERS),
    "Llama 3": Family("Llama", {}),
    "Llama 4 text": Family(
        "Llama4Text",
        {"head_dim": 32, "intermediate_size_mlp": 64, "num_local_experts": 2, "attention_chunk_size": 128},
        "of the kind chunked_attention",
    ),
    "Gemma 2": Family("Gemma2", {"head_dim": 32, **SLIDING, "query_pre_attn_scalar": 32}, OWN_ATTENTION),
    "Gemma 3 text": Family("Gemma3Text", {"head_dim": 32, **SLIDING, "query_pre_attn_scalar": 32}),
    "Gemma 4 text": Family(
        "Gemma4Text",
        {"head_dim": 32, "global_head_dim": 64, **SLIDING, "vocab_size_per_layer_input": 512,
         "hidden_size_per_layer_input": 16, "num_kv_shared_layers": 0},
        "it can't page layers whose keys and values differ in width",
    ),
    "SmolLM3": Family("SmolLM3", {}),
    "Phi-4-mini": Family("Phi3", {"original_max_position_embeddings": 512, "sliding_window": 64}),
    "Mistral": Family("Mistral", {"sliding_window": 8}),
    "GLM-4": Family("Glm4", {"head_dim": 32}),
    "gpt-oss": Family(
        "GptOss",
        {"head_dim": 32, "num_local_experts": 4, "num_experts_per_tok": 2, **SLIDING, "max_position_embeddings": 2**17},
        OWN_ATTENTION,
    ),
    "OLMoE": Family(
        "Olmoe", {"num_key_value_heads": 2, "num_experts": 4, "num_experts_per_tok": 2, "output_router_logits": True,
         "tie_word_embeddings": False},
    ),
    "OLMo 2": Family("Olmo2", {}),
    "OLMo 3": Family("Olmo3", SLIDING),
    "Granite 4 hybrid": Family(
        "GraniteMoeHybrid",
        {**MAMBA, "mamba_chunk_size": 8, "layer_types": ["mamba", "attention"], "num_local_experts": 0,
         "shared_intermediate_size": 64, "position_embedding_type": "nope"},
        LINEAR_LAYERS,
    ),
    "LFM2": Family(
        "Lfm2",
        {"layer_types": ["conv", "full_attention"], "conv_dim": 64, "block_dim": 64, "block_ff_dim": 64,
         "block_multiple_of": 16, "block_auto_adjust_ff_dim": False},
        "of the kind conv",
    ),
    "Falcon-H1": Family(
        "FalconH1", {**MAMBA, "mamba_d_ssm": 128, "mamba_chunk_size": 8}, "of the kind hybrid", no_compiling=True
    ),
    "Mamba": Family("Mamba", {"state_size": 8}, LINEAR_LAYERS, no_compiling=True),
    "DeepSeek": Family("DeepseekV3", LATENT, "it can't page latent attention"),
    "RecurrentGemma": Family(
        "RecurrentGemma",
        {"num_hidden_layers": 3, "lru_width": 32, "attention_window_size": 8},
        LINEAR_LAYERS,
        no_compiling=True,
    ),
    "BLOOM": Family("Bloom", {"n_layer": 2, "n_head": 2}, OWN_ATTENTION),
}  # fmt: skip


def save_tiny(family: Family, folder: Path, student: Path) -> None:
    """Write a model of the family, the same each time, with the tokenizer of another tiny model."""
    torch.manual_seed(0)
    made = AutoModelForCausalLM.from_config(family.make())
    with torch.no_grad():
        for weight in made.parameters():
            weight.add_(0.1 * torch.randn_like(weight))
    made.save_pretrained(folder)
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copy(student / name, folder / name)
