"""Who may ask, from the RBAC filter's words for a virtual host or a route.

A *guard* is sets of patterns (`turnout.rules.identities`), and of each set one has to be the client's. Envoy's guard
of a route replaces the one of its virtual host, ours comes on top of it. So where each guard of a route begins with
that of its host, as ours do, the rest of it is the route's own; else the host has none, and each of its routes has all.
"""

from collections.abc import Iterator, Sequence
from typing import Any

from turnout.rules.identities import identity_fault
from turnout.xds.translate.faults import Place
from turnout.xds.translate.names import IDENTITIES, IDENTITIES_OF_ROUTE_TYPE
from turnout.xds.translate.walk import unpack

Patterns = tuple[str, ...]
Guard = tuple[Patterns, ...]
"""Empty: everybody may ask."""

_FORMS = "principals are supported that are names of certificates, or one that is and_ids of two or_ids of these"


def read_guard(message: Any, place: Place) -> Guard | None:
    """Of a VirtualHost or a Route; None if it says nothing."""
    if IDENTITIES not in message.typed_per_filter_config:
        return None
    place = place.at(f"typed_per_filter_config[{IDENTITIES}]")
    told = unpack(message.typed_per_filter_config[IDENTITIES], place, IDENTITIES_OF_ROUTE_TYPE)
    if told is None or not told.rbac.HasField("rules"):
        return ()  # without rules the filter lets everybody in
    return _read_rules(told.rbac.rules, place.at("rbac.rules"))


def settle_guards(host: Guard, routes: Sequence[Guard | None], place: Place) -> tuple[Patterns, list[Patterns]]:
    """The identities that a virtual host and each of its routes allow, from what they say in Envoy."""
    told = [host if guard is None else guard for guard in routes]
    if len(host) > 1:
        place.at(f"typed_per_filter_config[{IDENTITIES}]").say(_FORMS)
    if host and all(guard[:1] == host for guard in told):
        return host[0], [guard[1] if len(guard) > 1 else () for guard in told]
    for index, guard in enumerate(told):
        if len(guard) > 1:
            spot = place.at("routes", index).at(f"typed_per_filter_config[{IDENTITIES}]")
            spot.say("and_ids are supported where the first are those that the virtual host and all its routes ask for")
    return (), [guard[0] if guard else () for guard in told]


def _read_rules(message: Any, place: Place) -> Guard:
    if not message.policies:
        place.at("policies").say("is empty, which lets nobody in; one is needed")
    sets: list[Patterns] = []
    for name, policy in sorted(message.policies.items()):
        spot = place.at("policies").item(name)
        if not policy.permissions:
            spot.at("permissions").say("is empty; any is needed")
        if len(message.policies) == len(policy.principals) == 1 and policy.principals[0].HasField("and_ids"):
            return tuple(_read_both(policy.principals[0].and_ids, spot.at("principals", 0).at("and_ids")))
        sets.append(tuple(_read_names(policy.principals, spot, "principals")))
    return (tuple(name for patterns in sets for name in patterns),)


def _read_both(message: Any, place: Place) -> Iterator[Patterns]:
    if len(message.ids) != 2:
        place.at("ids").say("two are supported: what the virtual host asks for, and what the route does")
    for index, told in enumerate(message.ids):
        yield tuple(_read_names([told], place.at("ids", index), ""))


def _read_names(principals: Sequence[Any], place: Place, field: str) -> Iterator[str]:
    if not principals:
        place.at(field).say("is empty; one is needed")  # or it would be open to everybody here
    for index, told in enumerate(principals):
        spot = place.at(field, index) if field else place
        match told.WhichOneof("identifier"):
            case "authenticated":
                yield _read_name(told.authenticated, spot.at("authenticated.principal_name"))
            case "or_ids":
                yield from _read_names(told.or_ids.ids, spot.at("or_ids"), "ids")
            case "and_ids" | None:
                spot.say(_FORMS)


def _read_name(message: Any, place: Place) -> str:
    matcher = message.principal_name
    if matcher.ignore_case or matcher.WhichOneof("match_pattern") not in ("exact", "prefix"):
        place.say("a URI is supported that is exact, or a prefix that ends in a slash")
        return ""
    return read_uri(matcher, place)


def read_uri(matcher: Any, place: Place) -> str:
    """The pattern of a StringMatcher that is exact or a prefix."""
    kind = matcher.WhichOneof("match_pattern")
    value: str = matcher.exact if kind == "exact" else f"{matcher.prefix}*"
    if value.endswith("*") == (kind == "exact"):
        place.say("a * has no meaning in an exact URI")
    elif fault := identity_fault(value):
        place.say(fault)
    return value
