"""Where each number of the proxy stands in shared memory.

One block per worker slot, an anonymous shared-memory file that the supervisor makes and hands down. A block has a
single writer, its worker; it outlives the worker, and the supervisor sums all blocks when it is asked. So numbers
are exact across workers and across their deaths, and a count costs one integer addition.

A block is an array of unsigned 64-bit words: first the process-wide words (`Word`), then records. A record is
the numbers of one (route, predictor) pair or of one (cluster, endpoint) pair; the supervisor allots it by
name, so that it is at the same place in every block and keeps its place over reloads. The block's memory is sparse:
what nobody wrote costs nothing.

Histograms count nanoseconds in the buckets of `BOUNDS_S`; a histogram is its buckets, the last one for all that is
beyond, then the sum.
"""

from collections.abc import Iterable, Iterator
from enum import IntEnum

from turnout.proxy.errors import Flag
from turnout.proxy.telemetry.buckets import TABLE_WORDS
from turnout.proxy.telemetry.tls import MAX_FAILURES, SIDES
from turnout.rules.snapshot import Forward, Snapshot

BOUNDS_S: tuple[float, ...] = (
    0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1,
    0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0,
)  # fmt: skip
"""Upper bounds of the latency buckets: 0.1 ms, a proxy's own share, to 5 min, a long generation. Typed without their
number: else compiled code would make the tuple anew at each look."""

FLAGS = len(Flag)
GRPC_STATUSES = 17
CODE_CLASSES = ("none", "1xx", "2xx", "3xx", "4xx", "5xx")
HISTOGRAM_WORDS = len(BOUNDS_S) + 2


class Word(IntEnum):
    """The process-wide words at the start of a block. Those before CONNECTIONS_TOTAL are gauges."""

    CONNECTIONS_ACTIVE = 0
    TUNNELS_ACTIVE = 1
    OVERLOADED = 2
    """1 while new requests are refused for want of memory."""
    RESIDENT_BYTES = 3
    CONNECTIONS_TOTAL = 4
    MALFORMED_TOTAL = 5
    ACCESS_LOG_DROPPED = 6
    CONNECTIONS_REFUSED = 7
    EXCHANGES_CUT = 8
    """Ended for want of memory."""
    HTTP2_CONNECTIONS_TOTAL = 9
    HTTP2_FLOODS_TOTAL = 10
    """Connections of HTTP/2 that were ended since the client did too much of what costs only us."""
    SPANS_DROPPED = 11
    """Spans that a worker could not tell of: the supervisor had not taken the ones before."""
    SPANS_RECORDED = 12
    """Spans that a worker tells of: those of them that did not come to the supervisor when it died are lost."""
    OBSERVER_FAILURES = 20
    """Pairs of answers on which an observer failed."""
    TLS_DOWNSTREAM_TOTAL = 24
    TLS_UPSTREAM_TOTAL = 25
    """Handshakes that went well."""
    TLS_FAILURES = 26
    """The first of those that failed, by side and reason (`telemetry.tls`)."""


GAUGES = Word.CONNECTIONS_TOTAL
"""Words below this are gauges, set to zero by the supervisor when their worker died."""

HEADER_WORDS = 64
assert Word.TLS_FAILURES + len(SIDES) * MAX_FAILURES <= HEADER_WORDS
RECORD_WORDS = 208
RECORDS = 65_536
BLOCK_BYTES = 8 * (HEADER_WORDS + RECORDS * RECORD_WORDS)
BUCKETS_TABLE = HEADER_WORDS + RECORDS * RECORD_WORDS
"""Where the table of token buckets begins (`telemetry.buckets`), behind the records."""
SHARED_BYTES = 8 * (BUCKETS_TABLE + TABLE_WORDS)
"""The size of a block with that table."""
OVERFLOW = ("overflow", "overflow")
"""The names under which everything is counted that came after the last free record."""


