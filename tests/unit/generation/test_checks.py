import re
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trainer.data.dataset import load_rows
from trainer.errors import UsageError
from trainer.generation.checks import (
    RULES,
    Answered,
    broken,
    require_known,
)
from trainer.generation.language import language_of, prose_of, require_known_language
from trainer.generation.tools import Tool
from trainer.teachers.served.chat_messages import ChatAnswer

QUESTION = "How do I true a bicycle wheel at home?"
FLIGHTS = Tool(
    "search_flights",
    "Finds flights between two airports.",
    {"type": "object", "properties": {"to": {"type": "string"}}, "required": ["to"]},
)


def answered(text: str, prompt: str = QUESTION, finish_reason: str | None = "stop", **more: Any) -> Answered:
    """An answer to a prompt of one message that the teacher was shown as it is."""
    messages = [{"role": "user", "content": prompt}]
    return Answered(messages, more.pop("shown", messages), ChatAnswer(text, finish_reason, 10, 20), **more)


def breaks(rule: str, text: str, prompt: str = QUESTION, **more: Any) -> bool:
    return RULES[rule](answered(text, prompt, **more))


# ---- truncated, empty


@pytest.mark.parametrize("reason", ["length", "abort"])
def test_an_answer_that_the_server_cut_is_truncated(reason: str) -> None:
    assert broken(answered("Turn each spoke a qua", finish_reason=reason), [*RULES]) == "truncated"


def test_an_answer_that_a_filter_took_is_a_refusal() -> None:
    assert broken(answered("Turn each spoke a qua", finish_reason="content_filter"), [*RULES]) == "refusal"


@pytest.mark.parametrize("reason", ["stop", None])
def test_an_answer_that_ended_by_itself_is_not_truncated(reason: str | None) -> None:
    assert not breaks("truncated", "Turn each spoke a quarter", finish_reason=reason)


@pytest.mark.parametrize("text", ["", " \n\t", "\u200b\ufeff\n", "...", "…", "```\n```", "```json\n\n```"])
def test_an_answer_without_anything_to_read_is_empty(text: str) -> None:
    assert breaks("empty", text)


@pytest.mark.parametrize("text", ["7", "*", "👍", "é", ".", "```\nx\n```", "... and so on"])
def test_an_answer_of_a_single_mark_is_not_empty(text: str) -> None:
    assert not breaks("empty", text)


# ---- refusal


@pytest.mark.parametrize(
    "text",
    [
        "I'm sorry, but I can't assist with that.",
        "I’m sorry, but I can’t help with that request.",
        "I am really sorry, but I cannot provide instructions for that.",
        "Sorry, I can't do that.",
        "I'm sorry — I can't.",
        "I cannot help with opening somebody else's lock.",
        "I can't help you with that.",
        "I won't be able to assist you in this matter.",
        "I'm afraid I can't help with this.",
        "I apologize for the inconvenience, but I am unable to access external websites.",
        "Unfortunately, I cannot comply with this request.",
        "I understand that you are upset, but I can't provide medical advice.",
        "I'm not able to provide step-by-step instructions for this.",
        "As an AI language model, I don't have personal opinions.",
        "As an artificial intelligence, I'm not able to taste food.",
        "**As an AI assistant**, I cannot browse the internet.",
        "I'm just an AI and can't see your screen.",
        "I must respectfully decline.",
        "I do not feel comfortable writing this.",
        "That's not something I can help with.",
        "Your request violates our content policy.",
        "抱歉，我无法提供这方面的帮助。",
        "作为一个人工智能语言模型，我没有个人观点。",
        "Es tut mir leid, aber ich kann Ihnen dabei nicht helfen.",
        "Je suis désolée, mais je ne peux pas vous aider.",
        "Lo siento, pero no puedo ayudarte con eso.",
    ],
)
def test_an_answer_that_declines_is_a_refusal(text: str) -> None:
    assert breaks("refusal", text)


