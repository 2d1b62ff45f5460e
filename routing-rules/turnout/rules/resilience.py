"""The parts of a Snapshot that say what happens when things fail, are slow, or are too many.

Words and semantics are Envoy's where it has the concept; the defaults in these structs are those of documents that
name the part and leave the field out, and are meant for two to eight slow, uneven replicas. A part that is None is
switched off. Durations are seconds, shares are per cent.
"""

from typing import Literal

import msgspec

REPLAY_BYTES = 1_048_576
"""Envoy's default for what of a body is kept to be sent again."""
BACK_OFF_BASE_S = 0.025
"""Envoy's `retry_back_off.base_interval` default."""
QUEUE_TIMEOUT_S = 5.0


class Part(msgspec.Struct, frozen=True, omit_defaults=True):
    """Base of everything in a Snapshot."""


# Of routes


class HashKey(Part, frozen=True):
    """What of a request is hashed: the value of a header (`name` in lower case) or cookie, the client's address
    (`source_address`), or the model's name."""

    kind: Literal["header", "cookie", "source_address", "model"]
    name: str = ""


class RetryBudget(Part, frozen=True):
    """Bounds how much retries amplify; both bounds hold (Envoy `RetryBudget`; Gateway API GEP-3388).

    At one moment at most `percent` of the active requests, or `min_concurrency` if that is more, are retries (Envoy).
    In any `interval_s` at most `percent` of its requests, or `min_per_second` times the interval if that is more, are
    retried (GEP-3388 `budget` and `minRetryRate`); an interval of 0 switches that bound off.
    """

    percent: float = 20.0
    min_concurrency: int = 100
    interval_s: float = 10.0
    min_per_second: float = 10.0


GRPCRetryOn = Literal["cancelled", "deadline-exceeded", "internal", "resource-exhausted", "unavailable"]
"""Envoy's `retry_on` words for gRPC statuses, all that it has."""
RetryOn = Literal[
    "5xx", "gateway-error", "reset", "reset-before-request", "connect-failure", "refused-stream", "retriable-4xx",
    GRPCRetryOn,
]  # fmt: skip
"""Envoy's `retry_on`, as far as it is known here; `retriable-status-codes` are `Retry.codes`."""


class Retry(Part, frozen=True):
    """When and how a request is tried again (Envoy `RetryPolicy`).

    `attempts` are those after the first. `only_idempotent`: once bytes were sent, only a request that may be repeated
    is (RFC 9110 §9.2.2, or known to be an inference call); Envoy knows no such bound. `retry_after`: a `Retry-After`
    in the answer is the least back-off, and no retry is made that could not begin before the deadline.
    `max_back_off_s` None is ten times the base. A body of more than `replay_bytes` is streamed and not retried.
    """

    attempts: int = 1
    on: tuple[RetryOn, ...] = ("connect-failure", "refused-stream", "reset")
    codes: tuple[int, ...] = ()
    back_off_s: float = BACK_OFF_BASE_S
    max_back_off_s: float | None = None
    only_idempotent: bool = True
    retry_after: bool = True
    other_endpoint: bool = True
    replay_bytes: int = REPLAY_BYTES
    budget: RetryBudget | None = RetryBudget()


class RateLimit(Part, frozen=True):
    """A token bucket of `burst` tokens, refilled by `per_second` (Envoy `local_ratelimit`); one for the route, or one
    for each value of the header `header` (in lower case; requests without it share one)."""

    per_second: float
    burst: int
    header: str = ""


class Fault(Part, frozen=True):
    """Faults on purpose (Envoy `HTTPFault`): a share of the requests waits, a share is answered with a status."""

    delay_s: float = 0.0
    delay_per_million: int = 0
    abort_status: int = 0
    abort_per_million: int = 0


# Of clusters


class LoadBalancing(Part, frozen=True):
    """How an endpoint is picked.

    * `peak_ewma`: the lower of `choice_count` costs, each the peak-sensitive moving average of first-byte times (decay
      `decay_s`, `default_rtt_s` for one never asked) times the requests in flight + 1 (Linkerd; Envoy contrib).
    * `least_request`: Envoy's, weights by `weight / (active + 1) ** active_request_bias`.
    * `ring_hash`, `maglev`: by the hash of `hash_on`, with `minimum_ring_size` and `table_size`; an endpoint with more
      than `hash_balance_percent` of the mean load is passed over (Envoy `hash_balance_factor`; None: no bound).
    `panic_percent`: with fewer of them healthy, all endpoints are used (Envoy, where it is 50; 0 switches it off).
    `locality_weights`: shares of the localities of a priority (Envoy `locality_weighted_lb_config`).
    """

    policy: Literal["peak_ewma", "least_request", "round_robin", "random", "ring_hash", "maglev"] = "peak_ewma"
    choice_count: int = 2
    active_request_bias: float = 1.0
    decay_s: float = 10.0
    default_rtt_s: float = 0.01
    hash_on: HashKey | None = None
    minimum_ring_size: int = 1024
    table_size: int = 65537
    hash_balance_percent: int | None = None
    panic_percent: float = 0.0
    locality_weights: tuple[tuple[str, int], ...] = ()


