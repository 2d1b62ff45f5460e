"""Makes the access record of an exchange and has it written; the clock of the wall is read here."""

import time
from collections.abc import Callable

from turnout.proxy.exchange import Exchange
from turnout.proxy.net.log_file import FLUSH_BYTES, LogFile
from turnout.proxy.telemetry.access_log import AccessRecord, Format

_VERSIONS = ("HTTP/1.0", "HTTP/1.1")


class AccessLog:
    """Writes one line an exchange. `flush` is to be called about once a second."""

    def __init__(self, file: LogFile, format_: Format, wall: Callable[[], float] = time.time) -> None:
        self._file = file
        self._format = format_
        self._wall = wall
        self._second = 0
        self._prefix = ""

    def log(self, exchange: Exchange, now: float) -> None:
        head, share, entry = exchange.head, exchange.share, exchange.entry
        total_ms = (now - exchange.started_at) * 1e3
        upstream_ms = exchange.upstream_s * 1e3
        record = AccessRecord(
            self._time(),
            head.method.decode(),
            head.host,
            head.target.decode("latin-1"),
            _VERSIONS[head.minor],
            exchange.status,
            str(exchange.flag),
            exchange.reason,
            entry.name if entry else "",
            share.cluster if share else "",
            exchange.endpoint_key,
            round(total_ms, 3),
            round(upstream_ms, 3),
            round(total_ms - upstream_ms, 3),
            round((exchange.first_byte_at - exchange.started_at) * 1e3, 3) if exchange.first_byte_at else None,
            exchange.bytes_received,
            exchange.bytes_sent,
            exchange.peer_address.decode(),
            head.request_id.decode("latin-1"),
            exchange.trace_id,
        )
        buffer = self._file.buffer
        self._format.append(record, buffer)
        if len(buffer) > FLUSH_BYTES:
            self._file.flush()

    def flush(self) -> None:
        self._file.flush()

    def _time(self) -> str:
        """RFC 3339 in UTC with milliseconds; the second's text is made once a second."""
        now = self._wall()
        second = int(now)
        if second != self._second:
            self._second = second
            self._prefix = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(second))
        return f"{self._prefix}.{int((now - second) * 1e3):03d}Z"
