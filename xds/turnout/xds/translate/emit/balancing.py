"""How a cluster picks an endpoint, in a Cluster message."""

from typing import Any

from envoy.config.cluster.v3 import cluster_pb2

from turnout.rules.resilience import LoadBalancing, SlowStart
from turnout.xds.translate.emit.values import make_duration

POLICIES = {
    "least_request": cluster_pb2.Cluster.LEAST_REQUEST,
    "round_robin": cluster_pb2.Cluster.ROUND_ROBIN,
    "random": cluster_pb2.Cluster.RANDOM,
    "ring_hash": cluster_pb2.Cluster.RING_HASH,
    "maglev": cluster_pb2.Cluster.MAGLEV,
}
# Envoy wants a key to look up for what may be changed at run time.
_BIAS_KEY = "turnout.active_request_bias"
_AGGRESSION_KEY = "turnout.slow_start_aggression"


def add_balancing(message: Any, balancing: LoadBalancing, slow_start: SlowStart | None, by_locality: bool) -> None:
    """To a Cluster: the policy, with what it needs, and what goes for all policies. `by_locality`: the localities of
    the load assignment have weights."""
    message.lb_policy = POLICIES[balancing.policy]
    match balancing.policy:
        case "least_request":
            config = message.least_request_lb_config
            config.choice_count.value = balancing.choice_count
            config.active_request_bias.default_value = balancing.active_request_bias
            config.active_request_bias.runtime_key = _BIAS_KEY
            if slow_start is not None:
                _add_slow_start(config.slow_start_config, slow_start)
        case "round_robin" if slow_start is not None:
            _add_slow_start(message.round_robin_lb_config.slow_start_config, slow_start)
        case "ring_hash":
            message.ring_hash_lb_config.minimum_ring_size.value = balancing.minimum_ring_size
        case "maglev":
            message.maglev_lb_config.table_size.value = balancing.table_size
    common = message.common_lb_config
    common.healthy_panic_threshold.value = balancing.panic_percent
    if balancing.hash_balance_percent is not None:
        common.consistent_hashing_lb_config.hash_balance_factor.value = balancing.hash_balance_percent
    if by_locality:
        common.locality_weighted_lb_config.SetInParent()


def _add_slow_start(message: Any, slow_start: SlowStart) -> None:
    message.slow_start_window.CopyFrom(make_duration(slow_start.window_s))
    message.aggression.default_value = slow_start.aggression
    message.aggression.runtime_key = _AGGRESSION_KEY
    message.min_weight_percent.value = slow_start.min_percent
