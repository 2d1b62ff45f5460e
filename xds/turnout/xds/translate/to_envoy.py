"""A Snapshot as Envoy's resources: the one door out of it.

* Each listener is a Listener, with a RouteConfiguration of the same name, by RDS over ADS.
* Each cluster is a Cluster; of those that are addresses a ClusterLoadAssignment holds the endpoints. A `missing`
  cluster is none: the routes that name it say that its share is a 500.
* For gRPC's own client each hostname is an ApiListener of that name, and one of `hostname:port`, which is what it asks
  for if the target has a port. Both take one RouteConfiguration, which has the routes of that hostname for every host.
  Only who names them gets them, and the clusters that these routes name, as `grpc/…`: gRPC's client refuses most
  policies of load balancing, so what it gets goes round, or picks by hash. So it is with a cluster without endpoints
  for each missing one: gRPC's client would wait 15 s for a cluster that is not there, and answer nothing at all until
  then.
"""

from collections.abc import Iterable, Iterator
from typing import Any, TypeAlias

from msgspec.structs import replace

from turnout.rules.mirroring import MirrorLimits
from turnout.rules.resilience import LoadBalancing
from turnout.rules.snapshot import (
    Cluster,
    Forward,
    Listener,
    Origin,
    Origins,
    Respond,
    Route,
    Snapshot,
    VirtualHost,
)
from turnout.xds.resources import CLUSTER, ENDPOINTS, LISTENER, ROUTES, Resource, group_resources, make_resource
from turnout.xds.translate.emit.clusters import is_resolved, make_assignment, make_cluster
from turnout.xds.translate.emit.listeners import make_api_listener, make_listener, sent_port
from turnout.xds.translate.emit.routes import add_missing, make_configuration, make_host
from turnout.xds.translate.emit.values import serialize
from turnout.xds.translate.hashes import HASHING, Hashes, collect_hashes
from turnout.xds.translate.lower import make_site
from turnout.xds.translate.lower_cluster import find_hint
from turnout.xds.translate.reuse import Reuse

Listeners: TypeAlias = tuple[Listener, ...]
Names: TypeAlias = tuple[str, ...]

_CLOSED = Respond(403, "only for known identities, which a proxy has to see")
GRPC_NAMES = "grpc/"
"""Before a hostname, the name of the route configuration of gRPC clients; before a cluster's name, that of theirs."""


def to_xds(
    snapshot: Snapshot, reuse: Reuse | None = None, *, grpc_listeners: bool = True
) -> dict[str, dict[str, Resource]]:
    """All resources, by type URL and name. Equal Snapshots give equal bytes, whatever could be reused."""
    reuse = reuse or Reuse()
    listeners, missing, hashes = snapshot.listeners, snapshot.missing, collect_hashes(snapshot.clusters)
    found = [
        *reuse.take("listeners", _make_listeners, listeners, missing, hashes),
        *reuse.take("clusters", _make_clusters, snapshot.clusters),
    ]
    if grpc_listeners:
        found += reuse.take("grpc", _make_grpc, listeners, missing, hashes, snapshot.clusters)
    return group_resources(found)


def find_origins(snapshot: Snapshot, origins: Origins) -> dict[tuple[str, str], tuple[Origin, ...]]:
    """Where the documents say what a resource was made of, by (type URL, name). A listener that no document asks for
    has none."""
    found: dict[tuple[str, str], tuple[Origin, ...]] = {}
    for listener in snapshot.listeners:
        own = origins.listeners.get(listener.name)
        found[LISTENER, listener.name] = () if own is None else (own,)
        found[ROUTES, listener.name] = _route_origins(listener.virtual_hosts, origins)
    for hostname, listener, host in _grpc_hosts(snapshot.listeners):
        places = _route_origins([host], origins)
        found[ROUTES, GRPC_NAMES + hostname] = places
        found |= dict.fromkeys(((LISTENER, name) for name in _grpc_names(hostname, sent_port(listener))), places)
    clusters = {**origins.missing, **origins.clusters}
    for name in (*snapshot.missing, *(cluster.name for cluster in snapshot.clusters)):
        own_places = (clusters[name],) if name in clusters else ()
        for key in ((CLUSTER, name), (ENDPOINTS, name), (CLUSTER, GRPC_NAMES + name)):
            found[key] = own_places
    return found


def _make_listeners(reuse: Reuse, listeners: Listeners, missing: Names, hashes: Hashes) -> list[Resource]:
    configurations = [_make_routes(reuse, listener, frozenset(missing), hashes) for listener in listeners]
    add_missing(configurations, missing)
    found = []
    for listener, routes in zip(listeners, configurations, strict=True):
        found.append(make_resource(LISTENER, listener.name, serialize(make_listener(listener))))
        found.append(make_resource(ROUTES, listener.name, serialize(routes)))
    return found


def _make_routes(reuse: Reuse, listener: Listener, missing: frozenset[str], hashes: Hashes) -> Any:
    port, is_tls = sent_port(listener), listener.tls is not None
    hosts = [
        reuse.take((listener.name, host.name), _make_host, host, port, is_tls, missing, _pick_hashes(host, hashes))
        for host in listener.virtual_hosts
    ]
    return make_configuration(listener.name, hosts)


def _make_host(_: Reuse, host: VirtualHost, port: int, is_tls: bool, missing: frozenset[str], hashes: Hashes) -> Any:
    return make_host(host, make_site(port, host.domains, hashes, is_tls=is_tls), missing)


def _pick_hashes(host: VirtualHost, hashes: Hashes) -> Hashes:
    """Those of the clusters that the host's routes name."""
    return {name: hashes[name] for name in _named_clusters(host) if name in hashes} if hashes else hashes


