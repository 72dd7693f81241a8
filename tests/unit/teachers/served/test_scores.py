import json
import math
from typing import Any

import msgspec
import numpy as np
import pytest
from fake_teacher import entries
from hypothesis import given
from hypothesis import strategies as st

from trainer.errors import TeacherError
from trainer.teachers.served.scores import decode_scores
from trainer.teachers.tokens.token_scores import TokenScores

HEAD = '{"id": "cmpl-1", "object": "text_completion", "model": "glm-4.7", "choices": [{"index": 0, "text": "\\u00e9", '
TAIL = '"finish_reason": "length"}], "usage": {"prompt_tokens": 5, "completion_tokens": 1}}'


def answer(positions: list[Any]) -> bytes:
    return f'{HEAD}"prompt_logprobs": {json.dumps(positions)}, {TAIL}'.encode()


def entry(logprob: float | None, rank: int, text: str | None = None) -> dict[str, Any]:
    return {"logprob": logprob, "rank": rank, "decoded_token": text}


FIRST = {"7": entry(-1.0, 2, " seven"), "3": entry(-0.5, 1, " three")}
SECOND = {"9": entry(-4.0, 17, "\ufffd"), "3": entry(-0.7, 1, " three"), "8": entry(-1.5, 2, "")}
THIRD = {"8": entry(-0.25, 1, "é"), "9": entry(-2.0, 2, "nine")}
PROMPT = [None, {"1": entry(-0.1, 1)}, {"2": entry(-0.2, 1)}]


def test_the_likeliest_stand_in_order_of_rank_and_the_own_token_is_found_by_its_id_beyond_them():
    scores = decode_scores(answer([*PROMPT, FIRST, SECOND]), [7, 9], 3, 2)
    np.testing.assert_array_equal(scores.token_ids_NK, [[3, 7], [3, 8]])
    np.testing.assert_array_equal(scores.logps_NK, np.float32([[-0.5, -1.0], [-0.7, -1.5]]))
    np.testing.assert_array_equal(scores.sampled_logps_N, np.float32([-1.0, -4.0]))
    assert (scores.token_ids_NK.dtype, scores.logps_NK.dtype, scores.sampled_logps_N.dtype) == (
        np.int64, np.float32, np.float32,
    )  # fmt: skip
    assert scores.decoded == {}


def test_texts_are_told_on_request_but_not_where_the_server_has_none_or_different_ones():
    scores = decode_scores(answer([*PROMPT, FIRST, SECOND, THIRD]), [7, 9, 8], 3, 2, with_texts=True)
    assert scores.decoded == {7: " seven", 3: " three"}


def test_places_that_the_server_left_empty_hold_no_token_and_no_probability():
    scores = decode_scores(answer([None, {"3": entry(-0.5, 1), "7": entry(-0.933, 2)}]), [7], 1, 4)
    np.testing.assert_array_equal(scores.token_ids_NK, [[3, 7, -1, -1]])
    np.testing.assert_array_equal(scores.logps_NK, np.float32([[-0.5, -0.933, -np.inf, -np.inf]]))


@pytest.mark.parametrize("left_out", [{2}, {1}, {1, 2}])
def test_likely_tokens_that_are_left_out_are_an_error(left_out: set[int]):
    position = {"7": entry(-0.7, 3), "3": entry(-1.4, 1), "4": entry(-1.5, 2)}
    kept = {token: told for token, told in position.items() if told["rank"] not in left_out}
    words = refused([None, kept], [7], top_k=3)
    assert f"at position 1 the teacher gave {3 - len(left_out)} of the 3 likeliest tokens" in words


def test_two_entries_for_one_token_are_an_error_as_the_first_is_lost():
    body = answer([None, {"7": entry(-0.7, 1), "4": entry(-1.5, 2)}]).replace(b'"4"', b'"7"')
    with pytest.raises(TeacherError, match="gave 1 of the 2 likeliest tokens"):
        decode_scores(body, [7], 1, 2)


