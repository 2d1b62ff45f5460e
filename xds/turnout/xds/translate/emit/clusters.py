"""Clusters and their endpoints as Cluster and ClusterLoadAssignment messages.

A cluster of addresses is EDS, so that endpoints change without it; one with a DNS name is STRICT_DNS, with its load
assignment inside.
"""

from itertools import groupby
from typing import Any

from envoy.config.cluster.v3 import circuit_breaker_pb2, cluster_pb2
from envoy.config.core.v3 import base_pb2, health_check_pb2, protocol_pb2
from envoy.config.endpoint.v3 import endpoint_components_pb2, endpoint_pb2
from envoy.extensions.upstreams.http.v3 import http_protocol_options_pb2

from turnout.rules.checks.syntax import is_ip
from turnout.rules.snapshot import Cluster, Endpoint
from turnout.xds.translate.emit.values import make_address, make_ads, make_duration, pack
from turnout.xds.translate.names import NO_LIMIT, UPSTREAM_OPTIONS


def is_resolved(cluster: Cluster) -> bool:
    """Whether every endpoint is an address, so that its endpoints are a resource of their own."""
    return all(is_ip(endpoint.address) for endpoint in cluster.endpoints)


def make_cluster(cluster: Cluster) -> Any:
    message = cluster_pb2.Cluster(name=cluster.name, connect_timeout=make_duration(cluster.connect_timeout_s))
    if is_resolved(cluster):
        message.type = cluster_pb2.Cluster.EDS
        message.eds_cluster_config.eds_config.CopyFrom(make_ads())
    else:
        message.type = cluster_pb2.Cluster.STRICT_DNS
        message.dns_lookup_family = cluster_pb2.Cluster.V4_PREFERRED
        message.load_assignment.CopyFrom(make_assignment(cluster))
    # As our own proxy: endpoints that are told to be unhealthy get nothing, even if there are no others; no limits.
    message.common_lb_config.healthy_panic_threshold.value = 0
    message.circuit_breakers.CopyFrom(_make_limits())
    pack(message.typed_extension_protocol_options[UPSTREAM_OPTIONS], _make_options(cluster))
    return message


def make_assignment(cluster: Cluster) -> Any:
    """The endpoints, those of one priority that follow each other as one locality (of which gRPC wants a weight)."""
    localities = []
    for priority, group in groupby(cluster.endpoints, lambda endpoint: endpoint.priority):
        locality = endpoint_components_pb2.LocalityLbEndpoints(
            locality=base_pb2.Locality(),
            lb_endpoints=[_make_endpoint(endpoint) for endpoint in group],
            priority=priority,
        )
        locality.load_balancing_weight.value = 1
        localities.append(locality)
    return endpoint_pb2.ClusterLoadAssignment(cluster_name=cluster.name, endpoints=localities)


def _make_endpoint(endpoint: Endpoint) -> Any:
    message = endpoint_components_pb2.LbEndpoint(
        endpoint=endpoint_components_pb2.Endpoint(address=make_address(endpoint.address, endpoint.port))
    )
    if endpoint.weight != 1:
        message.load_balancing_weight.value = endpoint.weight
    if not endpoint.healthy:
        message.health_status = health_check_pb2.HealthStatus.UNHEALTHY
    return message


def _make_limits() -> Any:
    thresholds = circuit_breaker_pb2.CircuitBreakers.Thresholds()
    for limit in (thresholds.max_connections, thresholds.max_pending_requests, thresholds.max_requests):
        limit.value = NO_LIMIT
    return circuit_breaker_pb2.CircuitBreakers(thresholds=[thresholds])


def _make_options(cluster: Cluster) -> Any:
    options = http_protocol_options_pb2.HttpProtocolOptions(
        common_http_protocol_options=protocol_pb2.HttpProtocolOptions(
            idle_timeout=make_duration(cluster.pool_idle_timeout_s)
        )
    )
    options.explicit_http_config.http_protocol_options.SetInParent()
    return options
