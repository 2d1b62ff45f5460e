"""From records to spans, and to what goes over the wire, held against OpenTelemetry's own encoder and names."""

import json
from typing import Any

import msgspec
import pytest
from opentelemetry.exporter.otlp.json.common._internal.trace_encoder import encode_spans
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import Event, ReadableSpan
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.semconv._incubating.attributes import rpc_attributes
from opentelemetry.semconv.attributes import (
    client_attributes,
    error_attributes,
    http_attributes,
    network_attributes,
    server_attributes,
    url_attributes,
    user_agent_attributes,
)
from opentelemetry.trace import SpanContext, SpanKind, Status, StatusCode, TraceFlags, TraceState
from span_records import ATTEMPT, PLAIN, C, P, S, T, change

from turnout.proxy.supervisor.tracing.describe import CLIENT, SERVER, Span, make_spans
from turnout.proxy.supervisor.tracing.otlp import Envelope, encode_span
from turnout.proxy.telemetry.trace.record import (
    Record,
    count_spans,
    decode_records,
    encode_records,
    make_detached,
)

STABLE = {
    value
    for module in (
        client_attributes, error_attributes, http_attributes, network_attributes, server_attributes, url_attributes,
        user_agent_attributes, rpc_attributes,
    )
    for name, value in vars(module).items()
    if name.isupper() and isinstance(value, str)
}  # fmt: skip


def spans(record: Record) -> list[Span]:
    return list(make_spans(record))


def test_a_record_is_the_same_behind_the_channel() -> None:
    assert decode_records(encode_records([PLAIN, PLAIN])) == [PLAIN, PLAIN]


def test_an_exchange_is_a_server_span_with_a_client_span_below_it() -> None:
    server, client = spans(PLAIN)
    assert count_spans(PLAIN) == 2
    assert (server.trace_id, server.span_id, server.parent_id) == (T, S, P)
    assert (client.trace_id, client.span_id, client.parent_id) == (T, C, S)
    assert (server.kind, server.name) == (SERVER, "POST default/iris/split")
    assert (client.kind, client.name) == (CLIENT, "POST")
    assert server.attributes == {
        "http.request.method": "POST", "url.scheme": "http", "url.path": "/v2/models/iris/infer",
        "url.query": "a=1&sig=REDACTED", "server.address": "iris.test", "client.address": "192.0.2.1",
        "network.peer.address": "192.0.2.1", "network.protocol.name": "http", "network.protocol.version": "1.1",
        "user_agent.original": "curl/8", "http.response.status_code": 200, "turnout.route": "default/iris/split",
        "turnout.predictor": "default/v1", "turnout.request_id": "abc", "turnout.snapshot": "f518c9d7a221de32",
        "turnout.variant": 0, "turnout.model.name": "iris", "turnout.attempts": 1, "turnout.bytes_received": 100,
        "turnout.bytes_sent": 20, "turnout.upstream_ms": 750.0,
    }  # fmt: skip
    assert client.attributes == {
        "http.request.method": "POST", "url.full": "http://10.0.0.7:8001/v2/models/iris/infer",
        "server.address": "10.0.0.7", "server.port": 8001, "network.peer.address": "10.0.0.7",
        "network.peer.port": 8001, "http.response.status_code": 200, "turnout.predictor": "default/v1",
        "turnout.endpoint": "10.0.0.7:8001",
    }  # fmt: skip
    assert (server.moments, client.moments) == ([("queued", 1.1), ("first_byte", 1.5)], [("first_byte", 1.5)])
    assert (server.error, client.error) == (None, None)


def test_names_are_those_of_the_conventions() -> None:
    failed = change(status=503, flag="UC", failed=True, reason="gone", grpc=True, grpc_status=14, minor=2)
    for record in (PLAIN, failed, change(method=b"PURGE"), change(attempts=[ATTEMPT, ATTEMPT])):
        for span in spans(record):
            assert {name for name in span.attributes if not name.startswith("turnout.")} <= STABLE


FAILURES: dict[str, tuple[dict[str, Any], str | None, str | None]] = {
    # what is known, the error of the server's span, and its type
    "an answer of 500": ({"status": 500}, "", "500"),
    "an answer of 404": ({"status": 404}, None, None),
    "no route": ({"status": 404, "flag": "NR", "failed": True}, None, None),
    "a failure that was answered": ({"status": 503, "flag": "UC", "failed": True, "reason": "reset"}, "reset", "UC"),
    "a torn answer": ({"status": 200, "flag": "UC", "failed": True, "reason": "reset"}, "reset", "UC"),
    "a client that left": ({"status": 0, "flag": "DC", "failed": True}, None, None),
    "a call that failed": ({"grpc": True, "grpc_status": 13, "minor": 2}, "", "INTERNAL"),
    "a call that was refused": ({"grpc": True, "grpc_status": 3, "minor": 2}, None, None),
}


@pytest.mark.parametrize(("known", "error", "kind"), FAILURES.values(), ids=FAILURES)
def test_what_is_an_error_of_the_server(known: dict[str, Any], error: str | None, kind: str | None) -> None:
    server = spans(change(**known))[0]
    assert (server.error, server.attributes.get("error.type")) == (error, kind)


