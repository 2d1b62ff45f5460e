"""Heads to the fields of an HTTP/2 stream. Whatever they came from, nothing hop-by-hop is in a head in hand, and its
framing is in attributes; names go out in lower case (RFC 9113 §8.2)."""

from typing import Final

from turnout.proxy.http.head import Fields, RequestHead, ResponseHead
from turnout.proxy.http.names import Mark
from turnout.proxy.http2.never_indexed import lower_names

_LENGTH: Final = int(Mark.CONTENT_LENGTH)
_TE: Final = int(Mark.TE)
_STATUS: Final = {status: (b":status", b"%d" % status) for status in range(100, 600)}
_METHOD_POST: Final = (b":method", b"POST")
_TRAILERS: Final = (b"te", b"trailers")
_WEBSOCKET_ONLY = frozenset({b"sec-websocket-key", b"sec-websocket-accept"})


def request_fields(head: RequestHead, scheme: bytes) -> Fields:
    """For an upstream. A WebSocket's upgrade becomes an extended CONNECT (RFC 8441 §4)."""
    if head.upgrade:
        return _connect_fields(head, scheme)
    fields = [
        _METHOD_POST if head.method == b"POST" else (b":method", head.method),
        (b":scheme", scheme),
        (b":authority", head.authority),
        (b":path", head.path if head.query is None else head.target),
        *head.fields,
    ]
    if head.marks & _LENGTH:
        fields.append((b"content-length", b"%d" % head.length))
    if head.grpc or head.marks & _TE:
        fields.append(_TRAILERS)
    if head.grpc_timeout:
        fields.append((b"grpc-timeout", head.grpc_timeout))
    return fields


def _connect_fields(head: RequestHead, scheme: bytes) -> Fields:
    return [
        (b":method", b"CONNECT"),
        (b":protocol", head.upgrade),
        (b":scheme", scheme),
        (b":authority", head.authority),
        (b":path", head.target),
        *[field for field in head.fields if field[0] not in _WEBSOCKET_ONLY],
    ]


def response_fields(head: ResponseHead) -> Fields:
    """For a downstream. A 101 is a 200 here (RFC 8441 §5)."""
    if head.status == 101:
        return [_STATUS[200], *[field for field in head.fields if field[0] not in _WEBSOCKET_ONLY]]
    fields = [_STATUS[head.status], *head.fields]
    if head.marks & _LENGTH or (head.length > 0 and not head.bodyless):
        fields.append((b"content-length", b"%d" % head.length))
    return fields


def trailer_fields(trailers: Fields) -> Fields:
    """One that came as never indexed goes out so: it is passed on as it is."""
    if len(trailers) == 1 and trailers[0][0].islower():
        return trailers  # as most are
    return lower_names(trailers)
