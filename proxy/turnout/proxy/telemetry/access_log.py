"""The line of a request in the access log, as JSON (one object a line) or as text.

A line is one template filled with bytes; what a client or a rule may put into it is escaped as in JSON, so nothing
that anybody sends ends a string or a line.
"""

import json
import re

FIELDS = (
    "time", "method", "host", "path", "protocol", "status", "flag", "reason", "route", "predictor", "endpoint",
    "duration_ms", "upstream_ms", "proxy_ms", "first_byte_ms", "bytes_received", "bytes_sent", "peer",
    "request_id", "trace_id",
)  # fmt: skip
"""In the order in which a template takes them. Durations in milliseconds; bytes are those of bodies.

`flag` is Envoy's response flag, `-` for none; `status` 0: the client left before there was one; `first_byte_ms` is
null if the upstream never began to answer.
"""

MAX_LEARNED = 65_536

_DURATIONS = ("duration_ms", "upstream_ms", "proxy_ms")
_FORMATS = {"status": b"%d", "bytes_received": b"%d", "bytes_sent": b"%d", "first_byte_ms": b"%b"} | dict.fromkeys(
    _DURATIONS, b"%d.%03d"
)

TEXT_TEMPLATE = (
    b'%b "%b %b%b %b" %d %b "%b" "%b" "%b" %b %d.%03d %d.%03d %d.%03d %b %d %d %b "%b" "%b"\n'
)  # fmt: skip
"""The fields in the same order, what may be empty or hold a space in quotes."""

is_unsafe = re.compile(rb"[^\x20\x21\x23-\x5b\x5d-\x7e]").search
"""Whether there is a byte that must be escaped in a JSON string, or is not ASCII."""


def make_json_template() -> bytes:
    """A template for `%` with a tuple in the order of FIELDS; a duration is two numbers, ms and thousandths of it."""
    parts = [b'"%b":%b' % (name.encode(), _FORMATS.get(name, b'"%b"')) for name in FIELDS]
    return b"{" + b",".join(parts) + b"}\n"


class Escaper:
    """Escapes as JSON does inside of a string; names of rules and endpoints, which recur, are learned."""

    __slots__ = ("learned",)

    def __init__(self) -> None:
        self.learned: dict[str, bytes] = {"": b""}

    def escape(self, value: bytes) -> bytes:
        """Bytes from the wire, taken as Latin-1."""
        return value if is_unsafe(value) is None else json.dumps(value.decode("latin-1"))[1:-1].encode()

    def escape_name(self, name: str) -> bytes:
        escaped = self.learned.get(name)
        if escaped is None:
            if len(self.learned) >= MAX_LEARNED:
                self.learned = {"": b""}
            escaped = self.learned[name] = json.dumps(name)[1:-1].encode()
        return escaped
