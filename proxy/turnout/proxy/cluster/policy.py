"""What picks an endpoint of a cluster."""

from collections.abc import Sequence
from typing import Protocol

from turnout.proxy.cluster.endpoint import Endpoint


class Policy(Protocol):
    """Picks one of the endpoints that may be used; there is at least one.

    `hash` is that of the request, for policies by which equal requests go to the same endpoint, else 0.
    """

    def pick(self, endpoints: Sequence[Endpoint], now: float, hash: int) -> Endpoint: ...
