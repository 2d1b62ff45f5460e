"""From records to spans: what OpenTelemetry's semantic conventions call what we know (stable names of HTTP, and those
of RPC), and `turnout.*` for what they have no name for.

The server's span is named by the method and the rule that took the request, as both are few; the path, which a client
chooses, is an attribute.
"""

import re
from collections.abc import Iterator
from urllib.parse import quote

import msgspec

from turnout.predictors.model import read_model_from_path
from turnout.proxy.http.grpc import GrpcStatus
from turnout.proxy.net.spans import SERVER_ERRORS
from turnout.proxy.telemetry.trace.record import Attempt, Record

SERVER, CLIENT = 2, 3
"""Kinds of spans (OTLP `Span.SpanKind`)."""
_KNOWS_REMOTE, _REMOTE = 0x100, 0x200
"""OTLP `SpanFlags`: whether it is known that the parent is in another process, and that it is."""

_METHODS = frozenset(b"CONNECT DELETE GET HEAD OPTIONS PATCH POST PUT QUERY TRACE".split())
_VERSIONS = ("1.0", "1.1", "2")
_is_plain_path = re.compile(rb"[A-Za-z0-9/:@!$&'()*+,;=._~%-]*").fullmatch
_redact = re.compile(r"(?i)(?<![^&])(AWSAccessKeyId|Signature|sig|X-Goog-Signature)=[^&]+").sub

Value = str | int | bool | float


class Span(msgspec.Struct, gc=False):
    """One span, in OpenTelemetry's words; ids are hex digits, times seconds of the monotonic clock. `error` says that
    it is one, and why."""

    trace_id: str
    span_id: str
    parent_id: str
    flags: int
    state: str
    name: str
    kind: int
    start: float
    end: float
    attributes: dict[str, Value]
    moments: list[tuple[str, float]]
    error: str | None


def make_spans(record: Record) -> Iterator[Span]:
    """The spans of an exchange: the server's, and one for each attempt."""
    call = _read_call(record)
    if not record.detached:
        yield _make_server(record, call)
    reason = ""
    for at, attempt in enumerate(record.attempts):
        yield _make_client(record, attempt, call, at, reason)
        reason = attempt.reason


def _make_server(record: Record, call: str) -> Span:
    remote = _KNOWS_REMOTE | (_REMOTE if record.parent_id else 0)
    if record.grpc:
        is_error = record.grpc_status in SERVER_ERRORS
    else:
        is_error = record.status >= 500 or (record.failed and record.flag != "DC" and not 400 <= record.status < 500)
    return Span(
        record.trace_id.decode(), record.span_id.decode(), record.parent_id.decode(), record.flags | remote,
        record.state.decode("latin-1"), call or f"{_name_method(record.method)} {record.route}".rstrip(), SERVER,
        record.start, record.end, dict(_server_attributes(record, call, is_error)),
        [*record.moments, *([("first_byte", record.first_byte)] if record.first_byte else ())],
        (record.reason or None) if is_error and record.reason else "" if is_error else None,
    )  # fmt: skip


def _server_attributes(record: Record, call: str, is_error: bool) -> Iterator[tuple[str, Value]]:
    yield from _method_attributes(record.method)
    yield "url.scheme", record.scheme.decode()
    yield "url.path", record.path.decode("latin-1")
    if record.query:
        yield "url.query", _redact(r"\1=REDACTED", record.query.decode("latin-1"))
    if record.host:
        yield "server.address", record.host
    yield "client.address", record.peer.decode()
    yield "network.peer.address", record.peer.decode()
    yield "network.protocol.name", "http"
    yield "network.protocol.version", _VERSIONS[record.minor]
    if record.user_agent:
        yield "user_agent.original", record.user_agent.decode("latin-1")
    if record.status:
        yield "http.response.status_code", record.status
    if is_error:
        yield "error.type", record.flag if record.failed else _name_error(record)
    if call:
        yield from _call_attributes(call, record.grpc_status)
    yield from _own_attributes(record)


