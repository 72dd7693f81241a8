"""Differences of two texts by words, and what two models' answers come to."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trainer.evaluation.differences import compared, marked, told
from trainer.evaluation.intervals import paired_score_interval
from trainer.evaluation.scores import Answer

TEXTS = st.text(alphabet="ab .\n", max_size=30)


@given(TEXTS, TEXTS)
def test_the_parts_are_the_texts_and_what_both_have_is_the_same(one, other):
    parts = marked(one, other)
    assert ["".join(text for text, _ in side) for side in parts] == [one, other]
    shared = ["".join(text for text, differs in side if not differs) for side in parts]
    assert shared[0] == shared[1]


def test_a_word_that_differs_is_marked_whole():
    assert marked('{"city": "Oslo"}', '{"city": "Bergen"}') == (
        [('{"city": "', False), ("Oslo", True), ('"}', False)],
        [('{"city": "', False), ("Bergen", True), ('"}', False)],
    )


def answer(text: str, right: bool | None, similarity: float | None = None) -> Answer:
    return Answer("1", text, 3, True, right, None, None, False, None, similarity=similarity)


def test_rights_are_counted_in_pairs_and_their_difference_has_the_paired_interval():
    ones = [answer("a", right) for right in (True, True, False, False, None)]
    others = [answer(text, right) for text, right in zip("aabcd", (True, False, True, True, None), strict=True)]
    found = compared(ones, others)
    assert (found.rows, found.same, found.judged, found.right, found.only) == (5, 2, 4, (2, 3), (1, 2))
    one_R, other_R = np.array([True, True, False, False]), np.array([True, False, True, True])
    assert found.interval == paired_score_interval(one_R, other_R)
    text = told(found)
    assert "right: A 2 of 4, 50.0%; B 3 of 4, 75.0%" in text and "B less A: +25.0 points, 95 % interval" in text
    assert "these rows can't show which is better" in text


def test_where_only_reference_texts_are_there_similarities_are_told():
    found = compared([answer("a", None, 0.5)], [answer("b", None, 0.75)])
    assert found.interval is None and found.similarity == (0.5, 0.75)
    assert "A 50.0%; B 75.0%" in told(found)


@pytest.mark.parametrize(("count", "said"), [(1, "1 row, 1 answered alike"), (2, "2 rows, 2 answered alike")])
def test_where_nothing_says_what_is_right_that_is_told(count, said):
    some = [answer("a", None)] * count
    assert told(compared(some, some)).splitlines() == [said, "nothing says which answer is right"]
