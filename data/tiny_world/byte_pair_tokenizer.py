"""Another tokenizer for the tiny world: byte pairs merged by frequency, digits in pairs, turns ended as GLM's are.

Nothing in it is cut on purpose as `tiny_tokenizer` cuts: merges run across syllables, and a frequent name is one token.
"""

from collections.abc import Iterable

from tokenizers import Regex, Tokenizer, decoders, pre_tokenizers, trainers
from tokenizers.models import BPE
from transformers import PreTrainedTokenizerFast

END_OF_TEXT, USER, OBSERVATION = "<|endoftext|>", "<|user|>", "<|observation|>"
SPECIAL_TOKENS = (END_OF_TEXT, "[gMASK]", "<sop>", "<|system|>", USER, "<|assistant|>", OBSERVATION)
# A turn has no end token of its own: the answer is over when the model opens the next turn.
ENDS = (END_OF_TEXT, USER, OBSERVATION)
VOCABULARY_SIZE = 832

# Only lower-case words and punctuation take the space before them. The world's names of entities have a capital,
# so they have the same tokens after a space and after a quotation mark.
PATTERN = r" ?[a-z]+|[A-Z][a-z]*|[0-9]{1,2}| ?[^\sA-Za-z0-9]+|\s"

CHAT_TEMPLATE = (
    "[gMASK]<sop>"
    "{% for message in messages %}{{ '<|' + message['role'] + '|>' + message['content'] }}{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>{% endif %}"
)


def train_tokenizer(texts: Iterable[str]) -> PreTrainedTokenizerFast:
    """Byte pairs of `texts`, the most frequent first; the same texts give the same tokenizer."""
    tokenizer = Tokenizer(BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(PATTERN), behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY_SIZE,
        special_tokens=list(SPECIAL_TOKENS),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        eos_token=END_OF_TEXT,
        pad_token=END_OF_TEXT,
        chat_template=CHAT_TEMPLATE,
        clean_up_tokenization_spaces=False,
        model_max_length=2048,
    )
