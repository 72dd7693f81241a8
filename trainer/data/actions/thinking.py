"""How models mark what they think before they answer: one list, for whoever strips, rejects or judges it.

The marks are those of the models' own chat templates, as vLLM's reasoning parsers and the templates name them.
"""

import re

MARKS = {  # begin and end of what is thought; the models that write them
    ("<think>", "</think>"): "Qwen3, DeepSeek-R1, GLM-4.5, SmolLM3, OLMo 3, MiniMax-M2, Hunyuan, ERNIE 4.5, Nemotron",
    ("<thought>", "</thought>"): "EXAONE Deep",
    ("<seed:think>", "</seed:think>"): "Seed-OSS",
    ("<mm:think>", "</mm:think>"): "MiniMax-M3",
    ("<longcat_think>", "</longcat_think>"): "LongCat-Flash-Thinking",
    ("<ifm|think>", "</ifm|think>"): "K2-Horizon",
    ("<ifm|think_fast>", "</ifm|think_fast>"): "K2-Horizon",
    ("<ifm|think_faster>", "</ifm|think_faster>"): "K2-Horizon",
    ("[THINK]", "[/THINK]"): "Magistral, Ministral 3",
    ("◁think▷", "◁/think▷"): "Kimi-VL-Thinking",
    ("<|open|>think<|sep|>", "<|close|>think<|sep|>"): "Kimi-K3",
    ("<|START_THINKING|>", "<|END_THINKING|>"): "Command A Reasoning",
    ("<|begin_of_thought|>", "<|end_of_thought|>"): "Sky-T1, OpenThinker",
    ("<unused94>thought", "<unused95>"): "MedGemma",
    ("<|inner_prefix|>", "<|inner_suffix|>"): "Apertus",
    ("<|channel>thought", "<channel|>"): "Gemma 4",
    ("<|channel|>analysis<|message|>", "<|end|>"): "gpt-oss (harmony)",
}
ENDS_OF_MORE = ("<|end|>", "<channel|>")  # they end other things too, so without their begin they say nothing
# A prompt may ask for these, so they are nobody's own; nor is a mark that a model misspells.
OTHERS = r"</?\s*(?:think|thinking|thoughts|reasoning|reflection|inner_monologue|scratchpad)\s*>"
MARK = re.compile(
    "|".join([OTHERS, *(re.escape(mark) for pair in MARKS for mark in pair if mark not in ENDS_OF_MORE)]), re.IGNORECASE
)
# What is thought, where the marks are words: Granite 3, and gpt-oss from a server that drops its special tokens.
SPOKEN = re.compile(
    r"\A\s*(?:analysis.*?assistant(?:final|commentary(?= to=))"
    r"|(?:Here's|Here is) my thought process:.*?(?:Here's|Here is) my response:\s*)",
    re.DOTALL,
)
# What some models write around the answer behind it.
FRAMES = re.compile(
    r"(?:<\|start\|>assistant)?<\|channel\|>final(?:<\|constrain\|>\w+)?<\|message\|>"
    r"|<\|(?:START|END)_RESPONSE\|>|<\|(?:begin|end)_of_solution\|>|<\|(?:open|close)\|>response<\|sep\|>"
)


def strip_thinking(text: str) -> str:
    """`text` without what its model thought before it answered; an unclosed thought swallows the rest.

    Where the chat template opened the thought in the prompt, `text` has only the closing mark: what stands before it
    is thinking too.
    """
    bare, before = SPOKEN.sub("", text), None
    while bare != before:  # what one removal brings together may be a mark again
        before = bare
        for begin, end in MARKS:
            bare = _without(bare, begin, end)
        bare = FRAMES.sub("", bare)
    return bare


def ends_in_a_thought(text: str) -> bool:
    """Whether a thought that begins behind other text is never closed, so that what is left is not the whole answer."""
    bare = strip_thinking(text)
    return bool(bare.strip()) and any(begin in text.rpartition(end)[2] for begin, end in MARKS)


def has_thinking_mark(text: str) -> bool:
    """Whether the text has a mark of thinking, of any model."""
    return MARK.search(text) is not None


def leaks_thinking(text: str, asked: str) -> bool:
    """Whether the text has a mark of thinking that what was asked doesn't have."""
    return any(mark.casefold() not in asked.casefold() for mark in MARK.findall(text))


def _without(text: str, begin: str, end: str) -> str:
    if begin in text:
        text = re.sub(rf"{re.escape(begin)}.*?{re.escape(end)}\s*", "", text, flags=re.DOTALL)
    if end in text and end not in ENDS_OF_MORE:
        text = text.rpartition(end)[2].lstrip()
    return text.partition(begin)[0]
