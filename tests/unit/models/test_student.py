"""The student's tokenizer: which chat template it has, and where its turns end."""

import copy
from types import SimpleNamespace

import pytest
from transformers import AutoConfig

from trainer.errors import UsageError
from trainer.models.student import choose_template, encoder_for, end_as_turns_do, end_token_ids, load_tokenizer
from trainer.settings.options import Eval

PLAIN = "{% for m in messages %}{{ m.content }}<|im_end|>{% endfor %}"


@pytest.fixture
def several(tokenizer):
    chosen = copy.deepcopy(tokenizer)
    chosen.chat_template = {"default": "d{{ messages[0].content }}", "rag": "r{{ messages[0].content }}"}
    return chosen


def test_a_named_template_or_one_in_a_file_takes_the_tokenizers_place(several, tmp_path):
    choose_template(several, "rag")
    assert several.chat_template == "r{{ messages[0].content }}"
    (tmp_path / "mine.jinja").write_text(PLAIN)
    choose_template(several, str(tmp_path / "mine.jinja"))
    assert several.chat_template == PLAIN


def test_an_unknown_name_is_no_template_and_the_names_are_listed(several, tokenizer, student_path):
    with pytest.raises(UsageError, match=r"--chat_template is 'ragg'.* have default, rag\. Pass one of the names"):
        choose_template(several, "ragg")
    with pytest.raises(UsageError, match="have no names"):
        load_tokenizer(Eval(model_name_or_path=student_path, chat_template="rag"))


def test_a_file_that_is_no_template_is_told_with_its_line(tokenizer, tmp_path):
    file = tmp_path / "broken.jinja"
    file.write_text("{% for m in messages %}\n{{ m.content }\n{% endfor %}")
    with pytest.raises(UsageError, match=r"broken.jinja, line 2: "):
        choose_template(copy.deepcopy(tokenizer), str(file))


def test_of_several_templates_without_a_default_one_has_to_be_named(several):
    several.chat_template = {"rag": PLAIN, "tool_use": PLAIN}
    with pytest.raises(UsageError, match=r"has the chat templates rag, tool_use, and none is the default"):
        choose_template(several, None)


def test_generation_stops_where_the_template_ends_a_turn_and_where_the_model_says(real_tokenizer):
    llama3 = real_tokenizer("llama3")
    end, eos = llama3.convert_tokens_to_ids("<|eot_id|>"), llama3.eos_token_id
    model = SimpleNamespace(generation_config=SimpleNamespace(eos_token_id=[7, eos]))
    assert end_token_ids(model, llama3) == [end, eos, 7]
    end_as_turns_do(model, llama3)
    assert model.generation_config.eos_token_id == [end, eos, 7]


def test_what_the_tiny_student_declares_stays_as_it_is(student, tokenizer):
    before = student.generation_config.to_dict()
    end_as_turns_do(student, tokenizer)
    assert student.generation_config.to_dict() == before
    assert end_token_ids(student, tokenizer) == [tokenizer.eos_token_id]


def test_tokens_without_an_embedding_are_told_and_none_of_them_pads(student_path, capsys):
    settings = Eval(model_name_or_path=student_path, local_files_only=True)
    tokenizer = load_tokenizer(settings)
    assert encoder_for(settings, tokenizer, 512).embeddings is None
    rows = AutoConfig.from_pretrained(student_path).vocab_size
    tokenizer.add_tokens([f"<room{number}>" for number in range(len(tokenizer), rows)])
    tokenizer.add_special_tokens({"pad_token": "[PAD]"})
    tokenizer.add_tokens(["<tool>"])
    encoder = encoder_for(settings, tokenizer, 512)
    said = capsys.readouterr().out
    assert encoder.embeddings == rows and f"[PAD] ({rows}), <tool> ({rows + 1})" in said
    assert tokenizer.pad_token == tokenizer.eos_token and "padding with <|im_end|> instead of [PAD]" in said
