"""Makes the access line of an exchange and has it written; the clock of the wall is read here."""

import time
from collections.abc import Callable

from turnout.proxy.errors import Flag
from turnout.proxy.exchange import Exchange
from turnout.proxy.filters.peer import Peer
from turnout.proxy.http.names import Mark
from turnout.proxy.net.log_file import FLUSH_BYTES, LogFile
from turnout.proxy.telemetry.access_log import FIELDS, TEXT_TEMPLATE, Escaper, is_unsafe, make_json_template

_VERSIONS = (b"HTTP/1.0", b"HTTP/1.1")
_TRACEPARENT = int(Mark.TRACEPARENT)
_FLAGS = tuple(str(flag).encode() for flag in Flag)


class AccessLog:
    """Writes one line an exchange. `flush` is to be called about once a second."""

    __slots__ = ("_buffer", "_escaper", "_file", "_json", "_millisecond", "_now", "_second", "_template", "_wall")

    def __init__(self, file: LogFile, *, json: bool, wall: Callable[[], float] = time.time) -> None:
        self._file = file
        self._buffer = file.buffer
        self._json = json
        self._template = make_json_template()
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
        started, first, upstream_ms = exchange.started_at, exchange.first_byte_at, exchange.upstream_s * 1e3
        total_ms = (now - started) * 1e3
        target, request_id = exchange.target or head.target, head.request_id
        values = (
            self._time(),
            head.method,
            head.host.encode(),
            escaper.escape(target) if is_unsafe(target) else target,
            _VERSIONS[head.minor],
            exchange.status,
            _FLAGS[failure.flag] if failure else b"-",
            escaper.escape(exchange.reason.encode()) if failure else b"",
            (names.get(entry.name) or escaper.escape_name(entry.name)) if entry else b"",
            (names.get(share.cluster) or escaper.escape_name(share.cluster)) if share else b"",
            lease.endpoint.text if lease else b"",
            total_ms,
            upstream_ms,
            total_ms - upstream_ms,
            b"%.3f" % ((first - started) * 1e3) if first else b"null",
            exchange.bytes_received,
            exchange.bytes_sent,
            peer.address,
            request_id if request_id.isalnum() else escaper.escape(request_id),
            exchange.trace_id if head.marks & _TRACEPARENT else b"",
        )
        buffer = self._buffer
        buffer += self._template % values if self._json else self._make_text(values)
        if len(buffer) > FLUSH_BYTES:
            self._file.flush()

    def _make_text(self, values: tuple[object, ...]) -> bytes:
        return TEXT_TEMPLATE % {name.encode(): value for name, value in zip(FIELDS, values, strict=True)}

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