class Limits(Part, frozen=True):
    """Envoy's `CircuitBreakers.Thresholds`; None is no limit. They hold for the proxy, over all workers."""

    max_connections: int | None = None
    max_pending_requests: int | None = None
    max_requests: int | None = None
    max_retries: int | None = None


class FailureAccrual(Part, frozen=True):
    """A breaker of one endpoint: `consecutive` failures open it (no requests) for a back-off of `min_s` doubling to
    `max_s`, with `jitter`; then, half-open, one probe request decides (Linkerd `failure-accrual: consecutive`)."""

    consecutive: int = 7
    min_s: float = 1.0
    max_s: float = 60.0
    jitter: float = 0.5


class CircuitBreaker(Part, frozen=True):
    """`limits` are the cluster's, `endpoint` those of each endpoint. On overflow a request fails at once, or (`queue`)
    waits its turn, first come first served, in a queue of `limits.max_pending_requests`. `retry_budget` is Envoy's,
    beside that of the routes."""

    limits: Limits = Limits()
    endpoint: Limits = Limits()
    queue: bool = False
    failures: FailureAccrual | None = None
    retry_budget: RetryBudget | None = None


class LatencyOutliers(Part, frozen=True):
    """Eject an endpoint whose first bytes come `factor` times later than those of the others, for requests of the
    same size, told by at least `request_volume` requests each, and with `confidence` standard errors."""

    factor: float = 3.0
    request_volume: int = 20
    confidence: float = 3.0


class OutlierDetection(Part, frozen=True):
    """Envoy's `OutlierDetection`, with `latency` and `min_available`. Ejection ends after base × times ejected.

    `min_available_percent`: so many of the endpoints (rounded up, at least one) are never ejected; None: only Envoy's
    `max_ejection_percent` bounds it.
    """

    interval_s: float = 10.0
    base_ejection_s: float = 30.0
    max_ejection_s: float = 300.0
    ejection_jitter_s: float = 0.0
    max_ejection_percent: int = 100
    min_available_percent: float | None = 50.0
    always_eject_one: bool = False
    consecutive_5xx: int = 5
    enforcing_consecutive_5xx: int = 100
    consecutive_gateway_failure: int = 5
    enforcing_consecutive_gateway_failure: int = 0
    split_local_origin: bool = False
    consecutive_local_origin_failure: int = 5
    enforcing_consecutive_local_origin_failure: int = 100
    enforcing_local_origin_success_rate: int = 100
    success_rate_minimum_hosts: int = 5
    success_rate_request_volume: int = 100
    success_rate_stdev_factor: int = 1900
    enforcing_success_rate: int = 100
    failure_percentage_threshold: int = 50
    failure_percentage_minimum_hosts: int = 2
    failure_percentage_request_volume: int = 20
    enforcing_failure_percentage: int = 100
    enforcing_failure_percentage_local_origin: int = 0
    uneject_on_health_check: bool = True
    latency: LatencyOutliers | None = LatencyOutliers()


class Probe(Part, frozen=True):
    """One request of a health check: `expect` are the statuses that are well, as ranges [from, to).

    `http2`: it is asked in HTTP/2 with prior knowledge (Envoy `codec_client_type`), else in HTTP/1.1.
    """

    path: str
    method: str = "GET"
    host: str = ""
    headers: tuple[tuple[str, str], ...] = ()
    body: str = ""
    expect: tuple[tuple[int, int], ...] = ((200, 201),)
    http2: bool = False


class GrpcProbe(Part, frozen=True):
    """One call of a health check over gRPC.

    It asks for `health` by `grpc.health.v1.Health/Check` of the service `name`, "" for the server (Envoy
    `GrpcHealthCheck`), or whether the `server`, or the model `name`, is ready (Open Inference Protocol).
    """

    asks: Literal["health", "server", "model"] = "health"
    name: str = ""
    authority: str = ""
    metadata: tuple[tuple[str, str], ...] = ()


class GrpcCall(Part, frozen=True):
    """A recorded unary call that has to end with OK. `path` has no slash before it; `message` is the request's."""

    path: str
    message: bytes = b""
    metadata: tuple[tuple[str, str], ...] = ()


class HealthCheck(Part, frozen=True):
    """Active checks (Envoy `HealthCheck`): all of `http` and `grpc` in a row, or only a TCP connection if both are
    empty.

    `warm` is asked before an endpoint gets its first request, with `warm_timeout_s`; it is an inference request.
    """

    http: tuple[Probe, ...] = ()
    interval_s: float = 5.0
    timeout_s: float = 2.0
    interval_jitter_s: float = 0.0
    unhealthy_threshold: int = 3
    healthy_threshold: int = 2
    warm: Probe | None = None
    warm_timeout_s: float = 60.0
    grpc: tuple[GrpcProbe, ...] = ()
    warm_call: GrpcCall | None = None
    """In place of `warm`, what is asked over gRPC."""

    @property
    def warms(self) -> bool:
        """Whether there is a warm check."""
        return self.warm is not None or self.warm_call is not None


class SlowStart(Part, frozen=True):
    """A new or recovered endpoint's weight is scaled by `max(min_percent, (t / window) ** (1 / aggression))`."""

    window_s: float = 30.0
    aggression: float = 1.0
    min_percent: float = 10.0
