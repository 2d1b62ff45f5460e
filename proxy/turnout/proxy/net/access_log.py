"""Makes the access line of an exchange and has it written; the clock of the wall is read here."""

import time
from collections.abc import Callable
from typing import Final

from turnout.proxy.errors import Flag
from turnout.proxy.exchange.state import ExchangeState
from turnout.proxy.filters.peer import Peer
from turnout.proxy.http.grpc import GrpcStatus
from turnout.proxy.net.log_file import FLUSH_BYTES, LogFile
from turnout.proxy.telemetry.access_log import JSON, TEXT, Milliseconds, Outcomes, Requests, escape

WALL_EVERY_S: Final = 1.0
"""How often the clock of the wall is read, against which the loop's clock is the time of day."""


class AccessLog:
    """Writes one line an exchange. `flush` is to be called about once a second."""

    __slots__ = (
        "_buffer", "_file", "_grpc_statuses", "_is_json", "_millisecond", "_milliseconds", "_missing", "_now",
        "_offset_s", "_outcomes", "_requests", "_second", "_wall", "_wall_at",
    )  # fmt: skip

    def __init__(self, file: LogFile, *, json: bool, wall: Callable[[], float] = time.time) -> None:
        self._file = file
        self._buffer = file.buffer
        self._is_json = json
        request, outcome, self._missing = JSON if json else TEXT
        quoted = b'"%b"' if json else b"%b"
        self._grpc_statuses = [quoted % status.name.encode() for status in GrpcStatus]
        self._requests = Requests(request)
        self._outcomes = Outcomes(outcome)
        self._milliseconds = Milliseconds()
        self._wall = wall
        self._wall_at = 0.0
        self._offset_s = 0.0
        self._millisecond = 0
        self._now = self._second = b""

    def log(self, exchange: ExchangeState, peer: Peer, now: float) -> None:
        """Append the line of an exchange that is over."""
        head, started, first = exchange.head, exchange.started_at, exchange.first_byte_at
        milliseconds = self._milliseconds
        total_us, upstream_us = int((now - started) * 1e6), int(exchange.upstream_s * 1e6)
        if now >= self._wall_at:
            self._wall_at = now + WALL_EVERY_S
            self._offset_s = self._wall() - now
        target = exchange.target or (head.path if head.query is None else head.target)
        request_id = head.request_id
        if not request_id.isalnum():
            request_id = escape(request_id)
        began = self._time(int((started + self._offset_s) * 1e3))
        request = self._requests[head.method, head.host, target, head.minor]
        outcome = self._outcome(exchange)
        total, upstream = milliseconds[total_us], milliseconds[upstream_us]
        own = milliseconds[total_us - upstream_us]
        first_byte = milliseconds[int((first - started) * 1e6)] if first else self._missing
        trace_id = head.traceparent[3:35]
        grpc_status = self._missing if exchange.grpc_status < 0 else self._grpc_statuses[exchange.grpc_status]
        trace_id = head.traceparent[3:35]
        buffer = self._buffer
        # Written out twice: only a template that stands where it is filled is compiled to one copy of its parts.
        if self._is_json:
            buffer += (
                b'{"time":"%b",%b,"status":%d,%b,"duration_ms":%b,"upstream_ms":%b,"proxy_ms":%b,"first_byte_ms":%b,'
                b'"bytes_received":%d,"bytes_sent":%d,"peer":"%b","peer_identity":"%b","request_id":"%b",'
                b'"trace_id":"%b","grpc_status":%b}\n'
            ) % (
                began, request, exchange.status, outcome, total, upstream, own, first_byte, exchange.bytes_received,
                exchange.bytes_sent, peer.address, peer.logged_identity, request_id, trace_id, grpc_status,
            )  # fmt: skip
        else:
            buffer += b'%b %b %d %b %b %b %b %b %d %d %b "%b" "%b" "%b" %b\n' % (
                began, request, exchange.status, outcome, total, upstream, own, first_byte, exchange.bytes_received,
                exchange.bytes_sent, peer.address, peer.logged_identity, request_id, trace_id, grpc_status,
            )  # fmt: skip
        if len(buffer) > FLUSH_BYTES:
            self._file.flush()

    def flush(self) -> None:
        self._file.flush()

    def _outcome(self, exchange: ExchangeState) -> bytes:
        entry, share, lease, failure = exchange.entry, exchange.share, exchange.lease, exchange.failure
        route = entry.name if entry else ""
        predictor = share.cluster if share else ""
        endpoint = lease.endpoint.text if lease else b""
        attempts = exchange.attempts
        if failure is None and attempts < 2 and not exchange.flag:
            return self._outcomes[route, predictor, endpoint, attempts]
        flag = failure.flag if failure is not None else Flag(exchange.flag)
        return self._outcomes.write(flag, exchange.reason, route, predictor, endpoint, attempts)

    def _time(self, millisecond: int) -> bytes:
        """RFC 3339 in UTC with milliseconds; its text is made once a millisecond."""
        if millisecond != self._millisecond:
            second, rest = divmod(millisecond, 1000)
            if second != self._millisecond // 1000:
                self._second = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(second)).encode()
            self._millisecond = millisecond
            self._now = b"%b.%03dZ" % (self._second, rest)
        return self._now
