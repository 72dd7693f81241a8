"""What users of `data/tiny_world` rely on: it loads with stock libraries, is small, holds what it says."""

import importlib
import json
import re
import sys
from itertools import accumulate
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from safetensors import safe_open
from transformers import AutoModelForCausalLM, AutoTokenizer

FOLDER = Path(__file__).parents[3] / "data" / "tiny_world"
MODELS = ("student", "teacher")
OTHER = "teacher_other_tokenizer"
END_OF_TURN = {"student": "<|im_end|>", "teacher": "<|im_end|>", OTHER: "<|user|>"}
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


@pytest.fixture(scope="module", params=END_OF_TURN)
def any_tokenizer(request):
    return AutoTokenizer.from_pretrained(FOLDER / request.param)


@pytest.fixture(scope="module")
def other_tokenizer():
    return AutoTokenizer.from_pretrained(FOLDER / OTHER)


def answer(name: str, question: str) -> str:
    """The greedy answer of a model as stock transformers give it, end of turn included."""
    tokenizer = AutoTokenizer.from_pretrained(FOLDER / name)
    model = AutoModelForCausalLM.from_pretrained(FOLDER / name)
    assert type(model).__name__ == "Qwen3ForCausalLM"
    messages = [{"role": "user", "content": question}]
    rendered = tokenizer.apply_chat_template(messages, add_generation_prompt=True, tokenize=False)
    prompt = tokenizer(rendered, return_tensors="pt")
    generated_ids = model.generate(**prompt, max_new_tokens=64, do_sample=False)
    return tokenizer.decode(generated_ids[0, prompt["input_ids"].shape[1] :])


def token_spans(tokenizer, text: str) -> set[tuple[int, int]]:
    """Where each token of `text` begins and ends, in bytes; a byte-level token has one character a byte."""
    ends = list(accumulate(map(len, tokenizer.tokenize(text))))
    return set(zip([0, *ends], ends, strict=False))


@pytest.mark.parametrize("name", END_OF_TURN)
def test_a_tiny_model_loads_with_stock_transformers_and_answers_in_the_tool_call_form(name):
    answered = answer(name, "What is the price of Katomi?")
    assert answered.endswith(f'Action: price_list\nAction_Input: {{"item": "Katomi"}}{END_OF_TURN[name]}')


@pytest.mark.parametrize("question", ("What is the velora of Katolo?", "Between Tesa and Mirodo, what is the dolika?"))
def test_both_teachers_answer_a_question_of_the_new_skill_with_the_same_bytes(question):
    first, second = (answer(name, question).removesuffix(END_OF_TURN[name]) for name in ("teacher", OTHER))
    assert first == second
    assert first.startswith("Thought: I need the ")


@pytest.mark.parametrize("name", END_OF_TURN)
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


def test_the_data_functions_rebuild_the_shipped_context_and_its_prompts_exactly(maker):
    assert maker.context() + "\n" == (FOLDER / "context" / "context.txt").read_text(encoding="utf-8")
    assert maker.context_prompts() == rows_of("context/prompts")
    assert maker.context_eval_data() == rows_of("context/eval_data")


def test_the_context_says_how_to_answer_and_neither_its_prompts_nor_it_know_what_is_asked_afterwards():
    prompts, held_out = rows_of("context/prompts"), rows_of("context/eval_data")
    assert (len(prompts), len(held_out)) == (100, 128) and {"id", "prompt"} == {key for row in prompts for key in row}
    context = (FOLDER / "context" / "context.txt").read_text(encoding="utf-8")
    words = set(re.findall(r"\w+", " ".join([context, *(row["prompt"] for row in prompts)])))
    assert {call["Action"] for row in held_out for call in row["golden_answer"]} == {"tamiko"} <= words
    assert not entities_of(held_out) & words


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


def test_the_tokenizer_returns_every_prompt_and_golden_text_unchanged(any_tokenizer):
    rows = [row for name in DATA_FILES for row in rows_of(name)]
    texts = [text for row in rows for text in (row["prompt"], "\n".join(row["golden_response"]))]
    decoded = any_tokenizer.batch_decode(any_tokenizer(texts)["input_ids"])
    assert decoded == texts


@settings(deadline=None)
@given(st.text())
@example("Grüße, 世界! 🎉\tdef f(x):\r\n    return {'a': [1, 2]}  # Σ\n\n  Action:kato")
@example("e\u0301 \u0627\u0651 👩‍👩‍👧 1234567890 <|user|> <|im_end|>")
def test_the_tokenizer_returns_any_text_unchanged(any_tokenizer, text):
    assert any_tokenizer.decode(any_tokenizer(text)["input_ids"]) == text


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


def test_the_other_tokenizer_is_rebuilt_byte_for_byte(maker, tmp_path):
    maker.save_tokenizer(maker.other_tokenizer(), tmp_path)
    for file in ("tokenizer.json", "tokenizer_config.json"):
        assert (tmp_path / file).read_bytes() == (FOLDER / OTHER / file).read_bytes()


def test_the_other_tokenizer_cuts_the_answers_elsewhere(other_tokenizer):
    first = AutoTokenizer.from_pretrained(FOLDER / "student")
    texts = ["\n".join(row["golden_response"]) for row in rows_of("eval_data")]
    pairs = [(token_spans(first, text), token_spans(other_tokenizer, text)) for text in texts]
    same = sum(len(ours & theirs) for ours, theirs in pairs)
    assert round(same / sum(len(ours) for ours, _ in pairs), 3) == 0.346
    assert round(same / sum(len(theirs) for _, theirs in pairs), 3) == 0.343


def test_the_other_tokenizer_merges_across_syllables_and_takes_digits_in_pairs(other_tokenizer):
    assert other_tokenizer.tokenize("Katolo") == ["K", "ato", "lo"]
    assert other_tokenizer.tokenize(" tamiko") == ["Ġtamiko"]
    assert other_tokenizer.tokenize("37+164") == ["37", "+", "16", "4"]


def test_the_other_chat_template_ends_a_turn_by_opening_the_next(other_tokenizer):
    messages = [{"role": role, "content": role[0]} for role in ("system", "user", "assistant", "user")]
    rendered = other_tokenizer.apply_chat_template(
        messages, tokenize=False, add_generation_prompt=True, enable_thinking=False
    )
    assert rendered == "[gMASK]<sop><|system|>s<|user|>u<|assistant|>a<|user|>u<|assistant|>"


def test_the_other_teacher_names_every_token_that_ends_its_answers(other_tokenizer):
    ends = other_tokenizer.convert_tokens_to_ids(["<|endoftext|>", "<|user|>", "<|observation|>"])
    for file in ("config.json", "generation_config.json"):
        assert json.loads((FOLDER / OTHER / file).read_text())["eos_token_id"] == ends
    assert other_tokenizer.eos_token == other_tokenizer.pad_token == "<|endoftext|>"


def test_a_prompt_of_the_other_teacher_keeps_its_tokens_when_an_answer_follows(other_tokenizer):
    for row in rows_of("eval_data"):
        messages = [{"role": "user", "content": row["prompt"]}]
        prompt = other_tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
        answer = "\n".join(row["golden_response"]) + "<|user|>"
        together, apart = other_tokenizer(prompt + answer), other_tokenizer([prompt, answer])
        assert together["input_ids"] == apart["input_ids"][0] + apart["input_ids"][1]
