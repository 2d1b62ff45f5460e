"""How the load of a cluster is dealt to its priorities (Envoy, "Priority levels").

A priority's health is the percentage of its endpoints that are healthy, times the over-provisioning factor 1.4, at
most 100. The load goes to the lowest priority as far as its health reaches, what is left to the next one; if all
together don't reach 100 each gets its part of their sum. All is whole per cents, rounded down as Envoy does, and what
the rounding leaves goes to the first that has any health. Where all health is rounded to nothing, the first priority
with a healthy endpoint gets the load. There is no panic mode: what is not healthy gets nothing.
"""

from bisect import bisect_right
from collections.abc import Callable, Sequence
from itertools import accumulate

from turnout.proxy.cluster.endpoint import Endpoint
from turnout.proxy.cluster.policy import Policy

OVER_PROVISIONING_PERCENT = 140


def deal_load(tiers: Sequence[tuple[int, int]]) -> list[int]:
    """The per cents of the load for (healthy, all) endpoints of each priority, the lowest first; all 0 if none is
    healthy, else their sum is 100."""
    health = [min(100, OVER_PROVISIONING_PERCENT * healthy // total) if total else 0 for healthy, total in tiers]
    available = min(100, sum(health))
    left, loads = 100, []
    for percent in health:
        load = min(left, percent * 100 // available) if available else 0
        left -= load
        loads.append(load)
    worthy = health if available else [healthy for healthy, _ in tiers]
    first = next((at for at, some in enumerate(worthy) if some), None)
    if first is not None:
        loads[first] += left
    return loads


class Priorities:
    """Picks a priority by its load, at random, then one of its endpoints by a policy of its own."""

    __slots__ = ("_bounds", "_random", "_tiers")

    def __init__(self, tiers: Sequence[tuple[int, tuple[Endpoint, ...], Policy]], random: Callable[[], float]) -> None:
        """`tiers` are the loads in per cent, above 0 and 100 in sum, the endpoints and the policy of each."""
        self._bounds = tuple(accumulate(load for load, _, _ in tiers))
        self._tiers = tuple((endpoints, policy) for _, endpoints, policy in tiers)
        self._random = random

    def pick(self, endpoints: Sequence[Endpoint], now: float) -> Endpoint:
        """One of the endpoints that it was made with, which `endpoints` are in sum."""
        of_tier, policy = self._tiers[bisect_right(self._bounds, int(self._random() * 100))]
        return policy.pick(of_tier, now)
