"""Random: any endpoint (Envoy `RANDOM`); as often as its weight says, where Envoy takes no account of weights."""

from bisect import bisect_right
from collections.abc import Callable, Sequence
from itertools import accumulate

from turnout.proxy.cluster.endpoint import Endpoint


class RandomChoice:
    """All weigh the same. `random` gives numbers in [0, 1)."""

    __slots__ = ("_random",)

    def __init__(self, random: Callable[[], float]) -> None:
        self._random = random

    def pick(self, endpoints: Sequence[Endpoint], now: float, hash: int = 0) -> Endpoint:
        """One of `endpoints`, which are not empty."""
        return endpoints[int(self._random() * len(endpoints))]


class WeightedRandomChoice:
    """Over the endpoints it was made with, by `weights` above 0."""

    __slots__ = ("_bounds", "_endpoints", "_last", "_random")

    def __init__(self, endpoints: Sequence[Endpoint], weights: Sequence[float], random: Callable[[], float]) -> None:
        self._endpoints = tuple(endpoints)
        self._bounds = tuple(accumulate(weights))
        self._last = len(self._bounds) - 1
        self._random = random

    def pick(self, endpoints: Sequence[Endpoint], now: float, hash: int = 0) -> Endpoint:
        """One of the endpoints that it was made with, which `endpoints` are."""
        # Bounded by `_last`: the product may be rounded up to the sum.
        at = bisect_right(self._bounds, self._random() * self._bounds[-1], 0, self._last)
        return self._endpoints[at]
