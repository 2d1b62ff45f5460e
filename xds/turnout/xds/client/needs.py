"""What a resource needs of others, read from its message: the names that a client has to ask for or to wait for.

The messages were checked before (`translate.from_envoy.check_resource`), so only what is supported is looked at.
"""

from collections.abc import Callable, Iterable, Iterator

import msgspec
from envoy.config.cluster.v3.cluster_pb2 import Cluster
from envoy.config.core.v3.base_pb2 import TransportSocket
from envoy.config.listener.v3.listener_components_pb2 import FilterChain
from envoy.config.listener.v3.listener_pb2 import Listener
from envoy.config.route.v3.route_components_pb2 import RouteAction
from envoy.config.route.v3.route_pb2 import RouteConfiguration
from envoy.extensions.filters.network.http_connection_manager.v3.http_connection_manager_pb2 import (
    HttpConnectionManager,
)
from envoy.extensions.transport_sockets.tls.v3.tls_pb2 import DownstreamTlsContext, UpstreamTlsContext

from turnout.xds.resources import CLUSTER, LISTENER, ROUTES
from turnout.xds.translate.read.routes import read_missing


class Needs(msgspec.Struct, frozen=True):
    """`routes`: route configurations of a listener. `endpoints`: the load assignment of a cluster.

    `clusters`: those that routes name; True if one that the control plane does not tell is known to be missing
    (`cluster_not_found_response_code: INTERNAL_SERVER_ERROR`, or our own word for it, which calls of gRPC need since to
    them it is a 503), so that there is nothing to wait for. `is_api`: a
    listener for gRPC's own client, at which nothing comes in. `secrets`: of TLS, by their names over SDS.
    """

    routes: tuple[str, ...] = ()
    clusters: dict[str, bool] = {}
    endpoints: str | None = None
    is_api: bool = False
    secrets: tuple[str, ...] = ()


NOTHING = Needs()


def read_needs(type_url: str, body: bytes) -> Needs:
    """The needs of one resource. Raises google.protobuf.message.DecodeError for what is no such message."""
    reader = _READERS.get(type_url)
    return reader(body) if reader else NOTHING


def _of_listener(body: bytes) -> Needs:
    routes: dict[str, None] = {}
    clusters: dict[str, bool] = {}
    listener = Listener.FromString(body)
    if listener.HasField("api_listener"):
        return Needs(is_api=True)
    for manager in _managers(listener):
        if manager.HasField("rds"):
            routes[manager.rds.route_config_name] = None
        elif manager.HasField("route_config"):
            _add_clusters(manager.route_config, clusters)
    secrets = _secrets(chain.transport_socket for chain in listener.filter_chains)
    return Needs(routes=tuple(routes), clusters=clusters, secrets=secrets)


def _of_routes(body: bytes) -> Needs:
    clusters: dict[str, bool] = {}
    _add_clusters(RouteConfiguration.FromString(body), clusters)
    return Needs(clusters=clusters)


def _of_cluster(body: bytes) -> Needs:
    cluster = Cluster.FromString(body)
    secrets = _secrets([cluster.transport_socket])
    if cluster.type != Cluster.EDS:
        return Needs(secrets=secrets) if secrets else NOTHING
    return Needs(endpoints=cluster.eds_cluster_config.service_name or cluster.name, secrets=secrets)


_READERS: dict[str, Callable[[bytes], Needs]] = {CLUSTER: _of_cluster, LISTENER: _of_listener, ROUTES: _of_routes}


def _secrets(sockets: Iterable[TransportSocket]) -> tuple[str, ...]:
    found: dict[str, None] = {}
    for socket in sockets:
        for context in (DownstreamTlsContext(), UpstreamTlsContext()):
            if not socket.typed_config.Unpack(context):
                continue
            common = context.common_tls_context
            references = [*common.tls_certificate_sds_secret_configs]
            references.append(common.validation_context_sds_secret_config)
            references.append(common.combined_validation_context.validation_context_sds_secret_config)
            found |= dict.fromkeys(reference.name for reference in references if reference.name)
    return tuple(found)


def _managers(listener: Listener) -> Iterator[HttpConnectionManager]:
    chains: list[FilterChain] = [*listener.filter_chains]
    if listener.HasField("default_filter_chain"):
        chains.append(listener.default_filter_chain)
    for chain in chains:
        for network_filter in chain.filters:
            manager = HttpConnectionManager()
            if network_filter.typed_config.Unpack(manager):
                yield manager


def _add_clusters(configuration: RouteConfiguration, clusters: dict[str, bool]) -> None:
    for host in configuration.virtual_hosts:
        for route in host.routes:
            if not route.HasField("route"):
                continue
            action = route.route  # what it mirrors to is not waited for: a copy holds nobody up
            missing = action.cluster_not_found_response_code == RouteAction.INTERNAL_SERVER_ERROR
            for name in _names(action):
                # Waited for as soon as one route wants that.
                clusters[name] = clusters.get(name, True) and missing
    for name in read_missing(configuration):
        if name in clusters:
            clusters[name] = True


def _names(action: RouteAction) -> Iterator[str]:
    match action.WhichOneof("cluster_specifier"):
        case "cluster":
            yield action.cluster
        case "weighted_clusters":
            for cluster in action.weighted_clusters.clusters:
                yield cluster.name
