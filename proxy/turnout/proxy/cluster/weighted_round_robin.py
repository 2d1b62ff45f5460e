"""Weighted round robin: each endpoint in its turn, as often as its weight says (Envoy `ROUND_ROBIN` with weights).

Each endpoint has a deadline; the earliest is picked, and gets its next one 1/weight later. So in any unit of this time
an endpoint is picked as many times as it weighs, spread evenly and not in a row, and a pick costs O(log n). The weight
is the one of that moment: one in slow start comes more often as it grows.
"""

from collections.abc import Sequence
from heapq import heapify, heapreplace

from turnout.proxy.cluster.endpoint import Endpoint


class WeightedRoundRobin:
    """Over the endpoints it was made with. `start`: which of them comes early, so that the workers of a proxy do not
    go in step."""

    __slots__ = ("_heap",)

    def __init__(self, endpoints: Sequence[Endpoint], start: int) -> None:
        count = len(endpoints)
        # The order breaks ties: endpoints themselves are not compared. The first deadlines are spread over the first
        # interval, since all in one moment would send the first requests of every worker to the same endpoint.
        self._heap = [
            (((start + at) % count + 1) / count / endpoint.weight, at, endpoint)
            for at, endpoint in enumerate(endpoints)
        ]
        heapify(self._heap)

    def pick(self, endpoints: Sequence[Endpoint], now: float, hash: int = 0) -> Endpoint:
        """One of the endpoints that it was made with, which `endpoints` are."""
        deadline, at, endpoint = self._heap[0]
        heapreplace(self._heap, (deadline + 1 / endpoint.weight, at, endpoint))
        return endpoint
