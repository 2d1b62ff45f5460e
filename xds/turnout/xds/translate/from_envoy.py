"""Envoy's resources as a Snapshot: the one door into it.

A resource is checked by itself as it comes (`check_resource`), so that one that can't be used is refused by name and
field and the others go on. First every field that is set is held against the table of what is supported, then what
the fields say is read. `from_xds` puts those that were accepted together.
"""

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from typing import Any

from google.protobuf.message import DecodeError
from msgspec.structs import replace

from turnout.rules.canonical import make_canonical
from turnout.rules.resilience import HashKey, LoadBalancing
from turnout.rules.snapshot import Cluster, Forward, Listener, Snapshot, VirtualHost
from turnout.xds.resources import CLUSTER, ENDPOINTS, LISTENER, ROUTES, SECRET, Resource, Resources
from turnout.xds.translate.faults import Fault, Faults, Place
from turnout.xds.translate.hashes import Hashes, collect_hashes, settle_hashes
from turnout.xds.translate.lower import make_site, raise_routes
from turnout.xds.translate.messages import RESOURCE_CLASSES
from turnout.xds.translate.read.clusters import make_told, read_cluster
from turnout.xds.translate.read.endpoints import Assignment, read_assignment
from turnout.xds.translate.read.listeners import ToldListener, is_for_grpc, read_listener
from turnout.xds.translate.read.routes import Configuration, read_configuration
from turnout.xds.translate.read.secrets import check_secret
from turnout.xds.translate.walk import walk_message

__all__ = ["Fault", "check_resource", "from_xds"]

_READERS: dict[str, Callable[[Any, Place], object]] = {
    CLUSTER: read_cluster,
    ENDPOINTS: read_assignment,
    LISTENER: read_listener,
    ROUTES: read_configuration,
    SECRET: check_secret,
}
_NO_ROUTES = Configuration((), {})


def check_resource(type_url: str, body: bytes) -> tuple[str, list[Fault]]:
    """The name of a resource (empty if that can't be told) and why it can't be used. Does not raise."""
    if type_url not in RESOURCE_CLASSES:
        return "", [Fault(type_url, "", "", "this type of resource is not supported")]
    try:
        message = RESOURCE_CLASSES[type_url].FromString(body)
    except DecodeError:
        return "", [Fault(type_url, "", "", "is no valid message of this type")]
    name: str = message.cluster_name if type_url == ENDPOINTS else message.name
    faults = Faults()
    place = Place(faults)
    walk_message(message, place)
    if not name:
        place.at("cluster_name" if type_url == ENDPOINTS else "name").say("is empty")
    if not (type_url == LISTENER and is_for_grpc(message)):
        _READERS[type_url](message, place)
    return name, [Fault(type_url, name, field, text) for field, text in faults.found.items()]


def from_xds(resources: Resources, *, cold: Collection[str] = ()) -> Snapshot:
    """The Snapshot of resources that `check_resource` has nothing against.

    What routes name and no Cluster is there for is missing (500) if all of them say so by
    `cluster_not_found_response_code: INTERNAL_SERVER_ERROR`, and else cold (503), as are those of `cold` and clusters
    whose load assignment is not there. What only gRPC clients are given is left out.
    """
    told = [(listener, _read_routes(listener, resources.get(ROUTES, {}))) for listener in _read_listeners(resources)]
    clusters, waiting = _make_clusters(resources, [routes for _, routes in told], cold)
    hashes = collect_hashes(clusters.values())
    listeners = [_make_listener(listener, routes, hashes) for listener, routes in told]
    absent = _join_absent(routes for _, routes in told)
    named = {*_named_clusters(listeners), *absent} - clusters.keys()
    missing = {n for n in named if absent.get(n, False) and n not in cold and n not in waiting}
    snapshot = Snapshot(
        tuple(sorted(listeners, key=lambda listener: listener.name)),
        tuple(clusters[name] for name in sorted(clusters)),
        tuple(sorted(missing)),
        tuple(sorted({*named, *waiting} - missing)),
    )
    # So that it has the version of an equal one that was made of documents.
    return make_canonical(snapshot)


