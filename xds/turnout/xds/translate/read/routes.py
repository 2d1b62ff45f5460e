"""RouteConfiguration messages: virtual hosts with their routes, in Envoy's words."""

from typing import Any

import msgspec
from msgspec.structs import replace

from turnout.rules.mirroring import Mirror
from turnout.rules.snapshot import Forward, HeaderEdits, Route
from turnout.xds.translate.edits import as_layers, compose_edits, move_to_backends
from turnout.xds.translate.emit.routes import MAX_BODY_BYTES
from turnout.xds.translate.faults import Faults, Place
from turnout.xds.translate.grpc_matches import takes_only_grpc
from turnout.xds.translate.lower import Lowered
from turnout.xds.translate.names import MISSING
from turnout.xds.translate.read.actions import is_error_if_absent, read_action
from turnout.xds.translate.read.hashing import read_hash_policy
from turnout.xds.translate.read.headers import read_request_edits, read_response_edits
from turnout.xds.translate.read.hint import read_hint
from turnout.xds.translate.read.identities import Patterns, read_guard, settle_guards
from turnout.xds.translate.read.matches import read_match
from turnout.xds.translate.read.mirrors import read_mirrors
from turnout.xds.translate.read.values import read_own


class Host(msgspec.Struct, frozen=True):
    """A virtual host as it was told. `domains` are in lower case."""

    name: str
    domains: tuple[str, ...]
    routes: tuple[Lowered, ...]
    allowed_identities: tuple[str, ...]


class Configuration(msgspec.Struct, frozen=True):
    """A route configuration. `absent`: the clusters that its routes tell of, and whether all of them say that the share
    of one that is not there is a 500 (it is *missing*), and not a 503 (it has not come)."""

    hosts: tuple[Host, ...]
    absent: dict[str, bool]


class _Layer(msgspec.Struct, frozen=True):
    request: HeaderEdits
    response: HeaderEdits
    mirrors: tuple[Mirror, ...] = ()


def read_configuration(message: Any, place: Place) -> Configuration:
    """Read and check. A host that is there twice is said where it is the second time."""
    reader = _Reader(message, place)
    names: set[str] = set()
    domains: set[str] = set()
    hosts = []
    for index, host in enumerate(message.virtual_hosts):
        inner = place.at("virtual_hosts", index)
        if not host.name:
            inner.at("name").say("is empty")
        if host.name in names:
            inner.at("name").say(f"the virtual host {host.name!r} is there twice")
        names.add(host.name)
        hosts.append(Host(host.name, _read_domains(host, domains, inner), *reader.read_routes(host, inner)))
    for name in read_missing(message):
        reader.absent.setdefault(name, True)
    return Configuration(tuple(hosts), reader.absent)


def read_missing(message: Any) -> list[str]:
    """Our own word: clusters that are missing and of which not all routes say so."""
    value = read_own(message, MISSING)
    return [] if value is None else [item.string_value for item in value.list_value.values if item.string_value]


def _read_domains(host: Any, taken: set[str], place: Place) -> tuple[str, ...]:
    if not host.domains:
        place.at("domains").say("is empty")
    domains = tuple(domain.lower() for domain in host.domains)
    for index, domain in enumerate(domains):
        inner = place.at("domains", index)
        if domain in taken:
            inner.say(f"the domain {domain} is there twice")
        taken.add(domain)
        if fault := _domain_fault(domain):
            inner.say(f"{domain!r}: {fault}")
    return domains


def _domain_fault(domain: str) -> str | None:
    stem = domain.removeprefix("*") if domain.startswith("*") else domain.removesuffix("*")
    if not domain or "*" in stem or not stem.isprintable() or " " in stem:
        return "is no domain; a * may be its first or its last character"
    if ":" in stem.rpartition("]")[2]:
        return "a domain with a port is not supported; hosts are matched without their ports"
    return None


class _Reader:
    """Reads the routes of one configuration."""

    def __init__(self, message: Any, place: Place) -> None:
        self.absent: dict[str, bool] = {}
        self._specific_wins = message.most_specific_header_mutations_wins
        self._outermost = _read_outer(message, place)
        limited = message.HasField("max_direct_response_body_size_bytes")
        self._max_body_bytes = message.max_direct_response_body_size_bytes.value if limited else MAX_BODY_BYTES

    def read_routes(self, host: Any, place: Place) -> tuple[tuple[Lowered, ...], Patterns]:
        """The routes, and whom the host allows."""
        outer = _read_outer(host, place)
        found = [
            self._read_route(route, route.name or f"{host.name}/{index}", outer, place.at("routes", index))
            for index, route in enumerate(host.routes)
        ]
        guards = [read_guard(route, place.at("routes", index)) for index, route in enumerate(host.routes)]
        allowed, own = settle_guards(read_guard(host, place) or (), guards, place)
        for index, patterns in enumerate(own):
            if patterns:
                route = replace(found[index].route, allowed_identities=patterns)
                found[index] = found[index]._replace(route=route)
        return tuple(found), allowed

    def _read_route(self, message: Any, name: str, outer: _Layer, place: Place) -> Lowered:
        match = read_match(message.match, place.at("match"))
        action = read_action(message, match.path, self._max_body_bytes, place)
        own = _read_layer(message, place)
        layers = [own, outer, self._outermost]
        if self._specific_wins:
            layers.reverse()
        request = compose_edits(layer.request for layer in layers)
        response = compose_edits(layer.response for layer in layers)
        if isinstance(action, Forward):
            mirrors = action.mirrors or outer.mirrors or self._outermost.mirrors
            action, request, response = move_to_backends(
                replace(action, mirrors=mirrors), request, response, _route_last
            )
            # To calls of gRPC a missing one and one that has not come are the same, so their routes do not tell.
            if is_error_if_absent(message.route) or not takes_only_grpc(match):
                self._note_clusters(action, is_error_if_absent(message.route))
        route = Route(name, match, action, as_layers(request), as_layers(response))
        # What it says that can't be used has been said with the action.
        return Lowered(route, read_hash_policy(message.route, Place(Faults())), read_hint(message, place))

    def _note_clusters(self, action: Forward, is_error: bool) -> None:
        for backend in action.backends:
            self.absent[backend.cluster] = self.absent.get(backend.cluster, True) and is_error


def _read_layer(message: Any, place: Place) -> _Layer:
    return _Layer(read_request_edits(message, place), read_response_edits(message, place))


def _read_outer(message: Any, place: Place) -> _Layer:
    return replace(_read_layer(message, place), mirrors=read_mirrors(message, place))


def _route_last(route: HeaderEdits, backend: HeaderEdits) -> HeaderEdits:
    """A share's edits come first to Envoy, whatever the route configuration says of the others."""
    return compose_edits((backend, route))
