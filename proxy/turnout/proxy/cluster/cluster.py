"""A cluster: endpoints, and the choice among them: filter → (score →) pick.

A cluster outlives the Snapshot that named it, as long as the next ones name it too, and so do its endpoints: what was
learnt of them, the requests in flight, and their pooled connections stay.
"""

from collections.abc import Iterable, Sequence
from typing import Protocol

from turnout.proxy.cluster.endpoint import Endpoint, Lease
from turnout.proxy.telemetry.counters import Counters
from turnout.rules import snapshot


class Policy(Protocol):
    """Picks one of the endpoints that may be used; there is at least one."""

    def pick(self, endpoints: Sequence[Endpoint], now: float) -> Endpoint: ...


class Cluster:
    """Chooses an endpoint for each request."""

    __slots__ = ("_available", "_counters", "_endpoints", "_policy", "config")

    def __init__(self, config: snapshot.Cluster, policy: Policy, counters: Counters) -> None:
        self.config = config
        self._policy = policy
        self._counters = counters
        self._endpoints: dict[tuple[str, int], Endpoint] = {}
        self._available: tuple[Endpoint, ...] = ()

    @property
    def endpoints(self) -> tuple[Endpoint, ...]:
        return tuple(self._endpoints.values())

    def choose(self, now: float) -> Lease | None:
        """A lease on an endpoint, None if there is none that may be used."""
        available = self._available
        if not available:
            return None
        return Lease(self._policy.pick(available, now), self._counters)

    def apply_endpoints(self, addresses: Iterable[tuple[str, int, int]]) -> list[Endpoint]:
        """Make these (address, port, counter record) the endpoints; those that stay are kept. Returns the removed."""
        before = self._endpoints
        self._endpoints = {}
        for address, port, record in addresses:
            known = before.pop((address, port), None)
            self._endpoints[address, port] = known or Endpoint(address, port, record)
        for endpoint in before.values():
            endpoint.removed = True
        self._available = tuple(self._endpoints.values())
        return list(before.values())
