"""What bounds the shadows of one mirror of a route: how many are in flight, how many begin, and, at each worker by
itself, the pace of their answers and the breaker.

The first two hold for the proxy: each worker counts in its own block and decides on the sum, as limits of clusters do
(`cluster.limits`), and takes tokens from a bucket that all share (`telemetry.buckets`). So at one moment at most as
many shadows as there are other workers are too many.
"""

from turnout.proxy.shadow.breaker import Breaker
from turnout.proxy.shadow.pacing import Pacer
from turnout.proxy.telemetry.buckets import MAX_NS, Buckets
from turnout.proxy.telemetry.counters import Counters
from turnout.proxy.telemetry.mirrors import MirrorWord
from turnout.rules.mirroring import MirrorLimits

_NS = 1_000_000_000
_ACTIVE, _BUCKET = int(MirrorWord.ACTIVE), int(MirrorWord.BUCKET)


class Governor:
    """Of one mirror. `record` is the offset of its counters."""

    __slots__ = (
        "_active",
        "_bucket",
        "_buckets",
        "_burst_ns",
        "_counters",
        "_max_requests",
        "_token_ns",
        "breaker",
        "pacer",
    )

    def __init__(self, limits: MirrorLimits, buckets: Buckets, counters: Counters, record: int) -> None:
        self.breaker = Breaker()
        self.pacer = Pacer()
        self._buckets = buckets
        self._counters = counters
        self._active = record + _ACTIVE
        self._bucket = record + _BUCKET
        self._max_requests = limits.max_requests
        rate = limits.rate
        self._token_ns = 0 if rate is None else max(1, round(min(_NS / rate.per_second, MAX_NS // rate.burst)))
        self._burst_ns = 0 if rate is None else self._token_ns * rate.burst

    def has_room(self) -> bool:
        """Whether one more may be in flight."""
        return self._counters.total(self._active) < self._max_requests

    def take(self, now: float) -> bool:
        """Whether one more may begin now; it does if so."""
        token_ns = self._token_ns
        return not token_ns or not self._buckets.take(self._bucket, int(now * _NS + 0.5), token_ns, self._burst_ns)
