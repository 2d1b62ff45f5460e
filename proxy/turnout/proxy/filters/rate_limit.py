"""A route's rate limit (Envoy `local_ratelimit`): one token bucket for its requests, or one for each value of a header.

It holds for the whole proxy (see `telemetry.buckets`). Tokens come one by one at an even pace, where Envoy's come in
batches of `tokens_per_fill`. A client may send any number of values: those that find no bucket free share one, which is
counted, and is another than that of the requests without the header, whom that must not harm.
"""

from hashlib import blake2b
from math import ceil

from turnout.proxy.http.head import RequestHead
from turnout.proxy.telemetry.buckets import MAX_NS, Buckets
from turnout.proxy.telemetry.counters import Counters
from turnout.rules.resilience import RateLimit

_NS = 1_000_000_000
_US = 1_000_000


class RateLimiter:
    """Admits the requests of a route. `words` are the offsets of its words in the counters' blocks: the bucket, the
    bucket that values without a place share, and how often that one was asked. `salt` is a secret of the proxy's, the
    same at each of its workers, of at most 32 bytes."""

    __slots__ = ("_bucket", "_buckets", "_burst_ns", "_counters", "_hash", "_header", "_shared", "_token_ns", "_uses")

    def __init__(
        self, config: RateLimit, buckets: Buckets, counters: Counters, words: tuple[int, int, int], salt: bytes
    ) -> None:
        self._buckets = buckets
        self._counters = counters
        self._bucket, self._shared, self._uses = words
        self._token_ns = max(1, round(min(_NS / config.per_second, MAX_NS // config.burst)))
        self._burst_ns = self._token_ns * config.burst
        self._header = config.header.encode()
        self._hash = blake2b(self._bucket.to_bytes(8), digest_size=8, key=salt)

    def admit(self, head: RequestHead, now: float) -> float:
        """0.0: the request goes on; else it is refused, and so many seconds from now there will be a token."""
        now_ns = int(now * _NS + 0.5)
        value = head.get(self._header) if self._header else None
        if value is None:
            wait_ns = self._buckets.take(self._bucket, now_ns, self._token_ns, self._burst_ns)
        else:
            wait_ns = self._take_for(value, now_ns)
        return (wait_ns // 1_000 + 2) / _US if wait_ns else 0.0  # not a rounding error too early

    def _take_for(self, value: bytes, now_ns: int) -> int:
        hasher = self._hash.copy()
        hasher.update(value)
        token_ns, burst_ns = self._token_ns, self._burst_ns
        wait_ns = self._buckets.take_hashed(int.from_bytes(hasher.digest()), now_ns, token_ns, burst_ns)
        if wait_ns >= 0:
            return wait_ns
        self._counters.add(self._uses)
        return self._buckets.take(self._shared, now_ns, token_ns, burst_ns)


def encode_retry_after(wait_s: float) -> bytes:
    """The value of `Retry-After` (RFC 9110 §10.2.3): whole seconds, rounded up, at least 1."""
    return b"%d" % max(1, ceil(wait_s))
