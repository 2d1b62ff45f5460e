"""Deadlines between proxies: what a trusted client says it will wait for, and what is left of it for the upstream.

`x-request-timeout-ms` is ours, `x-envoy-expected-rq-timeout-ms` what Envoy tells its upstreams. Both are whole
milliseconds from when the request came. A gRPC call has `grpc-timeout`, which is every client's to say. Rules of the
house:

* They only shorten: the earliest of them and of the route's own limits holds.
* Untrusted peers' are gone by then (`filters.steering`). Of a trusted one, what is not a whole number above 0 is
  ignored, as Envoy does with its own (without `strict_check_headers`): a deadline is a favour, and a broken one must
  not fail the request. 0 is "no limit" to Envoy and so says nothing.
* What goes upstream is what is left then, and at least 1 ms: 0 would mean that there is no limit.
"""

import re

from turnout.proxy.http import grpc
from turnout.proxy.http.head import RequestHead
from turnout.proxy.http.names import Mark

TIMEOUT = b"x-request-timeout-ms"
EXPECTED = b"x-envoy-expected-rq-timeout-ms"
MAX_TIMEOUT_MS = 10**12
"""More than 30 years; what is beyond is no limit."""

_STEERING = int(Mark.STEERING)
_NAMES = frozenset({TIMEOUT, EXPECTED})
_is_number = re.compile(rb"[0-9]{1,13}").fullmatch


def read_timeout_s(head: RequestHead) -> float | None:
    """How long the client will wait, seconds; None if it does not say. Cheap for a head without such fields."""
    own = grpc.parse_timeout_s(head.grpc_timeout) if head.grpc_timeout else None
    if head.marks & _STEERING:
        least = min(_read_ms(head, TIMEOUT), _read_ms(head, EXPECTED))
        if least < MAX_TIMEOUT_MS and (own is None or least / 1000 < own):
            return least / 1000
    return own


def set_timeout(head: RequestHead, remaining_s: float) -> None:
    """Tell the upstream how long its answer will be waited for, in place of what the head says of it.

    `remaining_s` is to the earliest deadline of this attempt; Envoy, too, tells the least of `per_try_timeout` and what
    is left of the route's timeout (source/common/router/router.cc, `setTimeoutHeaders`).
    """
    if head.grpc:
        head.grpc_timeout = grpc.encode_timeout(remaining_s)
        return
    # Codecs write marked names in lower case; so does this, for an earlier attempt.
    if b"-timeout-ms: " in head.block:
        head.remove(_NAMES)
    block = encode_timeout(remaining_s)
    if block:
        head.add_block(block)


def encode_timeout(remaining_s: float) -> bytes:
    """The fields that tell it, in a head's form; none for what is as good as no limit."""
    left = max(1, int(min(remaining_s * 1000, MAX_TIMEOUT_MS)))
    if left >= MAX_TIMEOUT_MS:
        return b""
    return b"\r\nx-request-timeout-ms: %d\r\nx-envoy-expected-rq-timeout-ms: %d" % (left, left)


def _read_ms(head: RequestHead, name: bytes) -> int:
    value = head.get(name)
    if value is None or _is_number(value) is None:
        return MAX_TIMEOUT_MS
    return int(value) or MAX_TIMEOUT_MS
