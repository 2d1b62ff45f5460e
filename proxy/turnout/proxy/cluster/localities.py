"""Locality weights: how the load of a priority is dealt to its localities (Envoy `locality_weighted_lb_config`).

    share ∝ weight · min(1, 1.4 · healthy / all)

A locality without a weight gets no load; if none of those with healthy endpoints has one, weights are left out of
account. In a priority in panic they are too.
"""

from bisect import bisect_right
from collections.abc import Callable, Sequence
from itertools import accumulate

from turnout.proxy.cluster.endpoint import Endpoint
from turnout.proxy.cluster.policy import Policy
from turnout.proxy.cluster.priorities import OVER_PROVISIONING_PERCENT


def effective_weight(weight: int, healthy: int, total: int) -> float:
    """Envoy's weight of a locality with so many endpoints, of which so many are healthy."""
    return weight * min(1.0, OVER_PROVISIONING_PERCENT / 100 * healthy / total) if total else 0.0


class Localities:
    """Picks a locality by its effective weight, at random, then one of its endpoints by a policy of its own."""

    __slots__ = ("_bounds", "_last", "_localities", "_random")

    def __init__(
        self, localities: Sequence[tuple[float, tuple[Endpoint, ...], Policy]], random: Callable[[], float]
    ) -> None:
        """`localities` are the effective weights, above 0, the endpoints that may be used and the policy of each."""
        self._bounds = tuple(accumulate(weight for weight, _, _ in localities))
        self._localities = tuple((endpoints, policy) for _, endpoints, policy in localities)
        self._last = len(self._bounds) - 1
        self._random = random

    def pick(self, endpoints: Sequence[Endpoint], now: float, hash: int = 0) -> Endpoint:
        """One of the endpoints that it was made with."""
        at = bisect_right(self._bounds, self._random() * self._bounds[-1], 0, self._last)
        of_locality, policy = self._localities[at]
        return policy.pick(of_locality, now, hash)
