"""The grammar of field values that a proxy must read (RFC 9110 §5)."""

import re

from turnout.proxy.errors import Failure
from turnout.proxy.http.names import FORBIDDEN_IN_TRAILERS, STEERING_PREFIXES

_FIELD_LINE = re.compile(rb"([!#$%&'*+\-.^_`|~0-9A-Za-z]+):[ \t]*([\t\x20-\x7e\x80-\xff]*?)[ \t]*\Z")


class MalformedError(ValueError):
    """A message breaks the grammar or the framing rules; str() says which."""


class RefusedError(Exception):
    """A request that is well-formed and that we do not serve; `failure` is its row in the error table."""

    def __init__(self, failure: Failure) -> None:
        super().__init__(failure.message)
        self.failure = failure


def parse_tokens(value: bytes) -> list[bytes]:
    """The elements of a comma-separated list, in lower case; empty ones are left out (RFC 9110 §5.6.1)."""
    value = value.lower()
    if b"," not in value:
        token = value.strip(b" \t")
        return [token] if token else []
    return [token for part in value.split(b",") if (token := part.strip(b" \t"))]


def parse_length(value: bytes) -> int:
    """A Content-Length (RFC 9110 §8.6). Raises MalformedError for anything but 1-18 digits."""
    if not value.isdigit() or len(value) > 18:
        raise MalformedError("invalid Content-Length")
    return int(value)


def check_coding(value: bytes) -> None:
    """Refuse every Transfer-Encoding but a lone `chunked` (RFC 9112 §6.1: 501 or 400 for unknown ones)."""
    if value.lower() != b"chunked":
        raise MalformedError("a transfer coding other than chunked")


def parse_trailer(line: bytes) -> tuple[bytes, bytes] | None:
    """One line of a trailer section; None for a field that must not come in one (RFC 9110 §6.5.1)."""
    match = _FIELD_LINE.match(line)
    if match is None:
        raise MalformedError("malformed trailer")
    name, value = match.groups()
    lower = name.lower()
    late = lower in FORBIDDEN_IN_TRAILERS or lower.startswith(STEERING_PREFIXES)
    return None if late else (lower, value)


def parse_keep_alive_s(value: bytes) -> float | None:
    """The `timeout` of a Keep-Alive field in seconds; None if it has none that can be read."""
    for part in parse_tokens(value):
        name, _, seconds = part.partition(b"=")
        if name == b"timeout" and seconds.isdigit() and len(seconds) < 10:
            return float(seconds)
    return None
