"""Active health checks as Envoy's HealthCheck, of which it takes one for a cluster."""

from typing import Any

from envoy.config.core.v3 import base_pb2, health_check_pb2
from envoy.type.v3 import range_pb2

from turnout.rules.resilience import HealthCheck, Probe
from turnout.rules.snapshot import HeaderEdits
from turnout.xds.translate.emit.headers import make_options
from turnout.xds.translate.emit.values import make_duration


def make_health_check(health: HealthCheck) -> Any:
    """Of a lowered check: one request, or a connection."""
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
    if probe.body:
        message.send.text = probe.body.encode().hex()
    return message
