"""What picks an endpoint of a cluster."""

from collections.abc import Sequence
from typing import Protocol

from turnout.proxy.cluster.endpoint import Endpoint


class Policy(Protocol):
    """Picks one of the endpoints that may be used; there is at least one."""

    def pick(self, endpoints: Sequence[Endpoint], now: float) -> Endpoint: ...
