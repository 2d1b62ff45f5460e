"""xDS resources as both sides of the wire keep them: a name, a type, a version and the bytes of the message.

The version is the hash of the bytes, so equal content has an equal version, over restarts and on every replica.
"""

import hashlib
from collections.abc import Iterable, Mapping
from typing import TypeAlias

import msgspec

_PREFIX = "type.googleapis.com/envoy.config."
CLUSTER = f"{_PREFIX}cluster.v3.Cluster"
ENDPOINTS = f"{_PREFIX}endpoint.v3.ClusterLoadAssignment"
LISTENER = f"{_PREFIX}listener.v3.Listener"
ROUTES = f"{_PREFIX}route.v3.RouteConfiguration"

SECRET = "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.Secret"

TYPES = (CLUSTER, ENDPOINTS, LISTENER, ROUTES, SECRET)
"""In the order of "make before break": CDS, EDS, LDS, RDS (xDS protocol, "Eventual consistency considerations").
Secrets are for who names them, at any time."""

SHORT_NAMES = {CLUSTER: "CDS", ENDPOINTS: "EDS", LISTENER: "LDS", ROUTES: "RDS", SECRET: "SDS"}


class Resource(msgspec.Struct, frozen=True):
    """One resource. `body` is the message, serialised deterministically; `version` the hash of it.

    `wildcard` false: it is served to who names it, and to no wildcard subscription (an ApiListener for gRPC clients).
    """

    type_url: str
    name: str
    body: bytes
    version: str
    wildcard: bool = True

    def __repr__(self) -> str:
        """Without the body, which may be a key."""
        return f"<{SHORT_NAMES.get(self.type_url, self.type_url)} {self.name} {self.version}>"


Resources: TypeAlias = Mapping[str, Mapping[str, Resource]]
"""By type URL, then by name. Every type of TYPES is there, perhaps empty."""


def make_resource(type_url: str, name: str, body: bytes, *, wildcard: bool = True) -> Resource:
    """A resource with the version that its content gives it: 16 hex digits of SHA-256."""
    return Resource(type_url, name, body, hashlib.sha256(body).hexdigest()[:16], wildcard)


def group_resources(resources: Iterable[Resource]) -> dict[str, dict[str, Resource]]:
    """By type and name, in the order they come."""
    grouped: dict[str, dict[str, Resource]] = {type_url: {} for type_url in TYPES}
    for resource in resources:
        grouped[resource.type_url][resource.name] = resource
    return grouped
