"""The endpoints of clusters as workers get them: names resolved, each address with its counter record."""

from collections.abc import Iterable

from turnout.proxy.supervisor.dns import Resolver, is_ip_literal
from turnout.proxy.supervisor.options import Address
from turnout.proxy.telemetry.layout import Layout
from turnout.proxy.worker.messages import Resolved
from turnout.rules.snapshot import Cluster, Snapshot


def dns_names(clusters: Iterable[Cluster]) -> set[str]:
    """The endpoint addresses that have to be resolved."""
    addresses = {endpoint.address for cluster in clusters for endpoint in cluster.endpoints}
    return {address for address in addresses if not is_ip_literal(address)}


def clusters_of(snapshot: Snapshot, host: str) -> list[Cluster]:
    """The clusters with an endpoint of that name."""
    return [c for c in snapshot.clusters if any(endpoint.address == host for endpoint in c.endpoints)]


def addresses_of(cluster: Cluster, resolver: Resolver) -> list[Address]:
    """The addresses of a cluster now, in the order of its endpoints, each once."""
    found: dict[Address, None] = {}
    for endpoint in cluster.endpoints:
        literal = is_ip_literal(endpoint.address)
        for address in (endpoint.address,) if literal else resolver.addresses(endpoint.address):
            found[Address(address, endpoint.port)] = None
    return list(found)


def resolve(cluster: Cluster, resolver: Resolver, layout: Layout) -> Resolved:
    """What workers are told of a cluster."""
    addresses = addresses_of(cluster, resolver)
    records = layout.allot([("endpoint", cluster.name, str(address)) for address in addresses])
    return Resolved(cluster.name, [(*a, record) for a, record in zip(addresses, records, strict=True)])
