"""A model is examined first: what lies in its folder, what config.json says, which weights are there."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from peft import LoraConfig, get_peft_model
from safetensors.torch import load_file, save_file
from transformers import (
    AutoModelForCausalLM,
    AutoModelForImageTextToText,
    AutoTokenizer,
    Gemma3Config,
    LlamaConfig,
    LlavaConfig,
    MambaConfig,
    Qwen3ForCausalLM,
    T5Config,
    T5ForConditionalGeneration,
)

from trainer.errors import UsageError
from trainer.models import loading
from trainer.models.configuration import UNBOUNDED, positions_of, read_configuration
from trainer.models.loading import load_student, require_loadable
from trainer.models.student import load_tokenizer
from trainer.settings.options import Eval

TEXT = {
    "vocab_size": 300,
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
    "head_dim": 16,
}
SIGHT = {
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "image_size": 28,
    "patch_size": 14,
}


def settings_of(folder) -> Eval:
    return Eval(model_name_or_path=str(folder), local_files_only=True)


@pytest.fixture
def folder(student_path, tmp_path):
    return Path(shutil.copytree(student_path, tmp_path / "student"))


def change(folder, file="config.json", **values):
    path = folder / file
    content = json.loads(path.read_text()) if path.is_file() else {}
    path.write_text(json.dumps({**content, **values}))


def rewrite(folder, how):
    weights = load_file(folder / "model.safetensors")
    save_file(how(weights), folder / "model.safetensors", metadata={"format": "pt"})


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_weights_have_the_dtype_that_is_asked_for_and_rotary_frequencies_stay_precise(folder, dtype):
    model = load_student(settings_of(folder), dtype=dtype)
    assert {weight.dtype for weight in model.parameters()} == {dtype}
    assert {buffer.dtype for buffer in model.buffers()} == {torch.float32}


@pytest.fixture(params=[{}, {"use_dora": True}, {"modules_to_save": ["embed_tokens"]}], ids=["lora", "dora", "saved"])
def adapters(request, folder, tmp_path):
    """Adapters of peft on the model in `folder`, with weights that change what it says; and the model with them."""
    torch.manual_seed(0)
    targets = {"target_modules": ["q_proj", "down_proj"], "r": 4, "init_lora_weights": False}
    model = get_peft_model(load_student(settings_of(folder)), LoraConfig(**targets, **request.param))
    with torch.no_grad():
        for weight in model.parameters():
            if weight.requires_grad:
                weight.add_(0.05 * torch.randn_like(weight))
    model.save_pretrained(tmp_path / "adapters")
    return tmp_path / "adapters", model.eval()


def change_adapters(path, how):
    file = path / "adapter_model.safetensors"
    save_file(how(load_file(file)), file, metadata={"format": "pt"})


def test_adapters_of_every_kind_answer_as_peft_has_them(adapters):
    path, model = adapters
    ids = torch.tensor([[5, 6, 7, 8]])
    with torch.no_grad():
        found = load_student(settings_of(path))(ids).logits
        assert torch.equal(found, model(ids).logits)


def test_adapters_beside_a_whole_model_are_put_on_that_model(adapters, folder):
    path, model = adapters
    ids = torch.tensor([[5, 6, 7, 8]])
    for file in folder.iterdir():
        shutil.copy(file, path)
    change(path, "adapter_config.json", base_model_name_or_path="some-org/some-model")
    with torch.no_grad():
        assert torch.equal(load_student(settings_of(path))(ids).logits, model(ids).logits)


def test_adapters_without_a_tokenizer_have_that_of_their_model(adapters, folder):
    path, _ = adapters
    assert not (path / "tokenizer.json").exists()
    assert load_tokenizer(settings_of(path)).name_or_path == str(folder)
    AutoTokenizer.from_pretrained(folder).save_pretrained(path)
    assert load_tokenizer(settings_of(path)).name_or_path == str(path)


def test_adapters_whose_model_is_gone_say_where_it_was(adapters, folder):
    path, _ = adapters
    shutil.rmtree(folder)
    refused(path, f"the LoRA adapters in {path} belong to the model '{folder}', and there is none")
    change(path, "adapter_config.json", base_model_name_or_path="some-org/some-model")
    refused(path, f"no model at 'some-org/some-model', which the LoRA adapters in '{path}' name as theirs: ")


def test_adapters_that_are_cut_absent_or_of_another_model_are_refused(adapters):
    path, _ = adapters
    file = path / "adapter_model.safetensors"
    whole = file.read_bytes()
    change_adapters(path, lambda weights: dict([*weights.items()][1:]))
    with pytest.raises(UsageError, match=r"can't put the LoRA adapters .*(missing adapter keys|they lack 'base_model)"):
        load_student(settings_of(path))
    file.write_bytes(whole)
    change_adapters(path, lambda weights: {name: torch.cat([weight, weight]) for name, weight in weights.items()})
    with pytest.raises(UsageError, match=r"can't put the LoRA adapters .*size mismatch"):
        load_student(settings_of(path))
    file.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(UsageError, match="can't put the LoRA adapters"):
        load_student(settings_of(path))
    file.unlink()
    with pytest.raises(UsageError, match=r"there is no adapter_model\.safetensors in "):
        load_student(settings_of(path))


def refused(folder, message):
    for ask in (require_loadable, load_student):
        with pytest.raises(UsageError, match=message):
            ask(settings_of(folder))


def test_weights_under_another_prefix_are_named_with_the_names_that_were_expected(folder):
    rewrite(folder, lambda weights: {name.replace("model.", "model.language_model."): w for name, w in weights.items()})
    refused(folder, r"lacks 35 weights .*: model.embed_tokens.weight, .* and 31 more\. It has 35 under other names")


def test_a_weight_that_the_checkpoint_lacks_is_refused_and_a_tied_head_is_not_missed(folder):
    require_loadable(settings_of(folder))
    rewrite(folder, lambda weights: {name: w for name, w in weights.items() if "0.mlp.up_proj" not in name})
    refused(folder, r"lacks 1 weights of its model, .*: model.layers.0.mlp.up_proj.weight\. Pass a folder with all")


def test_a_head_of_its_own_that_is_not_there_is_told_with_the_setting_that_shares_it(folder):
    change(folder, tie_word_embeddings=False)
    refused(folder, r'lacks 1 weights.*: lm_head.weight\. If .* set "tie_word_embeddings": true in config.json')


def test_weights_of_other_shapes_are_named_with_both_shapes(folder):
    change(folder, vocab_size=500)
    refused(
        folder, r"shapes that config.json says: found model.embed_tokens.weight \[512, 128\], expected \[500, 128\]"
    )


@pytest.mark.parametrize("value", [float("nan"), float("-inf")])
def test_weights_that_are_no_numbers_are_named(folder, value):
    def broken(weights):
        weights["model.norm.weight"][3] = value
        return weights

    rewrite(folder, broken)
    with pytest.raises(UsageError, match=r"^1 weights of .* hold NaN or infinity: model\.norm\.weight\. A run that"):
        load_student(settings_of(folder))


def test_weights_that_the_model_has_no_place_for_are_told_and_left_out(folder, capsys):
    rewrite(folder, lambda weights: weights | {"score.weight": torch.zeros(2, 128)})
    require_loadable(settings_of(folder))
    assert "Qwen3ForCausalLM is trained, and 1 weights that it has no place for are left out: score" in (
        capsys.readouterr().out
    )


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"quantization_config": {"quant_method": "bitsandbytes", "load_in_4bit": True}}, r"quantised \(bitsandbytes"),
        (
            {"quantization_config": {"quant_method": "fp8", "activation_scheme": "dynamic"}},
            r"quantised \(fp8.*made from",
        ),
        (
            {"architectures": ["Qwen3ForSequenceClassification"]},
            "is a Qwen3ForSequenceClassification, expected a decod",
        ),
        ({"model_type": "nothing_known"}, "can't use config.json of .*nothing_known"),
        ({"hidden_size": "wide"}, "hidden_size"),
        (
            {"num_hidden_layers": 3, "layer_types": ["full_attention"] * 2},
            r"`num_hidden_layers` \(3\) must be equal .* \(2\)",
        ),
        ({"model_type": "bert", "architectures": ["BertForMaskedLM"]}, "is a BertForMaskedLM, expected a decoder"),
    ],
)
def test_a_configuration_that_can_not_be_trained_is_refused_in_a_sentence(folder, values, message):
    change(folder, **values)
    refused(folder, message)


def test_an_encoder_decoder_is_refused(tmp_path):
    T5ForConditionalGeneration(
        T5Config(d_model=16, d_kv=8, d_ff=16, num_layers=1, num_heads=2, vocab_size=50)
    ).save_pretrained(tmp_path)
    refused(tmp_path, "is a T5ForConditionalGeneration, expected a decoder")


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({"model-Q4.gguf": ""}, "GGUF files are made for serving. Pass the model that they were made from"),
        ({"config.json": "{}", "model-Q4.gguf": ""}, "the weights in .* are model-Q4.gguf, expected safetensors"),
        ({"config.json": "{}", "pytorch_model.bin": ""}, r"are pytorch_model.bin, expected safetensors. Save them so"),
        ({"config.json": "{}"}, "there are no weights in"),
        ({"model_index.json": "{}"}, "a pipeline of diffusers makes images"),
        ({"params.json": "{}", "consolidated.00.pth": ""}, "their maker's own format"),
        ({"checkpoint-9/config.json": "{}", "checkpoint-10/config.json": "{}"}, "Pass .*checkpoint-10"),
        ({"notes.txt": ""}, "there is no config.json"),
        ({"config.json": "[", "model.safetensors": ""}, "can't use config.json of .* Mend it, or"),
        ({"config.json": "{}", "model-00001-of-00002.safetensors": ""}, "or model.safetensors.index.json beside its"),
        ({"adapter_config.json": '{"base_model_name_or_path": null}'}, "don't say which model they belong to"),
    ],
)
def test_a_folder_that_is_no_model_is_told_by_what_lies_in_it(tmp_path, files, message):
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    refused(tmp_path, message)


def test_a_file_in_place_of_the_folder_and_a_cut_file_of_weights_are_told(folder):
    refused(folder / "model.safetensors", "that is a file. Pass the folder that holds config.json")
    whole = (folder / "model.safetensors").read_bytes()
    (folder / "model.safetensors").write_bytes(whole[: len(whole) // 2])
    refused(folder, "can't load the weights of .* Expected config.json and whole model.safetensors")


def test_the_url_of_a_model_is_told_with_its_name():
    refused(
        "https://huggingface.co/Qwen/Qwen3-0.6B", r"that is a URL. Pass the model's name on the hub: Qwen/Qwen3-0\.6B\."
    )


def test_a_shard_that_the_index_names_and_nobody_copied_is_told(folder):
    (folder / "model.safetensors").rename(folder / "model-00001-of-00002.safetensors")
    weight_map = {
        "model.norm.weight": "model-00001-of-00002.safetensors",
        "lm_head.weight": "model-00002-of-00002.safetensors",
    }
    change(folder, "model.safetensors.index.json", metadata={}, weight_map=weight_map)
    refused(folder, r"index.json names model-00002-of-00002.safetensors, which is not there\. Copy or download all")
    (folder / "model-00001-of-00002.safetensors").unlink()
    refused(folder, "there are no weights in")
    (folder / "other.safetensors").touch()
    refused(folder, r"names model-00001-of-00002.safetensors and 1 more, which is not there")


def test_a_link_to_weights_that_are_gone_is_told_with_its_aim(folder):
    (folder / "model.safetensors").unlink()
    (folder / "model.safetensors").symlink_to("../blobs/0f3a")
    refused(folder, r"model.safetensors is a link to \.\./blobs/0f3a, which is not there")


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"dtype": "auto"}, "can't use config.json of"),
        ({"rope_parameters": {"rope_type": "mrope", "rope_theta": 1e4}}, "knows no 'mrope', which config.json names"),
    ],
)
def test_a_value_that_transformers_does_not_know_is_told_as_one_of_config_json(folder, values, message):
    change(folder, **values)
    refused(folder, message)


def test_a_model_that_can_not_be_run_is_refused_with_what_its_class_says(folder, monkeypatch):
    def forward(self, **given):
        raise TypeError("argument 'k' must be int, not NoneType")

    monkeypatch.setattr(Qwen3ForCausalLM, "forward", forward)
    with pytest.raises(UsageError, match="can't be run: Qwen3ForCausalLM ended with TypeError: argument 'k' must be"):
        load_student(settings_of(folder))


def test_a_configuration_that_could_not_be_saved_is_refused_before_anything_is_trained(folder, monkeypatch):
    read = loading.read_configuration

    def with_more(settings):
        config = read(settings)
        config.more = object()
        return config

    monkeypatch.setattr(loading, "read_configuration", with_more)
    refused(folder, "could not be saved with a checkpoint: Object of type object is not JSON serializable")


def test_what_config_json_may_have_a_model_return_beside_its_logits_is_left_out(folder, tmp_path):
    change(folder, output_hidden_states=True, output_attentions=True, return_dict=False)
    model = load_student(settings_of(folder))
    output = model(input_ids=torch.tensor([[3, 4]]))
    assert {*output.keys()} <= {"logits", "past_key_values"}
    model.save_pretrained(tmp_path / "saved")


def test_a_head_of_its_own_that_config_json_denies_is_used_told_and_saved(folder, tmp_path, capsys):
    rewrite(folder, lambda w: w | {"lm_head.weight": 2 * w["model.embed_tokens.weight"]})
    change(folder, tie_word_embeddings=True)
    model = load_student(settings_of(folder))
    assert "has weights of its own, though tie_word_embeddings is true" in capsys.readouterr().out
    model.save_pretrained(tmp_path / "saved")
    again = AutoModelForCausalLM.from_pretrained(tmp_path / "saved")
    assert not again.config.tie_word_embeddings
    assert torch.equal(again.lm_head.weight, 2 * load_file(folder / "model.safetensors")["model.embed_tokens.weight"])


def test_an_index_that_was_left_beside_the_whole_weights_is_none_as_for_transformers(folder):
    change(folder, "model.safetensors.index.json", weight_map={"model.norm.weight": "model-00001-of-00002.safetensors"})
    assert require_loadable(settings_of(folder)).model_type == "qwen3"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n",
            r"is a pointer of Git LFS .*`git lfs pull`",
        ),
        ("<!DOCTYPE html>\n<html></html>", r"begins with '<!DOCTYPE html>.*download it again"),
    ],
)
def test_a_text_under_the_name_of_the_weights_is_told_by_how_it_begins(folder, text, message):
    (folder / "model.safetensors").write_text(text)
    refused(folder, message)


@pytest.mark.parametrize("dtype", [torch.int8, torch.uint8, torch.float8_e4m3fn])
def test_weights_of_eight_bits_are_refused_also_where_the_configuration_does_not_tell(folder, dtype):
    name = "model.layers.0.mlp.up_proj.weight"
    rewrite(folder, lambda weights: weights | {name: weights[name].to(dtype), "scale": torch.zeros(1, dtype=dtype)})
    refused(folder, rf"are quantised \({name} is (I8|U8|F8_E4M3) in model.safetensors\), expected float16")


def test_a_mask_that_is_stored_beside_the_weights_may_be_of_any_type(folder):
    rewrite(folder, lambda weights: weights | {"model.layers.0.attn.bias": torch.ones(4, 4, dtype=torch.bool)})
    assert require_loadable(settings_of(folder)).model_type == "qwen3"


@pytest.mark.parametrize(
    "config",
    [
        Gemma3Config(text_config=TEXT, vision_config=SIGHT, mm_tokens_per_image=4),
        LlavaConfig(text_config=LlamaConfig(**TEXT), vision_config={"model_type": "clip_vision_model", **SIGHT}),
    ],
    ids=lambda config: config.model_type,
)
def test_of_an_image_text_model_the_language_part_is_taken_whole(tmp_path, config, capsys):
    whole = AutoModelForImageTextToText.from_config(config).eval()
    whole.save_pretrained(tmp_path)
    student = load_student(settings_of(tmp_path))
    ids = torch.arange(3, 20)[None]
    assert torch.equal(student(ids).logits, whole(input_ids=ids).logits)
    require_loadable(settings_of(tmp_path))
    assert f"{type(student).__name__} is trained" in capsys.readouterr().out
    student.save_pretrained(tmp_path / "again")
    assert AutoModelForCausalLM.from_pretrained(tmp_path / "again").config.model_type in ("gemma3_text", "llama")


def test_of_the_models_own_generation_settings_only_its_special_tokens_are_in_force(folder, tmp_path):
    file = {
        "eos_token_id": [2, 5],
        "suppress_tokens": [7],
        "min_new_tokens": 9,
        "temperature": 0.9,
        "top_p": 0.6,
        "max_length": 4096,
        "forced_bos_token_id": 3,
        "bad_words_ids": [[1]],
        "do_sample": False,
    }
    change(folder, **{"pad_token_id": -1, "repetition_penalty": 1.3})
    (folder / "generation_config.json").write_text(json.dumps(file))
    student = load_student(settings_of(folder))
    said = {key: value for key, value in student.generation_config.to_diff_dict().items() if value is not None}
    said.pop("transformers_version")
    assert said == {"eos_token_id": [2, 5]}
    student.save_pretrained(tmp_path / "saved")
    AutoModelForCausalLM.from_pretrained(tmp_path / "saved").save_pretrained(tmp_path / "again")


def test_where_generation_config_is_missing_config_json_declares_the_special_tokens(folder):
    (folder / "generation_config.json").unlink()
    change(folder, eos_token_id=4, pad_token_id=0)
    config = load_student(settings_of(folder)).generation_config
    assert (config.eos_token_id, config.pad_token_id) == (4, 0)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "can't read generation_config.json"),
        ("[]", "generation_config.json .*: it holds a list, expected an object. Mend the file"),
        ('{"eos_token_id": "</s>"}', "eos_token_id in generation_config.json"),
    ],
)
def test_a_damaged_generation_config_is_told(folder, text, message):
    (folder / "generation_config.json").write_text(text)
    refused(folder, message)


def test_a_model_whose_configuration_bounds_no_positions_has_none(folder):
    assert positions_of(read_configuration(settings_of(folder))) == 2048
    assert positions_of(MambaConfig()) == UNBOUNDED
