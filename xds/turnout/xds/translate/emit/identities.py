"""Who may ask, in the words of Envoy's RBAC filter: for a virtual host, and for a route beside that.

Envoy's word for a route replaces the one for its virtual host, so it says both. A pattern `…/*` is a prefix there,
which takes the bare `…/`, too: that is no SPIFFE id (SPIFFE-ID §2.2), and no CA should sign it.
"""

from collections.abc import Sequence
from typing import Any

from envoy.config.rbac.v3 import rbac_pb2
from envoy.extensions.filters.http.rbac.v3 import rbac_pb2 as filter_pb2
from envoy.type.matcher.v3 import string_pb2

from turnout.rules.snapshot import Listener, Route, VirtualHost
from turnout.xds.translate.emit.values import pack
from turnout.xds.translate.names import IDENTITIES

_POLICY = "identities"
_PRINCIPAL = rbac_pb2.Principal


def is_guarded(listener: Listener) -> bool:
    """Whether any of its requests are not for everybody."""
    hosts = listener.virtual_hosts
    return any(host.allowed_identities or any(route.allowed_identities for route in host.routes) for host in hosts)


def make_filter() -> Any:
    """What stands in the chain, and lets everybody in by itself."""
    return filter_pb2.RBAC()


def add_host_guard(message: Any, host: VirtualHost) -> None:
    """To a VirtualHost, if it has one."""
    if host.allowed_identities:
        _add(message, [_make_principal(pattern) for pattern in host.allowed_identities])


def add_route_guard(message: Any, route: Route, host: VirtualHost) -> None:
    """To a Route, if it has one of its own."""
    own = [_make_principal(pattern) for pattern in route.allowed_identities]
    if own and host.allowed_identities:
        sets = ([_make_principal(pattern) for pattern in host.allowed_identities], own)
        ids = [_PRINCIPAL(or_ids=_PRINCIPAL.Set(ids=principals)) for principals in sets]
        _add(message, [_PRINCIPAL(and_ids=_PRINCIPAL.Set(ids=ids))])
    elif own:
        _add(message, own)


def _add(message: Any, principals: Sequence[Any]) -> None:
    policy = rbac_pb2.Policy(permissions=[rbac_pb2.Permission(any=True)], principals=principals)
    rules = rbac_pb2.RBAC(action=rbac_pb2.RBAC.ALLOW, policies={_POLICY: policy})
    told = filter_pb2.RBACPerRoute(rbac=filter_pb2.RBAC(rules=rules))
    pack(message.typed_per_filter_config[IDENTITIES], told)


def _make_principal(pattern: str) -> Any:
    is_prefix = pattern.endswith("/*")
    name = string_pb2.StringMatcher(prefix=pattern[:-1]) if is_prefix else string_pb2.StringMatcher(exact=pattern)
    return _PRINCIPAL(authenticated=_PRINCIPAL.Authenticated(principal_name=name))
