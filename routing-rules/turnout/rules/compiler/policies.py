"""RoutePolicy documents, found by the rules that name them; and what becomes of a rule's route by one.

Gateway API: a filter that does not resolve must not be skipped; requests get an error (HTTPRouteFilter.extensionRef).
"""

import msgspec

from turnout.rules import resilience as r
from turnout.rules.compiler.keys import compile_key
from turnout.rules.compiler.mirrors import compile_limits, is_sampled
from turnout.rules.documents.document import Document
from turnout.rules.documents.httproute import Filter, Retry
from turnout.rules.documents.routepolicy import (
    Fault,
    GRPCRetry,
    GRPCStatus,
    RateLimit,
    RetryBudget,
    RoutePolicy,
    RoutePolicySpec,
)
from turnout.rules.durations import limit_s, parse_duration_s
from turnout.rules.quantities import parse_bytes
from turnout.rules.snapshot import Forward, Origin

_PER_PERCENT = 10_000
"""Of a million."""

_GRPC_CONDITIONS: dict[GRPCStatus, r.GRPCRetryOn] = {
    "CANCELLED": "cancelled",
    "DEADLINE_EXCEEDED": "deadline-exceeded",
    "INTERNAL": "internal",
    "RESOURCE_EXHAUSTED": "resource-exhausted",
    "UNAVAILABLE": "unavailable",
}

NO_POLICY = RoutePolicySpec()


class Policies:
    """Finds RoutePolicies, and remembers which were asked for."""

    def __init__(self, documents: list[Document]) -> None:
        self._found: dict[tuple[str, str], tuple[RoutePolicySpec, Document]] = {}
        self._used: set[tuple[str, str]] = set()
        for document in documents:
            if isinstance(document.resource, RoutePolicy):
                self._found[document.resource.key] = document.resource.spec, document

    def of(self, filters: tuple[Filter, ...], namespace: str) -> RoutePolicySpec | None:
        """What the rule's ExtensionRef names; an empty policy if it has none, None if there is no such policy."""
        ref = next((f.extension_ref for f in filters if f.extension_ref is not None), None)
        if ref is None:
            return NO_POLICY
        key = namespace, ref.name
        if key not in self._found:
            return None
        self._used.add(key)
        return self._found[key][0]

    def unused(self) -> list[tuple[str, Origin]]:
        """Policies that no rule names, and where they are."""
        return [("/".join(k), doc.origin()) for k, (_, doc) in self._found.items() if k not in self._used]


ENVOY_MIN_RETRIES = 3
"""Envoy's `min_retry_concurrency` default."""


def extension_index(filters: tuple[Filter, ...]) -> int:
    """Where the ExtensionRef is among a rule's filters; there is one."""
    return next(index for index, found in enumerate(filters) if found.extension_ref is not None)


def apply_policy(forward: Forward, retry: Retry | None, policy: RoutePolicySpec) -> Forward:
    """The route with its retries and all that the policy says."""
    if retry is None and policy is NO_POLICY:
        return forward
    wanted = retry or policy.grpc_retry
    timeouts, limit, fault = policy.timeouts, policy.rate_limit, policy.fault
    changed = msgspec.structs.replace(
        forward,
        first_byte_timeout_s=limit_s(timeouts.first_byte),
        idle_timeout_s=limit_s(timeouts.idle),
        queue_timeout_s=parse_duration_s(timeouts.queue),
        retry=None if wanted is None else _retry(wanted, retry, policy),
        # One backend gets every key.
        split_by=compile_key(policy.split_by) if len(forward.backends) > 1 else None,
        rate_limit=None if limit is None else _rate_limit(limit),
        fault=None if fault is None else _fault(fault),
        # Who mirrors everything mirrors every key.
        mirror_by=compile_key(policy.mirror_by) if any(is_sampled(m) for m in forward.mirrors) else None,
        mirror_limits=compile_limits(policy.mirror) if forward.mirrors else forward.mirror_limits,
    )
    return changed


def _retry(written: Retry | GRPCRetry, retry: Retry | None, policy: RoutePolicySpec) -> r.Retry:
    """`written` says how often: the rule's `retry` if it has one, else the policy's. What both want is done."""
    statuses = () if policy.grpc_retry is None else policy.grpc_retry.codes
    return r.Retry(
        attempts=written.attempts,
        on=(*r.Retry().on, *(word for status, word in _GRPC_CONDITIONS.items() if status in statuses)),
        codes=() if retry is None else tuple(sorted(retry.codes)),
        back_off_s=parse_duration_s(written.backoff),
        only_idempotent=not policy.idempotent,
        replay_bytes=parse_bytes(policy.replay_body_limit),
        budget=_budget(policy.retry_budget),
    )


def _budget(written: RetryBudget) -> r.RetryBudget:
    rate, interval_s = written.min_retry_rate, parse_duration_s(written.budget.interval)
    return r.RetryBudget(
        percent=written.budget.percent,
        min_concurrency=_floor(written, interval_s),
        interval_s=interval_s,
        min_per_second=rate.count / parse_duration_s(rate.interval),
    )


def _floor(written: RetryBudget, interval_s: float) -> int:
    """Envoy's where nothing but the concurrency bounds the retries: a higher one would be no bound."""
    if written.min_retry_concurrency is not None:
        return written.min_retry_concurrency
    return r.RetryBudget().min_concurrency if interval_s else ENVOY_MIN_RETRIES


def _rate_limit(written: RateLimit) -> r.RateLimit:
    per_second = written.requests / parse_duration_s(written.interval)
    burst = written.requests if written.burst is None else written.burst
    return r.RateLimit(per_second, burst, (written.header or "").lower())


def _fault(written: Fault) -> r.Fault:
    delay, abort = written.delay, written.abort
    return r.Fault(
        delay_s=0.0 if delay is None else parse_duration_s(delay.fixed_delay),
        delay_per_million=0 if delay is None else _per_million(delay.percentage),
        abort_status=0 if abort is None else abort.http_status,
        abort_per_million=0 if abort is None else _per_million(abort.percentage),
    )


def _per_million(percentage: float) -> int:
    """Rounded, but never down to nothing."""
    return max(round(percentage * _PER_PERCENT), 1 if percentage > 0 else 0)
