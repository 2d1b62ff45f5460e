"""What gRPC says in the fields of HTTP/2 (grpc/doc/PROTOCOL-HTTP2.md), as far as a proxy must read or write it.

A call's answer is a 200 whose `grpc-status` comes in the trailers, or, without any message, in the head
(trailers-only). Statuses to and from HTTP's are Envoy's (source/common/grpc/status.cc), which are those of
grpc/doc/http-grpc-status-mapping.md; what an answer of another status than 200 means is told by the same table.
"""

import re
from enum import IntEnum
from typing import Final
from urllib.parse import quote_from_bytes

from turnout.proxy.http.head import Fields, ResponseHead


class GrpcStatus(IntEnum):
    """grpc/doc/statuscodes.md. The number is a slot in the counters."""

    OK = 0
    CANCELLED = 1
    UNKNOWN = 2
    INVALID_ARGUMENT = 3
    DEADLINE_EXCEEDED = 4
    NOT_FOUND = 5
    ALREADY_EXISTS = 6
    PERMISSION_DENIED = 7
    RESOURCE_EXHAUSTED = 8
    FAILED_PRECONDITION = 9
    ABORTED = 10
    OUT_OF_RANGE = 11
    UNIMPLEMENTED = 12
    INTERNAL = 13
    UNAVAILABLE = 14
    DATA_LOSS = 15
    UNAUTHENTICATED = 16


CONTENT_TYPE = (b"content-type", b"application/grpc")
PUSHBACK = b"grpc-retry-pushback-ms"
MAX_TIMEOUT_S = 10**8
"""The grammar has 8 digits; what is longer than 3 years is no limit."""

_BY_VALUE: Final = {b"%d" % status: status for status in GrpcStatus}
_FROM_HTTP: Final = {
    400: GrpcStatus.INTERNAL,
    401: GrpcStatus.UNAUTHENTICATED,
    403: GrpcStatus.PERMISSION_DENIED,
    404: GrpcStatus.UNIMPLEMENTED,
    429: GrpcStatus.UNAVAILABLE,
    502: GrpcStatus.UNAVAILABLE,
    503: GrpcStatus.UNAVAILABLE,
    504: GrpcStatus.UNAVAILABLE,
}
_TO_HTTP: Final[tuple[int, ...]] = (200, 499, 500, 400, 504, 404, 409, 403, 429, 400, 409, 400, 501, 500, 503, 500, 401)
_UNITS_S: Final = {b"H": 3600.0, b"M": 60.0, b"S": 1.0, b"m": 1e-3, b"u": 1e-6, b"n": 1e-9}
_read_timeout: Final = re.compile(rb"([0-9]{1,8})([HMSmun])").fullmatch
_read_pushback = re.compile(rb"0|[1-9][0-9]{0,9}").fullmatch
_MAX_PUSHBACK_MS = 2**31 - 1
_SAFE = bytes(range(0x20, 0x7F)).replace(b"%", b"")


def from_http(status: int) -> GrpcStatus:
    """What an answer without a `grpc-status` means."""
    return _FROM_HTTP.get(status, GrpcStatus.UNKNOWN)


def to_http(status: GrpcStatus) -> int:
    """The HTTP status that says the same, by which endpoints are judged."""
    return _TO_HTTP[status]


def read_status(head: ResponseHead, trailers: Fields) -> GrpcStatus:
    """How a call that is over has ended; UNKNOWN if the answer does not say."""
    for name, value in trailers:
        if name == b"grpc-status":
            return _BY_VALUE.get(value, GrpcStatus.UNKNOWN)
    own = head.get(b"grpc-status")
    if own is not None:
        return _BY_VALUE.get(own, GrpcStatus.UNKNOWN)
    return GrpcStatus.UNKNOWN if head.status == 200 else from_http(head.status)


def status_fields(status: GrpcStatus, message: str) -> Fields:
    """How we say it; the message is percent-encoded as gRPC wants it."""
    encoded = quote_from_bytes(message.encode(), safe=_SAFE)
    return [(b"grpc-status", b"%d" % status), (b"grpc-message", encoded.encode())]


def parse_timeout_s(value: bytes) -> float | None:
    """A `grpc-timeout` in seconds; None for one that breaks the grammar, which says nothing."""
    found = _read_timeout(value)
    return int(found[1]) * _UNITS_S[found[2]] if found else None


def parse_pushback_s(value: bytes) -> float | None:
    """How long a server's `grpc-retry-pushback-ms` wants to be left in peace, in seconds; None if it wants no retry at
    all, which a negative value says, and one that is no 32-bit number (gRPC A6, Pushback)."""
    milliseconds = int(value) if _read_pushback(value) else _MAX_PUSHBACK_MS + 1
    return milliseconds / 1000 if milliseconds <= _MAX_PUSHBACK_MS else None


def encode_timeout(remaining_s: float) -> bytes:
    """What is left of a deadline as a `grpc-timeout`, at least 1 ms."""
    if remaining_s < 99_999:
        return b"%dm" % max(1, int(remaining_s * 1000))
    return b"%dS" % int(min(remaining_s, MAX_TIMEOUT_S - 1))
