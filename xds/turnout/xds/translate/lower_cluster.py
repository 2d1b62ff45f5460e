"""Clusters in Envoy's words, and back.

* Envoy has no peak EWMA (but in its contrib build): least request with as many choices takes its place.
* What picks by a hash says by which in the routes (see `hashes`).
* Envoy's `max_ejection_percent` keeps as many endpoints as `min_available_percent` does, and there is no ejection by
  latency.
* One health check: the last of several, which is the most particular. No warm check. Over gRPC Envoy
  asks by `grpc.health.v1.Health/Check` only; where the Open Inference Protocol's own calls are asked, it just connects.
* Where nothing bounds the retries of a cluster, Envoy gets its own budget (20 %, 3): ours has one for each route.
* Envoy has no word for: a queue for what is over a limit, requests of one endpoint, breakers of one endpoint that
  open by failures; slow start but with round robin and least request.

As with routes (`lower`), the original goes along as a *hint*, and counts only if lowering it gives this very cluster.
"""

import math

from msgspec.structs import replace

from turnout.rules.resilience import (
    CircuitBreaker,
    HealthCheck,
    Limits,
    LoadBalancing,
    OutlierDetection,
    RetryBudget,
)
from turnout.rules.snapshot import Cluster, Endpoint
from turnout.rules.tls import SubjectAltName, UpstreamTls
from turnout.xds.translate.hashes import HASHING

PROBE_HOST = "localhost"
"""The Host of a health check that names none: Envoy would take the cluster's name, which is no host."""
LEAST_CHOICES = 2
ENVOY_MIN_RETRIES = 3
"""Envoy's `min_retry_concurrency` default."""
SLOW_STARTING = frozenset({"round_robin", "least_request"})
_DEFAULT = LoadBalancing()


def lower_cluster(cluster: Cluster) -> Cluster:
    """The cluster in Envoy's words, with its endpoints as they are."""
    balancing = _lower_balancing(cluster.load_balancing, cluster.endpoints)
    outliers, health = cluster.outlier_detection, cluster.health_check
    return replace(
        cluster,
        load_balancing=balancing,
        circuit_breaker=_lower_breaker(cluster.circuit_breaker),
        outlier_detection=None if outliers is None else _lower_outliers(outliers),
        health_check=None if health is None else _lower_health(health),
        slow_start=cluster.slow_start if balancing.policy in SLOW_STARTING else None,
        tls=None if cluster.tls is None else _lower_tls(cluster.tls),
    )


def find_hint(cluster: Cluster) -> Cluster | None:
    """What has to go along, if the lowered cluster does not say it all."""
    is_hashing = cluster.load_balancing.policy in HASHING
    if lower_cluster(cluster) == cluster and not is_hashing:
        return None
    return replace(cluster, endpoints=())


def raise_cluster(told: Cluster, hint: Cluster | None) -> Cluster | None:
    """The cluster that `hint` says, if it is what `told` was made of."""
    if hint is None:
        return None
    whole = replace(hint, endpoints=told.endpoints)
    return whole if lower_cluster(whole) == told else None


def weigh_localities(weights: tuple[tuple[str, int], ...], endpoints: tuple[Endpoint, ...]) -> dict[str, int]:
    """The weight of each locality of the endpoints, in their order: the same for all if none has one, and none for
    those that have none beside others."""
    named = {name: weight for name, weight in weights if weight > 0}
    localities = dict.fromkeys(endpoint.locality for endpoint in endpoints)
    if named.keys().isdisjoint(localities):
        return dict.fromkeys(localities, 1)
    return {name: named[name] for name in localities if name in named}


def _lower_tls(tls: UpstreamTls) -> UpstreamTls:
    """Who believes anybody asks for no names; the server name is the one that is asked for if none is said."""
    if not tls.verify:
        return replace(tls, ca="", subject_alt_names=())
    is_said = tls.subject_alt_names == (SubjectAltName("dns", tls.server_name),)
    return replace(tls, subject_alt_names=()) if is_said else tls


def _lower_balancing(balancing: LoadBalancing, endpoints: tuple[Endpoint, ...]) -> LoadBalancing:
    policy = "least_request" if balancing.policy == "peak_ewma" else balancing.policy
    weights = balancing.locality_weights and tuple(weigh_localities(balancing.locality_weights, endpoints).items())
    is_least, is_hash = policy == "least_request", policy in HASHING
    return LoadBalancing(
        policy=policy,
        choice_count=max(balancing.choice_count, LEAST_CHOICES) if is_least else _DEFAULT.choice_count,
        active_request_bias=balancing.active_request_bias if is_least else _DEFAULT.active_request_bias,
        minimum_ring_size=balancing.minimum_ring_size if policy == "ring_hash" else _DEFAULT.minimum_ring_size,
        table_size=balancing.table_size if policy == "maglev" else _DEFAULT.table_size,
        hash_balance_percent=balancing.hash_balance_percent if is_hash else None,
        panic_percent=balancing.panic_percent,
        locality_weights=weights,
    )


def _lower_breaker(breaker: CircuitBreaker) -> CircuitBreaker:
    budget = breaker.retry_budget
    if budget is None and breaker.limits.max_retries is None:
        budget = RetryBudget(min_concurrency=ENVOY_MIN_RETRIES)
    if budget is None:
        limits = breaker.limits
    else:
        # Envoy does not look at the limit beside a budget.
        budget = RetryBudget(budget.percent, budget.min_concurrency, 0.0)
        limits = replace(breaker.limits, max_retries=None)
    return CircuitBreaker(limits, Limits(breaker.endpoint.max_connections), retry_budget=budget)


def _lower_outliers(outliers: OutlierDetection) -> OutlierDetection:
    most = outliers.max_ejection_percent
    if outliers.min_available_percent is not None:
        # At least one stays, which 99 % says of all clusters that have fewer than 100 endpoints.
        most = min(most, 99, max(0, math.floor(100 - outliers.min_available_percent)))
    longest = max(outliers.max_ejection_s, outliers.base_ejection_s)
    return replace(
        outliers, max_ejection_percent=most, max_ejection_s=longest, min_available_percent=None, latency=None
    )


def _lower_health(health: HealthCheck) -> HealthCheck:
    probes = tuple(replace(p, host=p.host or PROBE_HOST) for p in health.http[-1:])
    calls = [replace(call, authority=call.authority or PROBE_HOST) for call in health.grpc if call.asks == "health"]
    return HealthCheck(
        probes,
        health.interval_s,
        health.timeout_s,
        health.interval_jitter_s,
        health.unhealthy_threshold,
        health.healthy_threshold,
        grpc=() if probes else tuple(calls[-1:]),
    )
