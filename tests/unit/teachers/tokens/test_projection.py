"""The teacher's next tokens become the student's."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trainer.teachers.tokens.alignment import align
from trainer.teachers.tokens.projection import KNOWN, OPEN, Spellings, project, tokens_of_answer
from trainer.teachers.tokens.token_bytes import END, Special, Spelling
from trainer.teachers.tokens.token_scores import TokenScores

STUDENT = {b"la": 1, b"te": 2, b"ri": 3, b" ": 4, b"late": 5, END: 9}
BYTES = {id: token for token, id in STUDENT.items()}
TEACHER = {
    10: b"la",
    11: b"te",
    12: b"late",
    13: b" late",
    14: Special(b"<|x|>"),
    15: b" ",
    16: b"ri",
    17: b"lateri",
    18: b"x",
    20: END,
}
IDS = {token: id for id, token in TEACHER.items()}


class Written:
    """A student that writes ` late` as ` `, `late` and `lateri` as `late`, `ri`."""

    def of(self, token):
        return (STUDENT[token],) if token in STUDENT else {b" late": (4, 5), b"lateri": (5, 3)}.get(token, ())

    def behind(self, size, token):
        return {(1, b" late"): (5,), (4, b"lateri"): (3,)}.get((size, token))


def projected(student, teacher, told, **more):
    """`told`: for each of the teacher's tokens its probability, and those of other candidates."""
    ids = [IDS[token] for token in teacher]
    width = max(len(candidates) for _, candidates in told)
    ids_MK, logps_MK = np.full((len(ids), width), -1), np.full((len(ids), width), -np.inf, dtype=np.float32)
    for m, (_, candidates) in enumerate(told):
        for k, (token, probability) in enumerate(candidates.items()):
            ids_MK[m, k], logps_MK[m, k] = IDS.get(token, 99), math.log(probability)
    scores = TokenScores(ids_MK, logps_MK, np.log(np.array([own for own, _ in told], dtype=np.float32)))
    completion = [STUDENT[token] for token in student]
    return project(completion, align(student, teacher), ids, scores, TEACHER, Written(), **more)


def row(found, n):
    assert found.known_N[n] and found.covered_N[n]
    pairs = zip(found.targets.token_ids_NK[n].tolist(), found.targets.logps_NK[n].tolist(), strict=True)
    return {BYTES[id]: pytest.approx(math.exp(logp), rel=1e-5) for id, logp in pairs if id >= 0}


def test_where_both_have_one_token_the_candidates_of_equal_bytes_are_the_distribution():
    found = projected([b"la"], [b"la"], [(0.5, {b"la": 0.5, b"te": 0.3, b"ri": 0.15})])
    assert row(found, 0) == {b"la": 0.5, b"te": 0.3, b"ri": 0.15}
    assert found.targets.sampled_logps_N[0] == pytest.approx(math.log(0.5))


def test_a_longer_candidate_is_its_first_token_and_behind_it_the_next():
    found = projected([b" ", b"late"], [b" late"], [(0.96, {b" late": 0.96})])
    assert row(found, 0) == {b" ": 0.96} and row(found, 1) == {b"late": 1.0}


def test_candidates_that_the_student_has_left_count_no_more():
    told = [(0.3, {b"lateri": 0.7, b"late": 0.3})]
    found = projected([b"late"], [b"late"], told)
    assert row(found, 0) == {b"late": 1.0}


def test_too_much_that_is_unknown_is_no_distribution_and_a_little_is_left_out():
    little, much = (1 - KNOWN) / 2, 2 * (1 - KNOWN)
    assert row(projected([b"la"], [b"la"], [(1 - little, {b"la": 1 - little, "unknown": little})]), 0) == {b"la": 1.0}
    found = projected([b"la"], [b"la"], [(1 - much, {b"la": 1 - much, "unknown": much})])
    assert not found.known_N[0] and not found.covered_N[0]


