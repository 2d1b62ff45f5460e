"""Least request: who has the fewest requests in flight (Envoy `LEAST_REQUEST`).

If all weigh the same: the fewest among `choice_count` endpoints drawn at random (power of two choices). Envoy may draw
one twice, which among two is every other time; here each is drawn once at most. With weights: as weighted round robin,
by Envoy's

    weight = load_balancing_weight / (active + 1) ** active_request_bias

as it is when an endpoint is picked. A bias of 0 is weighted round robin, 1 Envoy's default.
"""

from collections.abc import Callable, Sequence
from heapq import heapify, heapreplace

from turnout.proxy.cluster.draw import draw
from turnout.proxy.cluster.endpoint import Endpoint


def effective_weight(weight: float, active: int, bias: float) -> float:
    """Envoy's formula, above 0."""
    return weight / (active + 1) if bias == 1.0 else weight / (active + 1) ** bias


class LeastRequest:
    """All weigh the same. `random` gives numbers in [0, 1)."""

    __slots__ = ("_choices", "_random")

    def __init__(self, choice_count: int, random: Callable[[], float]) -> None:
        self._choices = choice_count
        self._random = random

    def pick(self, endpoints: Sequence[Endpoint], now: float, hash: int = 0) -> Endpoint:
        """One of `endpoints`, which are not empty."""
        count = len(endpoints)
        if count == 1:
            return endpoints[0]
        if self._choices == 2:
            i, j = divmod(int(self._random() * (count * (count - 1))), count - 1)
            best, other = endpoints[i], endpoints[j + (j >= i)]
            return other if other.active < best.active else best
        best, *others = draw(endpoints, self._choices, self._random)
        for other in others:
            if other.active < best.active:
                best = other
        return best


class WeightedLeastRequest:
    """Over the endpoints it was made with. `start`: which of them comes early, as in weighted round robin."""

    __slots__ = ("_bias", "_heap")

    def __init__(self, endpoints: Sequence[Endpoint], bias: float, start: int) -> None:
        count = len(endpoints)
        self._bias = bias
        self._heap = [
            (
                ((start + at) % count + 1) / count / effective_weight(endpoint.weight, endpoint.active, bias),
                at,
                endpoint,
            )
            for at, endpoint in enumerate(endpoints)
        ]
        heapify(self._heap)

    def pick(self, endpoints: Sequence[Endpoint], now: float, hash: int = 0) -> Endpoint:
        """One of the endpoints that it was made with, which `endpoints` are."""
        deadline, at, endpoint = self._heap[0]
        weight = effective_weight(endpoint.weight, endpoint.active, self._bias)
        heapreplace(self._heap, (deadline + 1 / weight, at, endpoint))
        return endpoint
