"""Checks of `circuitBreaker` and `outlierDetection`: what excludes what, and what could never act."""

import re

from turnout.rules.checks.common import check_duration, check_no_effect
from turnout.rules.checks.syntax import is_ip
from turnout.rules.documents.breaking import CircuitBreaker, ConsecutiveFailures
from turnout.rules.documents.document import Reporter
from turnout.rules.documents.predictor import PredictorSpec

_BREAKER = ("spec", "circuitBreaker")
_OUTLIERS = ("spec", "outlierDetection")
_PERCENT = re.compile(r"(100|[0-9]{1,2})%", re.ASCII)
_OF_LOCAL_ORIGIN = (
    "consecutiveLocalOriginFailure",
    "enforcingConsecutiveLocalOriginFailure",
    "enforcingLocalOriginSuccessRate",
    "enforcingFailurePercentageLocalOrigin",
)


def check_circuit_breaker(say: Reporter, written: CircuitBreaker) -> None:
    endpoint = written.per_endpoint
    # What a request can wait for: a retry that is over the limit is not made, and a pending one waits already.
    waited_for = (written.max_connections, written.max_requests, endpoint.max_connections, endpoint.max_requests)
    if written.overflow == "Queue":
        if all(limit is None for limit in waited_for):
            fault = "overflow: Queue has no effect without maxRequests or maxConnections, here or in perEndpoint"
            say.error((*_BREAKER, "overflow"), "no-effect", fault)
        if written.max_pending_requests == 0:
            fault = "with overflow: Queue this is the queue's length, and must be above 0"
            say.error((*_BREAKER, "maxPendingRequests"), "invalid-value", fault)
    elif written.max_pending_requests is not None and written.max_connections is None:
        fault = "maxPendingRequests has no effect without maxConnections or overflow: Queue: no request waits"
        say.warning((*_BREAKER, "maxPendingRequests"), "no-effect", fault)
    if written == CircuitBreaker():
        say.warning(_BREAKER, "no-effect", "the circuit breaker has no limit, and no consecutiveFailures")
    if written.consecutive_failures is not None:
        _check_failures(say, written.consecutive_failures)


def _check_failures(say: Reporter, written: ConsecutiveFailures) -> None:
    place = (*_BREAKER, "consecutiveFailures")
    least = check_duration(say, (*place, "minPenalty"), written.min_penalty, positive=True)
    most = check_duration(say, (*place, "maxPenalty"), written.max_penalty, positive=True)
    if least and most and most < least:
        fault = f"maxPenalty {written.max_penalty} is shorter than minPenalty {written.min_penalty}"
        say.error((*place, "maxPenalty"), "duration-order", fault)


def check_outlier_detection(say: Reporter, spec: PredictorSpec) -> None:
    written = spec.outlier_detection
    if written is None:
        return
    check_duration(say, (*_OUTLIERS, "interval"), written.interval, positive=True)
    base = check_duration(say, (*_OUTLIERS, "baseEjectionTime"), written.base_ejection_time, positive=True)
    longest = check_duration(say, (*_OUTLIERS, "maxEjectionTime"), written.max_ejection_time, positive=True)
    check_duration(say, (*_OUTLIERS, "maxEjectionTimeJitter"), written.max_ejection_time_jitter)
    if base and longest and longest < base:
        fault = f"maxEjectionTime {written.max_ejection_time} is shorter than baseEjectionTime"
        say.error((*_OUTLIERS, "maxEjectionTime"), "duration-order", fault)
    if not _PERCENT.fullmatch(written.min_available):
        fault = f"{written.min_available!r} is not a percentage like 50%"
        say.error((*_OUTLIERS, "minAvailable"), "invalid-value", fault)
    elif float(written.min_available.removesuffix("%")) >= 100:
        say.warning((*_OUTLIERS, "minAvailable"), "no-effect", "nothing is ever ejected: all must stay available")
    if not written.split_external_local_origin_errors:
        for name in _OF_LOCAL_ORIGIN:
            check_no_effect(say, _OUTLIERS, (name,), "without splitExternalLocalOriginErrors")
    if written.latency.mode == "Ignore":
        for name in ("factor", "requestVolume", "confidence"):
            check_no_effect(say, _OUTLIERS, ("latency", name), "with mode: Ignore")
    if spec.health_check is None:
        check_no_effect(say, _OUTLIERS, ("successfulActiveHealthCheckUnejectHost",), "without healthCheck")
    if len(spec.endpoints) == 1 and is_ip(spec.endpoints[0].address):
        say.warning(_OUTLIERS, "no-effect", "outlierDetection has no effect: the only endpoint is never ejected")
