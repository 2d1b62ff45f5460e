"""Who is on the other side of a downstream connection."""

from turnout.proxy.http.head import Fields


class Peer:
    """An address as text, and whether what it says to steer us is believed (`--trusted`)."""

    __slots__ = ("address", "block", "fields", "forwarded", "trusted")

    def __init__(self, address: bytes, *, trusted: bool) -> None:
        self.address = address
        self.trusted = trusted
        self.forwarded = b"\r\nx-forwarded-for: %b\r\nx-forwarded-proto: http" % address
        """What is added to a request that comes without forwarding fields of its own."""
        self.fields: Fields = [(b"x-forwarded-for", address), (b"x-forwarded-proto", b"http")]
        """The same, read."""
        self.block = self.forwarded + b"\r\nx-request-id: "
        """The same, and the id is to follow."""
