"""What is hashed as Envoy's HashPolicy."""

from typing import Any

from envoy.config.route.v3 import route_components_pb2 as components

from turnout.rules.resilience import HashKey
from turnout.xds.translate.names import MODEL_HEADER

_POLICY = components.RouteAction.HashPolicy


def make_hash_policy(key: HashKey) -> Any:
    match key.kind:
        case "cookie":
            # Without a time to live Envoy makes no cookie of its own.
            return _POLICY(cookie=_POLICY.Cookie(name=key.name))
        case "source_address":
            return _POLICY(connection_properties=_POLICY.ConnectionProperties(source_ip=True))
        case "model":
            return _POLICY(header=_POLICY.Header(header_name=MODEL_HEADER))
        case "header":
            return _POLICY(header=_POLICY.Header(header_name=key.name))
