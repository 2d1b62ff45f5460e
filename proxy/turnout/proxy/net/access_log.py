"""Makes the access line of an exchange and has it written; the clock of the wall is read here."""

import time
from collections.abc import Callable

from turnout.proxy.errors import Flag
from turnout.proxy.exchange import Exchange
from turnout.proxy.filters.peer import Peer
from turnout.proxy.http.names import Mark
from turnout.proxy.net.log_file import FLUSH_BYTES, LogFile
from turnout.proxy.telemetry.access_log import TEXT_TEMPLATE, Escaper, make_json_template

_VERSIONS = (b"HTTP/1.0", b"HTTP/1.1")
_TRACEPARENT = int(Mark.TRACEPARENT)
_FLAGS = tuple(str(flag).encode() for flag in Flag)


class AccessLog:
    """Writes one line an exchange. `flush` is to be called about once a second."""

    __slots__ = ("_buffer", "_escaper", "_file", "_millisecond", "_missing", "_now", "_second", "_template", "_wall")

    def __init__(self, file: LogFile, *, json: bool, wall: Callable[[], float] = time.time) -> None:
        self._file = file
        self._buffer = file.buffer
        self._template = make_json_template() if json else TEXT_TEMPLATE
        self._missing = b"null" if json else b"-"
        self._wall = wall
        self._escaper = Escaper()
        self._millisecond = 0
        self._now = self._second = b""

    def log(self, exchange: Exchange, peer: Peer, now: float) -> None:
        """Append the line of an exchange that is over."""
        head, share, entry, lease, failure = (
            exchange.head, exchange.share, exchange.entry, exchange.lease, exchange.failure,
        )  # fmt: skip
        escaper = self._escaper
        names = escaper.learned
        started, first = exchange.started_at, exchange.first_byte_at
        total_us, upstream_us = int((now - started) * 1e6), int(exchange.upstream_s * 1e6)
        proxy_us = total_us - upstream_us
        target, request_id = exchange.target or head.target, head.request_id
        values = (
            self._time(),
            head.method,
            head.host.encode(),
            escaper.escape(target),
            _VERSIONS[head.minor],
            exchange.status,
            _FLAGS[failure.flag] if failure else b"-",
            escaper.escape(exchange.reason.encode()) if failure else b"",
            (names.get(entry.name) or escaper.escape_name(entry.name)) if entry else b"",
            (names.get(share.cluster) or escaper.escape_name(share.cluster)) if share else b"",
            lease.endpoint.text if lease else b"",
            total_us // 1000,
            total_us % 1000,
            upstream_us // 1000,
            upstream_us % 1000,
            proxy_us // 1000,
            proxy_us % 1000,
            b"%.3f" % ((first - started) * 1e3) if first else self._missing,
            exchange.bytes_received,
            exchange.bytes_sent,
            peer.address,
            request_id if request_id.isalnum() else escaper.escape(request_id),
            exchange.trace_id if head.marks & _TRACEPARENT else b"",
        )
        buffer = self._buffer
        buffer += self._template % values
        if len(buffer) > FLUSH_BYTES:
            self._file.flush()

    def flush(self) -> None:
        self._file.flush()

    def _time(self) -> bytes:
        """RFC 3339 in UTC with milliseconds; its text is made once a millisecond."""
        millisecond = int(self._wall() * 1e3)
        if millisecond != self._millisecond:
            second, rest = divmod(millisecond, 1000)
            if second != self._millisecond // 1000:
                self._second = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(second)).encode()
            self._millisecond = millisecond
            self._now = b"%b.%03dZ" % (self._second, rest)
        return self._now
