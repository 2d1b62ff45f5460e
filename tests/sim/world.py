"""A world on a virtual clock: events in order, one seeded random, endpoints that take time and fail, and tables.

What is tested is the real pure code (budgets, policies, detectors), which takes `now`; what stands around it, clients
and model servers, is here. Nothing sleeps, and the same seed gives the same run to the last digit.
"""

import heapq
import random
from collections import deque
from collections.abc import Callable, Sequence
from math import ceil, inf
from typing import Any


class World:
    """Virtual time, in seconds from 0. What is due at the same time happens in the order in which it was asked for."""

    def __init__(self, seed: int = 1) -> None:
        self.now = 0.0
        self.random = random.Random(seed)
        self._events: list[tuple[float, int, Callable[..., Any], tuple[Any, ...]]] = []
        self._asked = 0

    def at(self, when: float, call: Callable[..., Any], *args: Any) -> None:
        self._asked += 1
        heapq.heappush(self._events, (max(when, self.now), self._asked, call, args))

    def after(self, delay_s: float, call: Callable[..., Any], *args: Any) -> None:
        self.at(self.now + delay_s, call, *args)

    def every(self, interval_s: float, call: Callable[[], Any], until: float) -> None:
        """Call from one interval after now on; an interval of drifting floats would not come out even."""
        start, count = self.now, 1
        while start + count * interval_s <= until:
            self.at(start + count * interval_s, call)
            count += 1

    def arrivals(self, per_second: float, call: Callable[[], Any], until: float) -> None:
        """Call at random times, independent of each other (a Poisson process), from now on.

        They have a random of their own, so what else draws does not change when requests come.
        """
        own = random.Random(self.random.random())

        def arrive() -> None:
            call()
            plan()

        def plan() -> None:
            when = self.now + own.expovariate(per_second)
            if when < until:
                self.at(when, arrive)

        plan()

    def run(self, until: float = inf) -> None:
        """Let happen what is due up to and including `until`; without it, all there is."""
        while self._events and self._events[0][0] <= until:
            self.now, _, call, args = heapq.heappop(self._events)
            call(*args)
        if until != inf:
            self.now = until


class Server:
    """A model server: `slots` requests at a time, the others wait in line, first come first served.

    `service_s()` is how long a request takes when its turn comes, `fails()` whether it then fails; both may draw from
    the world's random and may be replaced while the world runs.
    """

    def __init__(
        self,
        world: World,
        service_s: Callable[[], float],
        fails: Callable[[], bool] = lambda: False,
        slots: float = inf,
    ) -> None:
        self._world = world
        self._line: deque[tuple[Callable[[bool], None], Callable[[], float]]] = deque()
        self.service_s = service_s
        self.fails = fails
        self.slots = slots
        self.busy = 0
        self.served = 0

    def ask(self, on_answer: Callable[[bool], None], service_s: Callable[[], float] | None = None) -> None:
        """Send a request; `on_answer(ok)` is called when it is answered. `service_s`: how long this one takes."""
        service_s = service_s or self.service_s
        if self.busy < self.slots:
            self._begin(on_answer, service_s)
        else:
            self._line.append((on_answer, service_s))

    def _begin(self, on_answer: Callable[[bool], None], service_s: Callable[[], float]) -> None:
        self.busy += 1
        self._world.after(service_s(), self._end, on_answer)

    def _end(self, on_answer: Callable[[bool], None]) -> None:
        self.busy -= 1
        self.served += 1
        ok = not self.fails()
        if self._line:
            self._begin(*self._line.popleft())
        on_answer(ok)


def percentile(values: Sequence[float], percent: float) -> float:
    """The smallest value that so many per cent of all do not exceed."""
    ordered = sorted(values)
    return ordered[max(0, ceil(len(ordered) * percent / 100) - 1)]


def print_table(title: str, columns: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """A table for whoever runs the simulation with `-s`, or whose assertion failed."""
    cells = [list(columns), *([_text(value) for value in row] for row in rows)]
    widths = [max(len(row[column]) for row in cells) for column in range(len(columns))]
    print(f"\n{title}")
    for row in cells:
        print("  ".join(text.rjust(width) for text, width in zip(row, widths, strict=True)))


def _text(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
