"""What a route does to a request, told without doing it: where it goes, with which changes."""

from copy import copy

import msgspec

from turnout.proxy.errors import COLD_CLUSTER, NO_CLUSTER
from turnout.proxy.http.head import RequestHead
from turnout.proxy.route.entry import Entry
from turnout.proxy.route.handling import Faulted, KeyedSplit, Limited, Retried, describe_handling
from turnout.proxy.route.mirrored import Mirrored, describe_mirrors
from turnout.proxy.route.rewrite import apply_rewrite, make_location
from turnout.proxy.route.split import Share, Split
from turnout.rules.snapshot import HeaderEdits, Redirect, Respond


class Redirected(msgspec.Struct, frozen=True):
    """An answer with this status and Location."""

    status: int
    location: str


class Responded(msgspec.Struct, frozen=True):
    """An answer at once: an error of ours that says `message`, or `body` as it is."""

    status: int
    message: str
    body: str | None = None


class Edited(msgspec.Struct, frozen=True):
    """What is done to a head, in this order."""

    remove: tuple[str, ...]
    set: tuple[str, ...]
    add: tuple[str, ...]


class BackendShare(msgspec.Struct, frozen=True):
    """One backend. `path` and `host` are what it sees; `missing`: nothing has its name, its share is answered 500;
    `cold`: the control plane has not told it yet, its share is answered 503."""

    name: str
    weight: int
    percent: float
    missing: bool
    host: str
    path: str
    redirect: Redirected | None
    request_headers: tuple[Edited, ...]
    response_headers: tuple[Edited, ...]
    cold: bool = False


class Outcome(msgspec.Struct, frozen=True):
    """Either `backends`, or one of `redirect` and `respond`.

    Timeouts in seconds, None for no limit; `idle_timeout_s` None is the proxy's own. Without a `retry` only what was
    never sent is sent again, once.
    """

    backends: tuple[BackendShare, ...]
    redirect: Redirected | None
    respond: Responded | None
    request_timeout_s: float | None
    backend_timeout_s: float | None
    response_headers: tuple[Edited, ...]
    """Of a redirect or an answer with a body; a backend has its own."""
    first_byte_timeout_s: float | None
    idle_timeout_s: float | None
    queue_timeout_s: float
    rate_limit: Limited | None
    fault: Faulted | None
    split: KeyedSplit | None
    retry: Retried | None
    allowed_identities: tuple[tuple[str, ...], ...] = ()
    """One of each has to be the client's; none: everybody may ask."""
    mirrors: tuple[Mirrored, ...] = ()


def describe_outcome(entry: Entry, head: RequestHead, port: int, address: bytes = b"127.0.0.1") -> Outcome:
    """What happens to `head`, which is not changed, once `entry` took it. `port` is the listener's, `address` the
    client's."""
    handling = describe_handling(entry, head, address)
    return Outcome(
        backends=_describe_split(entry, entry.split, head, port) if entry.split else (),
        redirect=_describe_redirect(entry.redirect, entry, head, port),
        respond=_describe_answer(entry.respond),
        request_timeout_s=entry.request_timeout_s,
        backend_timeout_s=entry.backend_timeout_s,
        response_headers=_edited(*entry.route.response_headers) if entry.redirect or entry.body is not None else (),
        first_byte_timeout_s=entry.first_byte_timeout_s,
        idle_timeout_s=entry.idle_timeout_s,
        queue_timeout_s=entry.queue_timeout_s,
        rate_limit=handling.rate_limit,
        fault=handling.fault,
        split=handling.split,
        retry=handling.retry,
        allowed_identities=entry.allowed.patterns if entry.allowed is not None else (),
        mirrors=describe_mirrors(entry, head, address),
    )


def _describe_split(entry: Entry, split: Split, head: RequestHead, port: int) -> tuple[BackendShare, ...]:
    return tuple(_describe_share(entry, share, split.total, head, port) for share in split.shares)


def _describe_share(entry: Entry, share: Share, total: int, head: RequestHead, port: int) -> BackendShare:
    seen, route = copy(head), entry.route
    if share.rewrite is not None:
        apply_rewrite(share.rewrite, seen, entry.prefix)
    return BackendShare(
        name=share.cluster,
        weight=share.weight,
        percent=round(100 * share.weight / total, 4),
        missing=share.failure is NO_CLUSTER,
        host=seen.authority.decode("latin-1"),
        path=seen.target.decode("latin-1"),
        redirect=_describe_redirect(share.redirect, entry, head, port),
        request_headers=_edited(*route.request_headers, share.backend.request_headers),
        response_headers=_edited(*route.response_headers, share.backend.response_headers),
        cold=share.failure is COLD_CLUSTER,
    )


def _describe_answer(respond: Respond | None) -> Responded | None:
    return Responded(respond.status, respond.message, respond.body) if respond else None


def _describe_redirect(redirect: Redirect | None, entry: Entry, head: RequestHead, port: int) -> Redirected | None:
    if redirect is None:
        return None
    location = make_location(redirect, head, entry.prefix, port, entry.scheme)
    return Redirected(redirect.status, location.decode("latin-1"))


def _edited(*layers: HeaderEdits) -> tuple[Edited, ...]:
    return tuple(
        Edited(
            edits.remove,
            tuple(f"{name}: {value}" for name, value in edits.set),
            tuple(f"{name}: {value}" for name, value in edits.add),
        )
        for edits in layers
        if edits.remove or edits.set or edits.add
    )
