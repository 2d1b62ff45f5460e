"""W3C `traceparent`: whose trace a request belongs to (Trace Context §3.2).

    00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01
    version, trace id, parent id (the caller's span), flags

A valid one is kept as its first 55 bytes, in which all parts have their places. What a later version adds behind them
is nobody's to read (§3.2.4), and what goes on from here is version 00.
"""

import re

_FIELDS = rb"-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}"
_is_first_version = re.compile(b"00" + _FIELDS).fullmatch
_match_later_version = re.compile(rb"((?!00|ff)[0-9a-f]{2}" + _FIELDS + rb")(?:-.*)?", re.DOTALL).fullmatch
TRACEPARENT_BYTES = 55

SAMPLED_DIGITS = b"13579bdf"
"""The last digit of the flags where the caller may have recorded its part. Flags are bits, and not a number."""
_RANDOM_DIGITS = b"2367abef"
"""The last digit of the flags where the trace id is random, as a later level of the text has it: passed on as it came
with the id."""


def read_traceparent(value: bytes) -> bytes:
    """The field's first 55 bytes; empty if it is not valid, and then a trace is to be started."""
    if _is_first_version(value) is not None:
        return value
    later = _match_later_version(value)
    return b"" if later is None else later[1]


def get_trace_id(traceparent: bytes) -> bytes:
    """32 hex digits, of a valid field; empty of an empty one."""
    return traceparent[3:35]


def get_parent_id(traceparent: bytes) -> bytes:
    """16 hex digits, of a valid field."""
    return traceparent[36:52]


def is_sampled(traceparent: bytes) -> bool:
    """Whether the caller may have recorded its part; of a valid field."""
    return traceparent[54] in SAMPLED_DIGITS


def is_random(traceparent: bytes) -> bool:
    """Whether the field says that its trace id is random; of a valid field."""
    return traceparent[54] in _RANDOM_DIGITS


def make_traceparent(trace_id: bytes, span_id: bytes, *, sampled: bool, random: bool = False) -> bytes:
    """The field of a span, in version 00; flags that are not known here are not set."""
    return b"00-%b-%b-0%d" % (trace_id, span_id, sampled + 2 * random)
