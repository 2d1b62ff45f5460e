"""The mirrors of a route, as text: whether this request is copied, and within which bounds."""

from collections.abc import Iterator

from turnout.proxy.route.mirrored import Mirrored, Pause
from turnout.rules.mirroring import MAX_SHADOWS, SHADOW_TIMEOUT_S


def mirror_lines(mirror: Mirrored) -> Iterator[str]:
    """The first says whether, the second how."""
    yield f"mirror    {mirror.percent:g} % to {mirror.name}{_absent(mirror)}{_whether(mirror)}"
    if bounds := list(_bounds(mirror)):
        yield f"          {'; '.join(bounds)}"


def _absent(mirror: Mirrored) -> str:
    if mirror.missing:
        return ", which does not exist: none is made"
    return ", which has not come from the control plane yet: none is made" if mirror.cold else ""


def _whether(mirror: Mirrored) -> str:
    if mirror.missing or mirror.cold or (mirror.copied is not None and not mirror.by):
        return ""
    if not mirror.by:
        return ": at random"
    if mirror.key is None:
        return f": by {mirror.by}, which is not there: at random" if mirror.copied is None else ""
    return f": by {mirror.by}, {mirror.key!r} is {'' if mirror.copied else 'not '}copied"


def _bounds(mirror: Mirrored) -> Iterator[str]:
    if mirror.max_requests != MAX_SHADOWS:
        yield f"at most {mirror.max_requests} in flight"
    if mirror.per_second is not None:
        yield f"at most {mirror.per_second:g} a second, {mirror.burst} at once"
    if mirror.timeout_s != SHADOW_TIMEOUT_S:
        yield f"each for {mirror.timeout_s:g} s"
    if mirror.pause_above is not None:
        yield f"none above {' or '.join(_pause(mirror.pause_above))}"


def _pause(bounds: Pause) -> Iterator[str]:
    if bounds.p99_s is not None:
        yield f"a p99 of {bounds.p99_s:g} s"
    if bounds.active_requests is not None:
        yield f"{bounds.active_requests} requests in flight"
    if bounds.pending_requests is not None:
        yield f"{bounds.pending_requests} that wait"
