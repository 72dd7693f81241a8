"""The teacher's likeliest tokens become the student's tokens of the same bytes, or none."""

import numpy as np
import pytest

from trainer.teachers.counterparts import counterparts, tokens_of_answer
from trainer.teachers.token_bytes import END, Special, Spelling

STUDENT = {b"a": 0, b"b": 1, b" the": 2, END: 9}
TEACHER = {10: b"a", 11: b"b", 12: b" the", 13: b" then", 14: Special(b"<|x|>"), 20: END, 21: END, 30: b"a"}


def mapped(ids, logps):
    return counterparts(np.array([ids]), np.log(np.array([logps], dtype=np.float32)), TEACHER, STUDENT)


def test_tokens_of_equal_bytes_are_found_and_keep_their_log_probability():
    ids_NK, logps_NK = mapped([12, 10, 13], [0.5, 0.3, 0.1])
    assert ids_NK.tolist() == [[2, 0, -1]]
    assert ids_NK.dtype == np.int64 and logps_NK.dtype == np.float32
    np.testing.assert_allclose(np.exp(logps_NK), [[0.5, 0.3, 0]], rtol=1e-6)


def test_special_unknown_and_absent_tokens_have_no_counterpart():
    ids_NK, logps_NK = mapped([14, 99, -1], [0.5, 0.3, 0.1])
    assert ids_NK.tolist() == [[-1, -1, -1]]
    assert np.isneginf(logps_NK).all()


def test_tokens_that_end_a_turn_and_tokens_of_equal_bytes_are_one_outcome_each():
    ids_NK, logps_NK = mapped([20, 10, 30, 21], [0.4, 0.3, 0.15, 0.1])
    assert ids_NK.tolist() == [[9, 0, -1, -1]]
    np.testing.assert_allclose(np.exp(logps_NK), [[0.5, 0.45, 0, 0]], rtol=1e-6)


def test_rows_do_not_touch_each_other():
    teacher_ids_NK = np.array([[10, 11], [30, 10], [11, 12]])
    ids_NK, logps_NK = counterparts(teacher_ids_NK, np.log([[0.5, 0.2], [0.5, 0.25], [0.5, 0.3]]), TEACHER, STUDENT)
    assert ids_NK.tolist() == [[0, 1], [0, -1], [1, 2]]
    np.testing.assert_allclose(np.exp(logps_NK), [[0.5, 0.2], [0.75, 0], [0.5, 0.3]])


def test_no_token_at_all_is_no_error():
    ids_NK, logps_NK = counterparts(np.zeros((0, 20), dtype=np.int64), np.zeros((0, 20), dtype=np.float32), {}, STUDENT)
    assert ids_NK.shape == logps_NK.shape == (0, 20)


def known(decoded, spelling=Spelling.BYTE_LEVEL, cleaned_up=False):
    return tokens_of_answer([], [], decoded, spelling, end_ids=[], cleaned_up=cleaned_up)


def test_of_the_texts_that_a_server_decodes_only_ascii_is_certain():
    decoded = {1: " the", 2: "東", 3: "\ufffd", 4: "\n\n", 5: "<|x|>", 6: "naïve"}
    assert known(decoded) == {1: b" the", 4: b"\n\n", 5: Special(b"<|x|>")}


def test_no_text_that_a_sentencepiece_tokenizer_decodes_is_certain():
    assert known({1: "the", 2: " the"}, Spelling.SENTENCEPIECE) == {}


def test_punctuation_is_not_certain_where_the_server_drops_spaces_before_it():
    decoded = {1: ".", 2: " the", 3: "),", 4: "'s", 5: "x?"}
    assert known(decoded, cleaned_up=True) == {2: b" the"}
    assert known(decoded).keys() == decoded.keys()


def test_a_completions_own_token_strings_tell_more_than_decoded_texts():
    tokens = tokens_of_answer(
        [7, 8], ["ĠæĿ", "±"], {7: "", 8: "東", 9: "x"}, Spelling.BYTE_LEVEL, end_ids=[2], cleaned_up=False
    )
    assert tokens == {7: b" \xe6\x9d", 8: b"\xb1", 9: b"x", 2: END}


@pytest.mark.parametrize("name", ["qwen3", "llama3"])
def test_every_certain_text_of_a_real_tokenizer_gives_the_bytes_of_its_token(name, real_tokenizer, vocabulary):
    by_id = vocabulary(name).by_id
    ids = [id for id, token in sorted(by_id.items()) if isinstance(token, bytes)][::5]
    decoded = dict(zip(ids, real_tokenizer(name).batch_decode([[id] for id in ids]), strict=True))
    found = {id: token for id, token in known(decoded).items() if isinstance(token, bytes)}
    assert found == {id: by_id[id] for id in found}
    assert len(found) > 0.99 * sum(by_id[id].isascii() for id in ids)


def test_most_tokens_of_llama_3_are_single_tokens_of_qwen_3(vocabulary):
    llama3, qwen3 = vocabulary("llama3"), vocabulary("qwen3")
    ids = np.array(sorted(llama3.by_id))[:, None]
    ids_NK, logps_NK = counterparts(ids, np.zeros(ids.shape, dtype=np.float32), llama3.by_id, qwen3.id_of)
    pairs = [(id, other) for id, other in zip(ids[:, 0].tolist(), ids_NK[:, 0].tolist(), strict=True) if other >= 0]
    assert all(llama3.by_id[id] == qwen3.by_id[other] for id, other in pairs)
    assert len(pairs) == len(set(llama3.by_id.values()) & qwen3.id_of.keys())
    assert len(pairs) > 0.8 * len(ids)
    assert (np.isfinite(logps_NK) == (ids_NK >= 0)).all()