def test_what_the_teacher_did_not_tell_stays_with_the_rest():
    assert row(projected([b"la"], [b"la"], [(0.6, {b"la": 0.6, b"te": 0.35})]), 0) == {b"la": 0.6, b"te": 0.35}


def test_where_the_teacher_cuts_finer_single_tokens_are_not_known():
    found = projected([b"late"], [b"la", b"te"], [(0.99, {b"la": 0.99}), (0.99, {b"te": 0.99})])
    assert not found.known_N.any() and not found.covered_N.any()


def test_a_cut_that_is_due_to_what_was_written_behind_it_has_only_its_own_weight():
    told = [(0.01, {b" late": 0.99, b" ": 0.01}), (0.8, {b"ri": 0.8, b"te": 0.2})]
    found = projected([b" ", b"ri"], [b" ", b"ri"], told)
    assert row(found, 1) == {b"late": 0.99, b"ri": 0.008, b"te": 0.002}


def test_a_token_that_can_not_be_scored_is_told_what_should_have_come():
    found = projected(
        [b"la", END], [b"la", END], [(1.0, {b"la": 1.0}), (1e-6, {b"te": 0.999, END: 1e-6})], replaced=True
    )
    assert row(found, 1)[b"te"] == pytest.approx(0.999, rel=1e-3)


def test_a_lone_letter_and_tokens_that_may_become_one_with_what_follows_are_not_known(tokenizer, vocabulary):
    found = projected([b"la"], [b"la"], [(0.2, {b"la": 0.2, b"x": 0.8})])
    assert not found.known_N[0]
    spellings = Spellings(tokenizer, vocabulary("tiny"))
    assert spellings.of(b'":') == (OPEN,) and spellings.of(b' to":')[-1] == OPEN


@given(st.lists(st.floats(1e-4, 1), min_size=3, max_size=3), st.floats(0.5, 1))
def test_the_probabilities_of_a_row_are_at_most_one_and_the_own_token_is_among_them(weights, mass):
    a, b, c = (mass * weight / sum(weights) for weight in weights)
    found = projected(
        [b"la", b"te"], [b"la", b"te"], [(a, {b"la": a, b"te": b, b"ri": c}), (b, {b"te": b, b"late": a, b"ri": c})]
    )
    for n, own in enumerate((b"la", b"te")):
        if found.known_N[n]:
            probabilities = np.exp(found.targets.logps_NK[n])
            assert probabilities.sum() <= 1 + 1e-5
            assert STUDENT[own] in found.targets.token_ids_NK[n]


def test_a_student_writes_a_teachers_token_with_its_own_tokens(tokenizer, vocabulary):
    spellings = Spellings(tokenizer, vocabulary("tiny"))
    for text in (" tamiko", "Action_Input", '": "', "naïve 東京"):
        ids = spellings.of(text.encode())
        assert tokenizer.decode(ids) == text and list(ids) == tokenizer.encode(text, add_special_tokens=False)
    assert spellings.of(END) == (tokenizer.eos_token_id,)
    assert spellings.of(Special(b"<|x|>")) == ()
    assert tokenizer.decode(spellings.behind(1, b" tamiko")) == "tamiko"
    assert spellings.behind(2, b" tamiko") is None


def test_of_several_tokens_of_real_vocabularies_all_that_is_text_can_be_written(real_tokenizer, vocabulary):
    spellings, llama3 = Spellings(real_tokenizer("qwen3"), vocabulary("qwen3")), vocabulary("llama3")
    tokens = [token for id, token in sorted(llama3.by_id.items()) if isinstance(token, bytes)][::97]
    for token in tokens:
        written = spellings.of(token)
        text = b"".join(vocabulary("qwen3").tokens(id for id in written if id != OPEN))
        assert token.startswith(text) and (text == token or OPEN in written or not written)
    assert sum(bool(spellings.of(token)) for token in tokens) > 0.98 * len(tokens)


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
