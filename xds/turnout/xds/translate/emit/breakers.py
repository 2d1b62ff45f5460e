"""A cluster's limits as CircuitBreakers. What has none is told to be unlimited: Envoy's own limits are others."""

from typing import Any

from envoy.config.cluster.v3 import circuit_breaker_pb2

from turnout.rules.resilience import CircuitBreaker
from turnout.xds.translate.names import NO_LIMIT

_THRESHOLDS = circuit_breaker_pb2.CircuitBreakers.Thresholds


def make_breakers(breaker: CircuitBreaker) -> Any:
    """Of a lowered breaker: it has a limit of retries or a budget."""
    thresholds, limits = _THRESHOLDS(), breaker.limits
    _limit(thresholds.max_connections, limits.max_connections)
    _limit(thresholds.max_pending_requests, limits.max_pending_requests)
    _limit(thresholds.max_requests, limits.max_requests)
    if breaker.retry_budget is None:
        _limit(thresholds.max_retries, limits.max_retries)
    else:
        thresholds.retry_budget.budget_percent.value = breaker.retry_budget.percent
        thresholds.retry_budget.min_retry_concurrency.value = breaker.retry_budget.min_concurrency
    message = circuit_breaker_pb2.CircuitBreakers(thresholds=[thresholds])
    if breaker.endpoint.max_connections is not None:
        message.per_host_thresholds.add().max_connections.value = breaker.endpoint.max_connections
    return message


def _limit(message: Any, limit: int | None) -> None:
    message.value = NO_LIMIT if limit is None else limit