def _read_listeners(resources: Resources) -> list[ToldListener]:
    messages = [_parse(resource) for resource in resources.get(LISTENER, {}).values()]
    return [read_listener(message, Place(Faults())) for message in messages if not is_for_grpc(message)]


def _make_listener(told: ToldListener, routes: Configuration, hashes: Hashes) -> Listener:
    hosts = []
    for host in routes.hosts:
        site = make_site(told.sent_port, host.domains, hashes, is_tls=told.tls is not None)
        routes_of_host = raise_routes(host.routes, site)
        hosts.append(VirtualHost(host.name, host.domains, routes_of_host, host.allowed_identities))
    return Listener(told.name, tuple(hosts), told.address, told.port, told.tls)


def _join_absent(configurations: Iterable[Configuration]) -> dict[str, bool]:
    absent: dict[str, bool] = {}
    for routes in configurations:
        for name, is_error in routes.absent.items():
            absent[name] = absent.get(name, True) and is_error
    return absent


def _read_routes(told: ToldListener, configurations: Mapping[str, Resource]) -> Configuration:
    if isinstance(told.routes, Configuration):
        return told.routes
    resource = configurations.get(told.routes)
    return _NO_ROUTES if resource is None else read_configuration(_parse(resource), Place(Faults()))


def _make_clusters(
    resources: Resources, routes: list[Configuration], cold: Collection[str]
) -> tuple[dict[str, Cluster], set[str]]:
    """Those that are there, by name, and the names of those that have no endpoints yet."""
    assignments = resources.get(ENDPOINTS, {})
    found: list[Cluster] = []
    own: set[str] = set()
    waiting: set[str] = set()
    for resource in resources.get(CLUSTER, {}).values():
        if not resource.wildcard:
            continue
        message = _parse(resource)
        told = read_cluster(message, Place(Faults()))
        if (told.assignment is not None and told.assignment not in assignments) or (
            told.assignment is None and told.cluster.name in cold
        ):
            waiting.add(told.cluster.name)
            continue
        cluster, is_own = make_told(told, _find_assignment(message, told.assignment, assignments))
        found.append(cluster)
        if is_own:
            own.add(cluster.name)
    return _settle(found, own, routes), waiting


def _find_assignment(message: Any, name: str | None, assignments: Mapping[str, Resource]) -> Assignment:
    told = message.load_assignment if name is None else _parse(assignments[name])
    return read_assignment(told, Place(Faults()), names=name is None)


def _settle(found: Iterable[Cluster], own: Collection[str], routes: Iterable[Configuration]) -> dict[str, Cluster]:
    """The clusters by name, with what they pick by."""
    clusters = {cluster.name: cluster for cluster in found}
    keys = settle_hashes(clusters.values(), own, _forwards(routes))
    for name, key in keys.items():
        balancing = clusters[name].load_balancing
        if key is None and name not in own:
            # Envoy's hash is a random one then.
            balancing = LoadBalancing(
                "random", panic_percent=balancing.panic_percent, locality_weights=balancing.locality_weights
            )
        clusters[name] = replace(clusters[name], load_balancing=replace(balancing, hash_on=key))
    return clusters


def _forwards(routes: Iterable[Configuration]) -> Iterator[tuple[Forward, HashKey | None]]:
    for configuration in routes:
        for host in configuration.hosts:
            for lowered in host.routes:
                if isinstance(lowered.route.action, Forward):
                    yield lowered.route.action, lowered.hash_on


def _named_clusters(listeners: Collection[Listener]) -> set[str]:
    actions = [r.action for listener in listeners for host in listener.virtual_hosts for r in host.routes]
    return {name for action in actions if isinstance(action, Forward) for name in action.clusters()}


def _parse(resource: Resource) -> Any:
    return RESOURCE_CLASSES[resource.type_url].FromString(resource.body)
