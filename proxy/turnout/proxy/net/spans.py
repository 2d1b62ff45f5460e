"""Records of the exchanges that are traced, told to the supervisor in batches.

An exchange that was not sampled is recorded after all if it failed, its answer was a 5xx or the like of gRPC, or its
answer was slow to begin. Nothing waits for records: they are kept while the supervisor has not taken the ones before,
within a bound, and beyond that they are dropped and counted.
"""

from collections.abc import Callable
from typing import Final

from turnout.proxy.errors import Flag
from turnout.proxy.exchange.sides import Recorder
from turnout.proxy.exchange.state import ExchangeState
from turnout.proxy.filters.peer import Peer
from turnout.proxy.filters.tracing import Trace, Tracer
from turnout.proxy.http.grpc import GrpcStatus
from turnout.proxy.http.names import MODEL_NAME, MODEL_VERSION
from turnout.proxy.route.entry import Entry
from turnout.proxy.route.split import Share
from turnout.proxy.telemetry.trace.record import MAX_BYTES, Record, count_spans, encode_records

BATCH_RECORDS = 128
"""Two of them make a usual request to a collector (512 spans). Each wakes the supervisor, and is told to be taken."""
MAX_RECORDS = 1_024
MAX_UNDER_WAY = 4
"""Batches that the supervisor has not taken yet."""

SERVER_ERRORS = frozenset(
    {
        GrpcStatus.UNKNOWN, GrpcStatus.DEADLINE_EXCEEDED, GrpcStatus.UNIMPLEMENTED, GrpcStatus.INTERNAL,
        GrpcStatus.UNAVAILABLE, GrpcStatus.DATA_LOSS,
    }
)  # fmt: skip
"""Statuses for which a server's span is an error (OpenTelemetry semantic conventions for gRPC)."""

_FLAGS: Final = tuple(map(str, Flag))


class SpanLog(Recorder):
    """A worker's. `send(spans, records)` speaks to the supervisor; `drop` counts spans that are not told of, and
    `count` those that are, before they are. `flush` is to be called about once a second, and `on_taken` for each batch
    that came there."""

    __slots__ = ("_count", "_drop", "_records", "_send", "_slow_s", "_tracer", "_under_way")

    def __init__(
        self, tracer: Tracer, send: Callable[[int, bytes], None], drop: Callable[[int], None],
        count: Callable[[int], None],
    ) -> None:  # fmt: skip
        self._tracer = tracer
        self._send = send
        self._drop = drop
        self._count = count
        self._slow_s = tracer.slow_s
        self._records: list[Record] = []
        self._under_way = 0
        tracer.keep = self.keep

    def on_end(self, exchange: ExchangeState, peer: Peer, now: float) -> None:
        if (
            exchange.trace is None
            and exchange.failure is None
            and exchange.status < 500
            and exchange.grpc_status <= 0
            and now - exchange.started_at < self._slow_s
        ):
            return
        self._record(exchange, peer, now)

    def keep(self, record: Record) -> None:
        """Have a record told to the supervisor."""
        if len(self._records) >= MAX_RECORDS:
            self._drop(count_spans(record))
            return
        self._count(count_spans(record))
        self._records.append(record)
        if len(self._records) % BATCH_RECORDS == 0:
            self.flush()

    def flush(self) -> None:
        """Tell what there is to be told, as far as the supervisor keeps up."""
        while self._records and self._under_way < MAX_UNDER_WAY:
            batch, self._records = self._records[:BATCH_RECORDS], self._records[BATCH_RECORDS:]
            self._under_way += 1
            self._send(sum(map(count_spans, batch)), encode_records(batch))

    def close(self) -> None:
        """Tell all that is left: no more comes."""
        while self._records:
            self._under_way = 0
            self.flush()

    def on_taken(self) -> None:
        """The supervisor has taken a batch."""
        self._under_way -= 1
        if len(self._records) >= BATCH_RECORDS:
            self.flush()

    def _record(self, exchange: ExchangeState, peer: Peer, now: float) -> None:
        trace = exchange.trace
        if trace is None:
            if not self._is_kept(exchange, now):
                return
            if len(self._records) >= MAX_RECORDS:  # when all fails, that should not cost more than it must
                self._drop(1 + exchange.attempts)
                return
            trace = self._begin_late(exchange)
        _end_attempt(exchange, trace, now)
        self.keep(describe(exchange, trace, peer, now))

    def _is_kept(self, exchange: ExchangeState, now: float) -> bool:
        """Whether it is recorded although it was not sampled. A stream is as slow as its first byte."""
        failure = exchange.failure
        if exchange.status >= 500 or exchange.grpc_status in SERVER_ERRORS:
            return True
        if failure is not None and failure.status >= 500:
            return True
        return (exchange.first_byte_at or now) - exchange.started_at >= self._slow_s

    def _begin_late(self, exchange: ExchangeState) -> Trace:
        trace, lease = self._tracer.begin_late(exchange.head), exchange.lease
        if lease is not None:
            trace.begin_attempt(exchange.head, exchange.cluster, lease.endpoint, exchange.attempt_at)
        return trace


def _end_attempt(exchange: ExchangeState, trace: Trace, now: float) -> None:
    """The last one, of which nobody has told yet how it went."""
    failure = exchange.failure
    if exchange.first_byte_at:
        trace.on_first_byte(exchange.first_byte_at)
    status = exchange.status if exchange.first_byte_at else 0
    trace.end_attempt(status, "" if failure is None else f"{failure.flag} {failure.message}", now)


def describe(exchange: ExchangeState, trace: Trace, peer: Peer, now: float) -> Record:
    """All that is told of an exchange that is over."""
    head, entry, share, failure = exchange.head, exchange.entry, exchange.share, exchange.failure
    path, _, query = exchange.target.partition(b"?") if exchange.target else (head.path, b"", head.query or b"")
    flag = exchange.flag if failure is None else failure.flag
    return Record(
        trace.trace_id, trace.span_id, trace.parent_id, trace.flags, _cut(trace.state), trace.late,
        exchange.started_at, now, exchange.first_byte_at,
        _cut(head.method), peer.scheme, head.host[:MAX_BYTES], _cut(path), _cut(query), _cut(head.path), head.minor,
        head.grpc,
        exchange.status, exchange.grpc_status, _FLAGS[flag], failure is not None, exchange.reason[:MAX_BYTES],
        entry.name if entry is not None else "", share.cluster if share is not None else "",
        _find_variant(entry, share), exchange.upstream_s,
        exchange.bytes_received, exchange.bytes_sent, head.request_id,
        _cut(head.get(b"user-agent") or b""), head.find(MODEL_NAME) or b"", head.find(MODEL_VERSION) or b"",
        peer.address, peer.identity, exchange.version, False, trace.moments, trace.attempts,
    )  # fmt: skip


def _cut(value: bytes) -> bytes:
    """Compiled code would make a copy of what is short enough."""
    return value if len(value) <= MAX_BYTES else value[:MAX_BYTES]


def _find_variant(entry: Entry | None, share: Share | None) -> int:
    """The place of a backend among those of its split, if there is a choice."""
    if entry is None or entry.split is None or share is None or entry.split.only is not None:
        return -1
    return entry.split.shares.index(share)
