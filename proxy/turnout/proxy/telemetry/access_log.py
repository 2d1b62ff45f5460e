"""The line of a request in the access log, as JSON (one object a line) or as text.

A line is a template filled with bytes; what a client or a rule may put into it is escaped as in JSON, so nothing
that anybody sends ends a string or a line. Two parts of a line, what was asked and who answered, come again and again:
each has a template of its own, and is made once. The memories are bounded, and emptied when full.
"""

import json
import re
from typing import Final, NamedTuple

from turnout.proxy.errors import Flag

REQUEST_FIELDS: Final = ("method", "host", "path", "protocol")
OUTCOME_FIELDS: Final = ("flag", "reason", "route", "predictor", "endpoint", "attempts")
FIELDS: Final = (
    "time", *REQUEST_FIELDS, "status", *OUTCOME_FIELDS,
    "duration_ms", "upstream_ms", "proxy_ms", "first_byte_ms", "bytes_received", "bytes_sent", "peer",
    "peer_identity", "request_id", "trace_id", "grpc_status",
)  # fmt: skip
"""In the order in which they stand in a line. Durations in milliseconds; bytes are those of bodies.

`time` is when the request began; `flag` is Envoy's response flag, `-` for none; `status` 0: the client left before
there was one; `peer_identity` the URI in the client's certificate, empty for none; `first_byte_ms` is null (`-` in
text) if the upstream never began to answer, and `grpc_status` for what is no gRPC call.
"""

MAX_LEARNED: Final = 1_024
MAX_LEARNED_BYTES: Final = 256
MAX_LEARNED_US: Final = 4_096

_VERSIONS: Final = (b"HTTP/1.0", b"HTTP/1.1", b"HTTP/2")
_FLAGS: Final = tuple(str(flag).encode() for flag in Flag)
_is_unsafe: Final = re.compile(rb"[^\x20\x21\x23-\x5b\x5d-\x7e]").search
"""Whether there is a byte that must be escaped in a JSON string, or is not ASCII."""


class Format(NamedTuple):
    """How the parts of a line are written that come again and again, and what is missing."""

    request: bytes
    outcome: bytes
    missing: bytes


JSON: Final = Format(
    b'"method":"%b","host":"%b","path":"%b","protocol":"%b"',
    b'"flag":"%b","reason":"%b","route":"%b","predictor":"%b","endpoint":"%b","attempts":%d',
    b"null",
)
TEXT: Final = Format(
    b'"%b %b%b %b"',
    b'%b "%b" "%b" "%b" "%b" %d',
    b"-",
)
"""What may be empty or hold a space stands in quotes."""


class Milliseconds(dict[int, bytes]):
    """Microseconds to milliseconds as text, `1234` to `1.234`."""

    def __missing__(self, us: int) -> bytes:
        text = b"%d.%03d" % divmod(us, 1000)
        if us < MAX_LEARNED_US:
            self[us] = text
        return text


class Requests(dict[tuple[bytes, str, bytes, int], bytes]):
    """What was asked: (method, host, target, minor version) to its part of a line."""

    def __init__(self, template: bytes) -> None:
        self._template = template

    def __missing__(self, key: tuple[bytes, str, bytes, int]) -> bytes:
        method, host, target, minor = key
        text = self._template % (method, host.encode(), escape(target), _VERSIONS[minor])
        if len(target) <= MAX_LEARNED_BYTES:
            if len(self) >= MAX_LEARNED:
                self.clear()
            self[key] = text
        return text


class Outcomes(dict[tuple[str, str, bytes, int], bytes]):
    """Who answered well: (route, predictor, endpoint, attempts) to its part of a line; what failed, or was tried again,
    is written each by itself."""

    def __init__(self, template: bytes) -> None:
        self._template = template

    def __missing__(self, key: tuple[str, str, bytes, int]) -> bytes:
        if len(self) >= MAX_LEARNED:
            self.clear()
        text = self[key] = self.write(Flag.NONE, "", *key)
        return text

    def write(self, flag: Flag, reason: str, route: str, predictor: str, endpoint: bytes, attempts: int) -> bytes:
        """The part of one line."""
        names = _escape_name(route), _escape_name(predictor)
        return self._template % (_FLAGS[flag], escape(reason.encode()), *names, endpoint, attempts)


def escape(value: bytes) -> bytes:
    """Bytes from the wire, taken as Latin-1, as they stand inside of a JSON string."""
    return value if _is_unsafe(value) is None else json.dumps(value.decode("latin-1"))[1:-1].encode()


def _escape_name(name: str) -> bytes:
    return json.dumps(name)[1:-1].encode()
