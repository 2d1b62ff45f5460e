"""What a Route message does: forward, redirect, or answer at once."""

import re
from typing import Any

from envoy.config.route.v3 import route_components_pb2 as components
from msgspec.structs import replace

from turnout.rules.resilience import HashKey
from turnout.rules.snapshot import (
    Action,
    Backend,
    Forward,
    PathMatch,
    PathRewrite,
    Redirect,
    Respond,
    Rewrite,
)
from turnout.xds.translate.emit.routes import REDIRECT_CODES
from turnout.xds.translate.faults import Place
from turnout.xds.translate.names import NO_LIMIT
from turnout.xds.translate.read.filters import read_filters
from turnout.xds.translate.read.hashing import read_hash_policy
from turnout.xds.translate.read.headers import read_request_edits, read_response_edits
from turnout.xds.translate.read.mirrors import read_mirrors
from turnout.xds.translate.read.numbers import read_seconds
from turnout.xds.translate.read.retries import read_retry
from turnout.xds.translate.read.timeouts import read_request_timeout
from turnout.xds.translate.read.values import check_authority, check_path, check_port, read_duration, read_whole_path

_STATUSES = {code: status for status, code in REDIRECT_CODES.items()}
_SCHEME = re.compile(r"[a-z][a-z0-9+.\-]*")
_NOTHING = Respond(500, body="")


def read_action(message: Any, path: PathMatch, max_body_bytes: int, place: Place) -> Action:
    """The action of a Route, whose match has this path."""
    match message.WhichOneof("action"):
        case "route":
            return _read_forward(message, path, place)
        case "redirect":
            read_filters(message, place)
            return _read_redirect(message.redirect, path, place.at("redirect"))
        case "direct_response":
            read_filters(message, place)
            return _read_respond(message.direct_response, max_body_bytes, place.at("direct_response"))
        case None:
            place.say("one of route, redirect and direct_response is needed")
    return _NOTHING  # what is another kind has been said to be not supported


def is_error_if_absent(message: Any) -> bool:
    """Whether a RouteAction wants a cluster that is not there to be answered 500; else 503."""
    return bool(message.cluster_not_found_response_code == components.RouteAction.INTERNAL_SERVER_ERROR)


def _read_forward(route: Any, path: PathMatch, outside: Place) -> Forward:
    message, place = route.route, outside.at("route")
    if message.cluster_not_found_response_code == components.RouteAction.NOT_FOUND:
        place.at("cluster_not_found_response_code").say("NOT_FOUND is not supported")
    hostname = message.host_rewrite_literal or None
    if hostname is not None:
        check_authority(hostname, place.at("host_rewrite_literal"))
    rewrite = _read_rewrite(message, path, place)
    backends = _read_backends(message, place)
    if hostname is not None:
        # Envoy's route has the last word, our backend has.
        backends = tuple(replace(backend, rewrite=None) for backend in backends)
    rate_limit, fault = read_filters(route, outside)
    policy, spot = message.retry_policy, place.at("retry_policy")
    return Forward(
        backends,
        Rewrite(hostname, rewrite) if hostname or rewrite else None,
        read_request_timeout(message, place),
        read_seconds(policy, "per_try_timeout", 0.0, spot) or None,
        idle_timeout_s=_read_idle(message, place),
        retry=read_retry(policy, route, spot),
        split_by=_read_split(message, place),
        rate_limit=rate_limit,
        fault=fault,
        mirrors=read_mirrors(message, place),
    )


def _read_idle(message: Any, place: Place) -> float | None:
    if not message.HasField("idle_timeout"):
        return None
    seconds = read_duration(message.idle_timeout, place.at("idle_timeout"))
    if not seconds:
        place.at("idle_timeout").say("0 s, for no limit, is not supported")
    return seconds


def _read_split(message: Any, place: Place) -> HashKey | None:
    key = read_hash_policy(message, place)
    if not message.weighted_clusters.use_hash_policy.value:
        return None
    if key is None:
        place.at("weighted_clusters.use_hash_policy").say("needs a hash_policy")
    return key


