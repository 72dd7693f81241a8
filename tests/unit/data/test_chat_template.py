"""What chat templates do is found out by asking them; nothing that a row says is lost without a word."""

import copy
import json
from functools import cache
from pathlib import Path

import pytest
import trl

from trainer.data.chat_template import ChatTemplate
from trainer.data.encoding import readable
from trainer.data.prompts import PromptEncoder
from trainer.data.rows.row import BadRow, Row
from trainer.data.showing import Showing
from trainer.errors import UsageError

TEMPLATES = Path(trl.__file__).parent / "chat_templates"
MARKS = [
    "<start_of_turn>", "<end_of_turn>", "<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>", "<|turn>", "<turn|>",
    "<|tool_call>", "<tool_call|>", "<|tool_response>", "<tool_response|>", "<|START_OF_TURN_TOKEN|>",
    "<|END_OF_TURN_TOKEN|>", "<|START_RESPONSE|>", "<|END_RESPONSE|>", "<|start|>", "<|channel|>", "<|message|>",
    "<|call|>", "<|return|>", "<|end|>", "<|user|>", "<|assistant|>", "<|observation|>", "<｜end▁of▁sentence｜>",
    "<｜User｜>", "<｜Assistant｜>", "<eos>", "<bos>", "</s>",
]  # fmt: skip
WEATHER = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "Weather of a city.",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
    },
}
CALL = {"name": "get_weather", "arguments": {"city": "Oslo", "days": 2}}
ASKED = {"role": "user", "content": "Weather in Oslo?"}
CALLING = {"role": "assistant", "content": None, "tool_calls": [{"id": "c", "type": "function", "function": CALL}]}
RESULT = {"role": "tool", "tool_call_id": "c", "name": "get_weather", "content": "4 degrees"}
MISTRAL = (
    "{{ bos_token }}{% for m in messages %}{% if m.role == 'user' %}[INST] {{ m.content }}[/INST]"
    "{% elif m.role == 'assistant' and m.tool_calls %}[TOOL_CALLS] [{% for c in m.tool_calls %}"
    "{% if not c.id or c.id|length != 9 %}{{ raise_exception('Tool call IDs should be 9 characters') }}{% endif %}"
    '{"name": "{{ c.function.name }}", "arguments": {{ c.function.arguments|tojson }}, "id": "{{ c.id }}"}'
    "{% endfor %}]</s>{% elif m.role == 'assistant' %} {{ m.content }}</s>"
    "{% elif m.role == 'tool' %}[TOOL_RESULTS] {{ m.tool_call_id }} {{ m.content }}[/TOOL_RESULTS]"
    "{% else %}{{ raise_exception('Only user, assistant and tool roles are supported') }}{% endif %}{% endfor %}"
)


@pytest.fixture(scope="session")
def of(real_tokenizer):
    """A real tokenizer with the chat template of another family and its marks."""

    base = copy.deepcopy(real_tokenizer("qwen3"))
    base.add_special_tokens({"additional_special_tokens": MARKS}, replace_extra_special_tokens=False)
    base.bos_token = "<bos>"

    @cache
    def load(name, eos="<|im_end|>"):
        tokenizer = copy.copy(base)
        tokenizer._special_tokens_map = dict(base._special_tokens_map)
        tokenizer.chat_template = MISTRAL if name == "mistral" else (TEMPLATES / f"{name}.jinja").read_text()
        tokenizer.eos_token = eos
        return tokenizer

    return load


def encoder(tokenizer, **changes):
    limits = {"max_prompt_length": 512, "context_room": 600, "max_completion_length": 200}
    return PromptEncoder(tokenizer, showing=Showing(), **(limits | changes))


@pytest.mark.parametrize(
    "name", ["qwen3", "qwen2_5", "llama3_1", "glm4moe", "gptoss", "gemma4", "qwen3_5_nothink", "lfm2"]
)
def test_tools_stand_in_the_prompt_with_name_description_and_parameters(of, name):
    text = ChatTemplate(of(name)).text([ASKED], [WEATHER])
    assert all(word in text for word in ("get_weather", "Weather of a city.", "city"))
    assert ChatTemplate(of(name)).text([ASKED], []) == ChatTemplate(of(name)).text([ASKED])


