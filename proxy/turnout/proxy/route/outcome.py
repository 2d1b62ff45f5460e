"""What a route does to a request, told without doing it: where it goes, with which changes."""

from copy import copy

import msgspec

from turnout.proxy.http.head import RequestHead
from turnout.proxy.route.entry import Entry
from turnout.proxy.route.rewrite import apply_rewrite, make_location
from turnout.proxy.route.split import Share, Split
from turnout.rules.snapshot import HeaderEdits, Redirect


class Redirected(msgspec.Struct, frozen=True):
    """An answer with this status and Location."""

    status: int
    location: str


class Responded(msgspec.Struct, frozen=True):
    """An answer at once."""

    status: int
    message: str


class Edited(msgspec.Struct, frozen=True):
    """What is done to a head, in this order."""

    remove: tuple[str, ...]
    set: tuple[str, ...]
    add: tuple[str, ...]


class BackendShare(msgspec.Struct, frozen=True):
    """One backend. `path` and `host` are what it sees; `missing`: nothing has its name, its share is answered 500."""

    name: str
    weight: int
    percent: float
    missing: bool
    host: str
    path: str
    redirect: Redirected | None
    request_headers: tuple[Edited, ...]
    response_headers: tuple[Edited, ...]


class Outcome(msgspec.Struct, frozen=True):
    """Either `backends`, or one of `redirect` and `respond`. Timeouts in seconds, None for no limit."""

    backends: tuple[BackendShare, ...]
    redirect: Redirected | None
    respond: Responded | None
    request_timeout_s: float | None
    backend_timeout_s: float | None
    response_headers: tuple[Edited, ...]
    """Of a redirect; a backend has its own."""


def describe_outcome(entry: Entry, head: RequestHead, port: int) -> Outcome:
    """What happens to `head`, which is not changed, once `entry` took it. `port` is the listener's."""
    return Outcome(
        backends=_describe_split(entry, entry.split, head, port) if entry.split else (),
        redirect=_describe_redirect(entry.redirect, entry, head, port),
        respond=Responded(entry.respond.status, entry.respond.message) if entry.respond else None,
        request_timeout_s=entry.request_timeout_s,
        backend_timeout_s=entry.backend_timeout_s,
        response_headers=_edited(entry.route.response_headers) if entry.redirect else (),
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
        missing=share.missing,
        host=seen.authority.decode("latin-1"),
        path=seen.target.decode("latin-1"),
        redirect=_describe_redirect(share.redirect, entry, head, port),
        request_headers=_edited(route.request_headers, share.backend.request_headers),
        response_headers=_edited(route.response_headers, share.backend.response_headers),
    )


def _describe_redirect(redirect: Redirect | None, entry: Entry, head: RequestHead, port: int) -> Redirected | None:
    if redirect is None:
        return None
    location = make_location(redirect, head, entry.prefix, port)
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
