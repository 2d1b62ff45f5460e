"""W3C trace context, as far as it is read here: whose trace a request belongs to.

The fields themselves are passed on as they came.
"""

import re
from typing import Final

_TRACEPARENT: Final = re.compile(
    rb"(?!ff)[0-9a-f]{2}-(?!0{32})([0-9a-f]{32})-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}(?:-.*)?\Z"
)


def read_trace_id(traceparent: bytes) -> bytes:
    """The trace id, 32 hex digits; empty if the field is not valid (W3C Trace Context §3.2)."""
    match = _TRACEPARENT.match(traceparent)
    return match[1] if match else b""
