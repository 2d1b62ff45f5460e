"""Routes in Envoy's words as Route messages, and what holds them: virtual hosts, route configurations."""

from collections.abc import Collection, Iterable
from typing import Any

from envoy.config.core.v3 import base_pb2
from envoy.config.route.v3 import route_components_pb2 as components
from envoy.config.route.v3 import route_pb2
from envoy.type.matcher.v3 import regex_pb2

from turnout.rules.snapshot import (
    Backend,
    Forward,
    Match,
    PathRewrite,
    Redirect,
    Respond,
    VirtualHost,
)
from turnout.xds.translate.edits import compose_edits
from turnout.xds.translate.emit.filters import add_filters
from turnout.xds.translate.emit.hashing import make_hash_policy
from turnout.xds.translate.emit.headers import add_request_edits, add_response_edits
from turnout.xds.translate.emit.hints import write_hint
from turnout.xds.translate.emit.identities import add_host_guard, add_route_guard
from turnout.xds.translate.emit.matches import make_match, make_regex
from turnout.xds.translate.emit.mirrors import make_mirror_policy
from turnout.xds.translate.emit.retries import add_replay_limit, make_retry_policy
from turnout.xds.translate.emit.timeouts import add_timeouts
from turnout.xds.translate.emit.values import make_duration, make_metadata
from turnout.xds.translate.grpc_matches import takes_only_grpc
from turnout.xds.translate.lower import Lowered, Site, lower_route
from turnout.xds.translate.lower_forward import is_weighted
from turnout.xds.translate.names import HINT, MISSING, WHOLE_PATH

_ACTION = components.RouteAction
_STATUS = components.RedirectAction
REDIRECT_CODES = {
    301: _STATUS.MOVED_PERMANENTLY,
    302: _STATUS.FOUND,
    303: _STATUS.SEE_OTHER,
    307: _STATUS.TEMPORARY_REDIRECT,
    308: _STATUS.PERMANENT_REDIRECT,
}
MAX_BODY_BYTES = 4096
"""Of a direct response, unless the route configuration says another (Envoy)."""


def make_configuration(name: str, hosts: Iterable[Any]) -> Any:
    """A RouteConfiguration of what `make_host` gives."""
    message = route_pb2.RouteConfiguration(
        name=name,
        # Virtual hosts are named without ports.
        ignore_port_in_host_matching=True,
        virtual_hosts=hosts,
    )
    largest = max((len(body) for body in _bodies(message)), default=0)
    if largest > MAX_BODY_BYTES:
        message.max_direct_response_body_size_bytes.value = largest
    return message


def make_host(host: VirtualHost, site: Site, missing: Collection[str], *, filters: bool = True) -> Any:
    """A VirtualHost. A route that names a cluster of `missing` answers 500 there; without `filters`, routes have no
    words for them."""
    lowered = [found for route in host.routes for found in lower_route(route, site)]
    routes = [_make_route(found, missing, filters) for found in lowered]
    if filters:
        for message, found in zip(routes, lowered, strict=True):
            add_route_guard(message, found.route, host)
    # Our proxy counts attempts for the upstream where a route has retries; Envoy does for all of a virtual host.
    counts = any(isinstance(r.action, Forward) and r.action.retry is not None for r in host.routes)
    told = components.VirtualHost(
        name=host.name, domains=host.domains, routes=routes, include_request_attempt_count=counts
    )
    if filters:
        add_host_guard(told, host)
    return told


def add_missing(configurations: Collection[Any], missing: Collection[str]) -> None:
    """Tell in each of the configurations which of the `missing` clusters their routes do not tell, all of them or some:
    a client would wait for those."""
    if not missing:
        return
    told: set[str] = set()
    silent: set[str] = set()
    for action in (
        route.route for message in configurations for host in message.virtual_hosts for route in host.routes
    ):
        is_told = action.cluster_not_found_response_code == _ACTION.INTERNAL_SERVER_ERROR
        (told if is_told else silent).update((action.cluster, *(s.name for s in action.weighted_clusters.clusters)))
    untold = [name for name in missing if name not in told or name in silent]
    if untold:
        for message in configurations:
            message.metadata.CopyFrom(make_metadata(**{MISSING: untold}))


