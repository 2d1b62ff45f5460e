"""ClusterLoadAssignment messages: endpoints by priority and locality, and the weights of localities."""

from typing import Any

import msgspec
from envoy.config.core.v3 import health_check_pb2

from turnout.rules.checks.syntax import address_fault, is_ip
from turnout.rules.snapshot import Endpoint
from turnout.xds.translate.faults import Place
from turnout.xds.translate.names import ORDER
from turnout.xds.translate.read.values import check_port, read_own

MAX_PRIORITY = 128
_STATUS = health_check_pb2.HealthStatus
_HEALTHY = {
    _STATUS.UNKNOWN: True,
    _STATUS.HEALTHY: True,
    _STATUS.UNHEALTHY: False,
    _STATUS.DRAINING: False,
    _STATUS.TIMEOUT: False,
}


class Assignment(msgspec.Struct, frozen=True):
    """Endpoints, and the weights of those of their localities that have one (in the first priority that has it)."""

    endpoints: tuple[Endpoint, ...]
    weights: tuple[tuple[str, int], ...]


def read_assignment(message: Any, place: Place, *, names: bool = False) -> Assignment:
    """The endpoints of a load assignment. `names`: an address may be a DNS name."""
    found: list[tuple[float, Endpoint]] = []
    weights: dict[str, int] = {}
    seen: set[tuple[str, int]] = set()
    for index, told in enumerate(message.endpoints):
        inner = place.at("endpoints", index)
        if told.priority > MAX_PRIORITY:
            inner.at("priority").say(f"{told.priority} is above {MAX_PRIORITY}")
        if told.HasField("load_balancing_weight") and not told.load_balancing_weight.value:
            inner.at("load_balancing_weight").say("must be at least 1")
        locality = _read_locality(told.locality, inner.at("locality"))
        for number, item in enumerate(told.lb_endpoints):
            spot = inner.at("lb_endpoints", number)
            endpoint = _read_endpoint(item, told.priority, locality, spot, names)
            if (endpoint.address, endpoint.port) in seen:
                spot.say(f"the endpoint {endpoint.address} port {endpoint.port} is there twice")
            seen.add((endpoint.address, endpoint.port))
            if told.HasField("load_balancing_weight"):
                weights.setdefault(locality, told.load_balancing_weight.value)
            order = read_own(item, ORDER)
            found.append((len(found) if order is None else order.number_value, endpoint))
    # By the order alone, which is not one if it is not a number.
    endpoints = tuple(endpoint for _, endpoint in sorted(found, key=lambda pair: (pair[0] != pair[0], pair[0])))
    return Assignment(
        endpoints, tuple((e.locality, weights.pop(e.locality)) for e in endpoints if e.locality in weights)
    )


def _read_locality(message: Any, place: Place) -> str:
    """`region/zone/subzone`, as far as they are told."""
    parts = (message.region, message.zone, message.sub_zone)
    if any("/" in part for part in parts[:2]):
        place.say("a name with a slash is not supported")
    return "/".join(parts).rstrip("/")


def _read_endpoint(message: Any, priority: int, locality: str, place: Place, names: bool) -> Endpoint:
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
    port = check_port(told.port_value, spot.at("port_value"))
    return Endpoint(told.address, port, weight, priority, healthy is not False, locality)