@pytest.mark.parametrize("name", ["llama3", "gemma3", "phi3", "deepseekv3", "mistral", "gemma"])
def test_tools_that_a_template_has_no_place_for_are_written_as_text_and_that_is_told_once(of, name, capsys):
    tokenizer = of(name)
    built = encoder(tokenizer, max_prompt_length=4000)
    for _ in range(2):
        text = tokenizer.decode(built.student_prompt(Row("1", [ASKED], tools=[WEATHER])).ids)
        assert json.dumps(WEATHER["function"]["parameters"]) in text and ASKED["content"] in text
    said = capsys.readouterr().out
    assert said.count("has no place for tools; they are written as JSON into the") == 1


UNOPENED = "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
OPENED = UNOPENED + "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"


def test_a_template_that_does_not_begin_the_answer_is_told_once(of, capsys):
    tokenizer = copy.copy(of("qwen3"))
    for source, told in ((UNOPENED, 1), (OPENED, 0)):
        tokenizer.chat_template = source
        template = ChatTemplate(tokenizer)
        for _ in range(2):
            template.text([ASKED])
        said = capsys.readouterr().out
        assert said.count(r"begins answers with '<|im_start|>assistant\n', and does not write it where") == told


@pytest.mark.parametrize("name", [*sorted(file.stem for file in TEMPLATES.glob("*.jinja")), "mistral"])
def test_templates_as_published_begin_the_answer_or_need_no_beginning(of, name, capsys):
    ChatTemplate(of(name)).text([ASKED])
    assert "does not write it where" not in capsys.readouterr().out


def test_calls_that_a_template_has_no_place_for_are_written_as_text_and_that_is_told(of, capsys):
    text = ChatTemplate(of("llama3")).text([ASKED, CALLING, RESULT])
    assert f'<tool_call>\n{{"name": "get_weather", "arguments": {json.dumps(CALL["arguments"])}}}\n</tool_call>' in text
    assert "4 degrees" in text and "no place for tool calls" in capsys.readouterr().out


def test_a_tokenizer_without_a_template_takes_no_tools(real_tokenizer):
    with pytest.raises(UsageError, match=r"a prompt with tools, and the tokenizer of .* has no chat template"):
        encoder(real_tokenizer("llama2")).student_prompt(Row("1", [ASKED], tools=[WEATHER]))


@pytest.mark.parametrize(
    "name", ["qwen3", "qwen2_5", "qwen3_5_nothink", "llama3_1", "glm4moe", "gptoss", "gemma4", "mistral"]
)
@pytest.mark.parametrize("content", [None, ""])
def test_arguments_reach_the_template_as_it_wants_them_be_they_object_or_text(of, name, content):
    template, texts = ChatTemplate(of(name)), []
    for arguments in (CALL["arguments"], json.dumps(CALL["arguments"])):
        call = {"id": "c", "type": "function", "function": {"name": "get_weather", "arguments": arguments}}
        texts.append(template.text([ASKED, {**CALLING, "content": content, "tool_calls": [call]}, RESULT]))
    assert texts[0] == texts[1] and "Oslo" in texts[0] and "4 degrees" in texts[0]
    assert '\\"city' not in texts[0] and '{{"city' not in texts[0]


def test_arguments_that_are_no_object_are_refused_with_the_calls_name(of):
    broken = {**CALLING, "tool_calls": [{"function": {"name": "get_weather", "arguments": '{"city": '}}]}
    with pytest.raises(BadRow, match=r"arguments of the call of get_weather are .* expected a JSON object"):
        ChatTemplate(of("qwen3")).text([ASKED, broken, RESULT])


