"""How the load of a cluster is dealt to its priorities (Envoy, "Priority levels" and "Panic threshold").

A priority's health is the percentage of its endpoints that are healthy, times the over-provisioning factor 1.4, at
most 100. The load goes to the lowest priority as far as its health reaches, what is left to the next one; if all
together don't reach 100 each gets its part of their sum. All is whole per cents, rounded down as Envoy does, and what
the rounding leaves goes to the first that has any health. Where all health is rounded to nothing, the first priority
with a healthy endpoint gets the load.

Panic: unless the health of all priorities together reaches 100, one with a smaller percentage of healthy endpoints than
the threshold uses all that it has, since the few would be overrun. If all priorities are in panic, the load is dealt by
how many endpoints they have. Without a threshold what is not healthy gets nothing.
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
    health = _health(tiers)
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


def find_panic(tiers: Sequence[tuple[int, int]], panic_percent: float) -> list[bool]:
    """Which priorities are in panic; a threshold of 0 is none."""
    if sum(_health(tiers)) >= 100:
        return [False] * len(tiers)
    return [100.0 * healthy < panic_percent * total for healthy, total in tiers]


def deal_panic_load(totals: Sequence[int]) -> list[int]:
    """The per cents of the load where all priorities are in panic, by how many endpoints each has."""
    total = sum(totals)
    if not total:
        return [0] * len(totals)
    loads = [100 * some // total for some in totals]
    loads[next(at for at, some in enumerate(totals) if some)] += 100 - sum(loads)
    return loads


def _health(tiers: Sequence[tuple[int, int]]) -> list[int]:
    return [min(100, OVER_PROVISIONING_PERCENT * healthy // total) if total else 0 for healthy, total in tiers]


class Priorities:
    """Picks a priority by its load, then one of its endpoints by a policy of its own.

    At random; with `by_hash` a request that has a key goes by its hash, as in Envoy, so that a key keeps its endpoint.
    """

    __slots__ = ("_bounds", "_by_hash", "_random", "_tiers")

    def __init__(
        self,
        tiers: Sequence[tuple[int, tuple[Endpoint, ...], Policy]],
        random: Callable[[], float],
        *,
        by_hash: bool = False,
    ) -> None:
        """`tiers` are the loads in per cent, above 0 and 100 in sum, the endpoints and the policy of each."""
        self._bounds = tuple(accumulate(load for load, _, _ in tiers))
        self._tiers = tuple((endpoints, policy) for _, endpoints, policy in tiers)
        self._random = random
        self._by_hash = by_hash

    def pick(self, endpoints: Sequence[Endpoint], now: float, hash: int = 0) -> Endpoint:
        """One of the endpoints that it was made with, which `endpoints` are in sum."""
        percent = hash % 100 if hash and self._by_hash else int(self._random() * 100)
        of_tier, policy = self._tiers[bisect_right(self._bounds, percent)]
        return policy.pick(of_tier, now, hash)