@pytest.mark.parametrize(
    "text",
    [
        "I can't find an error in your code, it works.",
        "I’m sorry, but I can’t find a mistake in this statement: 17 is prime.",
        "I'm sorry to hear that your bike was stolen. Call the police first, then your insurer.",
        "Sorry for the confusion in the notes; here is the table.",
        "I can't help but admire the proof. Its third step is wrong, though.",
        "I cannot determine the price from the figures given; it lies between 4 and 6 euros.",
        "I can't see any difference between the two options in price, so take the closer one.",
        "I can't give an exact number, but a loaf needs about 500 g of flour.",
        "Unfortunately, I can't write it in one line, because the language has no lambda; here it is in two.",
        "Unfortunately, the train at 9:40 is full. Take the one at 10:15.",
        "I understand the plan; it can't work as the hall closes at six.",
        "You can't help with the move on Saturday because the exam is then.",
        "As an AI engineer, you can't skip the evaluation.",
        "As an AI assistant, I can plan your day, write texts and check code.",
        "The assistant said: I'm sorry, but I can't help with that.",
        "Lo siento, pero no puedo encontrar ningún error.",
    ],
)
def test_an_answer_that_says_what_is_not_possible_is_no_refusal(text: str) -> None:
    assert not breaks("refusal", text)


@pytest.mark.parametrize(
    ("prompt", "text"),
    [
        ("Write a polite message: I can't carry boxes on Saturday.", "I'm sorry, but I cannot help with the move."),
        ("Decline the invitation in one sentence.", "I must respectfully decline your kind invitation."),
        ("Draft the shop's reply to a customer.", "I'm sorry, but I can't process returns after 90 days."),
    ],
)
def test_a_message_that_was_asked_for_may_decline_something(prompt: str, text: str) -> None:
    assert not breaks("refusal", text, prompt)
    assert breaks("refusal", "I'm sorry, but I can't help with that.", prompt)


# ---- thinking_leak


@pytest.mark.parametrize(
    "text",
    [
        "The answer is 4.</think>\n\n4",
        "<thinking>2 and 2 make 4</thinking>4",
        "<|begin_of_thought|>2 and 2<|end_of_thought|>4",
        "◁think▷ two and two ◁/think▷ 4",
        "[THINK]easy[/THINK]4",
        "Okay, the user wants to know how to true a wheel. I should",
        "Okay, so the user is asking about wheels.",
        "Hmm, this user asks for a plan.",
        "Okay, so I need to figure out how many loaves there are.",
        "Alright, let me think about this.",
        "Let me think step by step about what the user needs.",
        "The user is asking for a plan of the week.",
        "I need to work out what the user means by true.",
        "We need to respond with a short plan.",
        "Here's a thinking process:\n1. Analyze the request.",
        "Thinking Process:\n\n1. **Analyze the Request**",
        "好的，用户想知道怎么修车轮。",
        "嗯，用户问的是车轮。",
    ],
)
def test_remains_of_reasoning_are_a_thinking_leak(text: str) -> None:
    assert breaks("thinking_leak", text)


@pytest.mark.parametrize(
    ("text", "prompt"),
    [
        ("Thought: The user asks for a flight, so search_flights.\nAction: search_flights", QUESTION),
        ("Okay, here is the plan: first loosen the brake, then turn the wheel.", QUESTION),
        ("Let's think of the wheel as a ring that 32 spokes pull at.", QUESTION),
        ("First, I need to know the size of the wheel.", QUESTION),
        ("Strip the block with `re.sub('<think>.*?</think>', '', text)`.", "How do I drop reasoning from a text?"),
        ("The <think> tag opens the block.", "What does <think> mean in the output of a model?"),
        ("The user wants a refund.", "Summarise the ticket: a user asks for the money back."),
        ("First, the user logs in; then the server sends a cookie.", "How does a user log in?"),
        ("I think the cheaper one is better.", QUESTION),
        ("I need to return the bike by Friday.", "Write a note about the rented bike."),
    ],
)
def test_talk_about_thinking_and_about_users_is_no_thinking_leak(text: str, prompt: str) -> None:
    assert not breaks("thinking_leak", text, prompt)


