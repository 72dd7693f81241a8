"""Is what the served teacher says worth learning from? Signs of a broken or exchanged teacher, found while it is asked.

Shapes: N positions, K likeliest tokens.
"""

import math
from collections import deque

import numpy as np

from ... import COMMAND
from ...errors import TeacherError
from ..tokens.token_scores import TokenScores

POSITIONS = 256  # that a verdict on the teacher's distributions rests on
UNIFORM = 0.95  # of ln V: a mean entropy from here on says that the teacher knows nothing
SPREAD = 1e-4  # nats over positions: less is no answer to what was asked
CERTAIN = -0.01  # a mean log-probability above it is of a teacher that is sure, and so may be constant
ABSURD = 0.6  # of ln V: a demonstration that the teacher was shown, most of whose tokens it finds so unlikely
SAME = 0.2  # nats: how far apart on average two scorings of one text by the same weights may be


class Watch:
    """Looks at the scores of the last few hundred positions.

    Args:
        vocabulary: Size of the teacher's vocabulary, or of the student's where only that is known.
    """

    def __init__(self, vocabulary: int):
        self.vocabulary = vocabulary
        self._recent: deque[TokenScores] = deque()
        self._positions = 0

    def look(self, scores: TokenScores) -> None:
        """Take in the scores of one more completion.

        Raises:
            TeacherError: the recent ones are as good as uniform, or the same at every position.
        """
        self._recent.append(scores)
        self._positions += len(scores.sampled_logps_N)
        if self._positions < POSITIONS:
            return
        widths = {each.logps_NK.shape[1] for each in self._recent}
        logps_NK = np.concatenate([each.logps_NK[:, : min(widths)] for each in self._recent])
        self._recent.clear()
        self._positions = 0
        complaint = uniform_complaint(logps_NK, self.vocabulary) or constant_complaint(logps_NK)
        if complaint:
            raise TeacherError(
                f"the teacher's log-probabilities teach nothing: {complaint}. Look whether it has loaded its weights: "
                f"ask it something, or try `{COMMAND} check URL`; then restart it."
            )


def uniform_complaint(logps_NK: np.ndarray, vocabulary: int) -> str | None:
    """What is wrong where the mean entropy is near ln V, the largest that there is; else None."""
    mean, largest = float(entropy_bound(logps_NK, vocabulary).mean()), math.log(vocabulary)
    if mean < UNIFORM * largest:
        return None
    return f"their entropy is {mean:.2f} nats over {len(logps_NK)} positions, that of pure chance {largest:.2f}"


def entropy_bound(logps_NK: np.ndarray, vocabulary: int) -> np.ndarray:
    """The largest entropy [N], in nats, that has these K probabilities: the rest is spread evenly."""
    probs_NK = np.exp(logps_NK.astype(np.float64))
    known_N = -(probs_NK * np.where(probs_NK > 0, logps_NK, 0)).sum(-1)
    rest_N = np.clip(1 - probs_NK.sum(-1), 1e-12, 1)
    others = max(vocabulary - logps_NK.shape[1], 1)
    return known_N + rest_N * (math.log(others) - np.log(rest_N))


def constant_complaint(logps_NK: np.ndarray) -> str | None:
    """What is wrong where every position has the same probabilities; else None."""
    finite_NK = np.where(np.isfinite(logps_NK), logps_NK, 0)
    if float(np.ptp(finite_NK, axis=0).max()) > SPREAD or float(finite_NK[:, 0].mean()) > CERTAIN:
        return None
    return f"they are the same at all of {len(logps_NK)} positions"


def absurd_complaint(logps_N: np.ndarray, vocabulary: int) -> str | None:
    """What is wrong where the tokens of texts that the teacher was just shown are unlikely to it; else None.

    Their median counts: a teacher that would begin in another way finds a few tokens all but impossible.
    """
    nll, limit = -float(np.median(logps_N)), ABSURD * math.log(vocabulary)
    if nll <= limit:
        return None
    return (
        f"half of the tokens of the demonstrations in its own prompt cost it {nll:.2f} nats or more, expected "
        f"less than {limit:.2f}: it is not the model that its name says, or reads another template or tokenizer"
    )


def distance(one_N: np.ndarray, other_N: np.ndarray) -> float:
    """The mean difference of two scorings of one text, in nats; infinite where their lengths differ."""
    return float(np.abs(one_N - other_N).mean()) if one_N.shape == other_N.shape else math.inf
