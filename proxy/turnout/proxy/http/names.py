"""Field names that a proxy has to do something with. All others are plain and pass through.

A name that needs care has a `Mark`. The marked fields of a head are found by one regular expression over all of its
fields, so that the plain ones, which are most, cost nothing each.
"""

import re
from enum import IntFlag
from typing import Final

from turnout.proxy.telemetry.trace import b3

MODEL_NAME: Final = b"x-gateway-model-name"
MODEL_VERSION: Final = b"x-gateway-model-version"
"""Which model a request is for, as the inference gateways say it. The proxy itself does, and nobody else."""

MAX_LEARNED: Final = 2_048
MAX_LEARNED_BYTES: Final = 64


class Mark(IntFlag):
    """Why a field is not plain. The names of a head's kept marked fields are summed in `Head.marks`."""

    # Never passed on as they are: framing, and hop-by-hop (RFC 9110 §7.6.1)
    HOST = 1
    CONTENT_LENGTH = 2
    TRANSFER_ENCODING = 4
    CONNECTION = 8
    UPGRADE = 16
    HOP_BY_HOP = 32
    TE = 64
    # Passed on, or replaced by a filter that wants to know whether they are there
    EXPECT = 128
    FORWARDED_FOR = 256
    FORWARDED_PROTO = 512
    REQUEST_ID = 1_024
    TRACEPARENT = 2_048
    STEERING = 4_096
    KEEP_ALIVE = 8_192
    CLIENT_CERT = 16_384
    # Of gRPC calls alone, and in an attribute
    GRPC_TIMEOUT = 32_768
    # Of a trace, beside TRACEPARENT
    TRACESTATE = 65_536
    B3 = 131_072


REQUEST_MARKS: dict[bytes, int] = {
    b"host": Mark.HOST,
    b"content-length": Mark.CONTENT_LENGTH,
    b"transfer-encoding": Mark.TRANSFER_ENCODING,
    b"connection": Mark.CONNECTION,
    b"upgrade": Mark.UPGRADE,
    b"keep-alive": Mark.HOP_BY_HOP,
    b"proxy-connection": Mark.HOP_BY_HOP,
    b"http2-settings": Mark.HOP_BY_HOP,
    b"te": Mark.TE,
    b"expect": Mark.EXPECT,
    b"x-forwarded-for": Mark.FORWARDED_FOR,
    b"x-forwarded-proto": Mark.FORWARDED_PROTO,
    b"x-forwarded-client-cert": Mark.CLIENT_CERT,
    b"x-request-id": Mark.REQUEST_ID,
    b"traceparent": Mark.TRACEPARENT,
    b"tracestate": Mark.TRACESTATE,
    **dict.fromkeys((b3.SINGLE, *b3.MULTI), Mark.B3),
    MODEL_NAME: Mark.STEERING,
    MODEL_VERSION: Mark.STEERING,
    b"x-request-timeout-ms": Mark.STEERING,
}

RESPONSE_MARKS: dict[bytes, int] = {
    b"content-length": Mark.CONTENT_LENGTH,
    b"transfer-encoding": Mark.TRANSFER_ENCODING,
    b"connection": Mark.CONNECTION,
    b"upgrade": Mark.UPGRADE,
    b"keep-alive": Mark.KEEP_ALIVE,
    b"proxy-connection": Mark.HOP_BY_HOP,
    b"te": Mark.HOP_BY_HOP,
}

STEERING_PREFIXES: Final = (b"x-turnout-", b"x-envoy-")

FORBIDDEN_IN_TRAILERS: Final = frozenset(
    {b"content-encoding", b"content-type", b"content-range", b"range", b"cache-control", b"trailer"}
    | {b"authorization", b"cookie", b"set-cookie", *REQUEST_MARKS, *RESPONSE_MARKS}
)
"""Fields that frame, route or authenticate must not come late (RFC 9110 §6.5.1), nor any that we act on."""


class Names:
    """One direction's marked names. `split` takes them out of a block of fields.

    `split(block)` is `[before, name, value, between, name, value, …, behind]`: every third item is plain.
    """

    __slots__ = ("_marks", "_spelled", "split")

    def __init__(self, marks: dict[bytes, int], *, steering: bool = False) -> None:
        self._marks = {name: int(mark) for name, mark in marks.items()}
        self._spelled: dict[bytes, int] = {}
        names = [re.escape(name) for name in marks]
        names += [re.escape(prefix) + rb"[^:]*" for prefix in STEERING_PREFIXES if steering]
        first = b"".join(sorted({name[:1] for name in names}))
        # The first letter is looked at before the names are tried one by one.
        pattern = rb"\r\n((?=[%b])(?:%b)):[ \t]*([^\r]*)" % (first, b"|".join(names))
        self.split = re.compile(pattern, re.IGNORECASE).split

    def mark(self, name: bytes) -> int:
        """The mark of a name that `split` gave; ways to spell it are learned, within a bound."""
        mark = self._spelled.get(name)
        if mark is None:
            mark = self._marks.get(name.lower(), int(Mark.STEERING))
            if len(name) <= MAX_LEARNED_BYTES and len(self._spelled) < MAX_LEARNED:
                self._spelled[name] = mark
        return mark
