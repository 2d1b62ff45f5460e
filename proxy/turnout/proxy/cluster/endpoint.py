"""One address that can answer, as one worker sees it, and the lease on it that a request holds."""

from enum import Enum

import msgspec

from turnout.proxy.telemetry.counters import Counters
from turnout.proxy.telemetry.layout import EndpointWord

_ACTIVE, _REQUESTS, _FAILURES = int(EndpointWord.ACTIVE), int(EndpointWord.REQUESTS), int(EndpointWord.FAILURES)


class Outcome(Enum):
    """How an attempt on an endpoint ended, as far as the endpoint is to blame."""

    OK = "ok"
    FAILED = "failed"
    UNKNOWN = "unknown"


_FAILED = Outcome.FAILED


class Target(msgspec.Struct, frozen=True, array_like=True):
    """An endpoint as the supervisor tells it to workers: an address, and what `snapshot.Endpoint` says of it.

    `record` is the offset of its counters.
    """

    address: str
    port: int
    record: int
    weight: int = 1
    priority: int = 0
    healthy: bool = True


class Endpoint:
    """An address and a port. `record` is the offset of its counters, `weight` that among those of its priority;
    `removed`: no new request goes there."""

    __slots__ = ("address", "key", "port", "record", "removed", "text", "weight")

    def __init__(self, address: str, port: int, record: int) -> None:
        self.address = address
        self.port = port
        self.key = f"[{address}]:{port}" if ":" in address else f"{address}:{port}"
        self.text = self.key.encode()
        self.record = record
        self.weight = 1
        self.removed = False

    def __repr__(self) -> str:
        return f"<Endpoint {self.key}{' removed' if self.removed else ''}>"


class Lease:
    """A request's right to an endpoint: counted while it lasts, released exactly once."""

    __slots__ = ("_counters", "endpoint", "released")

    def __init__(self, endpoint: Endpoint, counters: Counters) -> None:
        self._counters = counters
        self.endpoint = endpoint
        self.released = False
        words = counters.words
        words[endpoint.record + _ACTIVE] += 1
        words[endpoint.record + _REQUESTS] += 1

    def release(self, outcome: Outcome, now: float) -> None:
        if self.released:
            raise RuntimeError(f"the lease on {self.endpoint!r} is released twice")
        self.released = True
        endpoint = self.endpoint
        words = self._counters.words
        words[endpoint.record + _ACTIVE] -= 1
        if outcome is _FAILED:
            words[endpoint.record + _FAILURES] += 1
