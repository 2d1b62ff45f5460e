"""What the admin shows of endpoint states and limits, as JSON. Plain data, no I/O."""

from typing import Any

import msgspec

from turnout.proxy.cluster.target import State
from turnout.proxy.supervisor.counters import RecordWords
from turnout.proxy.supervisor.health.thresholds import Health
from turnout.proxy.supervisor.states.cluster_states import ClusterStates, EndpointStates
from turnout.proxy.supervisor.states.events import Events
from turnout.proxy.telemetry.layout import ClusterWord, EndpointWord
from turnout.rules.resilience import CircuitBreaker

Json = dict[str, Any]


def events_dump(events: Events) -> Json:
    """The last events, newest last."""
    return {"events": list(events.last)}


def endpoint_dump(cluster: ClusterStates, key: str, known: EndpointStates, now: float) -> Json:
    """The state of an endpoint, for how long it has it, and what each part says. Times are seconds."""
    state = known.state if known.state is not None else State.AVAILABLE
    dumped: Json = {"state": state.name, "since_s": _ago(known.changed_at, now)}
    if known.health is not None:
        dumped["health_check"] = _health(known.health)
    if cluster.detector is not None:
        until = cluster.detector.ejected.get(key)
        dumped["ejected_for_s"] = None if until is None else max(0.0, round(until - now, 3))
    if known.breaker is not None:
        breaker = known.breaker
        wait = breaker.wake_at - now if breaker.state is State.OPEN and breaker.wake_at is not None else None
        dumped["breaker"] = {
            "state": "CLOSED" if breaker.state is State.AVAILABLE else breaker.state.name,
            "opened": breaker.opened,
            "open_for_s": None if wait is None else max(0.0, round(wait, 3)),
            "probing": breaker.probing,
        }
    if known.since and state is State.AVAILABLE and cluster.config.slow_start is not None:
        left = known.since + cluster.config.slow_start.window_s - now
        dumped["slow_start_for_s"] = max(0.0, round(left, 3))
    return dumped


def limits_dump(breaker: CircuitBreaker, words: RecordWords) -> Json:
    """Each limit of a cluster with what of it is used; `limit` is null where there is none."""
    limits = breaker.limits
    used = (
        ("connections", limits.max_connections, ClusterWord.CONNECTIONS),
        ("pending_requests", limits.max_pending_requests, ClusterWord.PENDING),
        ("requests", limits.max_requests, ClusterWord.ACTIVE),
        ("retries", limits.max_retries, ClusterWord.RETRIES_ACTIVE),
    )
    return {name: {"limit": limit, "used": words[word]} for name, limit, word in used}


def endpoint_limits_dump(breaker: CircuitBreaker, words: RecordWords) -> Json:
    """Each limit of an endpoint with what of it is used."""
    limits = breaker.endpoint
    used = (
        ("connections", limits.max_connections, EndpointWord.CONNECTIONS_ACTIVE),
        ("requests", limits.max_requests, EndpointWord.ACTIVE),
    )
    return {name: {"limit": limit, "used": words[word]} for name, limit, word in used if limit is not None}


def cluster_counts(words: RecordWords) -> Json:
    """A cluster's counters by name."""
    return {word.name.lower(): words[word] for word in ClusterWord}


def _health(health: Health) -> Json:
    return {
        "healthy": health.healthy,
        "last": msgspec.to_builtins(health.last),
        "warm": None if health.last_warm is None else msgspec.to_builtins(health.last_warm),
    }


def _ago(then: float, now: float) -> float:
    return max(0.0, round(now - then, 3))