class RouteWord(IntEnum):
    """Offsets in a route record. The requests are a matrix of code class × flag."""

    BYTES_RECEIVED = 0
    BYTES_SENT = 1
    DOWNSTREAM = 2
    UPSTREAM = DOWNSTREAM + HISTOGRAM_WORDS
    PROXY = UPSTREAM + HISTOGRAM_WORDS
    REQUESTS = PROXY + HISTOGRAM_WORDS
    GRPC = REQUESTS + len(CODE_CLASSES) * FLAGS
    """Calls of gRPC that ended, by status."""
    BUCKET = RECORD_WORDS - 3
    """Of the route's rate limit: a token bucket, the one that header values share for which there is no place, and how
    often that was asked."""
    SHARED_BUCKET = RECORD_WORDS - 2
    SHARED_USES = RECORD_WORDS - 1


class EndpointWord(IntEnum):
    """Offsets in an endpoint record."""

    ACTIVE = 0
    CONNECTIONS_ACTIVE = 1
    CONNECTIONS_TOTAL = 2
    CONNECT_FAILURES = 3
    REQUESTS = 4
    FAILURES = 5
    ANSWERS_5XX = 6
    GATEWAY_FAILURES = 7
    """Answers of 502, 503 and 504."""
    LOCAL_FAILURES = 8
    """No answer: not connected, reset, malformed, timed out."""
    ABANDONED = 9
    """Requests of which nothing was learnt: the client left before there was an answer."""
    LATENCY = 16
    """Of first bytes, by the size of the request's body: the cells of `cluster.latency`."""


class ClusterWord(IntEnum):
    """Offsets in a cluster record, what circuit breakers look at."""

    ACTIVE = 0
    PENDING = 1
    """Requests that wait for a limit."""
    CONNECTIONS = 2
    RETRIES_ACTIVE = 3
    OVERFLOWS = 4
    """Requests refused for a limit, at once or after a wait."""
    RETRIES = 5
    """Attempts after the first."""
    RETRIES_REFUSED = 6
    """Retries that the budget or a limit did not allow."""
    NOT_REPLAYABLE = 7
    """Requests that failed and were not retried because their body was larger than what is kept."""


RecordKey = tuple[str, str, str]
"""("route", route name, cluster name or ""), ("endpoint", cluster name, "address:port"), ("cluster", name, ""), or of a
route with mirrors ("mirror", route name, the mirror's cluster) and ("live", route name, the cluster that answers)."""

KINDS = ("route", "endpoint", "cluster", "mirror", "live")

NO_ROUTE_KEY: RecordKey = ("route", "", "")
"""Requests that no route took; always the first record."""


def route_keys(snapshot: Snapshot) -> list[RecordKey]:
    """The route records that a Snapshot needs, in a fixed order, each once."""
    keys: dict[RecordKey, None] = {NO_ROUTE_KEY: None}
    for route in snapshot.routes():
        keys["route", route.name, ""] = None
        if isinstance(route.action, Forward):
            for backend in route.action.backends:
                keys["route", route.name, backend.cluster] = None
            keys.update(dict.fromkeys(_mirror_keys(route.name, route.action)))
    return list(keys)


def _mirror_keys(name: str, forward: Forward) -> Iterator[RecordKey]:
    pause = forward.mirror_limits.pause_above
    for mirror in forward.mirrors:
        yield "mirror", name, mirror.cluster
    if forward.mirrors and pause is not None and pause.p99_s is not None:
        yield from (("live", name, backend.cluster) for backend in forward.backends)


class Layout:
    """The supervisor's map from record names to their word offsets."""

    def __init__(self) -> None:
        self._offsets: dict[RecordKey, int] = {}
        self.allot([NO_ROUTE_KEY, *((kind, *OVERFLOW) for kind in KINDS)])

    def allot(self, keys: Iterable[RecordKey]) -> list[int]:
        """The offset of each record, new ones taken from the free end; beyond it, the overflow record's."""
        return [self._offset(key) for key in keys]

    def records(self) -> Iterable[tuple[RecordKey, int]]:
        """All names that were ever allotted, with their offsets."""
        return self._offsets.items()

    def is_full(self) -> bool:
        return len(self._offsets) >= RECORDS

    def _offset(self, key: RecordKey) -> int:
        offset = self._offsets.get(key)
        if offset is None:
            if self.is_full():
                return self._offsets[key[0], *OVERFLOW]
            offset = self._offsets[key] = HEADER_WORDS + len(self._offsets) * RECORD_WORDS
        return offset


assert RouteWord.GRPC + GRPC_STATUSES <= RouteWord.BUCKET
