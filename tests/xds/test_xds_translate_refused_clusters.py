"""A cluster and an endpoint that can't be used are refused by the field."""

from typing import Any

import envoy_messages as written
import pytest
from envoy.config.cluster.v3.cluster_pb2 import Cluster
from envoy.config.endpoint.v3.endpoint_pb2 import ClusterLoadAssignment
from envoy.extensions.upstreams.http.v3 import http_protocol_options_pb2  # noqa: F401  (json_format has to know the type)
from google.protobuf.json_format import ParseDict
from refusals import own_words, refused

from turnout.xds.resources import CLUSTER, ENDPOINTS

HEALTHY = {"interval": "1s", "timeout": "1s", "healthy_threshold": 1, "unhealthy_threshold": 1}
OPTIONS = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"
SPOKEN = f"typed_extension_protocol_options[{OPTIONS}]"
HTTP1: dict[str, Any] = {"http_protocol_options": {}}


def speaks(**options: Any) -> dict[str, Any]:
    """A cluster's words on what is spoken with its endpoints."""
    told = {"@type": f"type.googleapis.com/{OPTIONS}", **options}
    return {"typed_extension_protocol_options": {OPTIONS: told}}


ADDRESS = {"socket_address": {"address": "10.0.0.1", "port_value": 80}}


@pytest.mark.parametrize(
    ("fields", "place"),
    [
        ({"type": "LOGICAL_DNS"}, "type"),
        ({"type": "EDS"}, "eds_cluster_config.eds_config"),
        ({"type": "EDS", "eds_cluster_config": {"eds_config": {"path": "/x"}}}, "eds_cluster_config.eds_config.path"),
        ({"lb_policy": "CLUSTER_PROVIDED"}, "lb_policy"),
        ({"load_balancing_policy": {}}, "load_balancing_policy"),
        (
            {"lb_policy": "LEAST_REQUEST", "least_request_lb_config": {"choice_count": 1}},
            "least_request_lb_config.choice_count",
        ),
        (
            {"lb_policy": "RING_HASH", "ring_hash_lb_config": {"minimum_ring_size": 10**9}},
            "ring_hash_lb_config.minimum_ring_size",
        ),
        ({"lb_policy": "MAGLEV", "maglev_lb_config": {"table_size": 10}}, "maglev_lb_config.table_size"),
        (
            {"round_robin_lb_config": {"slow_start_config": {}}},
            "round_robin_lb_config.slow_start_config.slow_start_window",
        ),
        ({"connect_timeout": "0s"}, "connect_timeout"),
        ({"outlier_detection": {"enforcing_success_rate": 101}}, "outlier_detection"),
        ({"outlier_detection": {"interval": "0s"}}, "outlier_detection"),
        (
            {"outlier_detection": {"base_ejection_time": "2s", "max_ejection_time": "1s"}},
            "outlier_detection.max_ejection_time",
        ),
        ({"outlier_detection": {"monitors": [{"name": "m"}]}}, "outlier_detection.monitors"),
        ({"health_checks": [{**HEALTHY, "tcp_health_check": {}}] * 2}, "health_checks"),
        ({"health_checks": [{"tcp_health_check": {}}]}, "health_checks[0].interval"),
        ({"health_checks": [HEALTHY]}, "health_checks[0]"),
        (
            {"health_checks": [{**HEALTHY, "grpc_health_check": {"authority": "no host"}}]},
            "health_checks[0].grpc_health_check.authority",
        ),
        (
            {"health_checks": [{**HEALTHY, "grpc_health_check": {"initial_metadata": [{"header": {"key": "a b"}}]}}]},
            "health_checks[0].grpc_health_check.initial_metadata[0].header",
        ),
        (
            {"health_checks": [{**HEALTHY, "http_health_check": {"path": "/", "codec_client_type": "HTTP3"}}]},
            "health_checks[0].http_health_check.codec_client_type",
        ),
        (
            {"health_checks": [{**HEALTHY, "http_health_check": {"path": "no path"}}]},
            "health_checks[0].http_health_check.path",
        ),
        (
            {"health_checks": [{**HEALTHY, "http_health_check": {"path": "/", "send": {"text": "0"}}}]},
            "health_checks[0].http_health_check.send",
        ),
        (
            {"health_checks": [{**HEALTHY, "http_health_check": {"path": "/", "expected_statuses": [{"start": 9}]}}]},
            "health_checks[0].http_health_check.expected_statuses",
        ),
        ({"transport_socket_matches": [{"name": "tls"}]}, "transport_socket_matches"),
        ({"http2_protocol_options": {}}, "http2_protocol_options"),
        (
            speaks(explicit_http_config={"http3_protocol_options": {}}),
            f"{SPOKEN}.explicit_http_config.http3_protocol_options",
        ),
        (
            speaks(explicit_http_config={"http2_protocol_options": {"max_concurrent_streams": 1024}}),
            f"{SPOKEN}.explicit_http_config.http2_protocol_options.max_concurrent_streams",
        ),
        (
            speaks(explicit_http_config={"http2_protocol_options": {"connection_keepalive": {"interval": "1s"}}}),
            f"{SPOKEN}.explicit_http_config.http2_protocol_options.connection_keepalive",
        ),
        (speaks(auto_config={"http2_protocol_options": {}}), f"{SPOKEN}.auto_config"),
        (speaks(use_downstream_protocol_config={}), f"{SPOKEN}.use_downstream_protocol_config"),
        (speaks(common_http_protocol_options={"idle_timeout": "1s"}), SPOKEN),
        (
            speaks(explicit_http_config=HTTP1, common_http_protocol_options={"idle_timeout": "0s"}),
            f"{SPOKEN}.common_http_protocol_options.idle_timeout",
        ),
        (
            {"circuit_breakers": {"thresholds": [{"max_connection_pools": 9}]}},
            "circuit_breakers.thresholds[0].max_connection_pools",
        ),
        (
            {"circuit_breakers": {"per_host_thresholds": [{"max_requests": 9}]}},
            "circuit_breakers.per_host_thresholds[0].max_requests",
        ),
        (
            {"common_lb_config": {"healthy_panic_threshold": {"value": "NaN"}}},
            "common_lb_config.healthy_panic_threshold",
        ),
        (own_words("cluster", {"name": "c", "health_check": {"warm": {"path": "/a\r\nb"}}}), "metadata.path"),
        (own_words("cluster", {"name": "c", "health_check": {"warm_call": {"path": "a\r\nb"}}}), "metadata.path"),
        (
            own_words("cluster", {"name": "c", "health_check": {"grpc": [{"authority": "no host"}]}}),
            "metadata.authority",
        ),
        (own_words("cluster", {"name": "c", "circuit_breaker": {"failures": {"min_s": -1}}}), "metadata"),
        (own_words("cluster", {"name": "c", "load_balancing": {"table_size": 10}}), "metadata"),
        (own_words("cluster", {"name": "c", "load_balancing": {"decay_s": 0}}), "metadata"),
        (own_words("cluster", {"name": "c", "load_balancing": {"locality_weights": [["a", -1]]}}), "metadata"),
        (own_words("cluster", {"name": "c", "load_balancing": {"policy": "best"}}), "metadata"),
    ],
)
def test_a_cluster_is_refused_by_its_field(fields: dict[str, Any], place: str) -> None:
    assert place in refused(CLUSTER, ParseDict({"name": "c", **fields}, Cluster()))


