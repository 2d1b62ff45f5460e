"""Consistent hashing with bounded loads: nobody has more than so many per cent of the mean.

Envoy `hash_balance_factor`; Mirrokni, Thorup, Zadimoghaddam, arXiv:1608.01350.

Of all endpoints together `ceil(percent / 100 · (requests in flight + 1))` slots are there, each has the share of them
that it weighs, rounded up, and one at least. Who has no slot left is passed over; Envoy lets it have one more. With
100 per cent or more there is always somebody with a slot.
"""

from collections.abc import Sequence
from math import ceil

from turnout.proxy.cluster.endpoint import Endpoint


class BoundedLoad:
    """Over the endpoints that may be used, with their `weights` above 0, and the percentage, at least 100."""

    __slots__ = ("_endpoints", "_percent", "_shares")

    def __init__(self, endpoints: Sequence[Endpoint], weights: Sequence[float], percent: int) -> None:
        total = sum(weights)
        self._endpoints = tuple(endpoints)
        self._shares = {id(e): weight / total for e, weight in zip(endpoints, weights, strict=True)}
        self._percent = percent

    def slots(self) -> int:
        """How many there are with the request that is to be placed."""
        active = 1
        for endpoint in self._endpoints:
            active += endpoint.active
        return -(-active * self._percent // 100)

    def has_room(self, endpoint: Endpoint, slots: int) -> bool:
        """Whether an endpoint may have one more request, if there are so many slots."""
        active = endpoint.active
        return not active or active < ceil(slots * self._shares[id(endpoint)])

    def least_loaded(self) -> Endpoint:
        """Who has the fewest requests for its weight."""
        return min(self._endpoints, key=lambda endpoint: (endpoint.active + 1) / self._shares[id(endpoint)])
