"""Round robin: each endpoint in its turn (Envoy `ROUND_ROBIN`, all weights equal)."""

from collections.abc import Sequence

from turnout.proxy.cluster.endpoint import Endpoint


class RoundRobin:
    """Begins at `start`, so that the workers of a proxy do not go in step."""

    __slots__ = ("_next",)

    def __init__(self, start: int) -> None:
        self._next = start

    def pick(self, endpoints: Sequence[Endpoint], now: float, hash: int = 0) -> Endpoint:
        """One of `endpoints`, which are not empty."""
        self._next = turn = self._next + 1
        return endpoints[turn % len(endpoints)]
