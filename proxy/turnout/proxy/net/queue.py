"""Requests that wait for a cluster's limits: the timer and the turns of its `Waiting`."""

import asyncio
from collections.abc import Callable

from turnout.proxy.cluster.cluster import Cluster, Waiter
from turnout.proxy.cluster.waiting import Waiting
from turnout.proxy.net.timers import NEVER, Timers
from turnout.proxy.telemetry.layout import ClusterWord

_PENDING = int(ClusterWord.PENDING)


class Queue:
    """The queue of one cluster at this worker. `alone`: no other worker shares its limits."""

    __slots__ = ("_clock", "_cluster", "_loop", "_random", "_serving", "_timers", "_waiting", "wake")

    def __init__(
        self, cluster: Cluster, loop: asyncio.AbstractEventLoop, clock: Callable[[], float], timers: Timers,
        random: Callable[[], float], *, alone: bool,
    ) -> None:  # fmt: skip
        self._cluster = cluster
        self._loop = loop
        self._clock = clock
        self._timers = timers
        self._random = random
        self._waiting: Waiting[Waiter] = Waiting(alone=alone)
        self._serving = False
        self.wake = NEVER

    def __len__(self) -> int:
        return len(self._waiting)

    def join(self, waiter: Waiter, deadline: float, now: float) -> bool:
        """Let it wait for its turn, until `deadline`; False if too many do."""
        if not self._cluster.limiter.may_wait():
            return False
        self._waiting.append(waiter, deadline)
        self._count(1)
        self._timers.wake_at(self, self._waiting.wake_at(now))
        return True

    def leave(self, waiter: Waiter) -> None:
        """It does not wait any longer."""
        if self._waiting.cancel(waiter):
            self._count(-1)

    def on_capacity(self) -> None:
        """Something of the limits was given back. Turns come later, not within the call that gave it."""
        if self._waiting and not self._serving:
            self._serving = True
            self._loop.call_soon(self._serve)

    def on_timer(self, now: float) -> float:
        for waiter in self._waiting.expire(now):
            self._count(-1)
            waiter.on_queue_timeout()
        self._take_turns(len(self._waiting))
        return self._waiting.wake_at(now)

    def _serve(self) -> None:
        """Something was given back here: it may be the turn of those who wait at another worker."""
        self._serving = False
        if not self._cluster.limiter.gives_way(self._random):
            self._take_turns(len(self._waiting))

    def _take_turns(self, at_most: int) -> None:
        """Let go who may. Who finds no place after all lines up again, and is not asked twice."""
        while at_most and self._waiting and self._cluster.has_room():
            at_most -= 1
            waiter = self._waiting.take()
            assert waiter is not None
            self._count(-1)
            waiter.on_turn()

    def _count(self, amount: int) -> None:
        self._cluster.count(_PENDING, amount)
        self._cluster.on_waiting()
