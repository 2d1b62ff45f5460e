"""Of a `Predictor`: how many requests it takes at once, and which endpoints get none (`circuitBreaker`,
`outlierDetection`).

Names and semantics are Envoy's (circuit_breaker.proto, outlier_detection.proto), and Linkerd's where Envoy has no word
(`consecutiveFailures`). A default that stands here is that of the Snapshot's struct, and a test holds the two equal.
"""

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from turnout.rules.documents.base import Duration, Strict

Limit = Annotated[int, Meta(ge=1, le=4_294_967_295)]
LimitOrZero = Annotated[int, Meta(ge=0, le=4_294_967_295)]
Count = Annotated[int, Meta(ge=1, le=1_000_000)]
Chance = Annotated[int, Meta(ge=0, le=100)]
"""Per cent."""


class EndpointLimits(Strict, frozen=True, kw_only=True):
    """Limits of each endpoint; without a field, none."""

    max_connections: Limit | None = None
    max_requests: Limit | None = None


class ConsecutiveFailures(Strict, frozen=True, kw_only=True):
    """Failures in a row open an endpoint's breaker; after a penalty one probe request decides (Linkerd's
    `failure-accrual: consecutive`)."""

    max_failures: Count = 7
    min_penalty: Duration = "1s"
    max_penalty: Annotated[Duration, Meta(description="The penalty doubles up to this.")] = "1m"
    jitter_ratio: Annotated[float, Meta(ge=0, le=1, description="A penalty is longer by up to this share.")] = 0.5


class CircuitBreaker(Strict, frozen=True, kw_only=True):
    """Limits of the whole proxy, over all its workers; without a field, none (Envoy `Thresholds`)."""

    max_connections: Limit | None = None
    max_pending_requests: Annotated[
        LimitOrZero | None, Meta(description="Waiting for a connection, or in the queue.")
    ] = None
    max_requests: Limit | None = None
    max_retries: Annotated[LimitOrZero | None, Meta(description="At one moment.")] = None
    overflow: Annotated[
        Literal["Fail", "Queue"],
        Meta(description="Beyond a limit: 503 at once, or wait in a queue of maxPendingRequests (then 1024)."),
    ] = "Fail"
    per_endpoint: EndpointLimits = EndpointLimits()
    consecutive_failures: ConsecutiveFailures | None = None


class LatencyOutliers(Strict, frozen=True, kw_only=True):
    """Ejects an endpoint whose first bytes come later than the others', for requests of the same size."""

    mode: Annotated[Literal["Eject", "Ignore"], Meta(description="Ignore: late answers eject nobody.")] = "Eject"
    factor: Annotated[float, Meta(gt=1, le=1000, description="So many times later.")] = 3.0
    request_volume: Annotated[Count, Meta(description="Least requests of an endpoint in the interval.")] = 20
    confidence: Annotated[float, Meta(gt=0, le=100, description="So many standard errors away.")] = 3.0


class OutlierDetection(Strict, frozen=True, kw_only=True):
    """Takes endpoints out for a while that fail or are late (Envoy `OutlierDetection`)."""

    interval: Annotated[Duration, Meta(description="Between two looks at rates and latencies.")] = "10s"
    base_ejection_time: Annotated[Duration, Meta(description="Times how often it was ejected.")] = "30s"
    max_ejection_time: Annotated[
        Duration | None, Meta(description="Default 300s, or baseEjectionTime if that is more.")
    ] = None
    max_ejection_time_jitter: Duration = "0s"
    max_ejection_percent: Chance = 100
    min_available: Annotated[
        str,
        Meta(
            description="So many of the endpoints, rounded up and at least one, are never ejected.",
            extra_json_schema={"pattern": "^(100|[0-9]{1,2})%$"},
        ),
    ] = "50%"
    always_eject_one_host: bool = False
    # The renaming to camelCase would write 5Xx.
    consecutive_5xx: Count = msgspec.field(default=5, name="consecutive5xx")
    enforcing_consecutive_5xx: Chance = msgspec.field(default=100, name="enforcingConsecutive5xx")
    consecutive_gateway_failure: Count = 5
    enforcing_consecutive_gateway_failure: Chance = 0
    split_external_local_origin_errors: Annotated[
        bool, Meta(description="Failed connections and timeouts count by themselves, not as 5xx.")
    ] = False
    consecutive_local_origin_failure: Count = 5
    enforcing_consecutive_local_origin_failure: Chance = 100
    enforcing_local_origin_success_rate: Chance = 100
    success_rate_minimum_hosts: Count = 5
    success_rate_request_volume: Count = 100
    success_rate_stdev_factor: Annotated[int, Meta(ge=0, le=1_000_000, description="1900 is 1.9 sigma.")] = 1900
    enforcing_success_rate: Chance = 100
    failure_percentage_threshold: Chance = 50
    failure_percentage_minimum_hosts: Count = 2
    failure_percentage_request_volume: Count = 20
    enforcing_failure_percentage: Chance = 100
    enforcing_failure_percentage_local_origin: Chance = 0
    successful_active_health_check_uneject_host: bool = True
    latency: LatencyOutliers = LatencyOutliers()
