"""A cluster: endpoints, and the choice among them: filter → (score →) pick.

A cluster outlives the Snapshot that named it, as long as the next ones name it too, and so do its endpoints: what was
learnt of them, the requests in flight, and their pooled connections stay.

What is known when the endpoints come is decided then: those that may get no load are not asked, and a policy for
weights or priorities stands there only if there are any. So a request costs the same as without them.
"""

from collections.abc import Callable, Iterable

from turnout.proxy.cluster.endpoint import Endpoint, Lease, Target
from turnout.proxy.cluster.policy import Policy
from turnout.proxy.cluster.priorities import Priorities, deal_load
from turnout.proxy.cluster.round_robin import RoundRobin
from turnout.proxy.cluster.weighted_round_robin import WeightedRoundRobin
from turnout.proxy.telemetry.counters import Counters
from turnout.rules import snapshot

MAX_START = 1 << 16


class Cluster:
    """Chooses an endpoint for each request. `random` gives numbers in [0, 1)."""

    __slots__ = ("_available", "_counters", "_endpoints", "_policy", "_random", "_targets", "config")

    def __init__(self, config: snapshot.Cluster, random: Callable[[], float], counters: Counters) -> None:
        self.config = config
        self._random = random
        self._counters = counters
        self._targets: list[Target] = []
        self._endpoints: dict[tuple[str, int], Endpoint] = {}
        self._available: tuple[Endpoint, ...] = ()
        self._policy: Policy = RoundRobin(0)

    @property
    def endpoints(self) -> tuple[Endpoint, ...]:
        return tuple(self._endpoints.values())

    def choose(self, now: float) -> Lease | None:
        """A lease on an endpoint, None if there is none that may be used."""
        available = self._available
        if not available:
            return None
        return Lease(self._policy.pick(available, now), self._counters)

    def apply_endpoints(self, targets: Iterable[Target]) -> list[Endpoint]:
        """Make these the endpoints; those that stay are kept. Returns the removed."""
        targets = list(targets)
        if targets == self._targets:
            return []
        self._targets = targets
        before = self._endpoints
        self._endpoints = {}
        for target in targets:
            key = target.address, target.port
            endpoint = before.pop(key, None) or Endpoint(target.address, target.port, target.record)
            endpoint.weight = target.weight
            self._endpoints[key] = endpoint
        for endpoint in before.values():
            endpoint.removed = True
        self._deal()
        return list(before.values())

    def _deal(self) -> None:
        """Which endpoints get load by priority and health, and what picks among them."""
        by_priority: dict[int, list[Target]] = {}
        for target in sorted(self._targets, key=lambda target: target.priority):
            by_priority.setdefault(target.priority, []).append(target)
        healthy = [[self._endpoints[t.address, t.port] for t in tier if t.healthy] for tier in by_priority.values()]
        loads = deal_load([(len(able), len(tier)) for able, tier in zip(healthy, by_priority.values(), strict=True)])
        tiers = [(load, tuple(able)) for load, able in zip(loads, healthy, strict=True) if load]
        self._available = tuple(endpoint for _, able in tiers for endpoint in able)
        if len(tiers) > 1:
            self._policy = Priorities([(load, able, self._make_policy(able)) for load, able in tiers], self._random)
        else:
            self._policy = self._make_policy(self._available)

    def _make_policy(self, endpoints: tuple[Endpoint, ...]) -> Policy:
        start = int(self._random() * MAX_START)
        if len({endpoint.weight for endpoint in endpoints}) > 1:
            return WeightedRoundRobin(endpoints, start)
        return RoundRobin(start)
