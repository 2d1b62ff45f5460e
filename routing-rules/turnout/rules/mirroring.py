"""The parts of a Snapshot that say which requests are copied to another cluster, and what bounds the copies.

A copy, a *shadow*, is a request of its own: what becomes of it is nobody's answer. Durations are seconds.
"""

from turnout.rules.resilience import Part, RateLimit

SHADOW_TIMEOUT_S = 60.0
MAX_SHADOWS = 1024
"""Envoy's `max_requests` default."""


class Mirror(Part, frozen=True):
    """`cluster` gets a copy of `per_million` of the requests (Envoy `RequestMirrorPolicy`, `runtime_fraction`).

    All mirrors of a route look at the same random number, as in Envoy, so the smaller share is part of the larger one;
    with `Forward.mirror_by` each has a set of keys of its own, which grows with its share and loses none.
    """

    cluster: str
    per_million: int = 1_000_000


class PauseAbove(Part, frozen=True):
    """While the cluster that answers a request is above one of these, it is not copied; None is no bound.

    `p99_s` is of the route's times to the first byte of an answer, over the last ten seconds; `active_requests` and
    `pending_requests` are the cluster's requests in flight, and those that wait for its limits.
    """

    p99_s: float | None = None
    active_requests: int | None = None
    pending_requests: int | None = None


class MirrorLimits(Part, frozen=True):
    """What bounds the shadows of a route, of each of its mirrors, over all workers.

    `timeout_s` is of a shadow, from the last byte of the request to the last of the answer. At most `max_requests` are
    in flight, and no more begin than `rate` allows (its `header` is empty); beyond, a request goes without.
    """

    timeout_s: float = SHADOW_TIMEOUT_S
    max_requests: int = MAX_SHADOWS
    rate: RateLimit | None = None
    pause_above: PauseAbove | None = None
