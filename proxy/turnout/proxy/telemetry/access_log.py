"""The access record: one line a request, as JSON (one object a line) or as text."""

from typing import Protocol

import msgspec


class AccessRecord(msgspec.Struct, frozen=True, gc=False):
    """What is told of a request. Durations in milliseconds; bytes are those of bodies.

    `flag` is Envoy's response flag, `-` for none; `status` 0: the client left before there was one.
    `first_byte_ms` is None if the upstream never began to answer.
    """

    time: str
    method: str
    host: str
    path: str
    protocol: str
    status: int
    flag: str
    reason: str
    route: str
    predictor: str
    endpoint: str
    duration_ms: float
    upstream_ms: float
    proxy_ms: float
    first_byte_ms: float | None
    bytes_received: int
    bytes_sent: int
    peer: str
    request_id: str
    trace_id: str


class Format(Protocol):
    """Appends the line of a record to a buffer."""

    def append(self, record: AccessRecord, buffer: bytearray) -> None: ...


class JsonFormat:
    """`{"time": …}` and a newline."""

    def __init__(self) -> None:
        self._encoder = msgspec.json.Encoder()

    def append(self, record: AccessRecord, buffer: bytearray) -> None:
        self._encoder.encode_into(record, buffer, -1)
        buffer += b"\n"


class TextFormat:
    """Fields in a fixed order, the request quoted; what is missing is `-`."""

    def append(self, record: AccessRecord, buffer: bytearray) -> None:
        r = record
        request = f"{r.method or '-'} {r.path or '-'} {r.protocol}"
        reason = f' "{_escape(r.reason)}"' if r.reason else ""
        line = (
            f'{r.time} {r.peer} "{_escape(request)}" {_escape(r.host) or "-"} {r.status} {r.flag} '
            f"{r.route or '-'} {r.predictor or '-'} {r.endpoint or '-'} {r.duration_ms:.3f} {r.upstream_ms:.3f} "
            f"{r.bytes_received} {r.bytes_sent} {_escape(r.request_id) or '-'} {r.trace_id or '-'}{reason}\n"
        )
        buffer += line.encode()


def make_format(name: str) -> Format:
    """`json` or `text`."""
    return JsonFormat() if name == "json" else TextFormat()


def _escape(text: str) -> str:
    """Nothing that a client sends may end a line or a quoted string."""
    return text.encode("unicode_escape").decode("ascii").replace('"', '\\"') if not _is_plain(text) else text


def _is_plain(text: str) -> bool:
    return text.isascii() and text.isprintable() and '"' not in text and "\\" not in text
