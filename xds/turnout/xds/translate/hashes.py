"""What is hashed: our clusters and splits have a key of their own, Envoy's routes have one for both.

A route's `hash_policy` is that of its split (`use_hash_policy`), or, where it has none, of the first of its clusters
that wants one. So the key of a cluster is read from the routes that name it; where several of them differ, the first
counts.
"""

from collections.abc import Collection, Iterable, Mapping
from typing import TypeAlias

from turnout.rules.resilience import HashKey
from turnout.rules.snapshot import Cluster, Forward
from turnout.xds.translate.names import MODEL_HEADER

Hashes: TypeAlias = Mapping[str, HashKey]
"""The key of each cluster that has one and picks by it, by the cluster's name."""
HASHING = frozenset({"ring_hash", "maglev"})


def collect_hashes(clusters: Iterable[Cluster]) -> dict[str, HashKey]:
    """The keys that clusters pick by."""
    balancing = {cluster.name: cluster.load_balancing for cluster in clusters}
    return {n: lb.hash_on for n, lb in balancing.items() if lb.policy in HASHING and lb.hash_on is not None}


def find_hash(forward: Forward, hashes: Hashes) -> HashKey | None:
    """The hash policy of Envoy's route that is made of this action."""
    if forward.split_by is not None:
        return forward.split_by
    found = (hashes.get(backend.cluster) for backend in forward.backends)
    return next((lower_key(key) for key in found if key is not None), None)


def lower_key(key: HashKey) -> HashKey:
    """The one way to say it: the header with the model's name is the model."""
    return HashKey("model") if key == HashKey("header", MODEL_HEADER) else key


def settle_hashes(
    clusters: Iterable[Cluster], own: Collection[str], routes: Iterable[tuple[Forward, HashKey | None]]
) -> dict[str, HashKey | None]:
    """The key of each cluster that picks by a hash. `routes` come with the hash policy that they were told with; what
    the hint of a cluster claims (of those named in `own`) holds unless one of them says something else."""
    told = tuple(clusters)
    claimed = collect_hashes(told)
    contradicted: set[str] = set()
    found: dict[str, HashKey] = {}
    hashing = {cluster.name for cluster in told if cluster.load_balancing.policy in HASHING}
    for forward, key in routes if hashing else ():
        as_claimed = find_hash(forward, claimed) == key
        for name in {backend.cluster for backend in forward.backends} & hashing:
            if name in own and as_claimed:
                continue
            contradicted.add(name)
            if key is not None:
                found.setdefault(name, key)
    return {name: found.get(name) if name in contradicted else claimed.get(name) for name in hashing}
