"""Mirrors of a route as Envoy's `request_mirror_policies`.

Its copies are to look like ours: with the request's own Host, and told to be what they are.
"""

from typing import Any

from envoy.config.common.mutation_rules.v3 import mutation_rules_pb2
from envoy.config.core.v3 import base_pb2
from envoy.config.route.v3 import route_components_pb2 as components
from envoy.type.v3 import percent_pb2

from turnout.rules.mirroring import Mirror
from turnout.xds.translate.names import SHADOW_HEADER

_OPTION = base_pb2.HeaderValueOption
_ALL = 1_000_000


def make_mirror_policy(mirror: Mirror) -> Any:
    """A RequestMirrorPolicy. Envoy copies to a cluster that is not there as it does to one without endpoints: not."""
    message = components.RouteAction.RequestMirrorPolicy(
        cluster=mirror.cluster, disable_shadow_host_suffix_append=True, request_headers_mutations=[make_mark()]
    )
    if mirror.per_million != _ALL:
        share = message.runtime_fraction.default_value
        share.numerator = mirror.per_million
        share.denominator = percent_pb2.FractionalPercent.MILLION
    return message


def make_mark() -> Any:
    """The mutation that tells a copy from a request."""
    header = base_pb2.HeaderValue(key=SHADOW_HEADER, value="true")
    option = _OPTION(header=header, append_action=_OPTION.OVERWRITE_IF_EXISTS_OR_ADD)
    return mutation_rules_pb2.HeaderMutation(append=option)
