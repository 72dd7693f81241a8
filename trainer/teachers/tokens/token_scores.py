"""What a teacher says of each token of a completion.

Shapes: N tokens of the completion, K likeliest tokens.
"""

from dataclasses import dataclass, field

import numpy as np


@dataclass(frozen=True)
class TokenScores:
    """What the served teacher says of the N tokens of one completion.

    Attributes:
        token_ids_NK: int64, its K likeliest tokens at each position, likeliest first; -1 where the server gave fewer.
        logps_NK: float32, their log-probabilities in nats; -inf where there is none.
        sampled_logps_N: float32, the log-probability of the completion's own token.
        decoded: Texts of tokens as the server decodes them one by one; empty unless asked for. A token with no
            text, or with different ones (vLLM completes a split character from its context), is not in it.
    """

    token_ids_NK: np.ndarray
    logps_NK: np.ndarray
    sampled_logps_N: np.ndarray
    decoded: dict[int, str] = field(default_factory=dict)
