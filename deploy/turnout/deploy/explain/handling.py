"""What a route does beside choosing a backend, as text: limits and faults before the backend, retries behind it."""

from collections.abc import Iterator
from typing import get_args

from turnout.deploy.explain.mirrors import mirror_lines
from turnout.proxy.route.handling import Faulted, KeyedSplit, Limited, Retried
from turnout.proxy.route.outcome import Outcome
from turnout.rules.resilience import QUEUE_TIMEOUT_S, GRPCRetryOn

_KIB = 1024
_CONDITIONS = {
    "connect-failure": "a failed connection",
    "refused-stream": "a request that was not taken",
    "reset": "no answer or a broken one",
    **{word: f"gRPC status {word.upper().replace('-', '_')}" for word in get_args(GRPCRetryOn)},
}
"""Those that rule documents ask for; others, of a control plane, are told in Envoy's words."""


def before_backends(outcome: Outcome) -> Iterator[str]:
    """What happens to a request first."""
    for patterns in outcome.allowed_identities:
        yield f"clients   whose certificates say {' or '.join(patterns)}; others get 403 UAEX"
    if outcome.rate_limit is not None:
        yield f"limit     {_limit(outcome.rate_limit)}"
    if outcome.fault is not None:
        yield f"fault     {_fault(outcome.fault)}"
    if outcome.split is not None:
        yield f"split     {_split(outcome.split)}"
    for mirror in outcome.mirrors:
        yield from mirror_lines(mirror)


def behind_backends(outcome: Outcome) -> Iterator[str]:
    """What happens if an answer does not come."""
    if outcome.retry is not None:
        yield from _retry(outcome.retry)
    elif outcome.backends:
        yield "retry     none: only what was never sent is sent again, once"
    for what, seconds in _timeouts(outcome):
        yield f"timeout   {what}: {duration(seconds)}"


def duration(seconds: float) -> str:
    """As somebody would write it."""
    return f"{seconds * 1000:g} ms" if seconds < 1 else f"{seconds:g} s"


def _timeouts(outcome: Outcome) -> Iterator[tuple[str, float]]:
    limits = (
        ("request", outcome.request_timeout_s),
        ("backend request", outcome.backend_timeout_s),
        ("first byte", outcome.first_byte_timeout_s),
        ("idle", outcome.idle_timeout_s),
        ("queue", outcome.queue_timeout_s if outcome.queue_timeout_s != QUEUE_TIMEOUT_S else None),
    )
    return ((what, seconds) for what, seconds in limits if seconds is not None)


def _limit(limit: Limited) -> str:
    rate = f"{limit.per_second:g} a second" if limit.per_second >= 1 else f"{limit.per_second * 60:g} a minute"
    text = f"{rate}, {limit.burst} at once; beyond that 429 RL"
    if not limit.header:
        return text
    own = "which is not there: one for all such" if limit.key is None else f"this one's is {limit.key!r}"
    return f"{text}; for each value of header {limit.header}, {own}"


def _fault(fault: Faulted) -> str:
    parts = []
    if fault.delay_s and fault.delay_percent:
        parts.append(f"{fault.delay_percent:g} % wait {duration(fault.delay_s)} first")
    if fault.abort_status and fault.abort_percent:
        parts.append(f"{fault.abort_percent:g} % are answered {fault.abort_status} FI")
    return ", ".join(parts) or "none, as its shares are 0 %"


def _split(split: KeyedSplit) -> str:
    if split.key is None:
        return f"by {split.by}, which is not there: at random"
    return f"by {split.by}: {split.key!r} goes to {split.backend}"


def _retry(retry: Retried) -> Iterator[str]:
    if not retry.attempts:
        yield "retry     never, not even what was not sent"
        return
    what = [_CONDITIONS.get(condition, condition) for condition in retry.on] + [str(code) for code in retry.codes]
    times = "once" if retry.attempts == 1 else f"{retry.attempts} times"
    where = ", at another endpoint if there is one" if retry.other_endpoint else ""
    yield f"retry     at most {times}{where}, after: {', '.join(what)}"
    yield f"          sent again once it was sent: {'yes' if retry.may_repeat else 'no'}, {retry.because}"
    wait, longest = duration(retry.back_off_s), duration(retry.max_back_off_s)
    least = "; a Retry-After is the least" if retry.retry_after else ""
    yield f"          back-off: a random time below {wait}, then twice that, up to {longest}{least}"
    yield f"          body: kept up to {_size(retry.replay_bytes)}, larger ones are sent once"
    budget = retry.budget
    if budget is not None:
        rate = f", of those of {duration(budget.interval_s)} (or {budget.min_per_second:g} a second)"
        active = f"{budget.percent:g} % of the requests in flight (or {budget.min_concurrency})"
        yield f"          budget: retries are at most {active}{rate if budget.interval_s else ''}"


def _size(count: int) -> str:
    if count and not count % _KIB**2:
        return f"{count // _KIB**2} MiB"
    return f"{count // _KIB} KiB" if count and not count % _KIB else f"{count} bytes"
