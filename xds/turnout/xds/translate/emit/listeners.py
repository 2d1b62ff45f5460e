"""Listeners: one per socket for proxies, and for gRPC clients an ApiListener per hostname.

What the house does to every request (design: trust, timeouts) is written out, so that Envoy does the same.
"""

from typing import Any

from envoy.config.listener.v3 import api_listener_pb2, listener_components_pb2, listener_pb2
from envoy.extensions.filters.network.http_connection_manager.v3 import http_connection_manager_pb2

from turnout.rules.snapshot import Listener
from turnout.rules.tls import ANY_NAME, DownstreamTls
from turnout.xds.translate.emit.filters import make_chain, make_router
from turnout.xds.translate.emit.protocols import add_downstream_http2
from turnout.xds.translate.emit.tls import make_downstream_socket, make_inspector
from turnout.xds.translate.emit.values import make_address, make_ads, make_duration, make_metadata, pack
from turnout.xds.translate.names import (
    DEFAULT_ADDRESS,
    DEFAULT_PORT,
    DOWNSTREAM_IDLE_TIMEOUT_S,
    HEAD_TIMEOUT_S,
    SENT_ADDRESS,
    SENT_PORT,
    STREAM_IDLE_TIMEOUT_S,
    WEBSOCKET,
)

_MANAGER = http_connection_manager_pb2.HttpConnectionManager


def sent_port(listener: Listener) -> int:
    """The port of a listener as Envoy sees it."""
    return listener.port or SENT_PORT


def make_listener(listener: Listener) -> Any:
    """A listener for proxies, which takes the route configuration of its own name."""
    manager = _make_manager(listener.name, listener.name, make_chain(listener))
    manager.use_remote_address.value = True
    manager.normalize_path.value = True
    manager.strip_trailing_host_dot = True
    manager.path_with_escaped_slashes_action = _MANAGER.KEEP_UNCHANGED
    manager.server_header_transformation = _MANAGER.PASS_THROUGH
    manager.preserve_external_request_id = True
    manager.request_headers_timeout.CopyFrom(make_duration(HEAD_TIMEOUT_S))
    manager.stream_idle_timeout.CopyFrom(make_duration(STREAM_IDLE_TIMEOUT_S))
    manager.common_http_protocol_options.idle_timeout.CopyFrom(make_duration(DOWNSTREAM_IDLE_TIMEOUT_S))
    add_downstream_http2(manager)
    manager.upgrade_configs.append(_MANAGER.UpgradeConfig(upgrade_type=WEBSOCKET))
    if listener.tls is not None and listener.tls.client_ca:
        manager.forward_client_cert_details = _MANAGER.SANITIZE_SET
        manager.set_current_client_cert_details.uri = True
    network_filter = listener_components_pb2.Filter(name="envoy.filters.network.http_connection_manager")
    pack(network_filter.typed_config, manager)
    message = listener_pb2.Listener(
        name=listener.name,
        address=make_address(listener.address or SENT_ADDRESS, sent_port(listener)),
        filter_chains=_make_chains(listener.tls, network_filter),
    )
    if any(chain.HasField("filter_chain_match") for chain in message.filter_chains):
        message.listener_filters.append(make_inspector())
    said = {}
    if not listener.address:
        said[DEFAULT_ADDRESS] = True
    if not listener.port:
        said[DEFAULT_PORT] = True
    if said:
        message.metadata.CopyFrom(make_metadata(**said))
    return message


def _make_chains(tls: DownstreamTls | None, network_filter: Any) -> list[Any]:
    """One for each hostname that has certificates of its own."""
    if tls is None:
        return [listener_components_pb2.FilterChain(filters=[network_filter])]
    chains = []
    for served in tls.certificates:
        socket = make_downstream_socket(tls, served)
        chain = listener_components_pb2.FilterChain(filters=[network_filter], transport_socket=socket)
        if served.hostname != ANY_NAME:
            chain.filter_chain_match.server_names.append(served.hostname)
        chains.append(chain)
    return chains


def make_api_listener(name: str, routes: str) -> Any:
    """A listener for gRPC clients that name it: no socket, only routes."""
    message = listener_pb2.Listener(name=name, api_listener=api_listener_pb2.ApiListener())
    pack(message.api_listener.api_listener, _make_manager(name, routes, [make_router()]))
    return message


def _make_manager(stat_prefix: str, routes: str, filters: list[Any]) -> Any:
    rds = http_connection_manager_pb2.Rds(config_source=make_ads(), route_config_name=routes)
    return _MANAGER(stat_prefix=stat_prefix, rds=rds, http_filters=filters)
