"""CircuitBreakers messages: a cluster's limits, which are Envoy's own where nothing is said."""

from typing import Any

from envoy.config.core.v3 import base_pb2

from turnout.rules.resilience import CircuitBreaker, Limits, RetryBudget
from turnout.xds.translate.faults import Place
from turnout.xds.translate.names import NO_LIMIT
from turnout.xds.translate.read.numbers import read_limit, read_number, read_percent

MAX_ACTIVE = 1_024
MAX_RETRIES = 3
"""Envoy's defaults: of connections, of waiting and of active requests, and of retries at one time."""
_DEFAULT = base_pb2.RoutingPriority.DEFAULT


def read_breakers(message: Any, place: Place) -> CircuitBreaker:
    """Of a CircuitBreakers message. Routes have no priority here, so only the thresholds of DEFAULT count."""
    thresholds = next((told for told in message.thresholds if told.priority == _DEFAULT), None)
    limits, budget = Limits(MAX_ACTIVE, MAX_ACTIVE, MAX_ACTIVE, MAX_RETRIES), None
    if thresholds is not None:
        limits = Limits(
            read_limit(thresholds, "max_connections", MAX_ACTIVE),
            read_limit(thresholds, "max_pending_requests", MAX_ACTIVE),
            read_limit(thresholds, "max_requests", MAX_ACTIVE),
            # Envoy does not look at the limit beside a budget.
            None if thresholds.HasField("retry_budget") else read_limit(thresholds, "max_retries", MAX_RETRIES),
        )
        budget = _read_budget(thresholds, place.at("thresholds"))
    return CircuitBreaker(limits, Limits(_read_per_host(message, place)), retry_budget=budget)


def _read_budget(message: Any, place: Place) -> RetryBudget | None:
    if not message.HasField("retry_budget"):
        return None
    told, spot = message.retry_budget, place.at("retry_budget")
    percent = read_percent(told, "budget_percent", 20.0, spot)
    return RetryBudget(percent, read_number(told, "min_retry_concurrency", MAX_RETRIES, spot), 0.0)


def _read_per_host(message: Any, place: Place) -> int | None:
    for index, told in enumerate(message.per_host_thresholds):
        for field, _ in told.ListFields():
            if field.name not in ("priority", "max_connections"):
                place.at("per_host_thresholds", index).at(field.name).say("is not supported; max_connections is")
    told = next((t for t in message.per_host_thresholds if t.priority == _DEFAULT), None)
    return None if told is None else read_limit(told, "max_connections", NO_LIMIT)
