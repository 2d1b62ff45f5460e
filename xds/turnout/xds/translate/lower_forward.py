"""What happens to a request that fails, is slow or is too much, in Envoy's words.

* Envoy repeats what a route's `retry_on` says, whatever the request was. So a retry that is only for requests that may
  be repeated is asked of it as a whole if the match takes no others, and else only for what was never sent.
* The time up to the first byte of an answer is what Envoy's `per_try_timeout` measures.
* A rate is tokens in whole seconds. A fault that hits nobody is none.
* Envoy has no word for: how long to wait for a breaker, a budget of the route (it has one of the cluster); whose
  requests are copied to a mirror, which is by chance there, and what bounds the copies.
"""

from fractions import Fraction

from msgspec.structs import replace

from turnout.rules.mirroring import MirrorLimits
from turnout.rules.resilience import QUEUE_TIMEOUT_S, Fault, RateLimit, Retry, RetryOn
from turnout.rules.snapshot import Backend, Forward, Match
from turnout.xds.translate.hashes import lower_key
from turnout.xds.translate.names import NO_LIMIT
from turnout.xds.translate.repeatable import is_repeatable

DAY_S = 86_400
LEAST_BACK_OFF_S = 0.001
"""Envoy counts milliseconds, and wants one."""
_BEFORE_ANYTHING_IS_DONE: tuple[RetryOn, ...] = ("connect-failure", "refused-stream", "reset-before-request")
_RESETS = frozenset({"5xx", "gateway-error", "reset"})
"""Of Envoy's conditions those that hold for every reset, so also for one before the request was sent."""


def lower_forward(action: Forward, match: Match) -> Forward:
    """The action in Envoy's words. `match` is that of the route which it gets there."""
    limits = [s for s in (action.backend_timeout_s, action.first_byte_timeout_s) if s is not None]
    return replace(
        action,
        backend_timeout_s=min(limits, default=None),
        first_byte_timeout_s=None,
        queue_timeout_s=QUEUE_TIMEOUT_S,
        retry=None if action.retry is None else _lower_retry(action.retry, match),
        split_by=lower_key(action.split_by) if action.split_by is not None and is_weighted(action) else None,
        rate_limit=None if action.rate_limit is None else _lower_rate(action.rate_limit),
        fault=None if action.fault is None else _lower_fault(action.fault),
        mirror_by=None,
        mirror_limits=MirrorLimits(),
    )


def is_weighted(action: Forward) -> bool:
    """Whether its backends are `weighted_clusters`, and not just one `cluster`."""
    return action.backends != (Backend(action.backends[0].cluster),)


def make_rate(per_second: float) -> tuple[int, int]:
    """The rate as tokens and the seconds in which they come."""
    rate = max(Fraction(per_second).limit_denominator(DAY_S), Fraction(1, DAY_S))
    return min(rate.numerator, NO_LIMIT), rate.denominator


def _lower_retry(retry: Retry, match: Match) -> Retry | None:
    on, codes = tuple(dict.fromkeys(retry.on)), tuple(dict.fromkeys(retry.codes))
    if retry.only_idempotent and not is_repeatable(match):
        on, codes = tuple(c for c in _BEFORE_ANYTHING_IS_DONE if c in on or not _RESETS.isdisjoint(on)), ()
    if not retry.attempts or not (on or codes):
        return None
    base = max(retry.back_off_s, LEAST_BACK_OFF_S)
    return replace(
        retry,
        on=on,
        codes=codes,
        back_off_s=base,
        max_back_off_s=None if retry.max_back_off_s is None else max(retry.max_back_off_s, base),
        only_idempotent=False,
        budget=None,
    )


def _lower_rate(limit: RateLimit) -> RateLimit:
    tokens, seconds = make_rate(limit.per_second)
    return RateLimit(tokens / seconds, limit.burst, limit.header)


def _lower_fault(fault: Fault) -> Fault | None:
    delays, aborts = fault.delay_s > 0 and fault.delay_per_million > 0, fault.abort_per_million > 0
    delay = (fault.delay_s, fault.delay_per_million) if delays else (0.0, 0)
    abort = (fault.abort_status, fault.abort_per_million) if aborts else (0, 0)
    return Fault(*delay, *abort) if delays or aborts else None
