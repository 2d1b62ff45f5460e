"""What a worker does when its memory or its connections run out: less, so that it is never killed for it.

The levels are shares of its memory that are in use (Envoy's overload manager, `fixed_heap` and its actions):

| from | what is done | Envoy's action |
|---|---|---|
| 0.80 | freed memory is given back to the system, at most every SHRINK_EVERY_S; nothing is mirrored | `shrink_heap` |
| 0.90 | each new request is answered 503, until it is below 0.85 again | `stop_accepting_requests` |
| 0.95 | the exchanges that hold most are cut; no new connections | `reset_high_memory_stream`, `reject_incoming_…` |

Pure: `on_sample` is told what is resident, every SAMPLE_S, and says what to do. On a request's path there is the one
look whether it is refusing.
"""

import heapq
from collections.abc import Iterable
from typing import NamedTuple, TypeVar

SAMPLE_S = 0.02
"""A look takes some 5 µs. Between two, a flood over loopback can fill 10 MB and more."""
SHRINK_FROM, RESUME_BELOW, REFUSE_FROM, CUT_FROM = 0.80, 0.85, 0.90, 0.95
SHRINK_EVERY_S = 1.0
MAX_CUTS = 200
"""At one sample (Envoy's `kMaxStreamsResetPerCall` is 50): the next one, soon, tells whether that was enough."""
MIN_CUT_BYTES = 4_096
"""To cut what holds less would harm a client and help nobody; but a thousand heads that do not end hold 64 MB."""
MIN_SHARE_BYTES = 96 << 20
"""A worker with nothing to do takes about 30 MB; its rules and its connections come on top."""
DESCRIPTORS_EACH = 3
"""Of a connection: the client's, the upstream's, and its spare one while a body is sent."""
MAX_SHADOWS = 10_000
SPARE_DESCRIPTORS = 256
"""For everything else: listeners, logs, counter blocks, idle connections to upstreams."""

Owner = TypeVar("Owner")


class Relief(NamedTuple):
    """What to do now: give freed memory back (`shrink`), and cut exchanges that hold `cut_bytes` in all."""

    shrink: bool
    cut_bytes: int


NOTHING = Relief(shrink=False, cut_bytes=0)


class OverloadManager:
    """One per worker. `limit_bytes` is the worker's share of the memory, 0 for no limit; `max_connections` holds for
    the proxy, and `own_connections` for this worker, whose descriptors are not shared.

    `is_refusing`: new requests are answered 503. `pressure` is the share of the memory in use at the last sample, when
    that was `resident_bytes`.
    """

    __slots__ = (
        "_limit_bytes",
        "_max_connections",
        "_own_connections",
        "_shrunk_at",
        "is_refusing",
        "pressure",
        "resident_bytes",
    )

    def __init__(self, limit_bytes: int, max_connections: int, own_connections: int) -> None:
        self._limit_bytes = limit_bytes
        self._max_connections = max_connections
        self._own_connections = own_connections
        self._shrunk_at = float("-inf")
        self.pressure = 0.0
        self.resident_bytes = 0
        self.is_refusing = False

    def __repr__(self) -> str:
        return f"<OverloadManager {self.pressure:.0%}{' refusing' if self.is_refusing else ''}>"

    @property
    def is_short(self) -> bool:
        """Whether memory is to be saved: what nobody waits for is not begun any more."""
        return self.pressure >= SHRINK_FROM

    def on_sample(self, resident_bytes: int, now: float) -> Relief:
        """So much of the process is in memory."""
        self.resident_bytes = resident_bytes
        limit = self._limit_bytes
        if not limit:
            return NOTHING
        pressure = self.pressure = resident_bytes / limit
        if pressure < SHRINK_FROM:
            self.is_refusing = False
            return NOTHING
        self.is_refusing = pressure >= (RESUME_BELOW if self.is_refusing else REFUSE_FROM)
        shrink = now >= self._shrunk_at + SHRINK_EVERY_S
        if shrink:
            self._shrunk_at = now
        return Relief(shrink, max(0, resident_bytes - int(CUT_FROM * limit)))

    def may_accept(self, own: int, total: int) -> bool:
        """Whether one more downstream connection is taken. `own` are open at this worker, `total` at all."""
        return own < self._own_connections and total < self._max_connections and self.pressure < CUT_FROM


def choose_cuts(held: Iterable[tuple[int, Owner]], cut_bytes: int) -> list[Owner]:
    """Of exchanges, each with the bytes it holds: the biggest first, until they hold `cut_bytes` in all."""
    worth = [(size, -place, owner) for place, (size, owner) in enumerate(held) if size >= MIN_CUT_BYTES]
    chosen = []
    for size, _, owner in heapq.nlargest(MAX_CUTS, worth):
        if cut_bytes <= 0:
            break
        chosen.append(owner)
        cut_bytes -= size
    return chosen


def share_memory(limit_bytes: int, workers: int) -> int:
    """What each process may have of the proxy's memory: the supervisor takes as much as a worker.

    It is never less than MIN_SHARE_BYTES: where there is not even that, to refuse all requests would save nobody.
    """
    return max(limit_bytes // (workers + 1), MIN_SHARE_BYTES) if limit_bytes else 0


def bound_connections(max_connections: int, descriptors: int) -> int:
    """How many downstream connections one worker can have with so many descriptors (`RLIMIT_NOFILE`), at least one."""
    return max(1, min(max_connections, (descriptors - SPARE_DESCRIPTORS) // DESCRIPTORS_EACH))


def bound_shadows(descriptors: int) -> int:
    """How many copies of requests one worker can have in flight with so many descriptors, at least 16. Each takes two
    at most: where descriptors are few, of those that are for everything else, so that connections go without none."""
    return max(16, min((descriptors - SPARE_DESCRIPTORS) // 8, MAX_SHADOWS))