# ---- template_echo


@pytest.mark.parametrize(
    "text",
    [
        "Loosen the brake.<|im_end|>",
        "<|im_start|>assistant\nLoosen the brake.",
        "<|assistant|>\nLoosen the brake.",
        "[INST] How do I true a wheel? [/INST]",
        "<start_of_turn>model\nLoosen the brake.",
        "Loosen the brake.<|eot_id|>",
        "Loosen the brake.<｜end▁of▁sentence｜>",
        "Loosen the brake.</s>",
        "### Response: Loosen the brake.",
        "Assistant: Loosen the brake.",
        "**Assistant:** Loosen the brake.",
        "Loosen the brake.\n\nUser: And then?\nAssistant: Turn the wheel.",
        "Loosen the brake.\nHuman:",
        "Loosen the brake.assistant\n\nThen turn the wheel.",
        "assistant\nLoosen the brake.",
    ],
)
def test_marks_of_a_chat_template_are_an_echo(text: str) -> None:
    assert breaks("template_echo", text)


@pytest.mark.parametrize(
    ("text", "prompt"),
    [
        ("Wrap it in `<|im_start|>` and `<|im_end|>`.", "How does ChatML mark a turn?"),
        ("It ends a turn: <|eot_id|>.", "What does <|eot_id|> mean?"),
        ("User: Hi!\nAssistant: Hello!", "Write a short dialogue of two lines between a customer and a bot."),
        ("Host: example.org\nUser: admin\nPort: 22", "Which settings do I type?"),
        ("Human: 46 chromosomes\nChimpanzee: 48 chromosomes", "How many chromosomes do they have?"),
        ("The shop's assistant\nsweeps the floor.", QUESTION),
        ("<p>The price is <s>12</s> 10 euros.</p>", "Write the paragraph in HTML."),
        ("f <| g x", "Apply g, then f, in F#."),
        ("AI: short for artificial intelligence.", "What is it short for?"),
    ],
)
def test_talk_about_templates_and_dialogues_that_were_asked_for_are_no_echo(text: str, prompt: str) -> None:
    assert not breaks("template_echo", text, prompt)


def within(prompt: str, instruction: str) -> list[dict[str, str]]:
    return [{"role": "user", "content": instruction.format(prompt=prompt)}]


WRAPPED = within(QUESTION, "{prompt}\n\nAnswer in a friendly tone. Show the steps in the order of the work.")
LONG_REQUEST = "Explain how the gears of a touring bicycle are adjusted at home. The reader has one spanner."


@pytest.mark.parametrize(
    ("text", "prompt", "shown"),
    [
        ("How do I true a bicycle wheel at home? Loosen the brake.", QUESTION, None),
        ("> **How do I true a bicycle wheel at home?**\n\nLoosen the brake.", QUESTION, None),
        ("explain how the gears of a touring bicycle are adjusted at home:\nTurn the screw.", LONG_REQUEST, None),
        ("Answer in a friendly tone. Hi there!", QUESTION, WRAPPED),
        ("Show the steps in the order of the work. First the brake.", QUESTION, WRAPPED),
        ("in a friendly tone. Show the steps in the order of the work. First, turn it.", QUESTION, WRAPPED),
    ],
)
def test_a_request_or_an_instruction_at_the_start_of_the_answer_is_an_echo(
    text: str, prompt: str, shown: list[dict[str, str]] | None
) -> None:
    more = {"shown": shown} if shown else {}
    assert breaks("template_echo", text, prompt, **more)


def test_a_system_message_at_the_start_of_the_answer_is_an_echo() -> None:
    prompt = [
        {"role": "system", "content": "You are a mechanic who answers in one sentence."},
        {"role": "user", "content": QUESTION},
    ]
    for text, echo in [("You are a mechanic who answers in one sentence. Turn it.", True), ("Turn it.", False)]:
        assert RULES["template_echo"](Answered(prompt, prompt, ChatAnswer(text, "stop", 1, 1))) is echo


