"""Who is on the other side of a downstream connection."""


class Peer:
    """An address as text, and whether what it says to steer us is believed (`--trusted`)."""

    __slots__ = ("address", "block", "trusted")

    def __init__(self, address: bytes, *, trusted: bool) -> None:
        self.address = address
        self.trusted = trusted
        self.block = b"\r\nx-forwarded-for: %b\r\nx-forwarded-proto: http" % address
        """What is added to a request that comes without forwarding fields of its own."""
