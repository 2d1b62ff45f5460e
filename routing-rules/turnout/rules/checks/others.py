"""Checks of Gateway and ReferenceGrant beyond types."""

from turnout.rules.checks.common import check_count
from turnout.rules.checks.syntax import dns_name_fault, hostname_fault, is_ip
from turnout.rules.checks.tls import check_gateway_tls
from turnout.rules.documents.document import Reporter
from turnout.rules.documents.gateway import Gateway, GatewayListener, LabelSelector, ReferenceGrant

_GRANTABLE = (
    ("", "Service"), ("", "Secret"), ("", "ConfigMap"), ("turnout.dev", "Predictor"), ("turnout.dev", "Certificate"),
)  # fmt: skip


def check_gateway(say: Reporter, gateway: Gateway) -> None:
    check_gateway_tls(say, gateway)
    check_count(say, ("spec", "listeners"), gateway.spec.listeners, 64)
    check_count(say, ("spec", "addresses"), gateway.spec.addresses, 16)
    names: set[str] = set()
    places: set[tuple[int, str]] = set()
    for index, listener in enumerate(gateway.spec.listeners):
        place = ("spec", "listeners", index)
        if listener.name in names:
            say.error((*place, "name"), "duplicate", f"the listener {listener.name} is here twice")
        names.add(listener.name)
        where = (listener.port, listener.hostname or "")
        if where in places:
            fault = f"another listener has port {listener.port} and the same hostname"
            say.error(place, "listener-conflict", fault)
        places.add(where)
        _check_listener(say, place, listener)
    for index, address in enumerate(gateway.spec.addresses):
        if not is_ip(address.value):
            fault = f"{address.value!r} is not an IP address"
            say.error(("spec", "addresses", index, "value"), "invalid-address", fault)


def check_grant(say: Reporter, grant: ReferenceGrant) -> None:
    check_count(say, ("spec", "from"), grant.spec.from_, 16)
    check_count(say, ("spec", "to"), grant.spec.to, 16)
    for index, to in enumerate(grant.spec.to):
        if (to.group, to.kind) not in _GRANTABLE:
            fault = f"there is no {to.kind} in the group {to.group!r}"
            say.error(("spec", "to", index), "unknown-kind", fault)


def _check_listener(say: Reporter, place: tuple[str | int, ...], listener: GatewayListener) -> None:
    if fault := dns_name_fault(listener.name):
        say.error((*place, "name"), "invalid-name", fault)
    if listener.hostname is not None and (fault := hostname_fault(listener.hostname)):
        say.error((*place, "hostname"), "invalid-hostname", fault)
    namespaces = listener.allowed_routes.namespaces
    place = (*place, "allowedRoutes", "namespaces")
    if namespaces.from_ == "Selector":
        if namespaces.selector is None:
            say.error(place, "missing-field", "from: Selector needs selector")
        else:
            _check_selector(say, (*place, "selector"), namespaces.selector)
    elif namespaces.selector is not None:
        say.error((*place, "selector"), "no-effect", f"selector has no effect with from: {namespaces.from_}")


def _check_selector(say: Reporter, place: tuple[str | int, ...], selector: LabelSelector) -> None:
    for index, expression in enumerate(selector.match_expressions):
        listed = expression.operator in ("In", "NotIn")
        if listed != bool(expression.values):
            need = "needs values" if listed else "has no values"
            say.error((*place, "matchExpressions", index), "invalid-value", f"{expression.operator} {need}")
