"""How long to wait before the next attempt: exponential, with jitter, so that a fleet does not come back at once."""

import random

BASE_S = 0.25
MAX_S = 15.0
FACTOR = 2.0


class BackOff:
    """`next_s()` grows with each failure; `reset()` after a success."""

    def __init__(self, base_s: float = BASE_S, max_s: float = MAX_S, jitter: random.Random | None = None) -> None:
        self._base_s = base_s
        self._max_s = max_s
        self._jitter = jitter or random.Random()
        self._failures = 0

    def next_s(self) -> float:
        """Between half and all of `base_s * FACTOR ** failures`, which is at most `max_s`."""
        # The exponent stays small: a power of a large one would overflow.
        whole_s = min(self._max_s, self._base_s * FACTOR ** min(self._failures, 32))
        self._failures += 1
        return whole_s * self._jitter.uniform(0.5, 1.0)

    def reset(self) -> None:
        """What was tried worked."""
        self._failures = 0
