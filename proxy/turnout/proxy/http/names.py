"""Field names: brought to lower case once, and told apart by what a proxy has to do with them.

Names on the wire come from a small set, so their lower-case form is looked up, not made; the set is bounded,
since a client may invent names. A name that needs care has a `Mark`; all others are plain and pass through.
"""

from enum import IntFlag

MAX_LEARNED = 2_048
MAX_LEARNED_BYTES = 64


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
    b"x-request-id": Mark.REQUEST_ID,
    b"traceparent": Mark.TRACEPARENT,
    b"x-gateway-model-name": Mark.STEERING,
    b"x-gateway-model-version": Mark.STEERING,
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

STEERING_PREFIXES = (b"x-turnout-", b"x-envoy-")

FORBIDDEN_IN_TRAILERS = frozenset(
    {b"content-length", b"transfer-encoding", b"host", b"connection", b"te", b"trailer", b"upgrade", b"expect"}
    | {b"keep-alive", b"proxy-connection", b"content-encoding", b"content-type", b"content-range"}
    | {b"authorization", b"cookie", b"set-cookie", b"cache-control", b"range", b"x-forwarded-for"}
)
"""Fields that frame, route or authenticate must not come late (RFC 9110 §6.5.1)."""


class Names:
    """Knows one direction's names as they were spelled: `plain` maps the plain ones to their lower-case form."""

    __slots__ = ("_marked", "_marks", "_steering", "plain")

    def __init__(self, marks: dict[bytes, int], *, steering: bool = False) -> None:
        self.plain: dict[bytes, bytes] = {}
        self._marked: dict[bytes, tuple[int, bytes]] = {}
        self._marks = {name: int(mark) for name, mark in marks.items()}
        self._steering = steering

    def look_up(self, name: bytes) -> tuple[int, bytes]:
        """The mark, 0 for none, and the lower-case form of a name, which is learned."""
        known = self._marked.get(name)
        if known is not None:
            return known
        lower = name.lower()
        mark = self._marks.get(lower, 0)
        if not mark and self._steering and lower.startswith(STEERING_PREFIXES):
            mark = int(Mark.STEERING)
        if len(name) <= MAX_LEARNED_BYTES and len(self.plain) + len(self._marked) < MAX_LEARNED:
            if mark:
                self._marked[name] = mark, lower
            else:
                self.plain[name] = lower
        return mark, lower
