"""The hash policy of a RouteAction: one key."""

from typing import Any

from turnout.rules.checks.syntax import header_name_fault
from turnout.rules.resilience import HashKey
from turnout.xds.translate.faults import Place
from turnout.xds.translate.hashes import lower_key


def read_hash_policy(message: Any, place: Place) -> HashKey | None:
    """Of a RouteAction; None if it has none."""
    if len(message.hash_policy) > 1:
        place.at("hash_policy").say("one is supported")
    for index, policy in enumerate(message.hash_policy):
        key = _read_key(policy, place.at("hash_policy", index))
        check_key(key, place.at("hash_policy", index))
        return key
    return None


def check_key(key: HashKey, place: Place) -> None:
    """Say what is no name of a field (in lower case) or of a cookie."""
    if key.kind in ("header", "cookie") and (fault := header_name_fault(key.name)):
        place.say(fault)
    if key.kind == "header" and key.name != key.name.lower():
        place.say(f"{key.name!r} is not in lower case")


def _read_key(message: Any, place: Place) -> HashKey:
    match message.WhichOneof("policy_specifier"):
        case "header":
            return lower_key(HashKey("header", message.header.header_name.lower()))
        case "cookie":
            return HashKey("cookie", message.cookie.name)
        case "connection_properties":
            if not message.connection_properties.source_ip:
                place.at("connection_properties.source_ip").say("must be true")
        case None:
            place.say("one of header, cookie and connection_properties is needed")
    return HashKey("source_address")
