"""Listener messages: an address, and an HTTP connection manager with its routes or their name."""

from collections.abc import Sequence
from typing import Any

import msgspec
from msgspec.structs import replace

from turnout.rules.checks.syntax import hostname_fault, is_ip
from turnout.rules.tls import ANY_NAME, DownstreamTls
from turnout.xds.translate.faults import Place
from turnout.xds.translate.names import (
    DEFAULT_ADDRESS,
    DEFAULT_PORT,
    DOWNSTREAM_IDLE_TIMEOUT_S,
    FAULT,
    FAULT_TYPE,
    IDENTITIES,
    IDENTITIES_TYPE,
    LOCAL_LIMIT,
    LOCAL_LIMIT_TYPE,
    MANAGER_TYPE,
    ROUTER_TYPE,
    WEBSOCKET,
)
from turnout.xds.translate.read.routes import Configuration, read_configuration
from turnout.xds.translate.read.tls import read_downstream
from turnout.xds.translate.read.values import check_port, read_duration, read_own
from turnout.xds.translate.walk import unpack

_IDLE = {IDENTITIES: IDENTITIES_TYPE, LOCAL_LIMIT: LOCAL_LIMIT_TYPE, FAULT: FAULT_TYPE}
"""The filters that routes configure, by name."""
_STATISTICS = frozenset({"stat_prefix", "rules_stat_prefix", "track_per_rule_stats"})


class ToldListener(msgspec.Struct, frozen=True):
    """A listener. `routes` are inside it, or the name of a route configuration. `address` and `port` are empty and 0
    if `--listen` is to say them; `sent_port` is the one in the message."""

    name: str
    address: str
    port: int
    sent_port: int
    routes: Configuration | str
    tls: DownstreamTls | None


def read_listener(message: Any, place: Place) -> ToldListener:
    told = message.address.socket_address
    spot = place.at("address.socket_address")
    if not is_ip(told.address):
        spot.at("address").say(f"{told.address!r} is no IP address")
    check_port(told.port_value, spot.at("port_value"))
    return ToldListener(
        message.name,
        "" if _is_left_open(message, DEFAULT_ADDRESS) else told.address,
        0 if _is_left_open(message, DEFAULT_PORT) else told.port_value,
        told.port_value,
        _read_chains(message, place),
        _read_tls(message, place),
    )


def is_for_grpc(message: Any) -> bool:
    """Whether it is an ApiListener, which has no socket."""
    return bool(message.HasField("api_listener"))


def _is_left_open(message: Any, key: str) -> bool:
    value = read_own(message, key)
    return value is not None and bool(value.bool_value)


def _read_chains(message: Any, place: Place) -> Configuration | str:
    filters = [list(chain.filters) for chain in message.filter_chains]
    if not filters or len(filters[0]) != 1:
        place.at("filter_chains").say("one filter chain with one filter, the HTTP connection manager, is needed")
        return ""
    if any(others != filters[0] for others in filters):
        place.at("filter_chains").say("several are supported if they differ in their server names and certificates")
    inner = place.at("filter_chains[0].filters[0].typed_config")
    manager = unpack(message.filter_chains[0].filters[0].typed_config, inner, MANAGER_TYPE)
    return "" if manager is None else _read_manager(manager, inner)


def _read_tls(message: Any, place: Place) -> DownstreamTls | None:
    """Of all filter chains together, each of which has certificates for a server name."""
    found = []
    for index, chain in enumerate(message.filter_chains):
        spot = place.at("filter_chains", index)
        names = list(chain.filter_chain_match.server_names) or [ANY_NAME]
        if not all(_is_server_name(name) for name in names):
            spot.at("filter_chain_match.server_names").say("has what is no hostname")
        found += [read_downstream(chain, name.lower(), spot) for name in names]
    if None in found and (len(found) > 1 or message.filter_chains[0].HasField("filter_chain_match")):
        place.at("filter_chains").say("without TLS one is supported, for all")
    told = [tls for tls in found if tls is not None]
    if not told:
        return None
    served = tuple(sorted((s for tls in told for s in tls.certificates), key=lambda s: s.hostname))
    if len({s.hostname for s in served}) < len(served):
        place.at("filter_chains").say("a server name is there twice")
    if any(replace(tls, certificates=()) != replace(told[0], certificates=()) for tls in told):
        place.at("filter_chains").say("all have to ask clients for the same certificates")
    return replace(told[0], certificates=served)


def _is_server_name(name: str) -> bool:
    return name == ANY_NAME or hostname_fault(name) is None


def _read_manager(message: Any, place: Place) -> Configuration | str:
    _check_filters(message.http_filters, place)
    for index, upgrade in enumerate(message.upgrade_configs):
        if upgrade.upgrade_type.lower() != WEBSOCKET:
            place.at("upgrade_configs", index).say(f"{upgrade.upgrade_type!r} is not supported; {WEBSOCKET} is")
    if message.HasField("common_http_protocol_options"):
        idle = message.common_http_protocol_options
        inner = place.at("common_http_protocol_options.idle_timeout")
        if idle.HasField("idle_timeout") and read_duration(idle.idle_timeout, inner) != DOWNSTREAM_IDLE_TIMEOUT_S:
            inner.say(f"{DOWNSTREAM_IDLE_TIMEOUT_S} s is supported, which is what the proxy does")
    match message.WhichOneof("route_specifier"):
        case "route_config":
            return read_configuration(message.route_config, place.at("route_config"))
        case "rds":
            return _read_rds(message.rds, place.at("rds"))
        case None:
            place.say("one of rds and route_config is needed")
    return ""


def _check_filters(filters: Sequence[Any], place: Place) -> None:
    """The router is the last one; before it, those that routes configure, which do nothing by themselves."""
    for index, told in enumerate(filters):
        spot = place.at("http_filters", index)
        is_last = index == len(filters) - 1
        if not told.HasField("typed_config"):
            spot.say("typed_config is needed")
        elif (told.typed_config.type_url == ROUTER_TYPE) != is_last:
            spot.say("the router is needed, as the last filter")
        elif not is_last:
            _check_idle(told, spot)
    if not filters:
        place.at("http_filters").say("one filter, the router, is needed")


def _check_idle(message: Any, place: Place) -> None:
    if message.name not in _IDLE:
        place.at("name").say(f"must be {' or '.join(_IDLE)}, by which routes name it")
        return
    config = unpack(message.typed_config, place.at("typed_config"), _IDLE[message.name])
    for field, _ in () if config is None else config.ListFields():
        if field.name not in _STATISTICS:
            place.at("typed_config").at(field.name).say("is supported in the typed_per_filter_config of routes only")


def _read_rds(message: Any, place: Place) -> str:
    if message.config_source.WhichOneof("config_source_specifier") not in ("ads", "self"):
        place.at("config_source").say("must be ads or self")
    if not message.route_config_name:
        place.at("route_config_name").say("is empty")
    return str(message.route_config_name)
