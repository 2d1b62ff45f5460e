"""Routes in Envoy's words, and back: what Gateway API says in one route and Envoy in another way or in several.

Envoy's words are a part of the Snapshot's own: `lower_route` gives routes that have one message each, with the same
meaning to Envoy. What it does:

* `path_prefix: /x` becomes `exact: /x` and `prefix: /x/` (gRPC's client refuses `path_separated_prefix`), and a
  rewrite of the prefix one for each of the two.
* A split in which a backend has a path or a redirect of its own becomes a route for each backend. Envoy asks all of
  them with the same random number, so their shares are cumulative: 10 %, then 30 %, then the rest.
* If the route and its backends have header edits, each backend gets those of the route before its own: Envoy applies a
  share's edits before all others, also with `most_specific_header_mutations_wins`. So it is with the Host.
* What is done about failures, slowness and too much is said as Envoy can say it (`lower_forward`), and what is hashed
  (`hashes`).
* A redirect's port is written out, since Envoy would not take the listener's; an error of ours becomes an answer with
  its message as body.

`raise_routes` reads it back. Where the routes alone do not tell what they were made of, the first of them carries the
original as a *hint*, and that counts only if lowering it gives these very routes: so there are never two truths.
"""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from msgspec.structs import replace

from turnout.rules.resilience import HashKey
from turnout.rules.snapshot import (
    NO_EDITS,
    Action,
    Backend,
    Forward,
    HeaderEdits,
    Match,
    PathMatch,
    PathRewrite,
    Redirect,
    Respond,
    Rewrite,
    Route,
    ValueMatch,
)
from turnout.xds.translate.edits import as_layers, compose_edits, move_to_backends
from turnout.xds.translate.hashes import Hashes, find_hash
from turnout.xds.translate.lower_forward import lower_forward

MILLION = 1_000_000
WELL_KNOWN_PORTS = {"http": 80, "https": 443}


class Site(NamedTuple):
    """Where a route stands: its listener's port and scheme, the one host of its virtual host, if that is one, and what
    the clusters of the Snapshot pick by."""

    port: int
    host: str | None
    hashes: Hashes
    scheme: str


class Lowered(NamedTuple):
    """A route in Envoy's words, with its hash policy, perhaps with the Snapshot's route that it begins."""

    route: Route
    hash_on: HashKey | None = None
    hint: Route | None = None


def make_site(port: int, domains: Sequence[str], hashes: Hashes, *, is_tls: bool = False) -> Site:
    """The site of the routes of a virtual host."""
    host = domains[0] if len(domains) == 1 and "*" not in domains[0] else None
    return Site(port, host, hashes, "https" if is_tls else "http")


def lower_route(route: Route, site: Site) -> list[Lowered]:
    """The route in Envoy's words; the first of the list with a hint if it needs one."""
    lowered = _lower(route, site)
    if raise_routes(lowered, site) != (route,):
        lowered[0] = lowered[0]._replace(hint=route)
    return lowered


def raise_routes(lowered: Sequence[Lowered], site: Site) -> tuple[Route, ...]:
    """Routes as a Snapshot has them, from routes in Envoy's words."""
    found: list[Route] = []
    at = 0
    while at < len(lowered):
        candidate = lowered[at].hint or _guess(lowered[at].route, lowered[at + 1].route if lowered[at + 1 :] else None)
        parts = _lower(candidate, site)
        if [rest._replace(hint=None) for rest in lowered[at : at + len(parts)]] != parts:
            candidate, parts = lowered[at].route, [lowered[at]]
        found.append(candidate)
        at += len(parts)
    return tuple(found)


def _lower(route: Route, site: Site) -> list[Lowered]:
    splits = list(_lower_split(route))
    return [_lower_one(half, site) for match in _halves(route.match) for half in _on_path(splits, route.match, match)]


# Paths


def _halves(match: Match) -> list[Match]:
    path = match.path
    if path.kind != "path_prefix":
        return [match]
    if path.value == "/":
        return [_with_path(match, PathMatch("prefix", "/", path.ignore_case))]
    exact = PathMatch("exact", path.value, path.ignore_case)
    below = PathMatch("prefix", f"{path.value}/", path.ignore_case)
    return [_with_path(match, exact), _with_path(match, below)]


def _with_path(match: Match, path: PathMatch) -> Match:
    return replace(match, path=path)


def _on_path(routes: list[Route], whole: Match, half: Match) -> Iterator[Route]:
    for route in routes:
        match = replace(half, per_million=route.match.per_million)
        yield replace(route, match=match, action=_place_action(route.action, whole.path, half.path))


def _place_action(action: Action, whole: PathMatch, half: PathMatch) -> Action:
    if isinstance(action, Redirect) and action.path is not None:
        return replace(action, path=_place_rewrite(action.path, whole, half))
    if isinstance(action, Forward) and action.rewrite is not None and action.rewrite.path is not None:
        path = _place_rewrite(action.rewrite.path, whole, half)
        return replace(action, rewrite=Rewrite(action.rewrite.hostname, path))
    return action


def _place_rewrite(rewrite: PathRewrite, whole: PathMatch, half: PathMatch) -> PathRewrite:
    """A rewrite of what `whole` matches, for the requests that `half` of it takes."""
    if rewrite.kind == "full":
        return rewrite
    if half.kind in ("exact", "regex"):
        return PathRewrite("full", rewrite.value or "/")
    if rewrite.kind == "raw_prefix" and (half == whole or whole.value == "/"):
        return rewrite
    return PathRewrite("raw_prefix", f"{rewrite.value}/")


# Splits


