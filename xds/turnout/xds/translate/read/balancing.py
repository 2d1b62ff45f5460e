"""How a Cluster message says that an endpoint is picked, with Envoy's defaults."""

from typing import Any, Final

from turnout.rules.resilience import LoadBalancing, SlowStart
from turnout.xds.translate.emit.balancing import POLICIES
from turnout.xds.translate.faults import Place
from turnout.xds.translate.lower_cluster import LEAST_CHOICES, SLOW_STARTING
from turnout.xds.translate.names import NO_LIMIT
from turnout.xds.translate.read.numbers import (
    MAX_RING,
    MAX_TABLE,
    SHORTEST_S,
    read_double,
    read_number,
    read_percent,
    read_seconds,
)

PANIC_PERCENT = 50.0
"""Envoy's `healthy_panic_threshold` default."""
_POLICIES: Final[dict[int, Any]] = {value: name for name, value in POLICIES.items()}
_DEFAULT = LoadBalancing()


def read_balancing(message: Any, place: Place) -> LoadBalancing:
    """All but the weights of localities, which are in the load assignment."""
    policy = _POLICIES.get(message.lb_policy)
    if policy is None:
        place.at("lb_policy").say(f"is not supported; {', '.join(POLICIES).upper()} are")
    common, spot = message.common_lb_config, place.at("common_lb_config")
    least, ring, table = (
        message.least_request_lb_config if policy == "least_request" else None,
        message.ring_hash_lb_config if policy == "ring_hash" else None,
        message.maglev_lb_config if policy == "maglev" else None,
    )
    balance = None
    if common.consistent_hashing_lb_config.HasField("hash_balance_factor"):
        inner = spot.at("consistent_hashing_lb_config")
        factor = read_number(common.consistent_hashing_lb_config, "hash_balance_factor", 100, inner, (100, NO_LIMIT))
        balance = factor if policy in ("ring_hash", "maglev") else None
    return LoadBalancing(
        policy=policy or "round_robin",
        choice_count=_DEFAULT.choice_count if least is None else _read_choices(least, place),
        active_request_bias=_DEFAULT.active_request_bias if least is None else _read_bias(least, place),
        minimum_ring_size=_DEFAULT.minimum_ring_size if ring is None else _read_ring(ring, place),
        table_size=_DEFAULT.table_size if table is None else _read_table(table, place),
        hash_balance_percent=balance,
        panic_percent=read_percent(common, "healthy_panic_threshold", PANIC_PERCENT, spot),
    )


def read_slow_start(message: Any, place: Place) -> SlowStart | None:
    """Of the configuration that belongs to the policy."""
    policy = _POLICIES.get(message.lb_policy)
    if policy not in SLOW_STARTING:
        return None
    name = f"{policy}_lb_config"
    config = getattr(message, name)
    if not config.HasField("slow_start_config"):
        return None
    told, spot = config.slow_start_config, place.at(f"{name}.slow_start_config")
    if not told.HasField("slow_start_window"):
        spot.at("slow_start_window").say("is needed")
    window = read_seconds(told, "slow_start_window", 0.0, spot, least=SHORTEST_S)
    aggression = read_double(told, "aggression", 1.0, spot, (1e-6, 1_000))
    return SlowStart(window, aggression, read_percent(told, "min_weight_percent", 10.0, spot))


def _read_choices(message: Any, place: Place) -> int:
    spot = place.at("least_request_lb_config")
    return read_number(message, "choice_count", LEAST_CHOICES, spot, (LEAST_CHOICES, NO_LIMIT))


def _read_bias(message: Any, place: Place) -> float:
    return read_double(message, "active_request_bias", 1.0, place.at("least_request_lb_config"), (0, 1_000))


def _read_ring(message: Any, place: Place) -> int:
    return read_number(message, "minimum_ring_size", 1_024, place.at("ring_hash_lb_config"), (1, MAX_RING))


def _read_table(message: Any, place: Place) -> int:
    spot = place.at("maglev_lb_config")
    size = read_number(message, "table_size", 65_537, spot, (2, MAX_TABLE))
    if not is_prime(size):
        spot.at("table_size").say(f"{size} is no prime number")
    return size


def is_prime(number: int) -> bool:
    """By trial: a table has at most 5,000,011 entries."""
    return number > 1 and all(number % divisor for divisor in range(2, int(number**0.5) + 1))
