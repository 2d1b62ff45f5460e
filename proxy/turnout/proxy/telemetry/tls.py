"""Why a TLS handshake failed, as counted: one word per side and reason."""

from enum import IntEnum
from typing import Literal

Side = Literal["downstream", "upstream"]
SIDES: tuple[Side, ...] = ("downstream", "upstream")


class TlsFailure(IntEnum):
    """The number is a slot in the counters, so new ones are added at the end, of at most 16."""

    OTHER = 0
    EXPIRED = 1
    """The peer's certificate is, or is not valid yet."""
    UNKNOWN_CA = 2
    WRONG_NAME = 3
    """The endpoint's certificate is another one's; or a client asks for a server name that is not here."""
    NO_CERTIFICATE = 4
    """The client shows none, and has to."""
    BAD_CERTIFICATE = 5
    """Of the peer, in another way."""
    REJECTED = 6
    """The peer did not want us, and said so by an alert."""
    NOT_TLS = 7
    UNSUPPORTED = 8
    """No version, cipher or protocol in common."""
    TIMEOUT = 9
    CLOSED = 10
    """The peer closed in the middle of it."""

    def __str__(self) -> str:
        return self.name.lower()


MAX_FAILURES = 16
"""Words for each side."""


def failure_offset(side: Side, failure: TlsFailure) -> int:
    """Where its count stands, behind `Word.TLS_FAILURES`."""
    return SIDES.index(side) * MAX_FAILURES + failure
