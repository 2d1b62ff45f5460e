"""The message classes behind the type URLs that are read."""

from typing import Any

from envoy.config.cluster.v3 import cluster_pb2
from envoy.config.endpoint.v3 import endpoint_pb2
from envoy.config.listener.v3 import listener_pb2
from envoy.config.route.v3 import route_pb2
from envoy.extensions.filters.http.fault.v3 import fault_pb2
from envoy.extensions.filters.http.local_ratelimit.v3 import local_rate_limit_pb2
from envoy.extensions.filters.http.rbac.v3 import rbac_pb2
from envoy.extensions.filters.http.router.v3 import router_pb2
from envoy.extensions.filters.listener.tls_inspector.v3 import tls_inspector_pb2
from envoy.extensions.filters.network.http_connection_manager.v3 import http_connection_manager_pb2
from envoy.extensions.retry.host.previous_hosts.v3 import previous_hosts_pb2
from envoy.extensions.transport_sockets.tls.v3 import secret_pb2, tls_pb2
from envoy.extensions.upstreams.http.v3 import http_protocol_options_pb2

from turnout.xds.resources import CLUSTER, ENDPOINTS, LISTENER, ROUTES, SECRET
from turnout.xds.translate.names import (
    DOWNSTREAM_TLS_TYPE,
    FAULT_TYPE,
    IDENTITIES_OF_ROUTE_TYPE,
    IDENTITIES_TYPE,
    LOCAL_LIMIT_TYPE,
    MANAGER_TYPE,
    PREVIOUS_HOSTS_TYPE,
    ROUTER_TYPE,
    TLS_INSPECTOR_TYPE,
    UPSTREAM_OPTIONS_TYPE,
    UPSTREAM_TLS_TYPE,
)

RESOURCE_CLASSES: dict[str, Any] = {
    CLUSTER: cluster_pb2.Cluster,
    ENDPOINTS: endpoint_pb2.ClusterLoadAssignment,
    LISTENER: listener_pb2.Listener,
    ROUTES: route_pb2.RouteConfiguration,
    SECRET: secret_pb2.Secret,
}

EXTENSION_CLASSES: dict[str, Any] = {
    MANAGER_TYPE: http_connection_manager_pb2.HttpConnectionManager,
    ROUTER_TYPE: router_pb2.Router,
    LOCAL_LIMIT_TYPE: local_rate_limit_pb2.LocalRateLimit,
    FAULT_TYPE: fault_pb2.HTTPFault,
    IDENTITIES_TYPE: rbac_pb2.RBAC,
    IDENTITIES_OF_ROUTE_TYPE: rbac_pb2.RBACPerRoute,
    PREVIOUS_HOSTS_TYPE: previous_hosts_pb2.PreviousHostsPredicate,
    UPSTREAM_OPTIONS_TYPE: http_protocol_options_pb2.HttpProtocolOptions,
    DOWNSTREAM_TLS_TYPE: tls_pb2.DownstreamTlsContext,
    UPSTREAM_TLS_TYPE: tls_pb2.UpstreamTlsContext,
    TLS_INSPECTOR_TYPE: tls_inspector_pb2.TlsInspector,
}
