"""A Predictor as a cluster of the Snapshot. It was checked: durations, sizes and what excludes what are right."""

from typing import Literal

from turnout.rules import resilience as r
from turnout.rules.compiler.health import compile_health_check
from turnout.rules.compiler.keys import compile_key
from turnout.rules.compiler.tls import compile_upstream_tls
from turnout.rules.documents.balancing import LoadBalancing, SlowStart
from turnout.rules.documents.breaking import CircuitBreaker, ConsecutiveFailures, LatencyOutliers, OutlierDetection
from turnout.rules.documents.predictor import Predictor, PredictorEndpoint
from turnout.rules.durations import parse_duration_s
from turnout.rules.snapshot import (
    CONNECT_TIMEOUT_S,
    HTTP2_POOL_IDLE_TIMEOUT_S,
    POOL_IDLE_TIMEOUT_S,
    Cluster,
    Endpoint,
    Protocol,
)

PolicyName = Literal["peak_ewma", "least_request", "round_robin", "random", "ring_hash", "maglev"]

_POLICIES: dict[str, PolicyName] = {
    "PeakEwma": "peak_ewma",
    "LeastRequest": "least_request",
    "RoundRobin": "round_robin",
    "Random": "random",
    "RingHash": "ring_hash",
    "Maglev": "maglev",
}
_IDLE_TIMEOUTS_S: dict[Protocol, float] = {
    "http1": POOL_IDLE_TIMEOUT_S,
    "auto": POOL_IDLE_TIMEOUT_S,
    "h2c": HTTP2_POOL_IDLE_TIMEOUT_S,
    "h2": HTTP2_POOL_IDLE_TIMEOUT_S,
}
_QUEUE_LENGTH = 1024
"""Envoy's `max_pending_requests` default: a queue has a bound, whether one is written or not."""
_MAX_EJECTION_S = 300.0


def compile_cluster(predictor: Predictor) -> Cluster:
    """The cluster of a Predictor; its name is `namespace/name`."""
    spec = predictor.spec
    connect, idle = spec.connection.connect_timeout, spec.connection.idle_timeout
    breaker, outliers, slow_start = spec.circuit_breaker, spec.outlier_detection, spec.slow_start
    cluster = Cluster(
        name="/".join(predictor.key),
        endpoints=tuple(_endpoint(e) for e in spec.endpoints),
        connect_timeout_s=CONNECT_TIMEOUT_S if connect is None else parse_duration_s(connect),
        pool_idle_timeout_s=_IDLE_TIMEOUTS_S[spec.protocol] if idle is None else parse_duration_s(idle),
        load_balancing=_load_balancing(spec.load_balancing),
        circuit_breaker=r.CircuitBreaker() if breaker is None else _circuit_breaker(breaker),
        outlier_detection=None if outliers is None else _outlier_detection(outliers),
        health_check=None
        if spec.health_check is None
        else compile_health_check(spec.health_check, spec.api, spec.protocol),
        slow_start=None if slow_start is None else _slow_start(slow_start),
        protocol=spec.protocol,
        tls=None if spec.tls is None else compile_upstream_tls(predictor, spec.tls),
    )
    return cluster


def _endpoint(endpoint: PredictorEndpoint) -> Endpoint:
    compiled = Endpoint(
        endpoint.address,
        endpoint.port,
        weight=endpoint.weight,
        priority=endpoint.priority,
        locality=str(endpoint.locality),
    )
    return compiled


def _load_balancing(written: LoadBalancing) -> r.LoadBalancing:
    return r.LoadBalancing(
        policy=_POLICIES[written.policy],
        choice_count=written.choice_count,
        active_request_bias=written.active_request_bias,
        decay_s=parse_duration_s(written.decay_time),
        default_rtt_s=parse_duration_s(written.default_rtt),
        hash_on=compile_key(written.hash_on),
        minimum_ring_size=written.minimum_ring_size,
        table_size=written.table_size,
        hash_balance_percent=written.hash_balance_factor,
        panic_percent=written.panic_threshold,
        locality_weights=tuple((str(w.locality), w.weight) for w in written.locality_weights),
    )


def _slow_start(written: SlowStart) -> r.SlowStart:
    return r.SlowStart(parse_duration_s(written.window), written.aggression, written.min_weight_percent)


def _circuit_breaker(written: CircuitBreaker) -> r.CircuitBreaker:
    queue = written.overflow == "Queue"
    pending = written.max_pending_requests
    endpoint, failures = written.per_endpoint, written.consecutive_failures
    return r.CircuitBreaker(
        limits=r.Limits(
            max_connections=written.max_connections,
            max_pending_requests=_QUEUE_LENGTH if queue and pending is None else pending,
            max_requests=written.max_requests,
            max_retries=written.max_retries,
        ),
        endpoint=r.Limits(max_connections=endpoint.max_connections, max_requests=endpoint.max_requests),
        queue=queue,
        failures=None if failures is None else _failures(failures),
    )


def _failures(written: ConsecutiveFailures) -> r.FailureAccrual:
    least, most = parse_duration_s(written.min_penalty), parse_duration_s(written.max_penalty)
    return r.FailureAccrual(written.max_failures, least, most, written.jitter_ratio)


def _outlier_detection(written: OutlierDetection) -> r.OutlierDetection:
    base = parse_duration_s(written.base_ejection_time)
    longest = written.max_ejection_time
    return r.OutlierDetection(
        interval_s=parse_duration_s(written.interval),
        base_ejection_s=base,
        max_ejection_s=max(_MAX_EJECTION_S, base) if longest is None else parse_duration_s(longest),
        ejection_jitter_s=parse_duration_s(written.max_ejection_time_jitter),
        max_ejection_percent=written.max_ejection_percent,
        min_available_percent=float(written.min_available.removesuffix("%")),
        always_eject_one=written.always_eject_one_host,
        consecutive_5xx=written.consecutive_5xx,
        enforcing_consecutive_5xx=written.enforcing_consecutive_5xx,
        consecutive_gateway_failure=written.consecutive_gateway_failure,
        enforcing_consecutive_gateway_failure=written.enforcing_consecutive_gateway_failure,
        split_local_origin=written.split_external_local_origin_errors,
        consecutive_local_origin_failure=written.consecutive_local_origin_failure,
        enforcing_consecutive_local_origin_failure=written.enforcing_consecutive_local_origin_failure,
        enforcing_local_origin_success_rate=written.enforcing_local_origin_success_rate,
        success_rate_minimum_hosts=written.success_rate_minimum_hosts,
        success_rate_request_volume=written.success_rate_request_volume,
        success_rate_stdev_factor=written.success_rate_stdev_factor,
        enforcing_success_rate=written.enforcing_success_rate,
        failure_percentage_threshold=written.failure_percentage_threshold,
        failure_percentage_minimum_hosts=written.failure_percentage_minimum_hosts,
        failure_percentage_request_volume=written.failure_percentage_request_volume,
        enforcing_failure_percentage=written.enforcing_failure_percentage,
        enforcing_failure_percentage_local_origin=written.enforcing_failure_percentage_local_origin,
        uneject_on_health_check=written.successful_active_health_check_uneject_host,
        latency=_latency(written.latency),
    )


def _latency(written: LatencyOutliers) -> r.LatencyOutliers | None:
    if written.mode == "Ignore":
        return None
    return r.LatencyOutliers(written.factor, written.request_volume, written.confidence)
