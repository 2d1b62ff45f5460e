"""A rule's filters, backends and timeouts as a route's action and head edits."""

from collections.abc import Callable

import msgspec

from turnout.rules import snapshot as s
from turnout.rules.documents.httproute import (
    BackendRef,
    Filter,
    HeaderModifier,
    PathModifier,
    Rule,
)
from turnout.rules.durations import limit_s

Resolve = Callable[[BackendRef, int], tuple[str, bool]]
"""Of a rule's backendRef and its index: the cluster's name, and whether that is missing."""


class Filters(msgspec.Struct, frozen=True):
    """A list of filters, each in the form that a Snapshot has it in."""

    request_headers: s.HeaderEdits = s.NO_EDITS
    response_headers: s.HeaderEdits = s.NO_EDITS
    redirect: s.Redirect | None = None
    rewrite: s.Rewrite | None = None


_NO_FILTERS = Filters()


def compile_filters(filters: tuple[Filter, ...]) -> Filters:
    """Filters that were checked: at most one of each type."""
    if not filters:
        return _NO_FILTERS
    request = response = s.NO_EDITS
    redirect, rewrite = None, None
    for item in filters:
        if item.request_header_modifier is not None:
            request = _edits(item.request_header_modifier)
        elif item.response_header_modifier is not None:
            response = _edits(item.response_header_modifier)
        elif item.request_redirect is not None:
            r = item.request_redirect
            redirect = s.Redirect(r.status_code, r.scheme, r.hostname, r.port, _path_rewrite(r.path))
        elif item.url_rewrite is not None:
            rewrite = s.Rewrite(item.url_rewrite.hostname, _path_rewrite(item.url_rewrite.path))
    return Filters(request, response, redirect, rewrite)


def compile_action(rule: Rule, filters: Filters, resolve: Resolve, unserved: int) -> s.Action:
    """What a rule does. No backend, or weights that sum to 0, is answered with the status `unserved`."""
    if filters.redirect is not None:
        return filters.redirect
    backends = tuple(_backend(ref, *resolve(ref, index)) for index, ref in enumerate(rule.backend_refs))
    if not backends:
        return s.Respond(unserved, "the rule has no backend")
    if not any(b.weight for b in backends):
        return s.Respond(unserved, "the weights of the rule's backends sum to 0")
    timeouts = rule.timeouts
    return s.Forward(
        backends=backends,
        rewrite=filters.rewrite,
        request_timeout_s=limit_s(timeouts.request) if timeouts else None,
        backend_timeout_s=limit_s(timeouts.backend_request) if timeouts else None,
    )


def _backend(ref: BackendRef, cluster: str, missing: bool) -> s.Backend:
    # The share of what is missing is a 500, whatever its filters say (HTTPBackendRef.filters).
    if missing or not ref.filters:
        return s.Backend(cluster, ref.weight)
    f = compile_filters(ref.filters)
    return s.Backend(cluster, ref.weight, f.request_headers, f.response_headers, f.rewrite, f.redirect)


def _edits(modifier: HeaderModifier) -> s.HeaderEdits:
    return s.HeaderEdits(
        set=tuple((h.name.lower(), h.value) for h in modifier.set),
        add=tuple((h.name.lower(), h.value) for h in modifier.add),
        remove=tuple(name.lower() for name in modifier.remove),
    )


def _path_rewrite(modifier: PathModifier | None) -> s.PathRewrite | None:
    if modifier is None:
        return None
    if modifier.type == "ReplaceFullPath":
        return s.PathRewrite("full", modifier.replace_full_path or "/")
    # As with prefixes that match, a trailing slash says nothing: /xyz/ is /xyz, and / is nothing.
    return s.PathRewrite("prefix", (modifier.replace_prefix_match or "").removesuffix("/"))
