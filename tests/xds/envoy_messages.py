"""Envoy resources as a person writes them: plain data in Envoy's own words, with nothing of our translator."""

from typing import Any

from envoy.config.cluster.v3.cluster_pb2 import Cluster
from envoy.config.endpoint.v3.endpoint_pb2 import ClusterLoadAssignment
from envoy.config.listener.v3.listener_pb2 import Listener
from envoy.config.route.v3.route_pb2 import RouteConfiguration
from envoy.extensions.filters.http.router.v3 import router_pb2  # noqa: F401  (json_format has to know the type)
from envoy.extensions.filters.network.http_connection_manager.v3 import http_connection_manager_pb2  # noqa: F401
from google.protobuf.json_format import ParseDict
from google.protobuf.message import Message

EXTENSIONS = "type.googleapis.com/envoy.extensions.filters"
ADS = {"ads": {}, "resource_api_version": "V3"}


def listener(name: str = "main", routes: str = "main", port: int = 18080, **more: Any) -> Message:
    """A listener whose routes come over RDS."""
    manager = {
        "@type": f"{EXTENSIONS}.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": name,
        "rds": {"route_config_name": routes, "config_source": ADS},
        "http_filters": [
            {
                "name": "envoy.filters.http.router",
                "typed_config": {"@type": f"{EXTENSIONS}.http.router.v3.Router"},
            }
        ],
        **more,
    }
    chain = {"filters": [{"name": "envoy.filters.network.http_connection_manager", "typed_config": manager}]}
    address = {"socket_address": {"address": "127.0.0.1", "port_value": port}}
    return ParseDict({"name": name, "address": address, "filter_chains": [chain]}, Listener())


def to(cluster: str, prefix: str = "/", **more: Any) -> dict[str, Any]:
    """A route to one cluster; `more` goes into its action."""
    return {"match": {"prefix": prefix}, "route": {"cluster": cluster, **more}}


def routes(*items: dict[str, Any], name: str = "main") -> Message:
    """A route configuration with one virtual host for every domain."""
    host = {"name": "all", "domains": ["*"], "routes": list(items)}
    return ParseDict({"name": name, "virtual_hosts": [host]}, RouteConfiguration())


def cluster(name: str, *, service: str = "", **more: Any) -> Message:
    """A cluster whose endpoints come over EDS."""
    eds = {"eds_config": ADS} | ({"service_name": service} if service else {})
    return ParseDict({"name": name, "type": "EDS", "eds_cluster_config": eds, **more}, Cluster())


def static(name: str, port: int) -> Message:
    """A cluster with its one endpoint in itself."""
    return ParseDict(
        {"name": name, "type": "STATIC", "load_assignment": _assignment(name, [port])},
        Cluster(),
    )


def endpoints(cluster_name: str, *ports: int) -> Message:
    """A load assignment on loopback."""
    return ParseDict(_assignment(cluster_name, ports), ClusterLoadAssignment())


def _assignment(name: str, ports: Any) -> dict[str, Any]:
    sockets = [{"socket_address": {"address": "127.0.0.1", "port_value": port}} for port in ports]
    localities = [{"lb_endpoints": [{"endpoint": {"address": socket}} for socket in sockets]}] if sockets else []
    return {"cluster_name": name, "endpoints": localities}
