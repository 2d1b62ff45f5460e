"""Cluster and ClusterLoadAssignment messages: clusters and their endpoints."""

from typing import Any

import msgspec
from envoy.config.cluster.v3 import cluster_pb2
from envoy.config.core.v3 import health_check_pb2

from turnout.rules.checks.syntax import address_fault, is_ip
from turnout.rules.snapshot import CONNECT_TIMEOUT_S, POOL_IDLE_TIMEOUT_S, Cluster, Endpoint
from turnout.xds.translate.faults import Place
from turnout.xds.translate.names import UPSTREAM_OPTIONS, UPSTREAM_OPTIONS_TYPE
from turnout.xds.translate.read.values import check_port, read_duration
from turnout.xds.translate.walk import unpack

MAX_PRIORITY = 128
_TYPES = cluster_pb2.Cluster
_STATUS = health_check_pb2.HealthStatus
_HEALTHY = {
    _STATUS.UNKNOWN: True,
    _STATUS.HEALTHY: True,
    _STATUS.UNHEALTHY: False,
    _STATUS.DRAINING: False,
    _STATUS.TIMEOUT: False,
}


class ToldCluster(msgspec.Struct, frozen=True):
    """A cluster without the endpoints of its load assignment, if that is a resource of its own: its name, else None."""

    cluster: Cluster
    assignment: str | None


def read_cluster(message: Any, place: Place) -> ToldCluster:
    connect = CONNECT_TIMEOUT_S
    if message.HasField("connect_timeout"):
        connect = read_duration(message.connect_timeout, place.at("connect_timeout"))
        if not connect:
            place.at("connect_timeout").say("must be above 0 s")
    pool_idle = _read_pool_idle(message, place.at("typed_extension_protocol_options"))
    if message.type == _TYPES.EDS:
        _check_eds(message, place)
        own = Cluster(message.name, (), connect, pool_idle)
        return ToldCluster(own, message.eds_cluster_config.service_name or message.name)
    if message.type not in (_TYPES.STATIC, _TYPES.STRICT_DNS):
        place.at("type").say("is not supported; STATIC, STRICT_DNS and EDS are")
    if message.HasField("eds_cluster_config"):
        place.at("eds_cluster_config").say("is for the type EDS only")
    names = message.type == _TYPES.STRICT_DNS
    endpoints = read_endpoints(message.load_assignment, place.at("load_assignment"), names=names)
    return ToldCluster(Cluster(message.name, endpoints, connect, pool_idle), None)


def read_endpoints(message: Any, place: Place, *, names: bool = False) -> tuple[Endpoint, ...]:
    """The endpoints of a load assignment. `names`: an address may be a DNS name."""
    found: list[Endpoint] = []
    seen: set[tuple[str, int]] = set()
    for index, locality in enumerate(message.endpoints):
        inner = place.at("endpoints", index)
        if locality.priority > MAX_PRIORITY:
            inner.at("priority").say(f"{locality.priority} is above {MAX_PRIORITY}")
        for number, told in enumerate(locality.lb_endpoints):
            spot = inner.at("lb_endpoints", number)
            endpoint = _read_endpoint(told, locality.priority, spot, names)
            if (endpoint.address, endpoint.port) in seen:
                spot.say(f"the endpoint {endpoint.address} port {endpoint.port} is there twice")
            seen.add((endpoint.address, endpoint.port))
            found.append(endpoint)
    return tuple(found)


def _read_endpoint(message: Any, priority: int, place: Place, names: bool) -> Endpoint:
    told = message.endpoint.address.socket_address
    spot = place.at("endpoint.address.socket_address")
    if not is_ip(told.address) and not names:
        spot.at("address").say(f"{told.address!r} is no IP address")
    elif fault := address_fault(told.address):
        spot.at("address").say(fault)
    healthy = _HEALTHY.get(message.health_status)
    if healthy is None:
        place.at("health_status").say("is not supported; UNKNOWN, HEALTHY, UNHEALTHY, DRAINING and TIMEOUT are")
    weight = 1
    if message.HasField("load_balancing_weight"):
        weight = message.load_balancing_weight.value
        if weight < 1:
            place.at("load_balancing_weight").say("must be at least 1")
    return Endpoint(
        told.address, check_port(told.port_value, spot.at("port_value")), weight, priority, healthy is not False
    )


def _check_eds(message: Any, place: Place) -> None:
    source = message.eds_cluster_config.eds_config
    if source.WhichOneof("config_source_specifier") not in ("ads", "self"):
        place.at("eds_cluster_config.eds_config").say("must be ads or self")
    if message.HasField("load_assignment"):
        place.at("load_assignment").say("is not for the type EDS")


def _read_pool_idle(message: Any, place: Place) -> float:
    options = message.typed_extension_protocol_options
    for key in options:
        if key != UPSTREAM_OPTIONS:
            place.say(f"{key} is not supported; {UPSTREAM_OPTIONS} is")
    if UPSTREAM_OPTIONS not in options:
        return POOL_IDLE_TIMEOUT_S
    # What it is instead has been said by the walk.
    told = unpack(options[UPSTREAM_OPTIONS], place.at(f"[{UPSTREAM_OPTIONS}]"), UPSTREAM_OPTIONS_TYPE)
    if told is None or not told.common_http_protocol_options.HasField("idle_timeout"):
        return POOL_IDLE_TIMEOUT_S
    seconds = read_duration(told.common_http_protocol_options.idle_timeout, place)
    if not seconds:
        place.say("idle_timeout must be above 0 s")
    return seconds