@pytest.mark.parametrize(
    ("fields", "place"),
    [
        ({"health_status": "DEGRADED"}, "health_status"),
        ({"load_balancing_weight": 0}, "load_balancing_weight"),
    ],
)  # fmt: skip
def test_an_endpoint_is_refused_by_its_field(fields: dict[str, Any], place: str) -> None:
    assert place in endpoint(endpoint={"address": ADDRESS}, **fields)


@pytest.mark.parametrize(
    ("address", "place"),
    [
        ({"pipe": {"path": "/x"}}, "pipe"),
        ({"socket_address": {"address": "a.b", "port_value": 1}}, "socket_address.address"),
        ({"socket_address": {"address": "::1"}}, "socket_address.port_value"),
        ({"socket_address": {"address": "::1", "port_value": 1, "protocol": "UDP"}}, "socket_address.protocol"),
    ],
)
def test_an_address_is_refused_by_its_field(address: dict[str, Any], place: str) -> None:
    assert f"endpoint.address.{place}" in endpoint(endpoint={"address": address})


def endpoint(**fields: Any) -> dict[str, str]:
    told = {"cluster_name": "c", "endpoints": [{"lb_endpoints": [fields]}]}
    found = refused(ENDPOINTS, ParseDict(told, ClusterLoadAssignment()))
    return {field.removeprefix("endpoints[0].lb_endpoints[0]."): text for field, text in found.items()}


def test_an_endpoint_that_is_there_twice_is_refused() -> None:
    assert list(refused(ENDPOINTS, written.endpoints("c", 80, 81, 80))) == ["endpoints[0].lb_endpoints[2]"]