@pytest.mark.parametrize("name", ["qwen3", "qwen3_5_nothink", "gptoss", "llama3_1", "glm4moe"])
def test_a_developers_words_are_in_the_prompt_also_behind_a_system_message(of, name):
    for before in ([], [{"role": "system", "content": "Be kind."}]):
        messages = [*before, {"role": "developer", "content": "Answer briefly."}, ASKED]
        text = ChatTemplate(of(name)).text(messages)
        assert "Answer briefly." in text and all(message["content"] in text for message in before)


def test_what_a_function_returned_is_a_tools_result(of):
    template = ChatTemplate(of("qwen3"))
    as_function = template.text([ASKED, CALLING, {**RESULT, "role": "function"}])
    assert as_function == template.text([ASKED, CALLING, RESULT]) and "4 degrees" in as_function


@pytest.mark.parametrize(
    ("name", "messages", "words"),
    [
        ("llama3_1", [ASKED, {**CALLING, "content": "I look."}, RESULT], "leaves out the text of message 2 .*beside"),
        ("qwen3_vl", [ASKED, {"role": "system", "content": "You"}, ASKED], "leaves out the text of message 2"),
        ("gemma3", [ASKED, ASKED], "refuses a prompt with the roles user, user: Conversation roles must alternate"),
        ("gptoss", [ASKED, {**CALLING, "tool_calls": CALLING["tool_calls"] * 2}, RESULT], "leaves out the call of"),
        ("qwen3", [ASKED, {"role": "narrator", "content": "e"}], "leaves out the text of message 2"),
    ],
)  # fmt: skip
def test_what_a_template_would_drop_or_refuses_is_refused_in_words(of, name, messages, words):
    with pytest.raises(BadRow, match=words):
        ChatTemplate(of(name)).text(messages)


@pytest.mark.parametrize(
    ("name", "eos", "end"),
    [
        ("gemma3", "<eos>", "<end_of_turn>"),
        ("llama3", "<|endoftext|>", "<|eot_id|>"),
        ("qwen3", "<|im_end|>", "<|im_end|>"),
        ("qwen2_5", "<|endoftext|>", "<|im_end|>"),
        ("phi3", "<|endoftext|>", "<|end|>"),
        ("gemma4", "<eos>", "<turn|>"),
        ("cohere2", "<|END_OF_TURN_TOKEN|>", "<|END_RESPONSE|><|END_OF_TURN_TOKEN|>"),
        ("gptoss", "<|return|>", "<|return|>"),
        ("glm4moe", "<|endoftext|>", "<|endoftext|>"),
        ("deepseekv3", "<|endoftext|>", "<｜end▁of▁sentence｜>"),
    ],
)
def test_a_target_ends_as_an_assistants_turn_does(of, name, eos, end):
    tokenizer = of(name, eos)
    target = encoder(tokenizer).target("It is 4.")
    assert tokenizer.decode(target.ids).endswith(f"It is 4.{end}")
    stops = ChatTemplate(tokenizer).stop_ids
    assert stops[0] == target.ids[-1] and tokenizer.eos_token_id in stops


def test_a_template_that_always_opens_the_next_turn_does_not_end_a_turn_with_it(real_tokenizer):
    llama3 = real_tokenizer("llama3")
    assert llama3.eos_token == "<|end_of_text|>"
    assert llama3.decode(encoder(llama3).target("Yes.").ids) == "Yes.<|eot_id|>"


def test_gpt_oss_writes_an_answer_into_its_final_channel_and_ends_a_call_in_its_own_way(of):
    tokenizer = of("gptoss", "<|return|>")
    built = encoder(tokenizer)
    assert tokenizer.decode(built.target("Hi.").ids) == "<|channel|>final<|message|>Hi.<|return|>"
    calling = tokenizer.decode(built.target(built.golden_text(Row("1", [ASKED], golden_calls=[CALL])) or "").ids)
    assert "to=functions.get_weather" in calling and calling.endswith("<|call|>") and "<|return|>" not in calling