TALE = (
    "Once upon a time a cobbler lived by the sea with his wife and his three daughters, and every day he goes to the "
    "market with a cart of shoes."
)


@pytest.mark.parametrize(
    ("text", "prompt"),
    [
        (TALE.replace("goes", "went"), f"Correct the tenses of this text.\n\n{TALE}"),
        (TALE.replace("goes", "went"), f"{TALE}\n\nCorrect the tenses of this text."),
        (f"{TALE} One morning it rained.", f"Continue the tale: {TALE}"),
        ("How do I true a wheel? That depends on what you have.", QUESTION),
        ("To true a bicycle wheel at home, loosen the brake.", QUESTION),
        ("Yes.", "Yes?"),
    ],
)
def test_a_text_that_the_user_wants_worked_on_may_come_back(text: str, prompt: str) -> None:
    assert not breaks("template_echo", text, prompt)


def test_a_text_below_a_system_message_that_says_what_to_do_with_it_may_come_back() -> None:
    prompt = [{"role": "system", "content": "Correct the user's English."}, {"role": "user", "content": TALE}]
    assert not RULES["template_echo"](Answered(prompt, prompt, ChatAnswer(TALE, "stop", 1, 1)))


# ---- wrong_language

ENGLISH = "Loosen the brake first, then turn the wheel slowly and watch where the rim comes close to the pad."
FRENCH = "Desserrez d'abord le frein, puis faites tourner la roue lentement et regardez où la jante touche le patin."
GERMAN = "Lösen Sie zuerst die Bremse, drehen Sie dann langsam das Rad und achten Sie darauf, wo die Felge schleift."
SPANISH = "Primero afloje el freno, luego gire la rueda despacio y mire dónde la llanta se acerca a la zapata."
RUSSIAN = "Сначала ослабьте тормоз, затем медленно вращайте колесо и смотрите, где обод подходит к колодке."
CHINESE = "先松开刹车，然后慢慢转动车轮，观察轮圈在哪里靠近刹车片。"
JAPANESE = "まずブレーキを緩め、それから車輪をゆっくり回して、リムがどこでパッドに近づくかを見ます。"
ARABIC = "أرخِ المكابح أولاً، ثم أدر العجلة ببطء وانظر أين يقترب الإطار من الوسادة."
TEXTS = {
    "en": ENGLISH, "fr": FRENCH, "de": GERMAN, "es": SPANISH, "ru": RUSSIAN, "zh": CHINESE, "ja": JAPANESE,
    "ar": ARABIC,
}  # fmt: skip


@pytest.mark.parametrize("code", TEXTS)
def test_an_answer_in_the_expected_language_passes_and_in_any_other_is_rejected(code: str) -> None:
    for spoken, text in TEXTS.items():
        assert breaks("wrong_language", text, language=code) is (spoken != code), spoken


@pytest.mark.parametrize("code", TEXTS)
def test_without_a_language_in_the_recipe_the_prompt_s_is_expected(code: str) -> None:
    for spoken, text in TEXTS.items():
        assert breaks("wrong_language", text, prompt=TEXTS[code]) is (spoken != code), spoken


@pytest.mark.parametrize(
    "text",
    [
        "巴黎",
        "巴黎是法国的首都。",
        "The capital is Paris. 它位于塞纳河畔。",
        "First loosen the brake, 然后慢慢转动车轮观察轮圈, and mark the place.",
        "Париж",
        "It is Paris. Это самый большой город страны и её столица.",
        "答えはパリです。",
    ],
)
def test_a_sentence_in_a_script_that_the_language_does_not_use_is_wrong_however_short(text: str) -> None:
    assert breaks("wrong_language", text, "What is the capital of France?")
    assert breaks("wrong_language", text, "What is the capital of France?", language="en")


