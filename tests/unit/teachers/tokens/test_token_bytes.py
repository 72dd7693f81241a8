"""Token strings become the exact bytes of the text, in both spellings and with real tokenizers."""

import unicodedata

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from trainer.errors import TeacherError, UsageError
from trainer.teachers.tokens.token_bytes import (
    END,
    SPECIAL_STRING,
    SPELLING_PROBES,
    Special,
    Spelling,
    Vocabulary,
    detect_spelling,
    fitted,
    joined,
)

BYTE_LEVEL, SENTENCEPIECE = Spelling.BYTE_LEVEL, Spelling.SENTENCEPIECE
REAL = {"qwen3": BYTE_LEVEL, "llama3": BYTE_LEVEL, "llama2": SENTENCEPIECE}


def strings_of(tokenizer, text):
    """What a server gives with return_token_strs."""
    return tokenizer.convert_ids_to_tokens(tokenizer(text, add_special_tokens=False)["input_ids"])


def small_tokenizer(model, pre_tokenizer, added=()):
    backend = Tokenizer(model)
    backend.pre_tokenizer = pre_tokenizer
    backend.decoder = decoders.ByteLevel()
    backend.add_tokens(list(added))
    return PreTrainedTokenizerFast(tokenizer_object=backend, name_or_path="small")


def one_byte_a_token(added=()):
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    model = models.BPE({character: id for id, character in enumerate(alphabet)}, merges=[])
    return small_tokenizer(model, pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False), added)


@pytest.mark.parametrize(
    ("spelling", "string", "expected"),
    [
        (BYTE_LEVEL, "ĠHello", b" Hello"),
        (BYTE_LEVEL, "ĊĊ", b"\n\n"),
        (BYTE_LEVEL, "æĿ", b"\xe6\x9d"),
        (BYTE_LEVEL, "é", b"\xe9"),
        (BYTE_LEVEL, "<think>", b"<think>"),
        (BYTE_LEVEL, "<two words>", b"<two words>"),
        (BYTE_LEVEL, "東京", "東京".encode()),
        (SENTENCEPIECE, "▁Hello", b" Hello"),
        (SENTENCEPIECE, "▁▁", b"  "),
        (SENTENCEPIECE, "<0xE2>", b"\xe2"),
        (SENTENCEPIECE, "é", b"\xc3\xa9"),
        (SENTENCEPIECE, "Ġ", "Ġ".encode()),
    ],
)
def test_a_token_string_stands_for_these_bytes(spelling, string, expected):
    assert spelling.bytes_of(string) == expected


@given(st.text())
def test_the_byte_level_alphabet_is_that_of_the_tokenizers_library(text):
    splitter = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    pieces = [piece for piece, _ in splitter.pre_tokenize_str(text)]
    assert b"".join(map(BYTE_LEVEL.bytes_of, pieces)) == text.encode()


@pytest.mark.parametrize("name", REAL)
def test_the_spelling_of_a_real_tokenizer_is_recognised(name, real_tokenizer):
    probes = [(text, strings_of(real_tokenizer(name), text)) for text in SPELLING_PROBES]
    assert detect_spelling(probes) is REAL[name]


def test_strings_of_no_known_spelling_are_an_error_that_says_what_does_without():
    with pytest.raises(TeacherError, match=r"cuts the text 'playing it' into .*'##ing'.* --objective sdft"):
        detect_spelling([("playing it", ["play", "##ing", "it"])])


def test_probes_that_all_spellings_write_alike_decide_nothing():
    with pytest.raises(ValueError, match="SPELLING_PROBES"):
        detect_spelling([("abc", ["ab", "c"])])


def test_the_space_that_a_tokenizer_puts_before_a_text_is_taken_off():
    assert fitted([b" Hello", b" you"], "Hello you") == [b"Hello", b" you"]
    assert fitted([b" ", b"Hello"], "Hello") == [b"", b"Hello"]
    assert fitted([b" Hello"], " Hello") == [b" Hello"]


@pytest.mark.parametrize("tokens", [[], [b"hello"], [b"Hello", b"!"], [b"  Hello"], [b"", b" Hello"], [b"Hell"]])
def test_tokens_that_do_not_spell_the_text_are_refused(tokens):
    assert fitted(tokens, "Hello") is None


def test_a_special_token_takes_up_its_own_spelling_in_the_text():
    assert fitted([b"a", Special(b"<|x|>")], "a<|x|>") == [b"a", Special(b"<|x|>")]
    assert joined([b"a", Special(b"<|x|>"), Special(), END]) == b"a<|x|>"


@pytest.mark.parametrize("name", ["qwen3", "llama3"])
def test_a_text_that_the_tokenizer_normalises_is_refused_and_any_other_is_not(name, real_tokenizer):
    decomposed = unicodedata.normalize("NFD", "café")
    strings = strings_of(real_tokenizer(name), decomposed)
    assert (fitted([BYTE_LEVEL.token(string) for string in strings], decomposed) is None) == (name == "qwen3")


