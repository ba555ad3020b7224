"""The model's own probabilities of a token, before anything is done to them."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class Logprob:
    """A token, its log-probability, and the likeliest tokens at its place with theirs, the likeliest first."""

    token: int
    logprob: float
    top: tuple[tuple[int, float], ...]


def logprob_of(logits: NDArray[np.float32], token: int, count: int) -> Logprob:
    """From a whole vocabulary's logits; `count` is the number of likeliest tokens."""
    import numpy as np

    if not count:
        return _alone(logits, token)
    scores = logits.astype(np.float64)
    scores -= np.logaddexp.reduce(scores)
    count = min(count, len(scores))
    top = np.argpartition(scores, -count)[-count:].tolist() if count else []
    ranked = sorted(((token, float(scores[token])) for token in top), key=lambda pair: -pair[1])
    return Logprob(token, float(scores[token]), tuple(pair for pair in ranked if pair[1] > -math.inf))


def _alone(logits: NDArray[np.float32], token: int) -> Logprob:
    """Without others beside it: of 152,000 tokens in 0.15 ms; `logaddexp` takes 7, a fifth of a 0.5B model's token."""
    import numpy as np

    highest = logits.max()
    total = np.exp(logits - highest).sum(dtype=np.float64)
    return Logprob(token, float(logits[token]) - float(highest) - math.log(total), ())
