"""`request_mirror_policies` of a route, a virtual host or a route configuration. The narrowest that has some holds."""

from typing import Any

from turnout.rules.mirroring import Mirror
from turnout.xds.translate.emit.mirrors import make_mark
from turnout.xds.translate.faults import Place
from turnout.xds.translate.names import SHADOW_HEADER
from turnout.xds.translate.read.numbers import MILLION, read_share


def read_mirrors(message: Any, place: Place) -> tuple[Mirror, ...]:
    """Of a message that has `request_mirror_policies`."""
    return tuple(
        _read_mirror(policy, place.at("request_mirror_policies", index))
        for index, policy in enumerate(message.request_mirror_policies)
    )


def _read_mirror(message: Any, place: Place) -> Mirror:
    if not message.cluster:
        place.at("cluster").say("is empty")
    if not message.disable_shadow_host_suffix_append:
        place.at("disable_shadow_host_suffix_append").say("must be true, and is false if it is not said")
    if list(message.request_headers_mutations) not in ([], [make_mark()]):
        place.at("request_headers_mutations").say(
            f"may set {SHADOW_HEADER} to true, which the proxy does, and no other"
        )
    if not message.HasField("runtime_fraction"):
        return Mirror(message.cluster)
    share = read_share(message.runtime_fraction.default_value, place.at("runtime_fraction.default_value"))
    return Mirror(message.cluster, min(share, MILLION))