BRACKETED = ["[gMASK]", "[MASK]", "[INST]", "[/INST]"]
IN_BARS = ["<|im_end|>", "<|start_header_id|>", "<|user|>", "<｜end▁of▁sentence｜>"]
ANGLED = ["<s>", "</s>", "<unk>", "<pad>", "<eos>", "<start_of_turn>", "<unused12>", "<sop>"]
MARKUP = ["<think>", "</think>", "<tool_call>", "<arg_key>", "<p>", "/nothink"]
PUNCTUATION = ["<", "<|", "|>", "<||>", "[", "[]", "[1]"]


@pytest.mark.parametrize("string", [*BRACKETED, *IN_BARS, *ANGLED])
def test_a_template_token_is_recognised_by_its_string(string):
    assert BYTE_LEVEL.token(string) == Special(string.encode())


@pytest.mark.parametrize("string", [*MARKUP, *PUNCTUATION])
def test_content_is_not_taken_for_a_template_token(string):
    assert BYTE_LEVEL.token(string) == string.encode()


@pytest.mark.parametrize("name", REAL)
def test_every_special_token_of_a_real_tokenizer_is_recognised_by_its_string(name, real_tokenizer):
    tokenizer = real_tokenizer(name)
    by_string = {id for string, id in tokenizer.get_vocab().items() if SPECIAL_STRING.fullmatch(string)}
    by_flag = {id for id, token in Vocabulary(tokenizer).by_id.items() if isinstance(token, Special)}
    assert by_flag <= by_string
    never_in_a_text = ("<unk>", "<s>", "</s>", "<|fim_", "<|repo_name|>", "<|file_sep|>")
    assert all(string.startswith(never_in_a_text) for string in tokenizer.convert_ids_to_tokens(by_string - by_flag))


@pytest.mark.parametrize("name", REAL)
@settings(deadline=None)
@given(text=st.text(max_size=60))
def test_the_bytes_of_a_real_tokenizers_ids_are_the_text(name, text, real_tokenizer, vocabulary):
    tokenizer = real_tokenizer(name)
    if name == "qwen3":
        text = tokenizer.backend_tokenizer.normalizer.normalize_str(text)
    if name == "llama2":
        text = text.replace("▁", "")  # its sign for a space: such a text is refused
    tokens = vocabulary(name).tokens(tokenizer(text, add_special_tokens=False)["input_ids"])
    assert joined(fitted(tokens, text)) == text.encode()


def test_a_vocabulary_knows_what_ends_a_turn_what_is_special_and_what_is_content(real_tokenizer, vocabulary):
    names = ["<|im_end|>", "<|im_start|>", "<think>", "ĠHello"]
    ids = real_tokenizer("qwen3").convert_tokens_to_ids(names)
    assert vocabulary("qwen3").tokens(ids) == [END, Special(b"<|im_start|>"), b"<think>", b" Hello"]
    assert vocabulary("qwen3").id_of[END] == ids[0]
    assert Special(b"<|im_start|>") not in vocabulary("qwen3").id_of


def test_an_id_that_only_pads_the_embeddings_has_no_text(vocabulary):
    assert vocabulary("qwen3").tokens([151935]) == [Special()]


@pytest.mark.parametrize("name", ["qwen3", "llama3", "llama2", "tiny"])
def test_ids_and_bytes_of_a_vocabulary_are_each_others_inverse(name, vocabulary):
    by_id, id_of = vocabulary(name).by_id, vocabulary(name).id_of
    assert all(by_id[id] == token for token, id in id_of.items())
    assert {token for token in by_id.values() if token == END or isinstance(token, bytes)} == id_of.keys()


def test_a_letter_is_found_as_itself_and_not_as_a_byte_fallback(real_tokenizer, vocabulary):
    letter, part_of_a_character = vocabulary("llama2").id_of[b"A"], vocabulary("llama2").id_of[b"\xe2"]
    assert real_tokenizer("llama2").convert_ids_to_tokens([letter, part_of_a_character]) == ["A", "<0xE2>"]


def test_an_added_token_in_letters_of_the_alphabet_is_read_at_hand_and_refused_from_a_server():
    tokenizer = one_byte_a_token([AddedToken("été", special=False)])
    ids = tokenizer("un été", add_special_tokens=False)["input_ids"]
    assert fitted(Vocabulary(tokenizer).tokens(ids), "un été") == [b"u", b"n", b" ", "été".encode()]
    strings = tokenizer.convert_ids_to_tokens(ids)
    assert fitted([BYTE_LEVEL.token(string) for string in strings], "un été") is None


def test_a_tokenizer_of_neither_kind_is_a_usage_error():
    words = models.WordPiece({"[UNK]": 0, "is": 1, "it": 2}, unk_token="[UNK]")
    with pytest.raises(UsageError, match=r"the tokenizer 'small' cuts .* expected a byte-level or a SentencePiece"):
        Vocabulary(small_tokenizer(words, pre_tokenizers.Whitespace()))