def _read_backends(message: Any, place: Place) -> tuple[Backend, ...]:
    match message.WhichOneof("cluster_specifier"):
        case "cluster":
            if not message.cluster:
                place.at("cluster").say("is empty")
            return (Backend(message.cluster),)
        case "weighted_clusters":
            return _read_shares(message.weighted_clusters, place.at("weighted_clusters"))
        case None:
            place.say("one of cluster and weighted_clusters is needed")
    return (Backend(""),)


def _read_shares(message: Any, place: Place) -> tuple[Backend, ...]:
    shares = [_read_share(share, place.at("clusters", index)) for index, share in enumerate(message.clusters)]
    total = sum(share.weight for share in shares)
    if not 0 < total <= NO_LIMIT:
        place.say(f"the sum of the weights is {total}; it must be from 1 to {NO_LIMIT}")
    if message.HasField("total_weight") and message.total_weight.value != total:
        place.at("total_weight").say(f"is {message.total_weight.value}, but the sum of the weights is {total}")
    return tuple(shares)


def _read_share(message: Any, place: Place) -> Backend:
    if not message.name:
        place.at("name").say("is empty")
    if not message.HasField("weight"):
        place.at("weight").say("is needed")
    hostname = message.host_rewrite_literal
    return Backend(
        message.name,
        message.weight.value,
        read_request_edits(message, place),
        read_response_edits(message, place),
        Rewrite(check_authority(hostname, place.at("host_rewrite_literal"))) if hostname else None,
    )


def _read_rewrite(message: Any, path: PathMatch, place: Place) -> PathRewrite | None:
    """Of a RouteAction or a RedirectAction: what is matched exactly or by an expression is replaced as a whole."""
    if message.HasField("regex_rewrite"):
        if message.prefix_rewrite:
            place.at("regex_rewrite").say("excludes prefix_rewrite")
        return PathRewrite("full", read_whole_path(message.regex_rewrite, place.at("regex_rewrite")))
    if not message.prefix_rewrite:
        return None
    value = check_path(message.prefix_rewrite, place.at("prefix_rewrite"))
    return PathRewrite("full" if path.kind in ("exact", "regex") else "raw_prefix", value)


def _read_redirect(message: Any, path: PathMatch, place: Place) -> Redirect:
    status = _STATUSES.get(message.response_code)
    if status is None:
        place.at("response_code").say("is not supported")
    scheme = "https" if message.https_redirect else message.scheme_redirect or None
    if scheme is not None and not _SCHEME.fullmatch(scheme):
        place.at("scheme_redirect").say(f"{scheme!r} is no scheme")
    if message.host_redirect:
        check_authority(message.host_redirect, place.at("host_redirect"))
    keep_query = not message.strip_query
    rewrite = _read_rewrite(message, path, place)
    if message.path_redirect:
        # Envoy puts the slash before a path that has none; one with a query of its own keeps that, and no other.
        value = message.path_redirect if message.path_redirect.startswith("/") else f"/{message.path_redirect}"
        rewrite = PathRewrite("full", check_path(value, place.at("path_redirect"), query=True))
        keep_query = keep_query and "?" not in value
    port = check_port(message.port_redirect, place.at("port_redirect"), least=0)
    return Redirect(status or 301, scheme, message.host_redirect or None, port, rewrite, keep_query)


def _read_respond(message: Any, max_body_bytes: int, place: Place) -> Respond:
    if not 200 <= message.status < 600:
        place.at("status").say(f"{message.status} is not in 200 to 599")
    if message.body.filename:
        place.at("body.filename").say("is not supported")
    body = message.body.inline_bytes or message.body.inline_string.encode()
    if len(body) > max_body_bytes:
        place.at("body").say(f"has {len(body)} bytes; max_direct_response_body_size_bytes is {max_body_bytes}")
    try:
        return Respond(message.status, body=body.decode())
    except UnicodeDecodeError:
        place.at("body").say("is not UTF-8")
    return _NOTHING
