"""What the supervisor says of an endpoint: whether it gets requests, and what the Snapshot has of it."""

from enum import IntEnum

import msgspec


class State(IntEnum):
    """Whether an endpoint gets requests, and if not, why. Only AVAILABLE does; HALF_OPEN gets one."""

    AVAILABLE = 0
    UNHEALTHY = 1
    """The control plane says so."""
    FAILED_CHECK = 2
    """An active health check says so, or has not said otherwise yet."""
    WARMING = 3
    """The warm check has not been answered yet."""
    EJECTED = 4
    """Outlier detection."""
    OPEN = 5
    """Its circuit breaker."""
    HALF_OPEN = 6


class Target(msgspec.Struct, frozen=True, array_like=True):
    """An endpoint as the supervisor tells it to workers: an address, and what `snapshot.Endpoint` says of it.

    `record` is the offset of its counters. `probe_slot` is the worker that may send the one request of a half-open
    endpoint, `since` when slow start began (the monotonic clock, which all processes share; 0: it is over or none).
    """

    address: str
    port: int
    record: int
    weight: int = 1
    priority: int = 0
    locality: str = ""
    state: State = State.AVAILABLE
    probe_slot: int = -1
    since: float = 0.0
