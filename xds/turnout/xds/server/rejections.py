"""Rejections of all nodes: what is in the Memory, with the reason and with what the node had accepted before.

Reason and predecessor are kept here, over reconnects and not over restarts; they are bounded, and the oldest go first.
"""

import logging
from collections import OrderedDict
from typing import TypeAlias

import msgspec

from turnout.rules.snapshot import Origin
from turnout.xds.resources import Resource
from turnout.xds.server.blame import changed_routes
from turnout.xds.server.provider import Memory, Provider

logger = logging.getLogger(__name__)

MAX_KEPT = 10_000

Key: TypeAlias = tuple[str, str, str]


class Rejection(msgspec.Struct, frozen=True):
    """One rejected resource. `accepted` is what the node has instead, if that is known; `at` is the server's clock."""

    resource: Resource
    accepted: Resource | None
    reason: str
    at: float
    origins: tuple[Origin, ...]


class Rejections:
    """One for a server. A node is known by its *key*, which is its id."""

    def __init__(self, memory: Memory, provider: Provider) -> None:
        self._memory = memory
        self._provider = provider
        self._kept: OrderedDict[Key, Rejection] = OrderedDict()

    def reject(self, node_key: str, resource: Resource, accepted: Resource | None, reason: str, now: float) -> None:
        """The node has rejected it, and goes on with `accepted`."""
        key = (node_key, resource.type_url, resource.name)
        before = self._kept.pop(key, None)
        if accepted is None or not accepted.body:
            accepted = before.accepted if before else None
        if accepted is not None and accepted.version == resource.version:
            accepted = None
        origins = self._origins_of(resource, accepted)
        logger.warning(
            "%r does not get %s %r of version %s any more (%s)",
            node_key,
            resource.type_url,
            resource.name,
            resource.version,
            ", ".join(map(str, origins)) or "no document",
        )
        self._kept[key] = Rejection(resource, accepted, reason, now, origins)
        if len(self._kept) > MAX_KEPT:
            self._kept.popitem(last=False)
        self._memory.reject(node_key, resource.type_url, resource.name, resource.version)

    def is_rejected(self, node_key: str, resource: Resource) -> bool:
        """Whether the node has rejected just this."""
        return self._memory.is_rejected(node_key, resource.type_url, resource.name, resource.version)

    def predecessor(self, node_key: str, resource: Resource) -> Resource | None:
        """What the node had accepted before it rejected this; None if that is not known."""
        rejection = self._kept.get((node_key, resource.type_url, resource.name))
        return rejection.accepted if rejection else None

    def find(self, node_key: str, type_url: str, name: str) -> Rejection | None:
        """What is known of a rejection."""
        return self._kept.get((node_key, type_url, name))

    def forgive(self, node_key: str, type_url: str, name: str) -> None:
        """The node has taken a newer version."""
        self._kept.pop((node_key, type_url, name), None)
        self._memory.forgive(node_key, type_url, name)

    def origins_of(self, type_url: str, name: str) -> tuple[Origin, ...]:
        """For a rejection of which only the Memory knows."""
        return self._provider.origins_of(type_url, name)

    def _origins_of(self, resource: Resource, accepted: Resource | None) -> tuple[Origin, ...]:
        routes = changed_routes(accepted, resource)
        narrowed = self._provider.origins_of(resource.type_url, resource.name, routes) if routes else ()
        return narrowed or self.origins_of(resource.type_url, resource.name)
