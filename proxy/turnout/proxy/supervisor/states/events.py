"""What was decided about endpoints, and by overloaded workers.

Each event is a line in the log, an entry in a bounded list for the admin, and a count.
It tells the numbers that led to it, so that nobody has to guess why an endpoint gets no requests.
"""

import logging
import time
from collections import Counter, deque
from collections.abc import Callable, Mapping

import msgspec

logger = logging.getLogger(__name__)

KEPT = 1000
Value = str | int | float | bool | None


class Event(msgspec.Struct, frozen=True):
    """`time` is seconds since the epoch. `what` is what happened, as `ejected`; `why` is its kind, as
    `consecutive_5xx`, empty if there is but one. Of a worker, `predictor` is empty and `endpoint` is as `worker 0`."""

    time: float
    predictor: str
    endpoint: str
    what: str
    why: str = ""
    numbers: dict[str, Value] = {}

    def __str__(self) -> str:
        numbers = " ".join(f"{name}={_text(value)}" for name, value in self.numbers.items())
        why = f" ({self.why})" if self.why else ""
        of = f" of {self.predictor}" if self.predictor else ""
        return f"{self.endpoint}{of}: {self.what}{why}{': ' if numbers else ''}{numbers}"


class Events:
    """The last events, oldest first, and how many there ever were by (what, why, predictor)."""

    def __init__(self, wall: Callable[[], float] = time.time) -> None:
        self._wall = wall
        self.last: deque[Event] = deque(maxlen=KEPT)
        self.counts: Counter[tuple[str, str, str]] = Counter()

    def record(
        self,
        predictor: str,
        endpoint: str,
        what: str,
        why: str = "",
        numbers: Mapping[str, Value] | None = None,
        bad: bool = True,
    ) -> None:
        """Tell of an event; `bad` is whether an endpoint is the worse for it."""
        event = Event(self._wall(), predictor, endpoint, what, why, dict(numbers or {}))
        self.last.append(event)
        self.counts[what, why, predictor] += 1
        logger.log(logging.WARNING if bad else logging.INFO, "%s", event, extra={"event": msgspec.to_builtins(event)})


def _text(value: Value) -> str:
    return f"{value:.6g}" if isinstance(value, float) else str(value)
