"""Clusters and their endpoints as Cluster and ClusterLoadAssignment messages.

A cluster of addresses is EDS, so that endpoints change without it; one with a DNS name is STRICT_DNS, with its load
assignment inside.
"""

from typing import Any

from envoy.config.cluster.v3 import cluster_pb2
from envoy.config.core.v3 import base_pb2, health_check_pb2
from envoy.config.endpoint.v3 import endpoint_components_pb2, endpoint_pb2

from turnout.rules.checks.syntax import is_ip
from turnout.rules.snapshot import Cluster, Endpoint
from turnout.xds.translate.emit.balancing import add_balancing
from turnout.xds.translate.emit.breakers import make_breakers
from turnout.xds.translate.emit.health import make_health_check
from turnout.xds.translate.emit.hints import write_hint
from turnout.xds.translate.emit.outliers import make_outlier_detection
from turnout.xds.translate.emit.protocols import make_upstream_options
from turnout.xds.translate.emit.tls import make_upstream_socket
from turnout.xds.translate.emit.values import make_address, make_ads, make_duration, make_metadata, pack
from turnout.xds.translate.lower_cluster import lower_cluster, weigh_localities
from turnout.xds.translate.names import CLUSTER_HINT, ORDER, UPSTREAM_OPTIONS


def is_resolved(cluster: Cluster) -> bool:
    """Whether every endpoint is an address, so that its endpoints are a resource of their own."""
    return all(is_ip(endpoint.address) for endpoint in cluster.endpoints)


def make_cluster(cluster: Cluster, *, assignment: str = "", hint: Cluster | None = None) -> Any:
    """A Cluster message. `assignment`: the name of its load assignment, if that is not its own; `hint` goes along."""
    message = cluster_pb2.Cluster(name=cluster.name, connect_timeout=make_duration(cluster.connect_timeout_s))
    lowered = lower_cluster(cluster)
    if is_resolved(cluster):
        message.type = cluster_pb2.Cluster.EDS
        message.eds_cluster_config.eds_config.CopyFrom(make_ads())
        message.eds_cluster_config.service_name = assignment
    else:
        message.type = cluster_pb2.Cluster.STRICT_DNS
        message.dns_lookup_family = cluster_pb2.Cluster.V4_PREFERRED
        message.load_assignment.CopyFrom(make_assignment(cluster))
    by_locality = bool(cluster.load_balancing.locality_weights)
    add_balancing(message, lowered.load_balancing, lowered.slow_start, by_locality)
    message.circuit_breakers.CopyFrom(make_breakers(lowered.circuit_breaker))
    if lowered.outlier_detection is not None:
        message.outlier_detection.CopyFrom(make_outlier_detection(lowered.outlier_detection))
    if lowered.health_check is not None:
        message.health_checks.append(make_health_check(lowered.health_check))
    pack(message.typed_extension_protocol_options[UPSTREAM_OPTIONS], make_upstream_options(cluster))
    if lowered.tls is not None:
        message.transport_socket.CopyFrom(make_upstream_socket(lowered.tls))
    if hint is not None:
        message.metadata.CopyFrom(make_metadata(**{CLUSTER_HINT: write_hint(hint)}))
    return message


def make_assignment(cluster: Cluster) -> Any:
    """The endpoints, by priority and locality: gRPC wants each locality once in a priority, and with a weight."""
    weights = weigh_localities(cluster.load_balancing.locality_weights, cluster.endpoints)
    groups: dict[tuple[int, str], list[tuple[int, Endpoint]]] = {}
    for order, endpoint in enumerate(cluster.endpoints):
        groups.setdefault((endpoint.priority, endpoint.locality), []).append((order, endpoint))
    orders = [order for group in groups.values() for order, _ in group]
    told = orders != sorted(orders)
    localities = []
    for (priority, name), group in groups.items():
        locality = endpoint_components_pb2.LocalityLbEndpoints(
            locality=_make_locality(name),
            lb_endpoints=[_make_endpoint(endpoint, order if told else None) for order, endpoint in group],
            priority=priority,
        )
        if name in weights:
            locality.load_balancing_weight.value = weights[name]
        localities.append(locality)
    return endpoint_pb2.ClusterLoadAssignment(cluster_name=cluster.name, endpoints=localities)


def _make_locality(name: str) -> Any:
    region, zone, sub_zone, *_ = (*name.split("/", 2), "", "")
    return base_pb2.Locality(region=region, zone=zone, sub_zone=sub_zone)


def _make_endpoint(endpoint: Endpoint, order: int | None) -> Any:
    message = endpoint_components_pb2.LbEndpoint(
        endpoint=endpoint_components_pb2.Endpoint(address=make_address(endpoint.address, endpoint.port))
    )
    if endpoint.weight != 1:
        message.load_balancing_weight.value = endpoint.weight
    if not endpoint.healthy:
        message.health_status = health_check_pb2.HealthStatus.UNHEALTHY
    if order is not None:
        message.metadata.CopyFrom(make_metadata(**{ORDER: order}))
    return message
