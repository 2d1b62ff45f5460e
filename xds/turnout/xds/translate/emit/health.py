"""Active health checks as Envoy's HealthCheck, of which it takes one for a cluster."""

from typing import Any

from envoy.config.core.v3 import base_pb2, health_check_pb2
from envoy.type.v3 import http_pb2, range_pb2

from turnout.rules.resilience import GrpcProbe, HealthCheck, Probe
from turnout.rules.snapshot import HeaderEdits
from turnout.xds.translate.emit.headers import make_options
from turnout.xds.translate.emit.values import make_duration


def make_health_check(health: HealthCheck) -> Any:
    """Of a lowered check: one request, one call, or a connection."""
    message = health_check_pb2.HealthCheck(
        timeout=make_duration(health.timeout_s),
        interval=make_duration(health.interval_s),
        # Envoy would ask a cluster without traffic once a minute.
        no_traffic_interval=make_duration(health.interval_s),
    )
    if health.interval_jitter_s:
        message.interval_jitter.CopyFrom(make_duration(health.interval_jitter_s))
    message.unhealthy_threshold.value = health.unhealthy_threshold
    message.healthy_threshold.value = health.healthy_threshold
    if health.http:
        message.http_health_check.CopyFrom(_make_http(health.http[0]))
    elif health.grpc:
        message.grpc_health_check.CopyFrom(_make_grpc(health.grpc[0]))
    else:
        message.tcp_health_check.SetInParent()
    return message


def _make_http(probe: Probe) -> Any:
    message = health_check_pb2.HealthCheck.HttpHealthCheck(
        host=probe.host,
        path=probe.path,
        method=base_pb2.RequestMethod.Value(probe.method),
        request_headers_to_add=make_options(HeaderEdits(add=probe.headers)),
        expected_statuses=[range_pb2.Int64Range(start=start, end=end) for start, end in probe.expect],
    )
    if probe.http2:
        message.codec_client_type = http_pb2.CodecClientType.HTTP2
    if probe.body:
        message.send.text = probe.body.encode().hex()
    return message


def _make_grpc(probe: GrpcProbe) -> Any:
    return health_check_pb2.HealthCheck.GrpcHealthCheck(
        service_name=probe.name,
        authority=probe.authority,
        initial_metadata=make_options(HeaderEdits(add=probe.metadata)),
    )
