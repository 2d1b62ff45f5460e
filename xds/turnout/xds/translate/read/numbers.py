"""Numbers that resources hold, read and checked: wrapped ones with the default that Envoy has, shares, percents.

And those of a hint, which is a Snapshot's own struct: what each field may be goes by its name, like everything here.
"""

import math
from typing import Any, Final

import msgspec
from envoy.type.v3 import percent_pb2

from turnout.rules import mirroring as m
from turnout.rules import resilience as r
from turnout.xds.translate.faults import Place
from turnout.xds.translate.names import NO_LIMIT
from turnout.xds.translate.read.values import MAX_SECONDS, read_duration

MILLION = 1_000_000
MAX_RING = 8_388_608
MAX_TABLE = 5_000_011
"""Envoy's bounds of a ring's and a Maglev table's size."""
_PER_UNIT = {
    percent_pb2.FractionalPercent.HUNDRED: 10_000,
    percent_pb2.FractionalPercent.TEN_THOUSAND: 100,
    percent_pb2.FractionalPercent.MILLION: 1,
}
Bounds = tuple[float, float]

SHORTEST_S = 0.001
"""Of what is done again and again."""
_BOUNDS: Final[dict[tuple[type, str], Bounds]] = {
    (r.RateLimit, "per_second"): (1e-9, NO_LIMIT),
    (r.RateLimit, "burst"): (1, NO_LIMIT),
    (r.Retry, "replay_bytes"): (0, 2**64 - 1),
    (r.LoadBalancing, "choice_count"): (1, NO_LIMIT),
    (r.LoadBalancing, "active_request_bias"): (0, 1_000),
    (r.LoadBalancing, "decay_s"): (SHORTEST_S, MAX_SECONDS),
    (r.LoadBalancing, "minimum_ring_size"): (1, MAX_RING),
    (r.LoadBalancing, "table_size"): (2, MAX_TABLE),
    (r.LoadBalancing, "hash_balance_percent"): (100, NO_LIMIT),
    (r.FailureAccrual, "consecutive"): (1, NO_LIMIT),
    (r.FailureAccrual, "jitter"): (0, 1),
    (r.LatencyOutliers, "factor"): (1, 1_000_000),
    (r.LatencyOutliers, "confidence"): (0, 1_000_000),
    (r.OutlierDetection, "interval_s"): (SHORTEST_S, MAX_SECONDS),
    (r.OutlierDetection, "base_ejection_s"): (SHORTEST_S, MAX_SECONDS),
    (r.OutlierDetection, "max_ejection_s"): (SHORTEST_S, MAX_SECONDS),
    (r.OutlierDetection, "consecutive_5xx"): (1, NO_LIMIT),
    (r.OutlierDetection, "consecutive_gateway_failure"): (1, NO_LIMIT),
    (r.OutlierDetection, "consecutive_local_origin_failure"): (1, NO_LIMIT),
    (r.HealthCheck, "interval_s"): (SHORTEST_S, MAX_SECONDS),
    (r.HealthCheck, "timeout_s"): (SHORTEST_S, MAX_SECONDS),
    (r.HealthCheck, "warm_timeout_s"): (SHORTEST_S, MAX_SECONDS),
    (r.HealthCheck, "unhealthy_threshold"): (1, NO_LIMIT),
    (r.HealthCheck, "healthy_threshold"): (1, NO_LIMIT),
    (m.MirrorLimits, "timeout_s"): (SHORTEST_S, MAX_SECONDS),
    (m.MirrorLimits, "max_requests"): (1, NO_LIMIT),
    (r.SlowStart, "window_s"): (SHORTEST_S, MAX_SECONDS),
    (r.SlowStart, "aggression"): (1e-6, 1_000),
}
"""Where the field's name does not say it."""


def check_numbers(struct: msgspec.Struct, place: Place) -> None:
    """Say which numbers of a struct, and of those in it, can't be."""
    for name in struct.__struct_fields__:
        value = getattr(struct, name)
        if isinstance(value, msgspec.Struct):
            check_numbers(value, place)
        elif isinstance(value, int | float) and not isinstance(value, bool):
            low, high = _BOUNDS.get((type(struct), name)) or _bounds_by_name(name)
            if not low <= value <= high:
                place.say(f"{name} {value:g} is not from {low:g} to {high:g}")


def _bounds_by_name(name: str) -> Bounds:
    if name.endswith("_s"):
        return 0, MAX_SECONDS
    if name.endswith("percent") or (name.startswith("enforcing_")) or name == "failure_percentage_threshold":
        return 0, 100
    return (0, MILLION) if name.endswith("_per_million") else (0, NO_LIMIT)


def read_number(message: Any, field: str, default: int, place: Place, bounds: Bounds = (0, NO_LIMIT)) -> int:
    """A wrapped integer of `message`."""
    if not message.HasField(field):
        return default
    value: int = getattr(message, field).value
    if not bounds[0] <= value <= bounds[1]:
        place.at(field).say(f"{value} is not from {bounds[0]:.0f} to {bounds[1]:.0f}")
        return default
    return value


def read_limit(message: Any, field: str, default: int) -> int | None:
    """A wrapped limit of `message`; None if it is none."""
    value: int = getattr(message, field).value if message.HasField(field) else default
    return None if value == NO_LIMIT else value


def read_percent(message: Any, field: str, default: float, place: Place) -> float:
    """An envoy.type.v3.Percent of `message`."""
    if not message.HasField(field):
        return default
    value = float(getattr(message, field).value)
    if not 0 <= value <= 100:
        place.at(field).say(f"{value:g} is no percentage")
        return default
    return value


def read_double(message: Any, field: str, default: float, place: Place, bounds: Bounds) -> float:
    """The default value of an envoy.config.core.v3.RuntimeDouble of `message`; there is no runtime."""
    if not message.HasField(field):
        return default
    value = float(getattr(message, field).default_value)
    if not (math.isfinite(value) and bounds[0] <= value <= bounds[1]):
        place.at(field).say(f"{value:g} is not from {bounds[0]:g} to {bounds[1]:g}")
        return default
    return value


def read_seconds(message: Any, field: str, default: float, place: Place, *, least: float = 0.0) -> float:
    """A duration of `message`."""
    if not message.HasField(field):
        return default
    seconds = read_duration(getattr(message, field), place.at(field))
    if seconds < least:
        place.at(field).say(f"must be at least {least:g} s")
        return default
    return seconds


def read_share(message: Any, place: Place) -> int:
    """An envoy.type.v3.FractionalPercent, per million."""
    unit = _PER_UNIT.get(message.denominator)
    if unit is None:
        place.at("denominator").say("is not supported")
        return 0
    return int(min(message.numerator * unit, MILLION))
