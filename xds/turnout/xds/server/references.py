"""What a client asks for because of a resource that it was sent: the load assignment of a cluster, the routes of a
listener, the clusters of routes. Order depends on it: a cluster is of use once its endpoints have come, too.
"""

from collections.abc import Iterator

from envoy.config.cluster.v3.cluster_pb2 import Cluster
from envoy.config.listener.v3.listener_pb2 import Listener
from envoy.config.route.v3.route_pb2 import RouteConfiguration
from envoy.extensions.filters.network.http_connection_manager.v3.http_connection_manager_pb2 import (
    HttpConnectionManager,
)
from google.protobuf.any_pb2 import Any as AnyMessage
from google.protobuf.message import DecodeError

from turnout.xds.resources import CLUSTER, ENDPOINTS, LISTENER, ROUTES, Resource

CHILD_TYPES = {CLUSTER: ENDPOINTS, LISTENER: ROUTES, ROUTES: CLUSTER}
"""Which type the resources of a type make a client ask for."""


def find_children(resource: Resource) -> tuple[str, ...]:
    """Names of the type that CHILD_TYPES tells; none for other types, and for what can't be read."""
    try:
        if resource.type_url == CLUSTER:
            return _assignment(Cluster.FromString(resource.body))
        if resource.type_url == LISTENER:
            return tuple(dict.fromkeys(_route_configurations(Listener.FromString(resource.body))))
        if resource.type_url == ROUTES:
            return tuple(dict.fromkeys(_clusters(RouteConfiguration.FromString(resource.body))))
    except DecodeError:
        return ()
    return ()


def _assignment(cluster: Cluster) -> tuple[str, ...]:
    if cluster.type != Cluster.EDS:
        return ()
    return (cluster.eds_cluster_config.service_name or cluster.name,)


def _route_configurations(listener: Listener) -> Iterator[str]:
    configs = [item.typed_config for chain in listener.filter_chains for item in chain.filters]
    configs += [item.typed_config for item in listener.default_filter_chain.filters]
    configs.append(listener.api_listener.api_listener)
    for config in configs:
        manager = _manager(config)
        if manager is not None and manager.HasField("rds"):
            yield manager.rds.route_config_name


def _manager(config: AnyMessage) -> HttpConnectionManager | None:
    manager = HttpConnectionManager()
    return manager if config.Unpack(manager) else None


def _clusters(configuration: RouteConfiguration) -> Iterator[str]:
    for host in configuration.virtual_hosts:
        for route in host.routes:
            if route.route.cluster:
                yield route.route.cluster
            for share in route.route.weighted_clusters.clusters:
                yield share.name