def _named_clusters(host: VirtualHost) -> set[str]:
    return {b.cluster for r in host.routes if isinstance(r.action, Forward) for b in r.action.backends}


def _make_clusters(reuse: Reuse, clusters: tuple[Cluster, ...]) -> list[Resource]:
    return [found for cluster in clusters for found in reuse.take(cluster.name, _make_cluster, cluster)]


def _make_cluster(_: Reuse, cluster: Cluster) -> list[Resource]:
    body = serialize(make_cluster(cluster, hint=find_hint(cluster)))
    found = [make_resource(CLUSTER, cluster.name, body)]
    if is_resolved(cluster):
        found.append(make_resource(ENDPOINTS, cluster.name, serialize(make_assignment(cluster))))
    return found


# For gRPC's own client


def _make_grpc(
    reuse: Reuse, listeners: Listeners, missing: Names, hashes: Hashes, clusters: tuple[Cluster, ...]
) -> list[Resource]:
    found: list[Resource] = []
    hosts = list(_grpc_hosts(listeners))
    absent = frozenset(missing)
    for hostname, listener, host in hosts:
        port, keys = sent_port(listener), _pick_hashes(host, hashes)
        found += reuse.take(("host", hostname), _make_grpc_host, hostname, port, host, absent, keys)
    named = {name for _, _, host in hosts for name in _named_clusters(host)}
    for cluster in clusters:
        if cluster.name in named:
            found += reuse.take(("cluster", cluster.name), _make_grpc_cluster, cluster)
    for name in missing if hosts else ():
        found += reuse.take(("missing", name), _make_grpc_missing, name)
    return found


def _make_grpc_host(
    _: Reuse, hostname: str, port: int, host: VirtualHost, missing: frozenset[str], hashes: Hashes
) -> list[Resource]:
    routes = GRPC_NAMES + hostname
    renamed = tuple(_name_for_grpc(route, missing) for route in host.routes)
    everywhere = VirtualHost(hostname, ("*",), renamed)
    site = make_site(port, everywhere.domains, {GRPC_NAMES + name: key for name, key in hashes.items()})
    # It refuses the configuration of a filter that it has not, and lacks one of ours.
    body = serialize(make_configuration(routes, [make_host(everywhere, site, missing, filters=False)]))
    listeners = [(name, serialize(make_api_listener(name, routes))) for name in _grpc_names(hostname, port)]
    return [
        make_resource(ROUTES, routes, body, wildcard=False),
        *(make_resource(LISTENER, name, listener, wildcard=False) for name, listener in listeners),
    ]


def _name_for_grpc(route: Route, missing: frozenset[str]) -> Route:
    if not isinstance(route.action, Forward):
        return route
    backends = tuple(
        b if b.cluster in missing else replace(b, cluster=GRPC_NAMES + b.cluster) for b in route.action.backends
    )
    # It makes no copies.
    own = replace(route.action, backends=backends, mirrors=(), mirror_by=None, mirror_limits=MirrorLimits())
    return replace(route, action=own)


def _make_grpc_cluster(_: Reuse, cluster: Cluster) -> list[Resource]:
    own = replace(
        cluster,
        name=GRPC_NAMES + cluster.name,
        load_balancing=LoadBalancing("ring_hash" if cluster.load_balancing.policy in HASHING else "round_robin"),
        health_check=None,
        slow_start=None,
        # gRPC takes its certificates from its own bootstrap, and refuses secrets over SDS.
        tls=None,
        protocol="http1",
    )
    body = serialize(make_cluster(own, assignment=cluster.name if is_resolved(cluster) else ""))
    return [make_resource(CLUSTER, own.name, body, wildcard=False)]


def _make_grpc_missing(_: Reuse, name: str) -> list[Resource]:
    cluster = Cluster(name, load_balancing=LoadBalancing("round_robin"))
    return [
        make_resource(CLUSTER, name, serialize(make_cluster(cluster)), wildcard=False),
        make_resource(ENDPOINTS, name, serialize(make_assignment(cluster)), wildcard=False),
    ]


def _grpc_hosts(listeners: Listeners) -> Iterator[tuple[str, Listener, VirtualHost]]:
    """Each hostname once, of the first listener that has it; a wildcard is no name that could be asked for."""
    taken = {listener.name for listener in listeners}
    for listener in listeners:
        for host in listener.virtual_hosts:
            for domain in host.domains:
                if "*" not in domain and domain not in taken:
                    taken.add(domain)
                    yield domain, listener, _close_guarded(host)


def _close_guarded(host: VirtualHost) -> VirtualHost:
    """Who asks an endpoint by himself is not looked at by any proxy: what is not for everybody is nobody's there."""
    routes = tuple(
        replace(route, action=_CLOSED, allowed_identities=())
        if host.allowed_identities or route.allowed_identities
        else route
        for route in host.routes
    )
    return replace(host, routes=routes, allowed_identities=())


def _grpc_names(hostname: str, port: int) -> tuple[str, str]:
    return hostname, f"{hostname}:{port}"


def _route_origins(hosts: Iterable[VirtualHost], origins: Origins) -> tuple[Origin, ...]:
    """Each match's place once, in the order of the routes."""
    found: dict[Origin, None] = {}
    for host in hosts:
        seen: dict[str, int] = {}
        for route in host.routes:
            at = seen.get(route.name, 0)
            seen[route.name] = at + 1
            origin = origins.routes.get((route.name, at))
            if origin is not None:
                found[origin] = None
    return tuple(found)
