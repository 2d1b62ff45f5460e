"""A mirror's own breaker: a shadow that fails every time is asked now and then only, for its failures teach nobody.

After MAX_FAILURES copies in a row without an answer it is open: one copy every RETRY_S goes, and an answer, whatever it
says, closes it. It is for a worker, and beside what the mirror's Predictor has (`consecutiveFailures`), which takes
single endpoints out. What it saves is the worker's time: a connection that is made in vain costs more than a request.
"""

MAX_FAILURES = 20
RETRY_S = 1.0


class Breaker:
    """Of one mirror at one worker."""

    __slots__ = ("_failures", "_retry_at")

    def __init__(self) -> None:
        self._failures = 0
        self._retry_at = 0.0

    def lets(self, now: float) -> bool:
        """Whether a copy may go; if it is open, this one is the next to tell."""
        if self._failures < MAX_FAILURES:
            return True
        if now < self._retry_at:
            return False
        self._retry_at = now + RETRY_S
        return True

    def on_answer(self) -> None:
        """A copy was answered."""
        self._failures = 0

    def on_failure(self, now: float) -> None:
        """A copy was not."""
        self._failures += 1
        if self._failures == MAX_FAILURES:
            self._retry_at = now + RETRY_S