def _bodies(message: Any) -> list[bytes]:
    routes = [route for host in message.virtual_hosts for route in host.routes]
    return [r.direct_response.body.inline_string.encode() for r in routes if r.HasField("direct_response")]


def _make_route(lowered: Lowered, missing: Collection[str], filters: bool) -> Any:
    route = lowered.route
    message = components.Route(name=route.name, match=make_match(route.match))
    match route.action:
        case Forward() as forward:
            message.route.CopyFrom(_make_forward(forward, route.match, missing))
            if lowered.hash_on is not None:
                message.route.hash_policy.append(make_hash_policy(lowered.hash_on))
            if forward.retry is not None:
                add_replay_limit(message, forward.retry)
            if filters:
                add_filters(message, forward)
        case Redirect() as redirect:
            message.redirect.CopyFrom(_make_redirect(redirect))
        case Respond() as respond:
            body = base_pb2.DataSource(inline_string=respond.body or "")
            message.direct_response.CopyFrom(components.DirectResponseAction(status=respond.status, body=body))
    add_request_edits(message, compose_edits(route.request_headers))
    add_response_edits(message, compose_edits(route.response_headers))
    if lowered.hint is not None:
        message.metadata.CopyFrom(make_metadata(**{HINT: write_hint(lowered.hint)}))
    return message


def _make_forward(forward: Forward, match: Match, missing: Collection[str]) -> Any:
    message = _ACTION()
    add_timeouts(message, forward, match)
    if is_weighted(forward):
        message.weighted_clusters.clusters.extend(_make_share(backend) for backend in forward.backends)
        if forward.split_by is not None:
            message.weighted_clusters.use_hash_policy.value = True
    else:
        message.cluster = forward.backends[0].cluster
    # A call of gRPC is UNAVAILABLE then, which is what Envoy's own 503 is to it.
    if not takes_only_grpc(match) and any(backend.cluster in missing for backend in forward.backends):
        message.cluster_not_found_response_code = _ACTION.INTERNAL_SERVER_ERROR
    if forward.idle_timeout_s is not None:
        message.idle_timeout.CopyFrom(make_duration(forward.idle_timeout_s))
    if forward.retry is not None:
        message.retry_policy.CopyFrom(make_retry_policy(forward.retry))
    if forward.backend_timeout_s is not None:
        message.retry_policy.per_try_timeout.CopyFrom(make_duration(forward.backend_timeout_s))
    message.request_mirror_policies.extend(map(make_mirror_policy, forward.mirrors))
    if forward.rewrite is not None:
        if forward.rewrite.hostname is not None:
            message.host_rewrite_literal = forward.rewrite.hostname
        if forward.rewrite.path is not None:
            _add_rewrite(message, forward.rewrite.path)
    return message


def _make_share(backend: Backend) -> Any:
    share = components.WeightedCluster.ClusterWeight(name=backend.cluster)
    share.weight.value = backend.weight
    add_request_edits(share, backend.request_headers)
    add_response_edits(share, backend.response_headers)
    if backend.rewrite is not None and backend.rewrite.hostname is not None:
        share.host_rewrite_literal = backend.rewrite.hostname
    return share


def _make_redirect(redirect: Redirect) -> Any:
    message = components.RedirectAction(
        response_code=REDIRECT_CODES[redirect.status],
        host_redirect=redirect.hostname,
        port_redirect=redirect.port or 0,
        strip_query=not redirect.keep_query,
    )
    if redirect.scheme is not None:
        message.scheme_redirect = redirect.scheme
    if redirect.path is not None and redirect.path.kind == "full":
        message.path_redirect = redirect.path.value
    elif redirect.path is not None:
        message.prefix_rewrite = redirect.path.value
    return message


def _add_rewrite(message: Any, rewrite: PathRewrite) -> None:
    if rewrite.kind == "full":
        substitution = rewrite.value.replace("\\", "\\\\")
        rule = regex_pb2.RegexMatchAndSubstitute(pattern=make_regex(WHOLE_PATH), substitution=substitution)
        message.regex_rewrite.CopyFrom(rule)
    else:
        message.prefix_rewrite = rewrite.value
