"""Answers of our own: errors by the one table, and what a rule says is the answer."""

from collections.abc import Iterable, Sequence

import msgspec

from turnout.proxy.errors import Failure, Flag
from turnout.proxy.http import grpc
from turnout.proxy.http.head import NO_FIELDS, Fields, RequestHead, ResponseHead
from turnout.proxy.route.edits import Edits

_WITHOUT_BODY = frozenset({204, 205, 304})
_OVERLOADED = frozenset({Flag.UO, Flag.OM})
Answer = tuple[ResponseHead, bytes]


def make_error(failure: Failure, request: RequestHead, reason: str, fields: Fields = NO_FIELDS) -> Answer:
    """The answer to a failure, with `x-envoy-overloaded` where there was too much of something (Envoy)."""
    head = ResponseHead([(b"content-type", b"application/json"), *fields], failure.status)
    _tell_overload(head, failure)
    return head, encode_error(failure, request, reason)


def make_grpc_error(failure: Failure, request: RequestHead, reason: str, fields: Fields = NO_FIELDS) -> Answer:
    """The same for a gRPC call: a 200 without messages (trailers-only) that has a status."""
    head = ResponseHead([grpc.CONTENT_TYPE, *describe_grpc(failure, request, reason), *fields], 200)
    _tell_overload(head, failure)
    return head, b""


def describe_grpc(failure: Failure, request: RequestHead, reason: str) -> Fields:
    """`grpc-status` and `grpc-message` of a failure."""
    trace = f", trace {request.trace_id.decode()}" if request.traceparent else ""
    text = f"{_explain(failure, reason)} ({failure.flag}, request {request.request_id.decode('latin-1')}{trace})"
    return grpc.status_fields(grpc_status(failure), text)


def grpc_status(failure: Failure) -> grpc.GrpcStatus:
    return grpc.from_http(failure.status) if failure.grpc is None else grpc.GrpcStatus(failure.grpc)


def make_redirect(status: int, location: bytes, edits: Iterable[Edits]) -> Answer:
    head = ResponseHead([(b"location", location)], status)
    for edit in edits:
        edit.apply(head)
    return head, b""


def make_direct(status: int, body: bytes, edits: Sequence[Edits]) -> Answer:
    """What a rule says is the answer (Envoy `direct_response`); no failure, so it has no flag."""
    if status in _WITHOUT_BODY:
        body = b""
    head = ResponseHead([(b"content-type", b"text/plain")] if body else (), status)
    for edit in edits:
        edit.apply(head)
    return head, body


def encode_error(failure: Failure, request: RequestHead, reason: str) -> bytes:
    """The body of an error answer: `{"error": {"flag", "status", "message", "request_id", "trace_id"}}`; a request that
    belongs to no trace has an empty one."""
    error = {
        "flag": str(failure.flag),
        "status": failure.status,
        "message": _explain(failure, reason),
        "request_id": request.request_id.decode("latin-1"),
        "trace_id": request.trace_id.decode(),
    }
    return msgspec.json.encode({"error": error}) + b"\n"


def _explain(failure: Failure, reason: str) -> str:
    return f"{failure.message}: {reason}" if reason else failure.message


def _tell_overload(head: ResponseHead, failure: Failure) -> None:
    if failure.flag in _OVERLOADED:
        head.add(b"x-envoy-overloaded", b"true")