def _own_attributes(record: Record) -> Iterator[tuple[str, Value]]:
    for name, value in (
        ("route", record.route),
        ("predictor", record.predictor),
        ("request_id", record.request_id.decode("latin-1")),
        ("snapshot", record.snapshot),
        ("reason", record.reason),
        ("peer_identity", record.identity),
        ("flag", "" if record.flag == "-" else record.flag),
    ):
        if value:
            yield f"turnout.{name}", value
    if record.variant >= 0:
        yield "turnout.variant", record.variant
    model, version = record.model, record.model_version
    if not model and (found := read_model_from_path(record.path)) is not None:
        model, version = found
    if model:
        yield "turnout.model.name", model.decode("utf-8", "replace")
    if version:
        yield "turnout.model.version", version.decode("utf-8", "replace")
    yield "turnout.attempts", len(record.attempts)
    yield "turnout.bytes_received", record.bytes_received
    yield "turnout.bytes_sent", record.bytes_sent
    yield "turnout.upstream_ms", round(record.upstream_s * 1000, 3)
    if record.late:
        yield "turnout.sampled_late", True


def _make_client(record: Record, attempt: Attempt, call: str, at: int, retry_reason: str) -> Span:
    is_last = at == len(record.attempts) - 1
    if call and is_last and not attempt.reason:
        is_error = record.grpc_status > 0
    else:
        is_error = attempt.status >= 400 or bool(attempt.reason)
    return Span(
        record.trace_id.decode(), attempt.span_id.decode(), record.span_id.decode(), record.flags | _KNOWS_REMOTE,
        record.state.decode("latin-1"), call or _name_method(record.method), CLIENT, attempt.start, attempt.end,
        dict(_client_attributes(record, attempt, call if is_last else "", at, retry_reason, is_error)),
        attempt.moments, attempt.reason if is_error else None,
    )  # fmt: skip


def _client_attributes(
    record: Record, attempt: Attempt, call: str, at: int, retry_reason: str, is_error: bool
) -> Iterator[tuple[str, Value]]:
    yield from _method_attributes(record.method)
    host = f"[{attempt.address}]" if ":" in attempt.address else attempt.address
    yield "url.full", f"{attempt.scheme}://{host}:{attempt.port}{_quote(record.sent_path)}"
    yield "server.address", attempt.address
    yield "server.port", attempt.port
    yield "network.peer.address", attempt.address
    yield "network.peer.port", attempt.port
    if attempt.status:
        yield "http.response.status_code", attempt.status
    if is_error:
        reason = attempt.reason.partition(" ")[0] if attempt.reason and not attempt.status else ""
        yield "error.type", reason or (str(attempt.status) if attempt.status >= 400 else _name_error(record))
    if call:
        yield from _call_attributes(call, record.grpc_status)
    if at:
        yield "http.request.resend_count", at
    for name, value in (
        ("predictor", attempt.predictor),
        ("endpoint", f"{host}:{attempt.port}"),
        ("reason", attempt.reason),
        ("retry_reason", retry_reason),
    ):
        if value:
            yield f"turnout.{name}", value
    if attempt.shadow:
        yield "turnout.shadow", True
    if record.late:
        yield "turnout.sampled_late", True


def _quote(path: bytes) -> str:
    """A path as it may stand in a URL; nearly all are so as they came."""
    return path.decode() if _is_plain_path(path) else quote(path, safe="/:@!$&'()*+,;=-._~%")


def _method_attributes(method: bytes) -> Iterator[tuple[str, Value]]:
    if method in _METHODS:
        yield "http.request.method", method.decode()
    else:
        yield "http.request.method", "_OTHER"
        yield "http.request.method_original", method.decode("latin-1")


def _call_attributes(call: str, status: int) -> Iterator[tuple[str, Value]]:
    yield "rpc.system.name", "grpc"
    yield "rpc.method", call
    if status >= 0:
        yield "rpc.response.status_code", GrpcStatus(status).name


def _read_call(record: Record) -> str:
    """`package.Service/Method` of a gRPC call; empty of what is none. One that no rule took is anybody's to name."""
    if not record.grpc:
        return ""
    if not record.route and not record.detached:
        return "_OTHER"
    return record.path.decode("latin-1").removeprefix("/")


def _name_method(method: bytes) -> str:
    return method.decode() if method in _METHODS else "HTTP"


def _name_error(record: Record) -> str:
    return GrpcStatus(record.grpc_status).name if record.grpc_status > 0 else str(record.status)
