"""Hidden states of completions, and heads of models that make their logits in different ways."""

import pytest
import torch
from peft import LoraConfig, get_peft_model
from transformers import (
    CohereConfig,
    CohereForCausalLM,
    Gemma2Config,
    Gemma2ForCausalLM,
    GPT2Config,
    GPT2LMHeadModel,
    GraniteConfig,
    GraniteForCausalLM,
    LlamaConfig,
    LlamaForCausalLM,
    Qwen3Config,
    Qwen3ForCausalLM,
)

from trainer.errors import UsageError
from trainer.models.hidden_states import check_head, head_of, predicting_states, require_plain_head

CPU = torch.device("cpu")
SIZES = {
    "vocab_size": 61, "hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2,
    "num_key_value_heads": 1, "head_dim": 8, "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 1,
}  # fmt: skip
MODELS = {
    "tied": (Qwen3ForCausalLM, Qwen3Config(**SIZES, tie_word_embeddings=True)),
    "untied": (LlamaForCausalLM, LlamaConfig(**SIZES, tie_word_embeddings=False)),
    "capped": (Gemma2ForCausalLM, Gemma2Config(**SIZES, final_logit_softcapping=0.05, query_pre_attn_scalar=8)),
    "multiplied": (CohereForCausalLM, CohereConfig(**SIZES, logit_scale=0.0625)),
    "divided": (GraniteForCausalLM, GraniteConfig(**SIZES, logits_scaling=8.0)),
    "positions learnt": (
        GPT2LMHeadModel,
        GPT2Config(vocab_size=61, n_embd=16, n_layer=2, n_head=2, n_positions=64, bos_token_id=1, eos_token_id=1),
    ),
}


def make(name):
    torch.manual_seed(0)
    kind, config = MODELS[name]
    return kind(config).eval()


@pytest.mark.parametrize("name", MODELS)
def test_head_and_states_give_the_logits_of_the_model_itself_whatever_the_padding(name):
    model = make(name)
    check_head(model, CPU)
    prompts, completions = [[5, 6, 7], [8], [9, 10, 11, 12, 13]], [[20, 21], [22, 23, 24, 25, 26, 27], [28]]
    together = predicting_states(model, prompts, completions, 0, 0)
    expected = []
    for prompt, completion in zip(prompts, completions, strict=True):
        logits = model(input_ids=torch.tensor([prompt + completion])).logits[0]
        expected.append(logits[len(prompt) - 1 : -1])
    logits = head_of(model).logits(together)
    torch.testing.assert_close(logits, torch.cat(expected), rtol=1e-4, atol=1e-5)


def test_the_first_tokens_are_left_out_where_asked():
    model = make("tied")
    prompts, completions = [[5, 6], [7, 8]], [[20, 21, 22, 23], [24]]
    assert torch.equal(
        predicting_states(model, prompts, completions, 2, 0), predicting_states(model, prompts, completions, 0, 0)[2:4]
    )


def test_logits_made_in_an_unknown_way_are_refused():
    model = make("tied")
    model.lm_head.register_forward_hook(lambda layer, inputs, output: output.square())
    with pytest.raises(UsageError, match="in a way that this trainer does not know"):
        check_head(model, CPU)


def test_a_head_with_an_adapter_is_refused_and_adapters_elsewhere_count():
    with pytest.raises(UsageError, match="Leave it out of --lora_target_modules"):
        head_of(get_peft_model(make("untied"), LoraConfig(r=2, target_modules=["lm_head"])))
    model = get_peft_model(make("untied"), LoraConfig(r=2, target_modules="all-linear", init_lora_weights=False))
    check_head(model, CPU)
    plain = predicting_states(make("untied"), [[5]], [[6, 7]], 0, 0)
    assert not torch.allclose(predicting_states(model, [[5]], [[6, 7]], 0, 0), plain, atol=1e-3)


def test_an_adapter_on_the_output_head_is_refused_by_the_heads_name(student):
    require_plain_head(student, ["q_proj", "all-linear"])
    with pytest.raises(UsageError, match=r"puts an adapter on the output head \(lm_head\).* Leave it out"):
        require_plain_head(student, ["q_proj", "lm_head"])
    with pytest.raises(UsageError, match=r"puts an adapter on the output head"):
        head_of(get_peft_model(student, LoraConfig(target_modules=["lm_head"])))
