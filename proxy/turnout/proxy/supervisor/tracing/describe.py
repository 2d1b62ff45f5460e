"""From records to spans: what OpenTelemetry's semantic conventions call what we know (stable names of HTTP, and those
of RPC), and `turnout.*` for what they have no name for.

The server's span is named by the method and the rule that took the request, as both are few; the path, which a client
chooses, is an attribute.

Most requests are like others: what they have in common is described once (`Shared`), and found again by what it is
made of. The memory of that is bounded, and who asks for another path each time pays for its description.
"""

import re
from collections.abc import Iterator
from functools import lru_cache
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

_KEPT = 512
"""Descriptions of each kind that are kept. One is of some 2 KB, and of 12 where a client makes it as large as it can:
four values of `MAX_BYTES`, and all of it in need of escapes."""


class Shared(msgspec.Struct, gc=False):
    """Attributes that many spans have, at least one; and how they are written, for who writes them."""

    attributes: dict[str, Value]
    encoded: bytes = b""


class Span(msgspec.Struct, gc=False):
    """One span, in OpenTelemetry's words; ids are hex digits, times seconds of the monotonic clock. `error` says that
    it is one, and why."""

    trace_id: bytes
    span_id: bytes
    parent_id: bytes
    flags: int
    state: str
    name: str
    kind: int
    start: float
    end: float
    shared: tuple[Shared, ...]
    own: dict[str, Value]
    moments: list[tuple[str, float]]
    error: str | None

    @property
    def attributes(self) -> dict[str, Value]:
        """All of them."""
        return {name: value for part in self.shared for name, value in part.attributes.items()} | self.own


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
    request = _describe_request(
        record.method, record.scheme, record.path, record.query, record.host, record.peer, record.minor,
        record.user_agent, record.model, record.model_version,
    )  # fmt: skip
    answer = _describe_answer(
        record.status, (record.flag if record.failed else _name_error(record)) if is_error else "", call,
        record.grpc_status, record.route, record.predictor, record.variant, record.snapshot, record.reason,
        record.identity, record.flag, len(record.attempts), record.late,
    )  # fmt: skip
    own: dict[str, Value] = {
        "turnout.bytes_received": record.bytes_received,
        "turnout.bytes_sent": record.bytes_sent,
        "turnout.upstream_ms": round(record.upstream_s * 1000, 3),
    }
    if record.request_id:
        own["turnout.request_id"] = record.request_id.decode("latin-1")
    return Span(
        record.trace_id, record.span_id, record.parent_id, record.flags | remote, record.state.decode("latin-1"),
        call or f"{_name_method(record.method)} {record.route}".rstrip(), SERVER, record.start, record.end,
        (request, answer), own,
        [*record.moments, *([("first_byte", record.first_byte)] if record.first_byte else ())],
        (record.reason or None) if is_error and record.reason else "" if is_error else None,
    )  # fmt: skip


@lru_cache(_KEPT)
def _describe_request(
    method: bytes, scheme: bytes, path: bytes, query: bytes, host: str, peer: bytes, minor: int, user_agent: bytes,
    model: bytes, version: bytes,
) -> Shared:  # fmt: skip
    """What was asked for, and who did."""
    attributes: dict[str, Value] = dict(_method_attributes(method))
    attributes |= {"url.scheme": scheme.decode(), "url.path": path.decode("latin-1")}
    if query:
        attributes["url.query"] = _redact(r"\1=REDACTED", query.decode("latin-1"))
    if host:
        attributes["server.address"] = host
    attributes["client.address"] = attributes["network.peer.address"] = peer.decode()
    attributes |= {"network.protocol.name": "http", "network.protocol.version": _VERSIONS[minor]}
    if user_agent:
        attributes["user_agent.original"] = user_agent.decode("latin-1")
    if not model and (found := read_model_from_path(path)) is not None:
        model, version = found
    if model:
        attributes["turnout.model.name"] = model.decode("utf-8", "replace")
    if version:
        attributes["turnout.model.version"] = version.decode("utf-8", "replace")
    return Shared(attributes)


@lru_cache(_KEPT)
def _describe_answer(
    status: int, error: str, call: str, grpc_status: int, route: str, predictor: str, variant: int, snapshot: str,
    reason: str, identity: str, flag: str, attempts: int, late: bool,
) -> Shared:  # fmt: skip
    """What became of it, and by which rule. `error` is its type, empty if it is none."""
    attributes: dict[str, Value] = {"turnout.attempts": attempts}
    if status:
        attributes["http.response.status_code"] = status
    if error:
        attributes["error.type"] = error
    if call:
        attributes |= _call_attributes(call, grpc_status)
    for name, value in (
        ("route", route),
        ("predictor", predictor),
        ("snapshot", snapshot),
        ("reason", reason),
        ("peer_identity", identity),
        ("flag", "" if flag == "-" else flag),
    ):
        if value:
            attributes[f"turnout.{name}"] = value
    if variant >= 0:
        attributes["turnout.variant"] = variant
    if late:
        attributes["turnout.sampled_late"] = True
    return Shared(attributes)


def _make_client(record: Record, attempt: Attempt, call: str, at: int, retry_reason: str) -> Span:
    is_last = at == len(record.attempts) - 1
    if call and is_last and not attempt.reason:
        is_error = record.grpc_status > 0
    else:
        is_error = attempt.status >= 400 or bool(attempt.reason)
    shared = _describe_attempt(
        record.method, attempt.scheme, attempt.address, attempt.port, record.sent_path, attempt.status,
        _name_attempt_error(record, attempt) if is_error else "", call if is_last else "", record.grpc_status, at,
        attempt.predictor, attempt.reason, retry_reason, attempt.shadow, record.late,
    )  # fmt: skip
    return Span(
        record.trace_id, attempt.span_id, record.span_id, record.flags | _KNOWS_REMOTE, record.state.decode("latin-1"),
        call or _name_method(record.method), CLIENT, attempt.start, attempt.end, (shared,), {}, attempt.moments,
        attempt.reason if is_error else None,
    )  # fmt: skip


@lru_cache(_KEPT)
def _describe_attempt(
    method: bytes, scheme: str, address: str, port: int, path: bytes, status: int, error: str, call: str,
    grpc_status: int, at: int, predictor: str, reason: str, retry_reason: str, shadow: bool, late: bool,
) -> Shared:  # fmt: skip
    """Who was asked for what, and what came of it. `error` is its type, empty if it is none; `at` counts attempts."""
    host = f"[{address}]" if ":" in address else address
    attributes: dict[str, Value] = dict(_method_attributes(method))
    attributes |= {
        "url.full": f"{scheme}://{host}:{port}{_quote(path)}",
        "server.address": address,
        "server.port": port,
        "network.peer.address": address,
        "network.peer.port": port,
        "turnout.endpoint": f"{host}:{port}",
    }
    if status:
        attributes["http.response.status_code"] = status
    if error:
        attributes["error.type"] = error
    if call:
        attributes |= _call_attributes(call, grpc_status)
    if at:
        attributes["http.request.resend_count"] = at
    for name, value in (("predictor", predictor), ("reason", reason), ("retry_reason", retry_reason)):
        if value:
            attributes[f"turnout.{name}"] = value
    if shadow:
        attributes["turnout.shadow"] = True
    if late:
        attributes["turnout.sampled_late"] = True
    return Shared(attributes)


def _name_attempt_error(record: Record, attempt: Attempt) -> str:
    reason = attempt.reason.partition(" ")[0] if attempt.reason and not attempt.status else ""
    return reason or (str(attempt.status) if attempt.status >= 400 else _name_error(record))


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