@pytest.mark.parametrize(
    "text",
    [
        "The word 道 (dào) means way, and “大丈夫” means all right.",
        "Tokyo (東京) and Beijing (北京市) are capitals.",
        'The inscription reads "Да здравствует наша великая родина" in gold.',
        "It was written by Лев Николаевич Толстой in 1869.",
        "The area is π·r², so with α = 2β and Δx = λ/2 it is 12.6.",
        "Rendezvous, Schadenfreude and déjà vu are used as they are.",
        "Mozart, Beethoven, Bach, Brahms, Schubert, Wagner, Strauss, Mahler, Bruckner, Schumann.",
        "Pizza Margherita, Spaghetti Carbonara, Tiramisù, Lasagne al forno, Risotto alla milanese.",
        "Kraków, Wrocław, Poznań, Gdańsk, Szczecin, Bydgoszcz, Lublin, Białystok, Katowice.",
        "1. Nguyễn Văn An\n2. Trần Thị Bình\n3. Lê Văn Cường\n4. Phạm Thị Dung\n5. Hoàng Văn Em",
        "croissant, pain au chocolat, brioche, baguette, éclair, mille-feuille, macaron, madeleine",
        "Quercus robur, Fagus sylvatica, Betula pendula, Acer platanoides, Tilia cordata, Pinus sylvestris.",
        "```python\n# 先松开刹车，然后慢慢转动车轮，观察轮圈\nprint('ok')\n```\nRun it.",
        "42",
        "",
        "OK.",
        "Si.",
        "https://fr.wikipedia.org/wiki/Roue_de_bicyclette_et_frein_de_velo_sur_jante",
        'Action: send_email\nAction_Input: {"body": "Desserrez le frein, puis faites tourner la roue lentement."}',
        "Thought: send_email does that.\nAction: send_email",
    ],
)
def test_foreign_words_names_formulas_and_code_in_an_english_answer_are_fine(text: str) -> None:
    assert not breaks("wrong_language", text, "Tell me what is written on the wall of the old town hall, please.")
    assert not breaks("wrong_language", text, language="en")


@pytest.mark.parametrize(
    ("prompt", "text"),
    [
        ("Translate into the language of Goethe: the brake is loose.", GERMAN),
        ("Explain in French how to true a wheel.", FRENCH),
        ("How do you say that in Chinese?", CHINESE),
        ("Was heißt das auf Englisch? Bitte übersetze den ganzen Absatz.", ENGLISH),
        ("请用英文回答这个问题。", ENGLISH),
        (f"Summarise this text in a sentence:\n\n{FRENCH}", FRENCH),
        (f"Summarise this text in a sentence: {CHINESE}", CHINESE),
    ],
)
def test_where_the_prompt_asks_for_or_contains_another_language_it_is_not_judged(prompt: str, text: str) -> None:
    assert not breaks("wrong_language", text, prompt)


def test_a_sentence_in_another_script_is_fine_where_the_answer_says_which_language_it_is() -> None:
    assert not breaks("wrong_language", f"Here is the Chinese sentence to be read aloud: {CHINESE}", language="en")


def test_a_prompt_without_letters_expects_no_language() -> None:
    assert not breaks("wrong_language", "答案是四。", "2 + 2 = ?")


@pytest.mark.parametrize("text", ["", "7", "Ok.", "Sona Lito gerida", "Paris Berlin Madrid"])
def test_the_language_of_a_few_words_is_unknown(text: str) -> None:
    assert language_of(text) is None


def test_prose_has_no_code_no_quotations_no_links_no_calls() -> None:
    text = 'See https://a.b/c or `le code` for "la roue". ```py\nun = 1\n``` Fin <b>ici</b> $x_1$\nAction: aller'
    assert prose_of(text).split() == ["See", "or", "for", ".", "Fin", "ici"]


# ---- calls of tools


