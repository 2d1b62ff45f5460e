"""The endpoints of clusters as workers get them: names resolved, each address with its counter record."""

from collections.abc import Callable, Iterable, Mapping

from turnout.proxy.cluster.target import Target
from turnout.proxy.supervisor.dns import Resolver, is_ip_literal
from turnout.proxy.supervisor.options import Address
from turnout.proxy.supervisor.states.cluster_states import Standing
from turnout.proxy.telemetry.layout import Layout
from turnout.proxy.worker.messages import Resolved
from turnout.rules.snapshot import Cluster, Endpoint, Snapshot


def dns_names(clusters: Iterable[Cluster]) -> set[str]:
    """The endpoint addresses that have to be resolved."""
    addresses = {endpoint.address for cluster in clusters for endpoint in cluster.endpoints}
    return {address for address in addresses if not is_ip_literal(address)}


def clusters_of(snapshot: Snapshot, host: str) -> list[Cluster]:
    """The clusters with an endpoint of that name."""
    return [c for c in snapshot.clusters if any(endpoint.address == host for endpoint in c.endpoints)]


def addresses_of(cluster: Cluster, resolver: Resolver) -> dict[Address, Endpoint]:
    """The addresses of a cluster now, in the order of its endpoints, with the endpoint that each comes of.

    An address that is there twice is that of the lowest priority, else of the first.
    """
    found: dict[Address, Endpoint] = {}
    for endpoint in cluster.endpoints:
        literal = is_ip_literal(endpoint.address)
        for host in (endpoint.address,) if literal else resolver.addresses(endpoint.address):
            address = Address(host, endpoint.port)
            known = found.get(address)
            if known is None or endpoint.priority < known.priority:
                found[address] = endpoint
    return found


def resolve(
    cluster: Cluster,
    addresses: Mapping[Address, Endpoint],
    layout: Layout,
    standing: Callable[[str, Address], Standing],
) -> Resolved:
    """What workers are told of a cluster with these addresses. `standing(cluster, address)` is what the supervisor
    knows of each."""
    records = layout.allot([("endpoint", cluster.name, str(address)) for address in addresses])
    targets = []
    for (address, endpoint), record in zip(addresses.items(), records, strict=True):
        told = standing(cluster.name, address)
        targets.append(
            Target(
                *address,
                record,
                endpoint.weight,
                endpoint.priority,
                endpoint.locality,
                told.state,
                told.probe_slot,
                told.since,
            )
        )
    (record,) = layout.allot([("cluster", cluster.name, "")])
    return Resolved(cluster.name, record, targets)