@pytest.mark.parametrize(
    ("told", "words"),
    [
        (b'"66666666666666666666":{"logprob":-1.5,"rank":2}', "for token -1 at position 1"),
        (b'"2147483648":{"logprob":-1.5,"rank":2}', "for token 2147483648 at position 1"),
        (b'"-3":{"logprob":-1.5,"rank":2}', "for token -3 at position 1"),
        (b'"4":{"logprob":-1.5,"rank":99999999999999999999999}', "the rank -1 for token 4"),
    ],
)
def test_numbers_that_no_vocabulary_reaches_are_an_error(told: bytes, words: str):
    body = b'{"choices":[{"prompt_logprobs":[null,{"7":{"logprob":-0.5,"rank":1},' + told + b"}]}]}"
    with pytest.raises(TeacherError, match=words):
        decode_scores(body, [7], 1, 2)


def test_minus_infinity_as_vllm_writes_it_is_no_token_among_the_likeliest():
    scores = decode_scores(answer([None, {"7": entry(0.0, 1), "3": entry(-9999.0, 2)}]), [7], 1, 2)
    np.testing.assert_array_equal(scores.token_ids_NK, [[7, -1]])
    np.testing.assert_array_equal(scores.logps_NK, np.float32([[0.0, -np.inf]]))


def test_without_likeliest_tokens_the_own_ones_remain():
    scores = decode_scores(answer([None, {"7": entry(-3.0, 5)}, {"8": entry(-0.5, 1)}]), [7, 8], 1, 0)
    assert scores.token_ids_NK.shape == scores.logps_NK.shape == (2, 0)
    np.testing.assert_array_equal(scores.sampled_logps_N, np.float32([-3.0, -0.5]))


def test_an_empty_completion_has_empty_scores():
    scores = decode_scores(answer(PROMPT), [], 3, 5)
    assert scores.token_ids_NK.shape == (0, 5)
    assert scores.sampled_logps_N.shape == (0,)


@st.composite
def exchanges(draw: st.DrawFn) -> tuple[list[int], int, int, list[dict[int, float]]]:
    """The ids of a request, its prompt's length, K, and at each position log-probabilities of a few tokens."""
    vocabulary = draw(st.integers(2, 12))
    ids = draw(st.lists(st.integers(0, vocabulary - 1), min_size=2, max_size=12))
    top_k = draw(st.integers(1, vocabulary))
    rows = []
    for own in ids:
        weights = draw(st.lists(st.floats(1e-3, 1.0), min_size=vocabulary, max_size=vocabulary))
        logps = [math.log(weight / sum(weights)) for weight in weights]
        likeliest = sorted(range(vocabulary), key=lambda token: -logps[token])[:top_k]
        rows.append({token: logps[token] for token in (*likeliest, own)})
    return ids, draw(st.integers(1, len(ids))), top_k, rows


@given(exchanges(), st.booleans())
def test_every_distribution_that_a_server_tells_comes_back(exchange, with_texts: bool):
    ids, length, top_k, rows = exchange
    positions = [None, *(entries(row, own) for row, own in zip(rows[1:], ids[1:], strict=True))]
    scores = decode_scores(answer(positions), ids[length:], length, top_k, with_texts)
    for n, (own, row) in enumerate(zip(ids[length:], rows[length:], strict=True)):
        assert scores.sampled_logps_N[n] == np.float32(row[own])
        told = dict(zip(scores.token_ids_NK[n].tolist(), scores.logps_NK[n].tolist(), strict=True))
        assert len(told) == top_k
        assert all(logp == np.float32(row[token]) for token, logp in told.items())
        assert (np.diff(scores.logps_NK[n]) <= 0).all()
        assert min(told.values()) >= max((np.float32(row[t]) for t in row if t not in told), default=-np.inf)


def refused(positions: list[Any], ids: list[int], length: int = 1, top_k: int = 2) -> str:
    with pytest.raises(TeacherError) as raised:
        decode_scores(answer(positions), ids, length, top_k)
    return str(raised.value)


def test_a_missing_own_token_is_an_error_that_names_position_and_token():
    words = refused([*PROMPT, FIRST, SECOND], [7, 6], 3)
    assert "no log-probability for token 6 at position 4 (token 1 of the completion)" in words


