"""Which mirrors of a route get a copy of a request, told without making one. In JSON this is a contract: fields are
added, not renamed.
"""

import msgspec

from turnout.proxy.errors import COLD_CLUSTER, NO_CLUSTER
from turnout.proxy.http.head import RequestHead
from turnout.proxy.route.entry import Entry
from turnout.rules.mirroring import MirrorLimits
from turnout.rules.resilience import HashKey
from turnout.rules.snapshot import Forward

_PER_PERCENT = 10_000
"""Of a million."""


class Pause(msgspec.Struct, frozen=True):
    """Nothing is copied while the predictor that answers is above one of these; None is no bound."""

    p99_s: float | None
    active_requests: int | None
    pending_requests: int | None


class Mirrored(msgspec.Struct, frozen=True):
    """One mirror. `by` says of what its key is, empty for chance; `key` is this request's, None if it has none.

    `copied`: whether this request is copied, None if that is chance. `missing` and `cold` are as of a backend; a copy
    is skipped then. `per_second` None: as many as want to.
    """

    name: str
    percent: float
    missing: bool
    cold: bool
    by: str
    key: str | None
    copied: bool | None
    timeout_s: float
    max_requests: int
    per_second: float | None
    burst: int | None
    pause_above: Pause | None


def describe_mirrors(entry: Entry, head: RequestHead, address: bytes) -> tuple[Mirrored, ...]:
    """All of a route, for `head` from a client at `address`."""
    mirrors, action = entry.mirrors, entry.route.action
    if mirrors is None or not isinstance(action, Forward):
        return ()
    key = None if mirrors.key is None else mirrors.key(head, address)
    limits = mirrors.limits
    told = []
    for share in mirrors.shares:
        is_chance = 0 < share.per_million < 100 * _PER_PERCENT and key is None
        one = Mirrored(
            name=share.cluster,
            percent=share.per_million / _PER_PERCENT,
            missing=share.failure is NO_CLUSTER,
            cold=share.failure is COLD_CLUSTER,
            by=_words(action.mirror_by),
            key=None if key is None else key.decode("latin-1"),
            copied=None if is_chance else share.takes(key or b""),
            timeout_s=limits.timeout_s,
            max_requests=limits.max_requests,
            per_second=None if limits.rate is None else limits.rate.per_second,
            burst=None if limits.rate is None else limits.rate.burst,
            pause_above=_pause(limits),
        )
        told.append(one)
    return tuple(told)


def _words(by: HashKey | None) -> str:
    if by is None:
        return ""
    return f"{by.kind} {by.name}" if by.name else by.kind.replace("_", " ")


def _pause(limits: MirrorLimits) -> Pause | None:
    bounds = limits.pause_above
    return None if bounds is None else Pause(bounds.p99_s, bounds.active_requests, bounds.pending_requests)
