"""W3C `tracestate`: what tracing systems tell each other along a trace (Trace Context §3.3). It is passed on, and no
entry of ours is added: our spans are found by the `traceparent` alone.
"""

import re

MAX_MEMBERS = 32
_KEY = rb"[a-z0-9][a-z0-9_*/@-]{0,255}"
_VALUE = rb"[\x20-\x2b\x2d-\x3c\x3e-\x7e]{0,255}[\x21-\x2b\x2d-\x3c\x3e-\x7e]"
_is_member = re.compile(_KEY + b"=" + _VALUE).fullmatch


def read_tracestate(value: bytes) -> bytes:
    """The field (several joined by a comma), without the empty members that are allowed in it; empty if it is not
    valid, and then none is to be passed on (§4.3: the whole of it may be discarded)."""
    members = [member for part in value.split(b",") if (member := part.strip(b" \t"))]
    if len(members) > MAX_MEMBERS or not all(map(_is_member, members)):
        return b""
    return b",".join(members)