def test_a_position_of_null_within_the_completion_is_an_error():
    assert "no log-probability for token 7 at position 1" in refused([None, None], [7])


@pytest.mark.parametrize(("value", "shown"), [(None, "nan"), (math.nan, "nan"), (-9999.0, "-inf"), (-math.inf, "nan")])
def test_an_own_token_without_a_finite_value_is_an_error(value: float | None, shown: str):
    words = refused([None, {"7": entry(value, 2), "3": entry(-0.5, 1)}], [7])
    assert f"the log-probability {shown} for token 7 at position 1" in words


@pytest.mark.parametrize("value", [None, math.nan])
def test_a_likely_token_whose_value_is_no_number_is_an_error(value: float | None):
    words = refused([None, {"7": entry(-1.0, 2), "3": entry(value, 1)}], [7])
    assert "the log-probability nan and the rank 1 for token 3 at position 1" in words


@pytest.mark.parametrize(("length", "ids"), [(3, [7]), (2, [7, 9]), (4, [9, 7])])
def test_another_number_of_positions_is_an_error(length: int, ids: list[int]):
    words = refused([*PROMPT, FIRST, SECOND], ids, length)
    assert f"of 5 positions, expected {length + len(ids)}" in words


def test_an_answer_without_log_probabilities_is_an_error():
    body = f'{HEAD}"prompt_logprobs": null, {TAIL}'.encode()
    with pytest.raises(TeacherError, match="gave no log-probabilities, expected 2"):
        decode_scores(body, [7], 1, 2)


@pytest.mark.parametrize("body", [b'{"choices": []}', b'"<html>hello</html>"', b'{"choices": [{"text": "x"}]}'])
def test_the_answer_of_another_server_is_shown(body: bytes):
    with pytest.raises(TeacherError, match="expected log-probabilities of a prompt as vLLM's") as raised:
        decode_scores(body, [7], 1, 2)
    assert repr(body.decode()) in str(raised.value)


def test_two_tokens_of_one_rank_are_an_error():
    assert "the same rank" in refused([None, {"7": entry(-1.0, 1), "3": entry(-1.0, 1)}], [7])


def test_a_rank_below_one_is_an_error():
    assert "the rank 0 for token 3" in refused([None, {"7": entry(-1.0, 1), "3": entry(-1.0, 0)}], [7])


@pytest.mark.parametrize(
    "entries",
    [
        {"7": entry(2.5, 1), "3": entry(-1.0, 2)},
        {"7": entry(-0.1, 1), "3": entry(-0.2, 2)},
        {"7": entry(0.5, 9), "3": entry(-1.0, 1)},
    ],
)
def test_values_that_are_no_log_probabilities_are_an_error_that_names_the_flag(entries: dict[str, Any]):
    words = refused([None, {"3": entry(-0.1, 1), "4": entry(-5.0, 2)}, entries], [3, 7])
    assert "at position 2" in words
    assert "no log-probabilities at temperature 1" in words
    assert "--logprobs-mode raw_logprobs" in words


@pytest.mark.parametrize("length", [1, 3])
def test_a_body_that_broke_off_is_told_apart_from_a_wrong_one(length: int):
    body = answer([*PROMPT, FIRST, SECOND])
    for end in (1, len(body) // 2, len(body) - 1):
        with pytest.raises(msgspec.DecodeError):
            decode_scores(body[:end], [7] * (5 - length), length, 2)


def test_scores_of_a_completion_are_the_same_after_a_prompt_of_any_length():
    def scores(prompt: int) -> TokenScores:
        return decode_scores(answer([None, *[PROMPT[1]] * (prompt - 1), FIRST, SECOND, THIRD]), [7, 9, 8], prompt, 2)

    for prompt in (2, 3, 50):
        np.testing.assert_array_equal(scores(prompt).token_ids_NK, scores(1).token_ids_NK)
        np.testing.assert_array_equal(scores(prompt).logps_NK, scores(1).logps_NK)
        np.testing.assert_array_equal(scores(prompt).sampled_logps_N, scores(1).sampled_logps_N)