@pytest.mark.parametrize(
    ("text", "rule"),
    [
        ('Thought: A flight.\nAction: search_flights\nAction_Input: {"to": "MAD"}', None),
        ("You could take the flight at nine.", "no_action"),
        ('Action: book_train\nAction_Input: {"to": "MAD"}', "unknown_tool"),
        ('Action: search_flights\nAction_Input: {"to": 7}', "bad_arguments"),
        ("Action: search_flights\nAction_Input: to Madrid", "bad_arguments"),
    ],
)
def test_an_answer_breaks_at_most_one_of_the_three_rules_of_calls(text: str, rule: str | None) -> None:
    names = ("no_action", "unknown_tool", "bad_arguments")
    assert [name for name in names if breaks(name, text, tools=[FLIGHTS])] == ([rule] if rule else [])


@pytest.mark.parametrize("rule", ["no_action", "unknown_tool", "bad_arguments"])
def test_where_no_tools_are_offered_no_call_is_missed(rule: str) -> None:
    assert not breaks(rule, "Loosen the brake.")


# ---- all of them


def test_the_first_broken_rule_in_the_order_of_the_table_is_named_whatever_the_order_asked_in() -> None:
    found = answered("I'm sorry, but I can't assist with that.<|im_end|>", finish_reason="length")
    assert broken(found, [*RULES]) == broken(found, [*RULES][::-1]) == "truncated"
    assert broken(found, ["refusal", "template_echo"]) == "template_echo"
    assert broken(found, ["refusal"]) == "refusal"
    assert broken(found, []) is None


def test_an_unknown_rule_is_a_usage_error_that_names_the_nearest() -> None:
    require_known([*RULES])
    with pytest.raises(UsageError, match=r"found the check 'refusals'; expected some of truncated, .*'refusal'\?"):
        require_known(["empty", "refusals"])


def test_an_unknown_language_is_a_usage_error_that_says_what_is_expected() -> None:
    require_known_language("sw")
    with pytest.raises(UsageError, match="found the language 'english'; expected an ISO 639-1 code such as 'en'"):
        require_known_language("english")


@pytest.mark.parametrize("path", ["data/tooluse_data/train_data.json", "data/tiny_world/train_data.json"])
def test_every_golden_response_of_the_shipped_data_passes(path: str) -> None:
    rejected = {}
    for row in load_rows(path):
        assert row.golden_response is not None
        answer = ChatAnswer(row.golden_response, "stop", 1, 1)
        for language in ("en", None):
            rule = broken(Answered(row.prompt, row.prompt, answer, language), [*RULES])
            rejected |= {row.id: (rule, row.golden_response)} if rule else {}
    assert rejected == {}


MARKS = ["<think>", "</think>", "<|im_start|>", "```", "`", '"', "$", "<", "User:", "Assistant:", "user\n", "Action:"]
PIECES = st.one_of(
    st.sampled_from([*MARKS, *TEXTS.values(), "I'm sorry, but ", "Okay, ", "道", "ि", "…", "，", "\x00", "\ud800"]),
    st.text(max_size=20),
    st.text(alphabet=st.characters(), max_size=10),
)


@settings(deadline=None)
@given(
    st.lists(PIECES, max_size=12).map("".join),
    st.lists(PIECES, max_size=6).map("".join),
    st.sampled_from([None, "en", "zh", "ru", "tlh"]),
    st.booleans(),
)
def test_no_text_makes_a_rule_fail(text: str, prompt: str, language: str | None, with_tools: bool) -> None:
    tools: Sequence[Tool] = [FLIGHTS] if with_tools else ()
    shown = within(prompt.replace("{", "").replace("}", ""), "{prompt}\nAnswer briefly.")
    found = answered(text, prompt, shown=shown, language=language, tools=tools)
    verdicts = {name: rule(found) for name, rule in RULES.items()}
    first = next((name for name, verdict in verdicts.items() if verdict), None)
    assert broken(found, [*RULES]) == first
    assert re.fullmatch(r"[a-z_]+", first or "none")


@pytest.mark.parametrize(
    "unit", ["```", '"', "<", "*", "\n", "ि", "道 ", "道0", "User", "okay, ", "i am ", " ", "привет "]
)
def test_a_teacher_that_repeats_itself_without_end_is_checked_too(unit: str) -> None:
    for name in RULES:
        assert breaks(name, unit * 3000, language="en") in (True, False)
