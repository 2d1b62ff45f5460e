"""The limits of a cluster (Envoy `CircuitBreakers`): how many requests, connections, waiters and retries at once.

* They hold for the proxy. Each worker counts in its own block and decides on the sum over all blocks; two workers that
  decide at the same moment both see the last free place, so a limit is exceeded by at most the number of workers - 1
  (Envoy's are fuzzy in the same way between its threads).
* To ask changes nothing: who was allowed counts itself, at once and before anybody else can ask.
* In a cluster that queues, who comes lines up behind everybody who waits, also at other workers. A place that becomes
  free belongs to the workers in proportion to how many wait at each: see `gives_way`.
"""

from collections.abc import Callable, Iterable
from math import inf
from typing import Final

from msgspec.structs import replace

from turnout.proxy.telemetry.counters import Counters
from turnout.proxy.telemetry.layout import ClusterWord, EndpointWord
from turnout.rules.resilience import CircuitBreaker, Limits

MAX_PENDING: Final = 1_024
"""Of a queue whose length is not said (Envoy's default for `max_pending_requests`): no queue is without a bound."""

_ENDPOINT_ACTIVE: Final = int(EndpointWord.ACTIVE)
_ENDPOINT_CONNECTIONS: Final = int(EndpointWord.CONNECTIONS_ACTIVE)
_NO_LIMITS: Final = Limits()


class Limiter:
    """Says what a cluster may take on now. `record` is the offset of the cluster's counters.

    `is_off`: nothing is limited, so nobody needs to ask or to count; `queues`: who may not start may wait;
    `limits_endpoints`: `may_start_at` is to be asked, too; `most`: requests in flight by all limits of the cluster.
    `multiplexes`: a connection takes many requests.
    """

    __slots__ = (
        "_active", "_connections", "_max_connections", "_max_connections_at", "_max_pending", "_max_requests",
        "_max_requests_at", "_max_retries", "_others", "_pending", "_retries", "_total", "_words", "is_off",
        "limits_endpoints", "most", "queues",
    )  # fmt: skip

    def __init__(self, config: CircuitBreaker, counters: Counters, record: int, *, multiplexes: bool = False) -> None:
        limits, endpoint = config.limits, config.endpoint
        # Nobody waits where there is nothing to wait for.
        self.is_off = replace(limits, max_pending_requests=None) == _NO_LIMITS == endpoint
        self.queues = config.queue
        self._words = counters.words
        self._others = counters.others
        self._total = counters.total
        self._active = record + ClusterWord.ACTIVE
        self._connections = record + ClusterWord.CONNECTIONS
        self._pending = record + ClusterWord.PENDING
        self._retries = record + ClusterWord.RETRIES_ACTIVE
        self._max_requests = limits.max_requests
        # A request of HTTP/1.1 holds a connection, so one limit is the other, too.
        bounds = (endpoint.max_requests, None if multiplexes else endpoint.max_connections)
        self._max_requests_at = min((limit for limit in bounds if limit is not None), default=None)
        self._max_connections = limits.max_connections
        self._max_connections_at = endpoint.max_connections
        bounds = (limits.max_requests, None if multiplexes else limits.max_connections)
        self.most = min((limit for limit in bounds if limit is not None), default=inf)
        self._max_retries = limits.max_retries
        self.limits_endpoints = self._max_requests_at is not None
        unsaid = MAX_PENDING if config.queue or limits.max_connections is not None else None
        self._max_pending = unsaid if limits.max_pending_requests is None else limits.max_pending_requests

    def may_begin(self, *, in_turn: bool) -> bool:
        """Whether one more request may be in flight by the limits of the cluster, and need not line up, or has.

        Each of HTTP/1.1 holds a connection, so `most` bounds both; and nobody waits, here or at another worker.
        """
        words = self._words
        active: int = words[self._active]
        pending: int = words[self._pending]
        for other in self._others:
            active += other[self._active]
            pending += other[self._pending]
        return active < self.most and (in_turn or not pending)

    def may_start(self) -> bool:
        """Whether one more request may be in flight."""
        limit = self._max_requests
        return limit is None or self._total(self._active) < limit

    def may_start_at(self, endpoint_record: int) -> bool:
        """Whether one more request may be in flight at that endpoint."""
        limit = self._max_requests_at
        return limit is None or self._total(endpoint_record + _ENDPOINT_ACTIVE) < limit

    def may_connect(self, endpoint_record: int) -> bool:
        """Whether one more connection to that endpoint may be made; those being made count.

        A worker that has none to it may always make one, as a thread of Envoy may: else its requests would wait for
        connections that idle elsewhere.
        """
        if not self._words[endpoint_record + _ENDPOINT_CONNECTIONS]:
            return True
        limit = self._max_connections
        if limit is not None and self._total(self._connections) >= limit:
            return False
        limit = self._max_connections_at
        return limit is None or self._total(endpoint_record + _ENDPOINT_CONNECTIONS) < limit

    def has_room(self, endpoint_records: Iterable[int]) -> bool:
        """Whether one of those who wait may go, at one of these endpoints."""
        if self._total(self._active) >= self.most:
            return False
        return self._max_requests_at is None or any(map(self.may_start_at, endpoint_records))

    def may_wait(self) -> bool:
        """Whether one more request may wait: in the queue, or, where there is none, for a connection."""
        limit = self._max_pending
        return limit is None or self._total(self._pending) < limit

    def may_retry(self) -> bool:
        """Whether one more of the requests in flight may be a retry."""
        limit = self._max_retries
        return limit is None or self._total(self._retries) < limit

    def gives_way(self, random: Callable[[], float]) -> bool:
        """Whether a place that this worker sees become free is left to another one's waiters.

        A release is known at once where it happens, and elsewhere only when somebody looks (`waiting.POLL_S`), so a
        busy worker would take each place and let the others' waiters starve. It leaves a place with the probability
        that the next in line, if there were one queue, stood elsewhere; who is left unserved looks again.
        """
        waiting = self._total(self._pending)
        elsewhere = waiting - self._words[self._pending]
        return elsewhere > 0 and random() * waiting < elsewhere
