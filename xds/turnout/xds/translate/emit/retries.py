"""A route's retry as Envoy's RetryPolicy."""

from typing import Any

from envoy.config.route.v3 import route_components_pb2 as components
from envoy.extensions.retry.host.previous_hosts.v3 import previous_hosts_pb2

from turnout.rules.resilience import BACK_OFF_BASE_S, REPLAY_BYTES, Retry
from turnout.xds.translate.emit.values import make_duration, pack
from turnout.xds.translate.names import RETRIABLE_CODES, RETRY_AFTER

HOST_SELECTIONS = 5
"""So often Envoy looks for an endpoint that was not tried (Istio's number): of two, one look often finds the same."""
_POLICY = components.RetryPolicy


def make_retry_policy(retry: Retry) -> Any:
    """Of a lowered retry (no bound but Envoy's)."""
    conditions = [*retry.on, *([RETRIABLE_CODES] if retry.codes else [])]
    message = _POLICY(retry_on=",".join(conditions), retriable_status_codes=retry.codes)
    message.num_retries.value = retry.attempts
    if (retry.back_off_s, retry.max_back_off_s) != (BACK_OFF_BASE_S, None):
        message.retry_back_off.base_interval.CopyFrom(make_duration(retry.back_off_s))
        if retry.max_back_off_s is not None:
            message.retry_back_off.max_interval.CopyFrom(make_duration(retry.max_back_off_s))
    if retry.retry_after:
        reset = _POLICY.ResetHeader(name=RETRY_AFTER, format=_POLICY.SECONDS)
        message.rate_limited_retry_back_off.reset_headers.append(reset)
    if retry.other_endpoint:
        other = _POLICY.RetryHostPredicate(name="envoy.retry_host_predicates.previous_hosts")
        pack(other.typed_config, previous_hosts_pb2.PreviousHostsPredicate())
        message.retry_host_predicate.append(other)
        message.host_selection_retry_max_attempts = HOST_SELECTIONS
    return message


def add_replay_limit(message: Any, retry: Retry) -> None:
    """To a Route: how much of a body may be kept, if that is not what every connection may buffer anyway."""
    if retry.replay_bytes != REPLAY_BYTES:
        message.request_body_buffer_limit.value = retry.replay_bytes
