"""What the log says of a collector: that it fails, and that it does no longer, once each; and what it says itself of
batches that it took, once in a while with the number of spans that it rejected meanwhile.
"""

import logging
from collections.abc import Callable

from turnout.proxy.supervisor.tracing.answer import Answer

INTERVAL_S = 60.0


class Complaints:
    """`clock` gives seconds that only rise."""

    def __init__(self, logger: logging.Logger, clock: Callable[[], float]) -> None:
        self._logger = logger
        self._clock = clock
        self._fails = False
        self._rejected = 0
        self._next_at = float("-inf")

    def on_answer(self, answer: Answer) -> None:
        """A batch was answered, or not taken."""
        if answer.taken == self._fails:
            self._fails = not answer.taken
            if answer.taken:
                self._logger.info("spans are exported again")
            else:
                self._logger.warning("spans cannot be exported, and are dropped: %s", answer.why)
        if answer.taken and (answer.rejected or answer.why):
            self._on_partial(answer)

    def _on_partial(self, answer: Answer) -> None:
        self._rejected += answer.rejected
        now = self._clock()
        if now < self._next_at:
            return
        self._next_at = now + INTERVAL_S
        # Its words are somebody else's: quoted, so that they stay one line.
        if self._rejected:
            self._logger.warning("the collector rejected %d spans: %r", self._rejected, answer.why)
        else:
            self._logger.warning("the collector took all spans, and says: %r", answer.why)
        self._rejected = 0
