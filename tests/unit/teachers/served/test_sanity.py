"""A teacher that talks nonsense is noticed, and one that is merely sure or unsure is not."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trainer.errors import TeacherError
from trainer.teachers.served import sanity
from trainer.teachers.tokens.token_scores import TokenScores

V, K, N = 1000, 20, 400


def scores(probs_NV: np.ndarray) -> TokenScores:
    """The K likeliest of each row, and a sampled token."""
    ids_NK = np.argsort(-probs_NV, axis=1)[:, :K]
    with np.errstate(divide="ignore"):
        logps_NK = np.log(np.take_along_axis(probs_NV, ids_NK, axis=1)).astype(np.float32)
    return TokenScores(ids_NK, logps_NK, logps_NK[:, 0])


def softmax(logits_NV: np.ndarray) -> np.ndarray:
    exponentials = np.exp(logits_NV - logits_NV.max(1, keepdims=True))
    return exponentials / exponentials.sum(1, keepdims=True)


def look(found: TokenScores, at_once: int = 50) -> None:
    watch = sanity.Watch(V)
    for start in range(0, len(found.logps_NK), at_once):
        part = slice(start, start + at_once)
        watch.look(TokenScores(found.token_ids_NK[part], found.logps_NK[part], found.sampled_logps_N[part]))


def test_random_weights_are_noticed_by_their_entropy():
    logits = np.random.default_rng(0).normal(size=(N, V)) * 0.3
    with pytest.raises(TeacherError, match=r"entropy is 6\.\d+ nats .* pure chance 6\.91"):
        look(scores(softmax(logits)))


def test_the_same_answer_to_everything_is_noticed():
    with pytest.raises(TeacherError, match="the same at all of"):
        look(scores(np.repeat(softmax(np.random.default_rng(0).normal(size=(1, V)) * 3), N, axis=0)))


@pytest.mark.parametrize("sharpness", [2.0, 5.0, 30.0, 1000.0])
def test_teachers_that_know_something_pass_however_sure_they_are(sharpness):
    logits = np.random.default_rng(1).normal(size=(N, V)) * sharpness
    assert look(scores(softmax(logits))) is None


def test_a_few_positions_are_no_ground_for_a_verdict():
    look(scores(np.full((sanity.POSITIONS - 1, V), 1 / V)))
    with pytest.raises(TeacherError):
        look(scores(np.full((sanity.POSITIONS, V), 1 / V)))


@given(seed=st.integers(0, 2**32 - 1), scale=st.floats(0, 20))
def test_the_entropy_bound_is_never_below_the_entropy_and_equal_for_an_even_tail(seed, scale):
    probs_NV = softmax(np.random.default_rng(seed).normal(size=(3, V)) * scale)
    entropy_N = -(probs_NV * np.log(np.maximum(probs_NV, 1e-300))).sum(1)
    bound_N = sanity.entropy_bound(scores(probs_NV).logps_NK, V)
    assert (bound_N >= entropy_N - 1e-4).all() and (bound_N <= math.log(V) + 1e-4).all()
    uniform = sanity.entropy_bound(scores(np.full((1, V), 1 / V)).logps_NK, V)
    assert uniform == pytest.approx(math.log(V), rel=1e-5)


def test_demonstrations_that_the_teacher_finds_unlikely_are_absurd_but_a_few_tokens_of_it_are_not():
    likely, absurd = np.full(100, -0.2), np.full(100, -6.5)
    assert sanity.absurd_complaint(likely, V) is None
    assert sanity.absurd_complaint(np.concatenate([likely, np.full(40, -30.0)]), V) is None
    assert "6.50 nats" in (sanity.absurd_complaint(absurd, V) or "")


def test_scorings_of_different_lengths_are_infinitely_far_apart():
    assert sanity.distance(np.zeros(3), np.zeros(4)) == math.inf
    assert sanity.distance(np.array([0.0, 1.0]), np.array([0.5, 1.0])) == 0.25