def test_a_retry_says_why_and_how_often() -> None:
    first = msgspec.structs.replace(ATTEMPT, span_id=P, status=503, reason="answered 503")
    second = msgspec.structs.replace(ATTEMPT, span_id=S, status=0, reason="UF Connection refused")
    server, *clients = spans(change(attempts=[first, second, ATTEMPT], late=True))
    told = [
        [c.attributes.get(name) for name in ("http.request.resend_count", "turnout.retry_reason", "error.type")]
        for c in clients
    ]
    assert told == [[None, None, "503"], [1, "answered 503", "UF"], [2, "UF Connection refused", None]]
    assert [c.error for c in clients] == ["answered 503", "UF Connection refused", None]
    assert all(span.attributes["turnout.sampled_late"] is True for span in (server, *clients))


def test_a_call_is_named_by_its_method() -> None:
    call = change(grpc=True, minor=2, grpc_status=0, path=b"/inference.GRPCInferenceService/ModelInfer")
    server, client = spans(call)
    assert server.name == client.name == "inference.GRPCInferenceService/ModelInfer"
    for span in (server, client):
        assert span.attributes["rpc.system.name"] == "grpc"
        assert span.attributes["rpc.method"] == "inference.GRPCInferenceService/ModelInfer"
        assert span.attributes["rpc.response.status_code"] == "OK"
    assert spans(change(call, route=""))[0].name == "_OTHER", "a client can't name what no rule takes"


def test_a_client_can_not_name_a_span() -> None:
    server = spans(change(method=b"ANYTHING", route=""))[0]
    assert server.name == "HTTP"
    assert server.attributes["http.request.method"] == "_OTHER"
    assert server.attributes["http.request.method_original"] == "ANYTHING"


def test_the_model_is_what_the_protocol_says() -> None:
    assert spans(change(path=b"/anything"))[0].attributes.get("turnout.model.name") is None
    told = spans(change(model=b"bert", model_version="höher".encode()))[0].attributes
    assert (told["turnout.model.name"], told["turnout.model.version"]) == ("bert", "höher")


def test_a_copy_is_a_span_alone() -> None:
    shadow = msgspec.structs.replace(ATTEMPT, shadow=True)
    (span,) = spans(make_detached(T, S, 1, b"", b"POST", b"/infer", False, -1, shadow))
    assert (span.parent_id, span.kind, span.attributes["turnout.shadow"]) == (S, CLIENT, True)


@pytest.mark.parametrize("value", [bytes(range(1, 256)), "ü".encode(), b"\xff" * 900])
def test_whatever_bytes_came_the_json_is_valid(value: bytes) -> None:
    record = change(path=b"/" + value, query=value, sent_path=b"/" + value, method=value, user_agent=value, model=value)
    body = json.loads(Envelope({}, "turnout", "1").wrap([encode_span(span, 0.0) for span in make_spans(record)]))
    assert len(body["resourceSpans"][0]["scopeSpans"][0]["spans"]) == 2


def as_sdk(span: Span, resource: Resource) -> ReadableSpan:
    """The same span, as OpenTelemetry's SDK has it."""
    trace_id, state = int(span.trace_id, 16), TraceState.from_header([span.state])
    remote = span.kind == SERVER and bool(span.parent_id)
    flags = TraceFlags(span.flags & 0xFF)
    parent = SpanContext(trace_id, int(span.parent_id, 16), remote, flags, state) if span.parent_id else None
    code = StatusCode.UNSET if span.error is None else StatusCode.ERROR
    return ReadableSpan(
        name=span.name,
        context=SpanContext(trace_id, int(span.span_id, 16), False, flags, state),
        parent=parent,
        resource=resource,
        attributes=span.attributes,
        events=[Event(name, timestamp=round(at * 1e9)) for name, at in span.moments],
        kind=SpanKind.SERVER if span.kind == SERVER else SpanKind.CLIENT,
        status=Status(code, span.error or None),
        start_time=round(span.start * 1e9),
        end_time=round(span.end * 1e9),
        instrumentation_scope=InstrumentationScope("turnout", "1"),
    )


def without_empty(value: Any) -> Any:
    """Fields that say nothing may be written or not; and the SDK leaves out the flags of the trace (OTLP `flags`)."""
    if isinstance(value, dict):
        found = {k: told for k, v in value.items() if (told := without_empty(v)) not in ({}, [], "")}
        return {**found, "flags": found["flags"] & ~0xFF} if "flags" in found else found
    return [without_empty(item) for item in value] if isinstance(value, list) else value


@pytest.mark.parametrize(
    "record",
    [
        PLAIN,
        change(parent_id=b"", state=b"", moments=[]),
        change(status=500, flag="UC", failed=True, reason="reset", attempts=[]),
        change(flags=0, late=True),
    ],
)
def test_what_is_sent_is_what_the_sdk_would_send(record: Record) -> None:
    resource = Resource({"service.name": "turnout", "count": 3, "tags": ["a", "b"], "on": True, "share": 0.5})
    encoded = [encode_span(span, 0.0) for span in make_spans(record)]
    ours = json.loads(Envelope(resource.attributes, "turnout", "1").wrap(encoded))
    theirs = json.loads(encode_spans([as_sdk(span, resource) for span in make_spans(record)]).to_json())
    assert without_empty(ours) == without_empty(theirs)
