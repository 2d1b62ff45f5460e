"""Spans in the JSON of OTLP (opentelemetry-proto, `ExportTraceServiceRequest`): ids in hex, 64-bit numbers as strings,
enumerations as numbers.

Written here and not by the SDK, which takes 46 µs a span for it where this takes 2: it is most of what a
recorded request costs. What many spans say is encoded once (`Shared`), and the rest is put around it as text, of which
only what others wrote is escaped.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from turnout.proxy.supervisor.tracing.describe import Shared, Span, Value

ERROR = 2
"""`Status.StatusCode`."""

_encode = msgspec.json.Encoder().encode


class StringValue(msgspec.Struct, gc=False):
    """The commonest `AnyValue`."""

    stringValue: str


class KeyValue(msgspec.Struct, gc=False):
    """An attribute."""

    key: str
    value: StringValue | dict[str, Any]


class Envelope:
    """What is around spans of one resource and one scope."""

    def __init__(self, resource: Mapping[str, Any], scope: str, version: str) -> None:
        told = {"resource": {"attributes": encode_attributes(resource)}}
        scopes = [{"scope": {"name": scope, "version": version}, "spans": [None]}]
        self._before, self._after = _encode({"resourceSpans": [{**told, "scopeSpans": scopes}]}).rsplit(b"null", 1)

    def wrap(self, spans: Sequence[bytes]) -> bytes:
        """The body of a request to a collector, out of spans that are encoded."""
        return b"".join([self._before, b",".join(spans), self._after])


def encode_span(span: Span, offset_s: float) -> bytes:
    """One span; `offset_s` is what the clock of the wall is ahead of the span's."""
    attributes = _encode_shared(span.shared)
    if span.own:
        attributes = b"%b,%b" % (attributes, _encode_inside(span.own))
    return (
        b'{"traceId":"%b","spanId":"%b"%b,"flags":%d,"name":%b,"kind":%d,"startTimeUnixNano":"%d000",'
        b'"endTimeUnixNano":"%d000","attributes":[%b]%b%b}'
    ) % (
        span.trace_id,
        span.span_id,
        b',"parentSpanId":"%b"' % span.parent_id if span.parent_id else b"",
        span.flags,
        _encode(span.name),
        span.kind,
        _microseconds(span.start + offset_s),
        _microseconds(span.end + offset_s),
        attributes,
        _encode_moments(span.moments, offset_s) if span.moments else b"",
        _encode_rest(span) if span.state or span.error is not None else b"",
    )


def _encode_shared(shared: tuple[Shared, ...]) -> bytes:
    for part in shared:
        if not part.encoded:
            part.encoded = _encode_inside(part.attributes)
    return b",".join([part.encoded for part in shared])


def _encode_inside(attributes: Mapping[str, Value]) -> bytes:
    """The list without its brackets."""
    return _encode(encode_attributes(attributes))[1:-1]


def _encode_moments(moments: list[tuple[str, float]], offset_s: float) -> bytes:
    # Their names are our own words.
    told = [b'{"name":"%b","timeUnixNano":"%d000"}' % (n.encode(), _microseconds(at + offset_s)) for n, at in moments]
    return b',"events":[%b]' % b",".join(told)


def _encode_rest(span: Span) -> bytes:
    """What few spans have."""
    told = b',"traceState":%b' % _encode(span.state) if span.state else b""
    if span.error is None:
        return told
    status: dict[str, Any] = {"code": ERROR, "message": span.error} if span.error else {"code": ERROR}
    return told + b',"status":%b' % _encode(status)


def _microseconds(at: float) -> int:
    return int(at * 1e6)  # a double has no nanoseconds of a time of day


def encode_attributes(attributes: Mapping[str, Value | Any]) -> list[KeyValue]:
    """The list of `KeyValue`."""
    return [
        KeyValue(key, StringValue(value)) if type(value) is str else KeyValue(key, _encode_value(value))
        for key, value in attributes.items()
    ]


def _encode_value(value: Any) -> StringValue | dict[str, Any]:
    if isinstance(value, str):
        return StringValue(value)
    if isinstance(value, bool):
        return {"boolValue": value}
    if isinstance(value, int):
        return {"intValue": str(value)}
    if isinstance(value, float):
        return {"doubleValue": value}
    return {"arrayValue": {"values": [_encode_value(item) for item in value]}}
