"""The filters of a chain that only some routes use, and what each of these routes says to them."""

from typing import Any

from envoy.config.core.v3 import base_pb2
from envoy.config.route.v3 import route_components_pb2 as components
from envoy.extensions.common.ratelimit.v3 import ratelimit_pb2
from envoy.extensions.filters.http.fault.v3 import fault_pb2
from envoy.extensions.filters.http.local_ratelimit.v3 import local_rate_limit_pb2
from envoy.extensions.filters.http.router.v3 import router_pb2
from envoy.extensions.filters.network.http_connection_manager.v3 import http_connection_manager_pb2
from envoy.type.v3 import percent_pb2, token_bucket_pb2

from turnout.rules.resilience import Fault, RateLimit
from turnout.rules.snapshot import Forward, Listener
from turnout.xds.translate.emit.identities import is_guarded
from turnout.xds.translate.emit.identities import make_filter as make_guard_filter
from turnout.xds.translate.emit.values import make_duration, pack
from turnout.xds.translate.lower_forward import make_rate
from turnout.xds.translate.names import FAULT, IDENTITIES, LOCAL_LIMIT

MAX_VALUES = 10_000
"""So many buckets for values of a header Envoy keeps, and forgets those that were used least lately."""
_PERCENT = percent_pb2.FractionalPercent


def make_chain(listener: Listener) -> list[Any]:
    """The filters of a listener, always in this order."""
    actions = [r.action for host in listener.virtual_hosts for r in host.routes if isinstance(r.action, Forward)]
    filters = []
    # First, so that who may not ask takes no tokens of those who may.
    if is_guarded(listener):
        filters.append(_make_filter(IDENTITIES, make_guard_filter()))
    # Before the fault, so that nobody waits for it only to be turned away.
    if any(action.rate_limit is not None for action in actions):
        filters.append(_make_filter(LOCAL_LIMIT, local_rate_limit_pb2.LocalRateLimit(stat_prefix=LOCAL_LIMIT)))
    if any(action.fault is not None for action in actions):
        filters.append(_make_filter(FAULT, fault_pb2.HTTPFault()))
    return [*filters, make_router()]


def make_router() -> Any:
    """The last of every chain."""
    return _make_filter("envoy.filters.http.router", router_pb2.Router(suppress_envoy_headers=True))


def add_filters(message: Any, forward: Forward) -> None:
    """To a Route: what it says to the filters."""
    if forward.rate_limit is not None:
        pack(message.typed_per_filter_config[LOCAL_LIMIT], _make_limit(forward.rate_limit))
    if forward.fault is not None:
        pack(message.typed_per_filter_config[FAULT], _make_fault(forward.fault))


def _make_filter(name: str, config: Any) -> Any:
    message = http_connection_manager_pb2.HttpFilter(name=name)
    pack(message.typed_config, config)
    return message


def _make_limit(limit: RateLimit) -> Any:
    always = base_pb2.RuntimeFractionalPercent(default_value=_PERCENT(numerator=100, denominator=_PERCENT.HUNDRED))
    bucket = _make_bucket(limit)
    message = local_rate_limit_pb2.LocalRateLimit(
        stat_prefix=LOCAL_LIMIT, token_bucket=bucket, filter_enabled=always, filter_enforced=always
    )
    # To a call of gRPC, whose 429 would be UNAVAILABLE.
    message.rate_limited_as_resource_exhausted = True
    if limit.header:
        # An entry without a value is one bucket for each value; who has no such field takes of the bucket above.
        action = components.RateLimit.Action.RequestHeaders(header_name=limit.header, descriptor_key=limit.header)
        message.rate_limits.add().actions.add().request_headers.CopyFrom(action)
        entry = ratelimit_pb2.RateLimitDescriptor.Entry(key=limit.header)
        message.descriptors.append(ratelimit_pb2.LocalRateLimitDescriptor(entries=[entry], token_bucket=bucket))
        message.max_dynamic_descriptors.value = MAX_VALUES
        message.always_consume_default_token_bucket.value = False
    return message


def _make_bucket(limit: RateLimit) -> Any:
    tokens, seconds = make_rate(limit.per_second)
    message = token_bucket_pb2.TokenBucket(max_tokens=limit.burst, fill_interval=make_duration(seconds))
    message.tokens_per_fill.value = tokens
    return message


def _make_fault(fault: Fault) -> Any:
    message = fault_pb2.HTTPFault()
    if fault.delay_per_million:
        message.delay.fixed_delay.CopyFrom(make_duration(fault.delay_s))
        message.delay.percentage.CopyFrom(_make_share(fault.delay_per_million))
    if fault.abort_per_million:
        message.abort.http_status = fault.abort_status
        message.abort.percentage.CopyFrom(_make_share(fault.abort_per_million))
    return message


def _make_share(per_million: int) -> Any:
    return _PERCENT(numerator=per_million, denominator=_PERCENT.MILLION)
