"""What the shadows of a worker share: the room for what they are behind, the pace of their answers, who observes.

They live here from their first byte to their end, and are ended with the worker: nobody waits for them.
"""

from collections.abc import Callable
from typing import Protocol

from turnout.proxy.exchange.sides import Upstreams
from turnout.proxy.filters.tracing import Tracer
from turnout.proxy.http.head import Data
from turnout.proxy.shadow.backlog import Backlog
from turnout.proxy.shadow.observer import Answer, Observer, Pair
from turnout.proxy.telemetry.counters import Counters
from turnout.proxy.telemetry.layout import Word


class Sleeper(Protocol):
    """Something with deadlines, as the worker's timers know it."""

    wake: float

    def on_timer(self, now: float) -> float: ...


class Timers(Protocol):
    """The worker's."""

    def wake_at(self, sleeper: Sleeper, when: float) -> None: ...

    def forget(self, sleeper: Sleeper) -> None: ...


class Ending(Protocol):
    """A shadow in flight."""

    def shut_down(self) -> None: ...


NEVER = float("inf")


class Shadows:
    """One per worker. At most `limit` are in flight: each takes descriptors, of which requests may not run out.

    `on_fault` is told what nobody expected: it ends with the shadow, and does not reach the request that is copied.
    `is_ending`: the worker takes no new connections and ends with the last; `is_short`: its memory is. Then nothing is
    copied. `tracer` is None where no spans are exported.
    """

    __slots__ = (
        "active", "backlog", "clock", "counters", "is_ending", "is_short", "limit", "observer", "on_fault", "timers",
        "tracer", "upstreams",
    )  # fmt: skip

    def __init__(
        self, upstreams: Upstreams, counters: Counters, clock: Callable[[], float], timers: Timers, limit: int,
        on_fault: Callable[[Exception], None],
    ) -> None:  # fmt: skip
        self.upstreams = upstreams
        self.counters = counters
        self.clock = clock
        self.timers = timers
        self.limit = limit
        self.on_fault = on_fault
        self.active: set[Ending] = set()
        self.backlog = Backlog()
        self.observer: Observer | None = None
        self.tracer: Tracer | None = None
        self.is_ending = self.is_short = False

    def keep(self, answer: Answer, data: Data) -> None:
        """A piece of an answer's body that is observed."""
        size = len(data)
        answer.size += size
        limit = 0 if self.observer is None else self.observer.body_limit
        size = min(size, limit - answer.kept, self.backlog.room)
        if size > 0:
            answer.kept += size
            answer.body.append(data if size == len(data) else data[:size])
            self.backlog.keep(size)

    def end_answer(self, pair: Pair, answer: Answer, end: str, total_s: float) -> None:
        """One of a pair's answers is over; when both are, it is shown. What an observer makes wrong is counted and
        told, and reaches nobody else."""
        answer.end, answer.total_s = end, total_s
        if not pair.is_over:
            return
        try:
            if self.observer is not None:
                self.observer.on_pair(pair)
        except Exception as error:
            self.counters.add(Word.OBSERVER_FAILURES)
            self.on_fault(error)
        pair.live.pairs -= 1
        self.backlog.keep(-pair.shadow.kept - (0 if pair.live.pairs else pair.live.kept))

    def close(self) -> None:
        """The worker ends."""
        for shadow in tuple(self.active):
            shadow.shut_down()