@pytest.mark.parametrize(
    "name", ["qwen3", "qwen2_5", "llama3_1", "glm4moe", "gemma4", "qwen3_5_nothink", "gptoss", "mistral"]
)
def test_prompt_and_target_together_are_what_the_template_writes_for_the_whole_conversation(of, name):
    tokenizer = of(name, "</s>" if name == "mistral" else "<|im_end|>")
    built, row = encoder(tokenizer), Row("1", [ASKED], golden_calls=[CALL])
    text = built.golden_text(row)
    assert text is not None and "get_weather" in text and "Oslo" in text and "<|im_end|>" not in text
    messages = [ASKED, {**CALLING, "content": ""}]
    whole = ChatTemplate(tokenizer).text(messages, opens_answer=False)
    made = tokenizer.decode([*built.student_prompt(row).ids, *built.target(text).ids])
    ends = "<|im_end|>" if name == "glm4moe" else ""  # its template writes no end
    assert made.removesuffix(ends) == whole.rstrip("\n")


def test_text_beside_calls_is_part_of_the_demonstration(of):
    row = Row("1", [ASKED], "I look it up.", golden_calls=[CALL], tools=[WEATHER])
    text = encoder(of("qwen3")).golden_text(row)
    assert text.startswith("I look it up.\n<tool_call>\n") and text.endswith("</tool_call>")
    assert json.loads(text.partition("<tool_call>")[2].partition("</tool_call>")[0]) == CALL


def test_without_a_template_calls_cannot_be_written_and_one_that_cannot_gets_them_as_text(of, real_tokenizer):
    row = Row("1", [ASKED], golden_calls=[CALL])
    assert "<tool_call>" in (encoder(of("llama3")).golden_text(row) or "")
    with pytest.raises(BadRow, match="no chat template to write calls with"):
        encoder(real_tokenizer("llama2")).golden_text(row)


def test_student_and_teacher_read_the_same_tools_and_a_tools_result_stays_one(of):
    tokenizer = of("qwen3")
    row = Row("1", [ASKED, {**CALLING, "content": ""}, RESULT], "It has 4 degrees.", tools=[WEATHER])
    student = tokenizer.decode(encoder(tokenizer).student_prompt(row).ids)
    teacher = tokenizer.decode(encoder(tokenizer).demonstration_prompt(row, "It has 4 degrees.").ids)
    assert json.dumps(WEATHER) in student and json.dumps(WEATHER) in teacher
    question, _, behind = student.partition(ASKED["content"])
    assert teacher.startswith(question + ASKED["content"]) and teacher.endswith(behind.removeprefix("<|im_end|>"))


def test_rows_that_the_template_refuses_are_named_or_dropped_with_the_reason(of, capsys):
    system = [{"role": "system", "content": "Be brief."}, {"role": "system", "content": "Be kind."}, ASKED]
    rows = [Row("1", [ASKED], "4"), Row("seven", system, "4"), Row("3", system, "4")]
    built = encoder(of("gemma3"))
    with pytest.raises(
        UsageError, match=r"my.json, row seven: .* refuses a prompt with the roles system, system, user"
    ):
        readable(rows, built, "my.json")
    assert readable(rows, built, "my.json", skip_bad_rows=True) == rows[:1]
    told = capsys.readouterr().out
    assert told.startswith("my.json: dropped 2 of 3 rows") and "refuses a prompt" in told
    with pytest.raises(UsageError, match="none of its 2 rows can be used"):
        readable(rows[1:], built, "my.json", skip_bad_rows=True)


def test_a_token_without_an_embedding_is_named(of):
    tokenizer = of("qwen3")
    built = encoder(tokenizer, embeddings=tokenizer.convert_tokens_to_ids("<eos>"))
    with pytest.raises(UsageError, match=r"rows, row 2: found the token '<eos>' \(id \d+\).* this one has no row"):
        readable([Row("1", [ASKED], "a"), Row("2", [ASKED], "a<eos>")], built, "rows")
