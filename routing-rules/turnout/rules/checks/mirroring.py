"""Checks of a `RequestMirror` filter, and of the `mirror` of a RoutePolicy."""

from turnout.rules.checks.common import check_duration
from turnout.rules.checks.refs import check_ref
from turnout.rules.documents.document import Path, Reporter
from turnout.rules.documents.mirroring import MirrorPolicy, PauseAbove, RequestMirror


def check_mirror(say: Reporter, path: Path, body: RequestMirror) -> None:
    """Of one filter."""
    check_ref(say, (*path, "backendRef"), body.backend_ref)
    if body.fraction is not None:
        if body.percent is not None:
            say.error((*path, "fraction"), "filter-conflict", "percent and fraction exclude each other")
        if body.fraction.numerator > body.fraction.denominator:
            share = f"{body.fraction.numerator}/{body.fraction.denominator}"
            say.error((*path, "fraction", "numerator"), "invalid-value", f"{share} is more than all requests")


def check_mirror_policy(say: Reporter, path: Path, written: MirrorPolicy) -> None:
    """Of a RoutePolicy."""
    check_duration(say, (*path, "timeout"), written.timeout, positive=True)
    if written.rate_limit is not None:
        check_duration(say, (*path, "rateLimit", "interval"), written.rate_limit.interval, positive=True)
    if written.pause_above is not None:
        place = (*path, "pauseAbove")
        check_duration(say, (*place, "p99"), written.pause_above.p99, positive=True)
        if written.pause_above == PauseAbove():
            say.error(place, "missing-field", "p99, activeRequests or pendingRequests is needed")
