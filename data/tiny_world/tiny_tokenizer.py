"""The tokenizer of the tiny world: byte-level, any text survives, and a word or syllable is one token."""

import json
import random
import re
from pathlib import Path

from tokenizers import Regex, Tokenizer, decoders, pre_tokenizers
from tokenizers.models import BPE
from transformers import PreTrainedTokenizerFast
from world import DEMONSTRATION_TEMPLATE, NEW_TOOLS, PRIOR_SKILLS, SYLLABLES, SYSTEM_PROMPTS, Names, ask_tool

PAD, TURN_START, TURN_END = "<|pad|>", "<|im_start|>", "<|im_end|>"
ROLES = ("system", "user", "assistant")
JSON_MARKS = (' {"', '": "', '", "', '"}')

CHAT_TEMPLATE = (
    "{% for message in messages %}"
    "{{ '<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>\\n' }}"
    "{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
)


def corpus(size: int = 6000) -> list[str]:
    """Texts that hold every word of the world at least once."""
    names = Names(random.Random(0))
    exercises = [skill(names) for skill in PRIOR_SKILLS.values() for _ in range(size // 10)]
    exercises += [ask_tool(names, tool, "new_tool") for tool in NEW_TOOLS for _ in range(size // 20)]
    shown = [DEMONSTRATION_TEMPLATE.format(prompt=e.prompt, demonstration=e.own_style) for e in exercises]
    return [*shown, *(e.own_style for e in exercises), *SYSTEM_PROMPTS, *ROLES]


def pre_tokenizer(texts: list[str]) -> pre_tokenizers.PreTokenizer:
    """Splits text into English words, syllables, JSON punctuation, and single characters for all the rest.

    A word keeps the space before it; a syllable and a digit don't, so that a name is written with the same
    tokens in a question, in a JSON string and after `Action:`.
    """
    syllables = "|".join((*SYLLABLES, *(s.capitalize() for s in SYLLABLES)))
    words = {word for text in texts for word in re.findall(r"[A-Za-z_]+", text)}
    words = sorted(w for w in words if not re.fullmatch(f"({syllables})+", w))
    marks = "|".join(re.escape(mark) for mark in JSON_MARKS)
    pattern = f" ?(?:{'|'.join(words)})(?![A-Za-z_])|(?:{syllables})|{marks}|[\\s\\S]"
    return pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(pattern), behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )


def build_tokenizer() -> PreTrainedTokenizerFast:
    texts = corpus()
    splitter = pre_tokenizer(texts)
    pieces = {piece for text in (*texts, *JSON_MARKS) for piece, _ in splitter.pre_tokenize_str(text)}
    pieces |= {*SYLLABLES, *(s.capitalize() for s in SYLLABLES)}
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = [PAD, TURN_START, TURN_END, *alphabet, *sorted(pieces - set(alphabet))]
    # A piece that is in the vocabulary is one token; any other falls apart into bytes, for lack of merges.
    model = BPE({token: i for i, token in enumerate(vocabulary)}, merges=[], ignore_merges=True)
    tokenizer = Tokenizer(model)
    tokenizer.pre_tokenizer = splitter
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens([PAD, TURN_START, TURN_END])
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        eos_token=TURN_END,
        pad_token=PAD,
        chat_template=CHAT_TEMPLATE,
        clean_up_tokenization_spaces=False,
        model_max_length=2048,
    )


def save_tokenizer(tokenizer: PreTrainedTokenizerFast, folder: Path) -> None:
    """Saves under the class name that every release of transformers knows, with the chat template inside."""
    tokenizer.save_pretrained(folder, save_jinja_files=False)
    path = folder / "tokenizer_config.json"
    settings = json.loads(path.read_text())
    settings["tokenizer_class"] = "PreTrainedTokenizerFast"
    path.write_text(json.dumps(settings, indent=2) + "\n")
