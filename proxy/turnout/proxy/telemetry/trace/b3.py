"""B3, the trace context of Zipkin, in one field or in several (openzipkin/b3-propagation).

    b3: 80f198ee56343ba864fe8b2a57d3eff7-e457b5a2e4d86bd1-1     trace id, span id, sampled
    b3: 0                                                       do not sample
    x-b3-traceid, x-b3-spanid, x-b3-sampled, x-b3-flags         the same, a field each

Trace ids may be of 64 bits, and are filled up with zeros. `d`, or `x-b3-flags: 1`, asks for debugging: sampled by
everybody. Who sends ids and no decision leaves that to us.
"""

import re
from typing import NamedTuple

from turnout.proxy.telemetry.trace.parent import make_traceparent

SINGLE: bytes = b"b3"
TRACE_ID, SPAN_ID, PARENT_ID = b"x-b3-traceid", b"x-b3-spanid", b"x-b3-parentspanid"
SAMPLED, FLAGS = b"x-b3-sampled", b"x-b3-flags"
MULTI: tuple[bytes, ...] = (TRACE_ID, SPAN_ID, PARENT_ID, SAMPLED, FLAGS)

_IDS = rb"([0-9a-f]{32}|[0-9a-f]{16})-([0-9a-f]{16})"
_match_single = re.compile(rb"%b(?:-([01d])(?:-[0-9a-f]{16})?)?" % _IDS).fullmatch
_match_ids = re.compile(_IDS).fullmatch
_DECISIONS = {b"0": False, b"false": False, b"1": True, b"true": True, b"d": True}


class B3(NamedTuple):
    """What was said: a valid `traceparent` of the same ids, empty if there were none; whether it is sampled, None if
    that is left open; and whether everybody is to record it."""

    traceparent: bytes
    sampled: bool | None
    debug: bool


NOTHING = B3(b"", None, False)


def read_single(value: bytes) -> B3:
    """The field `b3`; NOTHING if it is not valid."""
    value = value.lower()
    if value in _DECISIONS:
        return B3(b"", _DECISIONS[value], value == b"d")
    match = _match_single(value)
    if match is None:
        return NOTHING
    decision = match[3]
    return _make(match[1], match[2], _DECISIONS.get(decision), debug=decision == b"d")


def read_multi(trace_id: bytes, span_id: bytes, sampled: bytes, flags: bytes) -> B3:
    """The values of the fields, empty for those that are not there; NOTHING if they are not valid."""
    debug = flags == b"1"
    decision = True if debug else _DECISIONS.get(sampled.lower())
    if not trace_id and not span_id:
        return B3(b"", decision, debug)
    match = _match_ids(b"%b-%b" % (trace_id.lower(), span_id.lower()))
    return NOTHING if match is None else _make(match[1], match[2], decision, debug=debug)


def _make(trace_id: bytes, span_id: bytes, sampled: bool | None, *, debug: bool) -> B3:
    if not trace_id.strip(b"0") or not span_id.strip(b"0"):
        return NOTHING
    return B3(make_traceparent(trace_id.zfill(32), span_id, sampled=bool(sampled)), sampled, debug)


def write_single(trace_id: bytes, span_id: bytes, *, sampled: bool, debug: bool) -> bytes:
    """The field `b3` of a span."""
    return b"%b-%b-%b" % (trace_id, span_id, b"d" if debug else b"1" if sampled else b"0")


def write_multi(trace_id: bytes, span_id: bytes, *, sampled: bool, debug: bool) -> list[tuple[bytes, bytes]]:
    """The fields of a span; a debug flag stands for the decision."""
    decision = (FLAGS, b"1") if debug else (SAMPLED, b"1" if sampled else b"0")
    return [(TRACE_ID, trace_id), (SPAN_ID, span_id), decision]
