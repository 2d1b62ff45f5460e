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

from collections.abc import Iterable
from enum import IntEnum

from turnout.proxy.errors import Flag
from turnout.rules.snapshot import Forward, Snapshot

BOUNDS_S = (
    0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1,
    0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0,
)  # fmt: skip
"""Upper bounds of the latency buckets: 0.1 ms, a proxy's own share, to 5 min, a long generation."""

FLAGS = len(Flag)
CODE_CLASSES = ("none", "1xx", "2xx", "3xx", "4xx", "5xx")
HISTOGRAM_WORDS = len(BOUNDS_S) + 2


class Word(IntEnum):
    """The process-wide words at the start of a block. Those before CONNECTIONS_TOTAL are gauges."""

    CONNECTIONS_ACTIVE = 0
    TUNNELS_ACTIVE = 1
    CONNECTIONS_TOTAL = 2
    MALFORMED_TOTAL = 3
    ACCESS_LOG_DROPPED = 4


GAUGES = Word.CONNECTIONS_TOTAL
"""Words below this are gauges, set to zero by the supervisor when their worker died."""

HEADER_WORDS = 64
RECORD_WORDS = 192
RECORDS = 65_536
BLOCK_BYTES = 8 * (HEADER_WORDS + RECORDS * RECORD_WORDS)
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


class EndpointWord(IntEnum):
    """Offsets in an endpoint record."""

    ACTIVE = 0
    CONNECTIONS_ACTIVE = 1
    CONNECTIONS_TOTAL = 2
    CONNECT_FAILURES = 3
    REQUESTS = 4
    FAILURES = 5


RecordKey = tuple[str, str, str]
"""("route", route name, cluster name or "") or ("endpoint", cluster name, "address:port")."""

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
    return list(keys)


class Layout:
    """The supervisor's map from record names to their word offsets."""

    def __init__(self) -> None:
        self._offsets: dict[RecordKey, int] = {}
        self.allot([NO_ROUTE_KEY, ("route", *OVERFLOW), ("endpoint", *OVERFLOW)])

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


assert RouteWord.REQUESTS + len(CODE_CLASSES) * FLAGS <= RECORD_WORDS