def _lower_split(route: Route) -> Iterator[Route]:
    """One route, or one for each backend if one of them does what a share of Envoy's split can't do."""
    action = route.action
    if not isinstance(action, Forward) or not any(map(_is_apart, action.backends)):
        yield route
        return
    total = sum(backend.weight for backend in action.backends) or 1
    whole = MILLION if route.match.per_million is None else route.match.per_million
    passed = 0
    for number, backend in enumerate(action.backends, 1):
        passed += backend.weight
        is_rest = number == len(action.backends) and route.match.per_million is None
        yield _lower_backend(route, action, backend, None if is_rest else round(whole * passed / total))


def _is_apart(backend: Backend) -> bool:
    return backend.redirect is not None or (backend.rewrite is not None and backend.rewrite.path is not None)


def _lower_backend(route: Route, action: Forward, backend: Backend, per_million: int | None) -> Route:
    lowered: Forward | Redirect
    if backend.redirect is not None:
        lowered = backend.redirect
    else:
        # What Envoy decides between routes by is no hash.
        rewrite = _merge(action.rewrite, backend.rewrite)
        lowered = replace(action, backends=(Backend(backend.cluster),), rewrite=rewrite, split_by=None)
    return Route(
        route.name,
        replace(route.match, per_million=per_million),
        lowered,
        (*route.request_headers, backend.request_headers),
        (*route.response_headers, backend.response_headers),
        route.allowed_identities,
    )


def _merge(route: Rewrite | None, backend: Rewrite | None) -> Rewrite | None:
    if route is None or backend is None:
        return backend or route
    return Rewrite(backend.hostname or route.hostname, backend.path or route.path)


# What stays one route


def _lower_one(route: Route, site: Site) -> Lowered:
    hash_on = None
    request, response = compose_edits(route.request_headers), compose_edits(route.response_headers)
    action = route.action
    if isinstance(action, Redirect):
        action = _lower_redirect(action, site)
    elif isinstance(action, Respond) and action.body is None:
        # An error of ours has no edits.
        action, response = Respond(action.status, body=action.message), NO_EDITS
    elif isinstance(action, Forward):
        action, request, response = move_to_backends(_move_hostname(action), request, response, _route_first)
        action = lower_forward(action, route.match)
        hash_on = find_hash(action, site.hashes)
    match = route.match
    path = replace(match.path, value=_lower_regex(match.path.kind, match.path.value))
    match = Match(path, match.method, _lower_values(match.headers), _lower_values(match.query), match.per_million)
    edits = as_layers(request), as_layers(response)
    return Lowered(Route(route.name, match, action, *edits, route.allowed_identities), hash_on)


def _route_first(route: HeaderEdits, backend: HeaderEdits) -> HeaderEdits:
    return compose_edits((route, backend))


def _move_hostname(action: Forward) -> Forward:
    """The Host in each backend, where a backend has one of its own: the last word on it is the route's in Envoy."""
    rewrite = action.rewrite
    if rewrite is None or rewrite.hostname is None or not any(map(_has_hostname, action.backends)):
        return action
    own = Rewrite(rewrite.hostname)
    backends = tuple(b if _has_hostname(b) else replace(b, rewrite=own) for b in action.backends)
    return replace(action, backends=backends, rewrite=Rewrite(None, rewrite.path) if rewrite.path else None)


def _has_hostname(backend: Backend) -> bool:
    return backend.rewrite is not None and backend.rewrite.hostname is not None


def _lower_redirect(redirect: Redirect, site: Site) -> Redirect:
    if redirect.port == 0:
        return redirect
    # With trusted hops at 0, Envoy takes every request for what its listener speaks.
    scheme = redirect.scheme or site.scheme
    port = redirect.port
    if port is None:
        port = site.port if redirect.scheme is None else WELL_KNOWN_PORTS.get(scheme, site.port)
    if port != WELL_KNOWN_PORTS.get(scheme):
        return replace(redirect, port=port)
    # Envoy writes what it is given, so the well-known port must not be given, and the request's own must be no other.
    hostname = redirect.hostname or site.host
    if hostname is None and site.port != WELL_KNOWN_PORTS[site.scheme]:
        return replace(redirect, port=port)
    return replace(redirect, hostname=hostname, port=0)


def _lower_values(matches: tuple[ValueMatch, ...]) -> tuple[ValueMatch, ...]:
    return tuple(replace(m, value=_lower_regex(m.kind, m.value)) for m in matches)


def _lower_regex(kind: str, value: str) -> str:
    """Envoy has no empty expression."""
    return "()" if kind == "regex" and not value else value


# Back


def _guess(first: Route, second: Route | None) -> Route:
    """What `first`, or `first` and `second`, may have been made of."""
    path = first.match.path
    if path.kind == "prefix" and path.value == "/":
        return _raise(first, "/")
    if path.kind == "exact" and second is not None and second.match.path.value == f"{path.value}/":
        return _raise(second, path.value)
    return first


def _raise(half: Route, prefix: str) -> Route:
    path = PathMatch("path_prefix", prefix, half.match.path.ignore_case)
    action = half.action
    if isinstance(action, Redirect) and action.path is not None:
        action = replace(action, path=_raise_rewrite(action.path))
    elif isinstance(action, Forward) and action.rewrite is not None and action.rewrite.path is not None:
        rewrite = Rewrite(action.rewrite.hostname, _raise_rewrite(action.rewrite.path))
        action = replace(action, rewrite=rewrite)
    return replace(half, match=_with_path(half.match, path), action=action)


def _raise_rewrite(rewrite: PathRewrite) -> PathRewrite:
    if rewrite.kind == "raw_prefix" and rewrite.value.endswith("/"):
        return PathRewrite("prefix", rewrite.value[:-1])
    return rewrite
