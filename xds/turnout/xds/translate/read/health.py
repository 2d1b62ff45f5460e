"""HealthCheck messages: one request, one gRPC call, or a connection."""

import binascii
from typing import Any

from envoy.config.core.v3 import base_pb2
from envoy.type.v3 import http_pb2

from turnout.rules.checks.syntax import header_name_fault
from turnout.rules.resilience import GrpcCall, GrpcProbe, HealthCheck, Probe
from turnout.rules.snapshot import HeaderEdits
from turnout.xds.translate.faults import Place
from turnout.xds.translate.lower_cluster import PROBE_HOST
from turnout.xds.translate.read.headers import check_edits, read_metadata, read_request_edits
from turnout.xds.translate.read.numbers import SHORTEST_S, read_number, read_seconds
from turnout.xds.translate.read.values import check_authority, check_path

_METHODS = base_pb2.RequestMethod
_OK = (200, 201)
_WITH_BODY = frozenset({"POST", "PUT", "PATCH", "OPTIONS"})


def read_health_check(message: Any, place: Place) -> HealthCheck:
    for field in ("timeout", "interval", "unhealthy_threshold", "healthy_threshold"):
        if not message.HasField(field):
            place.at(field).say("is needed")
    probes: tuple[Probe, ...] = ()
    calls: tuple[GrpcProbe, ...] = ()
    match message.WhichOneof("health_checker"):
        case "http_health_check":
            probes = (_read_probe(message.http_health_check, place.at("http_health_check")),)
        case "grpc_health_check":
            calls = (_read_call(message.grpc_health_check, place.at("grpc_health_check")),)
        case None:
            place.say("one of http_health_check, grpc_health_check and tcp_health_check is needed")
    return HealthCheck(
        probes,
        read_seconds(message, "interval", 1.0, place, least=SHORTEST_S),
        read_seconds(message, "timeout", 1.0, place, least=SHORTEST_S),
        read_seconds(message, "interval_jitter", 0.0, place),
        read_number(message, "unhealthy_threshold", 1, place, (1, 2**32 - 1)),
        read_number(message, "healthy_threshold", 1, place, (1, 2**32 - 1)),
        grpc=calls,
    )


def check_probe(probe: Probe, place: Place) -> None:
    """Say what can't be sent as it is, and which statuses can't be."""
    check_path(probe.path, place.at("path"), query=True)
    if probe.host:
        check_authority(probe.host, place.at("host"))
    if header_name_fault(probe.method) or probe.method == "CONNECT":
        place.at("method").say(f"{probe.method!r} is not supported")
    check_edits(HeaderEdits(add=probe.headers), place.at("request_headers_to_add"))
    for start, end in probe.expect:
        if not 100 <= start < end <= 600:
            place.at("expected_statuses").say(f"from {start} to {end} (not included) is no range of statuses")


def check_call(call: GrpcProbe | GrpcCall, place: Place) -> None:
    """Say what of a gRPC call can't be sent as it is."""
    if isinstance(call, GrpcCall):
        check_path(f"/{call.path}", place.at("path"), query=False)
    elif call.authority:
        check_authority(call.authority, place.at("authority"))
    check_edits(HeaderEdits(add=call.metadata), place.at("initial_metadata"))


def _read_call(message: Any, place: Place) -> GrpcProbe:
    metadata = read_metadata(message.initial_metadata, place)
    call = GrpcProbe("health", message.service_name, message.authority or PROBE_HOST, metadata)
    check_call(call, place)
    return call


def _read_probe(message: Any, place: Place) -> Probe:
    edits = read_request_edits(message, place)
    if edits.remove:
        place.at("request_headers_to_remove").say("is not supported")
    method = message.method or _METHODS.GET
    probe = Probe(
        message.path,
        _METHODS.Name(method) if method in _METHODS.values() else "",
        message.host or PROBE_HOST,
        (*edits.set, *edits.add),
        _read_body(message, place.at("send")),
        tuple((told.start, told.end) for told in message.expected_statuses) or (_OK,),
        _read_is_http2(message.codec_client_type, place),
    )
    if probe.body and probe.method not in _WITH_BODY:
        place.at("send").say(f"{probe.method} has no body")
    check_probe(probe, place)
    return probe


def _read_is_http2(codec: int, place: Place) -> bool:
    if codec not in (http_pb2.CodecClientType.HTTP1, http_pb2.CodecClientType.HTTP2):
        place.at("codec_client_type").say("is not supported; HTTP1 and HTTP2 are")
    return bool(codec == http_pb2.CodecClientType.HTTP2)


def _read_body(message: Any, place: Place) -> str:
    try:
        data: bytes = binascii.unhexlify(message.send.text) if message.send.text else message.send.binary
        return data.decode()
    except ValueError:
        place.say("is no text in UTF-8, written in hexadecimal digits")
    return ""
