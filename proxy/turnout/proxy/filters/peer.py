"""Who is on the other side of a downstream connection."""

from typing import Final

from turnout.proxy.http.head import Fields, read_block
from turnout.proxy.telemetry.access_log import escape


class Peer:
    """An address as text, whether what it says to steer us is believed (`--trusted`), and the scheme that it speaks.

    `identity` is the URI in the certificate that it has shown, empty for none; `certificate` the value of
    `x-forwarded-client-cert` that upstreams are told of it, empty if it has shown none.
    """

    __slots__ = (
        "address", "block", "certificate", "fields", "forwarded", "identity", "logged_identity", "scheme", "trusted",
    )  # fmt: skip

    def __init__(
        self, address: bytes, *, trusted: bool, scheme: str = "http", identity: str = "", certificate: bytes = b""
    ) -> None:
        self.address = address
        self.trusted = trusted
        self.scheme = scheme.encode()
        self.identity = identity
        self.logged_identity = escape(identity.encode())
        self.certificate = certificate
        shown = b"\r\nx-forwarded-client-cert: " + certificate if certificate else b""
        self.forwarded = b"\r\nx-forwarded-for: %b\r\nx-forwarded-proto: %b" % (address, self.scheme)
        """What is added to a request that comes without forwarding fields of its own."""
        self.block = shown + self.forwarded + b"\r\nx-request-id: "
        """The same, with what is told of its certificate, and the id is to follow."""
        self.fields: Fields = read_block(shown + self.forwarded)
        """What is added so, read; without the id."""


UNKNOWN: Final = Peer(b"", trusted=False)
"""Of a connection that is not made yet."""
