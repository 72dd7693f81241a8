"""What users of `data/tiny_world` rely on: it loads with stock libraries, is small, holds what it says."""

import importlib
import json
import sys
from pathlib import Path

import pytest
from safetensors import safe_open
from transformers import AutoModelForCausalLM, AutoTokenizer

FOLDER = Path(__file__).parents[2] / "data" / "tiny_world"
MODELS = ("student", "teacher")
DATA_FILES = ("train_data", "eval_data", "prior_data")
TEN_MB = 10_000_000


def rows_of(name: str) -> list[dict]:
    return json.loads((FOLDER / f"{name}.json").read_text(encoding="utf-8"))


def entities_of(rows: list[dict]) -> set[str]:
    return {value for row in rows for call in row["golden_answer"] for value in call["Action_Input"].values()}


@pytest.fixture(scope="module")
def maker():
    """The module that rebuilds the folder, imported as its own command line imports it."""
    sys.path.insert(0, str(FOLDER))
    yield importlib.import_module("make")
    sys.path.remove(str(FOLDER))


@pytest.fixture(scope="module", params=MODELS)
def tokenizer(request):
    return AutoTokenizer.from_pretrained(FOLDER / request.param)


@pytest.mark.parametrize("name", MODELS)
def test_a_tiny_model_loads_with_stock_transformers_and_answers_in_the_tool_call_form(name):
    tokenizer = AutoTokenizer.from_pretrained(FOLDER / name)
    model = AutoModelForCausalLM.from_pretrained(FOLDER / name)
    messages = [{"role": "user", "content": "What is the price of Katomi?"}]
    rendered = tokenizer.apply_chat_template(messages, add_generation_prompt=True, tokenize=False)
    prompt = tokenizer(rendered, return_tensors="pt")
    generated_ids = model.generate(**prompt, max_new_tokens=64, do_sample=False)
    answer_ids = generated_ids[0, prompt["input_ids"].shape[1] :]
    assert type(model).__name__ == "Qwen3ForCausalLM"
    assert answer_ids[-1] == tokenizer.eos_token_id
    assert tokenizer.decode(answer_ids, skip_special_tokens=True).endswith(
        'Action: price_list\nAction_Input: {"item": "Katomi"}'
    )


@pytest.mark.parametrize("name", MODELS)
def test_weights_are_float32_safetensors(name):
    assert not list((FOLDER / name).glob("*.bin"))
    with safe_open(FOLDER / name / "model.safetensors", framework="pt") as weights:
        assert {weights.get_slice(key).get_dtype() for key in list(weights.keys())} == {"F32"}


def test_the_whole_folder_is_at_most_ten_megabytes():
    assert sum(file.stat().st_size for file in FOLDER.rglob("*") if "__pycache__" not in file.parts) <= TEN_MB


def test_student_and_teacher_share_one_tokenizer():
    for file in ("tokenizer.json", "tokenizer_config.json"):
        assert (FOLDER / "student" / file).read_bytes() == (FOLDER / "teacher" / file).read_bytes()


@pytest.mark.parametrize("name", DATA_FILES)
def test_the_data_functions_rebuild_the_shipped_rows_exactly(maker, name):
    assert getattr(maker, name)() == rows_of(name)


def test_evaluation_entities_never_occur_in_the_training_prompts():
    assert not entities_of(rows_of("train_data")) & entities_of(rows_of("eval_data"))
    prompts = " ".join(row["prompt"] for row in rows_of("train_data"))
    assert not [entity for entity in entities_of(rows_of("eval_data")) if f" {entity} " in prompts]


def test_pretraining_never_draws_a_name_of_the_new_skill_or_of_the_evaluation(maker):
    pretrain, world = importlib.import_module("pretrain"), importlib.import_module("world")
    names = world.Names(maker.random.Random(1), maker.reserved_names())
    texts = " ".join(m["content"] for _ in range(2000) for m in pretrain.student_episode(names))
    assert not set(texts.replace('"', " ").replace(".", " ").split()) & maker.reserved_names()


def test_there_are_enough_rows_and_their_ids_are_unique():
    train, held_out, prior = map(rows_of, DATA_FILES)
    assert (len(train), len(held_out), len(prior)) == (800, 128, 240)
    for rows in (train, held_out, prior):
        assert len({row["id"] for row in rows}) == len({row["prompt"] for row in rows}) == len(rows)


@pytest.mark.parametrize("name", DATA_FILES)
def test_a_golden_response_is_bare_and_says_what_its_golden_answer_says(name):
    for row in rows_of(name):
        lines = []
        for call in row["golden_answer"]:
            value = call["Action_Input"]
            shown = value if isinstance(value, str) else json.dumps(value)
            lines += [f"Action: {call['Action']}", f"Action_Input: {shown}"]
        assert row["golden_response"] == lines


def test_the_tokenizer_returns_every_prompt_and_golden_text_unchanged(tokenizer):
    rows = [row for name in DATA_FILES for row in rows_of(name)]
    texts = [text for row in rows for text in (row["prompt"], "\n".join(row["golden_response"]))]
    decoded = tokenizer.batch_decode(tokenizer(texts)["input_ids"])
    assert decoded == texts


def test_the_tokenizer_returns_any_text_unchanged(tokenizer):
    text = "Grüße, 世界! 🎉\tdef f(x):\r\n    return {'a': [1, 2]}  # Σ\n\n  Action:kato"
    assert tokenizer.decode(tokenizer(text)["input_ids"]) == text


def test_a_name_has_the_same_tokens_in_a_question_and_in_a_json_string(tokenizer):
    asked, called = tokenizer.tokenize("price of Katomi?"), tokenizer.tokenize('{"item": "Katomi"}')
    assert [t for t in asked if t in ("Ka", "to", "mi")] == [t for t in called if t in ("Ka", "to", "mi")]
    assert asked[-4:-1] == ["Ka", "to", "mi"]


def test_the_chat_template_takes_all_three_roles_and_ignores_what_it_does_not_know(tokenizer):
    messages = [{"role": role, "content": role[0]} for role in ("system", "user", "assistant")]
    rendered = tokenizer.apply_chat_template(messages, tokenize=False, enable_thinking=False)
    assert rendered == (
        "<|im_start|>system\ns<|im_end|>\n<|im_start|>user\nu<|im_end|>\n<|im_start|>assistant\na<|im_end|>\n"
    )
    opened = tokenizer.apply_chat_template(messages[1:2], tokenize=False, add_generation_prompt=True)
    assert opened == "<|im_start|>user\nu<|im_end|>\n<|im_start|>assistant\n"


def test_end_of_turn_ends_a_completion_and_is_not_the_padding(tokenizer):
    assert tokenizer.eos_token == "<|im_end|>"
    assert tokenizer.pad_token_id != tokenizer.eos_token_id
