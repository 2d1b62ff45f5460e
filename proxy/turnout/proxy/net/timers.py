"""One timer of the loop for all deadlines of a worker.

A thing that has deadlines says with `wake_at` when it wants to look at the clock; then `on_timer(now)` is called
once and answers when it wants to be called again. It is in the queue once, for its nearest wake: activity only moves
its own deadlines, so a request arms nothing as long as an earlier wake is pending, and no timer object is made.
"""

import asyncio
import heapq
from collections.abc import Callable
from math import inf
from typing import Final, Protocol

NEVER: Final = inf
_COMPACT_ABOVE: Final = 256
_RESOLUTION_S: Final = 0.001


class Sleeper(Protocol):
    """Something with deadlines; `wake` belongs to Timers and starts as NEVER."""

    wake: float

    def on_timer(self, now: float) -> float:
        """Do what is due; the time of the next deadline, NEVER for none."""
        ...


class Timers:
    """A heap of wakes. An entry is stale when its sleeper has another `wake` by now."""

    def __init__(self, loop: asyncio.AbstractEventLoop, clock: Callable[[], float]) -> None:
        self._loop = loop
        self._clock = clock
        self._heap: list[tuple[float, int, Sleeper]] = []
        self._sequence = 0
        self._stale = 0
        self._handle: asyncio.TimerHandle | None = None
        self._armed = NEVER

    def __len__(self) -> int:
        return len(self._heap)

    def wake_at(self, sleeper: Sleeper, when: float) -> None:
        """Wake `sleeper` at `when`, unless it is woken earlier anyway."""
        if when < sleeper.wake:
            if sleeper.wake != NEVER:
                self._on_stale()
            self._push(sleeper, when)
            if when < self._armed:
                self._arm(when)

    def forget(self, sleeper: Sleeper) -> None:
        """Never wake it again."""
        if sleeper.wake != NEVER:
            sleeper.wake = NEVER
            self._on_stale()

    def close(self) -> None:
        self._heap.clear()
        if self._handle is not None:
            self._handle.cancel()

    def _push(self, sleeper: Sleeper, when: float) -> None:
        sleeper.wake = when
        self._sequence += 1
        heapq.heappush(self._heap, (when, self._sequence, sleeper))

    def _arm(self, when: float) -> None:
        if self._handle is not None:
            self._handle.cancel()
        self._armed = when
        self._handle = self._loop.call_later(max(0.0, when - self._clock()), self._run)

    def _run(self) -> None:
        self._handle, self._armed = None, NEVER
        now = self._clock()
        try:
            self._wake_due(now)
        finally:
            # Also if one of them fails: the others must be woken.
            if self._heap:
                self._arm(self._heap[0][0])

    def _wake_due(self, now: float) -> None:
        while self._heap and self._heap[0][0] <= now:
            when, _, sleeper = heapq.heappop(self._heap)
            if sleeper.wake != when:
                self._stale -= 1
                continue
            sleeper.wake = NEVER
            again = sleeper.on_timer(now)
            if again != NEVER:
                self.wake_at(sleeper, max(again, now + _RESOLUTION_S))

    def _on_stale(self) -> None:
        self._stale += 1
        if self._stale > _COMPACT_ABOVE and self._stale * 2 > len(self._heap):
            self._heap = [entry for entry in self._heap if entry[2].wake == entry[0]]
            heapq.heapify(self._heap)
            self._stale = 0
