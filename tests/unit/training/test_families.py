"""The families that people train, as tiny random models: each loads, rolls out by every engine that can, and learns.

What an engine can't do is said in a sentence, which stands in the table.
"""

import json
import math
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, GenerationConfig, PreTrainedConfig

from trainer.__main__ import main
from trainer.errors import UsageError
from trainer.models.architecture import cache_size, compile_obstacle, paging_obstacle, sees_padding
from trainer.models.hidden_states import check_head, predicting_states
from trainer.models.loading import load_student
from trainer.settings.options import Eval
from trainer.teachers.ema import EmaTeacher
from trainer.training.microbatches import token_bytes
from trainer.training.rollout import choose_engine, continuous, generate

CPU = torch.device("cpu")
SMALL: dict[str, Any] = {
    "vocab_size": 512, "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2,
    "num_key_value_heads": 1, "max_position_embeddings": 512, "pad_token_id": 0, "bos_token_id": None,
    "eos_token_id": 2, "tie_word_embeddings": True,
}  # fmt: skip
MAMBA: dict[str, Any] = {"mamba_n_heads": 4, "mamba_d_head": 16, "mamba_d_state": 8, "mamba_n_groups": 1}
LINEAR: dict[str, Any] = {
    "linear_num_key_heads": 2, "linear_num_value_heads": 2, "linear_key_head_dim": 16, "linear_value_head_dim": 16,
    "head_dim": 16, "layer_types": ["linear_attention", "full_attention"],
}  # fmt: skip
LATENT: dict[str, Any] = {
    "num_key_value_heads": 2, "q_lora_rank": 16, "kv_lora_rank": 16, "qk_rope_head_dim": 8, "qk_nope_head_dim": 8,
    "v_head_dim": 16, "n_routed_experts": 4, "num_experts_per_tok": 2, "n_group": 1, "topk_group": 1,
    "moe_intermediate_size": 32, "first_k_dense_replace": 1, "n_shared_experts": 1,
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
    "Qwen3": Family("Qwen3", {"head_dim": 16}),
    "Qwen3 MoE": Family("Qwen3Moe", {"head_dim": 16, "num_experts": 4, "num_experts_per_tok": 2}),
    "Qwen3.5": Family("Qwen3_5Text", LINEAR, LINEAR_LAYERS),
    "Llama 3": Family("Llama", {}),
    "Gemma 2": Family("Gemma2", {"head_dim": 16, **SLIDING, "query_pre_attn_scalar": 16}, OWN_ATTENTION),
    "Gemma 3 text": Family("Gemma3Text", {"head_dim": 16, **SLIDING, "query_pre_attn_scalar": 16}),
    "SmolLM3": Family("SmolLM3", {}),
    "Phi-4-mini": Family("Phi3", {"original_max_position_embeddings": 512, "sliding_window": 64}),
    "Mistral": Family("Mistral", {"sliding_window": 8}),
    "GLM-4": Family("Glm4", {"head_dim": 16}),
    "gpt-oss": Family(
        "GptOss", {"head_dim": 16, "num_local_experts": 4, "num_experts_per_tok": 2, **SLIDING}, OWN_ATTENTION
    ),
    "OLMo 2": Family("Olmo2", {}),
    "OLMo 3": Family("Olmo3", SLIDING),
    "Granite 4 hybrid": Family(
        "GraniteMoeHybrid",
        {**MAMBA, "mamba_chunk_size": 8, "layer_types": ["mamba", "attention"], "num_local_experts": 0,
         "shared_intermediate_size": 64, "position_embedding_type": "nope"},
        LINEAR_LAYERS,
    ),
    "LFM2": Family("Lfm2", {"layer_types": ["conv", "full_attention"], "block_multiple_of": 16}, "of the kind conv"),
    "Falcon-H1": Family(
        "FalconH1", {**MAMBA, "mamba_d_ssm": 64, "mamba_chunk_size": 8}, "of the kind hybrid", no_compiling=True
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


RESUMED = ["Gemma 3 text", "Qwen3.5", "Granite 4 hybrid", "DeepSeek", "RecurrentGemma"]


@pytest.fixture(params=FAMILIES)
def family(request) -> Family:
    return request.param if isinstance(request.param, Family) else FAMILIES[request.param]


@pytest.fixture
def folder(family, student_path, tmp_path) -> Path:
    """A model of the family, saved with the tiny world's tokenizer."""
    torch.manual_seed(0)
    made = AutoModelForCausalLM.from_config(family.make())
    with torch.no_grad():
        for weight in made.parameters():
            weight.add_(0.1 * torch.randn_like(weight))
    folder = tmp_path / "student"
    made.save_pretrained(folder)
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copy(Path(student_path) / name, folder / name)
    return folder


@pytest.fixture
def model(folder):
    """The same, loaded by our loader."""
    return load_student(Eval(model_name_or_path=str(folder), local_files_only=True))


PROMPTS = [[*range(3, 20)], [*range(30, 36)], [7]]


def greedy(**more):
    return GenerationConfig(max_new_tokens=6, do_sample=False, pad_token_id=0, eos_token_id=[2], **more)


@torch.no_grad()
def test_each_engine_writes_what_the_model_alone_writes_or_says_why_it_can_not(family, model):
    alone = [generate(model, [prompt], greedy())[0] for prompt in PROMPTS]
    if sees_padding(model):
        assert family.config == "RecurrentGemma"
    else:
        assert generate(model, PROMPTS, greedy()) == alone
    obstacle = paging_obstacle(model)
    if family.no_paging:
        assert obstacle and family.no_paging in obstacle
        assert choose_engine("auto", model, CPU, 1) == "generate"
        with pytest.raises(UsageError, match="Use --rollout_engine generate"):
            choose_engine("continuous", model, CPU, 1)
    else:
        assert obstacle is None and continuous(model, PROMPTS, greedy()) == alone
    assert (compile_obstacle(model) is not None) == family.no_compiling
    if not family.no_compiling:
        assert generate(model, PROMPTS, greedy(cache_implementation="static", disable_compile=True)) == alone


def test_what_is_loaded_is_what_was_saved(folder, model):
    theirs = dict(AutoModelForCausalLM.from_pretrained(folder).named_parameters())
    assert all(torch.equal(weight, theirs[name]) for name, weight in model.named_parameters())


def test_states_behind_prompts_do_not_depend_on_the_rows_beside_them_and_a_step_is_finite(model, tmp_path):
    check_head(model, CPU)
    completions = [[5, 6, 7], [8, 9], [10, 11, 12, 13]]
    together = predicting_states(model, PROMPTS, completions, 0, 0)
    pairs = zip(PROMPTS, completions, strict=True)
    alone = torch.cat([predicting_states(model, [prompt], [completion], 0, 0) for prompt, completion in pairs])
    torch.testing.assert_close(together, alone, rtol=1e-3, atol=1e-4)
    together.square().mean().backward()
    gradients = [weight.grad for weight in model.parameters() if weight.grad is not None]
    assert gradients and all(bool(gradient.isfinite().all()) for gradient in gradients)
    assert cache_size(model).token + cache_size(model).sequence > 0
    assert token_bytes(model, checkpointing=False) > token_bytes(model, checkpointing=True) > 0
    teacher = EmaTeacher.of_model(model, rate=0.5)
    teacher.save(tmp_path)
    teacher.load(tmp_path)


@pytest.mark.parametrize("family", [FAMILIES[name] for name in RESUMED], ids=RESUMED, indirect=True)
def test_a_run_that_lost_its_last_step_does_it_again_to_the_digit(folder, tmp_path, capsys):
    rows = [{"prompt": f"Room {n}, please.", "golden_response": [f"ROOM {n};"]} for n in range(4)]
    (tmp_path / "rows.json").write_text(json.dumps(rows))
    command = ["train", "--model_name_or_path", str(folder), "--train_data_path", str(tmp_path / "rows.json"),
               "--output_dir", str(tmp_path / "run"), "--num_prompts_per_batch", "2", "--max_steps", "2",
               "--save_steps", "1", "--max_completion_length", "8", "--max_prompt_length", "32", "--use_cpu", "true",
               "--learning_rate", "1e-3", "--warmup_steps", "0", "--rollout_engine", "generate"]  # fmt: skip
    assert main(command) == 0, capsys.readouterr()
    last = tmp_path / "run" / "checkpoint-2"
    before = load_file(last / "model.safetensors")
    metrics = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    assert all(math.isfinite(step["loss"]) for step in metrics if "loss" in step)
    (tmp_path / "run").rename(tmp_path / "ended")  # whose lock this process holds
    without = shutil.ignore_patterns("checkpoint-2", "summary.json")
    shutil.copytree(tmp_path / "ended", tmp_path / "run", ignore=without)
    assert main(command) == 0, capsys.readouterr()
    AutoModelForCausalLM.from_pretrained(last)
    after = load_file(last / "model.safetensors")
    differ = {name: float((after[name] - weight).abs().max()) for name, weight in before.items()}
    assert not any(differ.values()), differ
