"""`RequestMirror` filters as the mirrors of a route, and what a RoutePolicy says of them.

What a mirror names and nothing has is *missing*, as a backend would be; there its requests are only counted as skipped.
"""

from collections.abc import Callable
from math import floor

from turnout.rules.documents.httproute import Rule
from turnout.rules.documents.mirroring import MirrorPolicy, ObjectRef, RequestMirror
from turnout.rules.documents.mirroring import PauseAbove as WrittenPause
from turnout.rules.durations import parse_duration_s
from turnout.rules.mirroring import Mirror, MirrorLimits, PauseAbove
from turnout.rules.resilience import RateLimit

_ALL = 1_000_000

ResolveMirror = Callable[[ObjectRef, int], str]
"""Of a mirror's ref and the index of its filter: the cluster's name."""


def compile_mirrors(rule: Rule, resolve: ResolveMirror) -> tuple[Mirror, ...]:
    """All mirrors of a rule, as they were written."""
    return tuple(
        Mirror(resolve(item.request_mirror.backend_ref, index), _per_million(item.request_mirror))
        for index, item in enumerate(rule.filters)
        if item.request_mirror is not None
    )


def is_sampled(mirror: Mirror) -> bool:
    """Whether it depends on the request if it is mirrored."""
    return 0 < mirror.per_million < _ALL


def compile_limits(written: MirrorPolicy) -> MirrorLimits:
    """Of all mirrors of the rules that name the policy."""
    rate = written.rate_limit
    limits = MirrorLimits(
        timeout_s=parse_duration_s(written.timeout),
        max_requests=written.max_requests,
        rate=None
        if rate is None
        else RateLimit(rate.requests / parse_duration_s(rate.interval), rate.burst or rate.requests),
        pause_above=None if written.pause_above is None else _pause(written.pause_above),
    )
    return limits


def _pause(written: WrittenPause) -> PauseAbove:
    p99_s = None if written.p99 is None else parse_duration_s(written.p99)
    return PauseAbove(p99_s, written.active_requests, written.pending_requests)


def _per_million(mirror: RequestMirror) -> int:
    """Rounded down, but never to nothing: only what is written as all is all."""
    if mirror.fraction is not None:
        share = mirror.fraction.numerator * _ALL / mirror.fraction.denominator
        return max(floor(share), 1 if share else 0)
    return _ALL if mirror.percent is None else mirror.percent * _ALL // 100
