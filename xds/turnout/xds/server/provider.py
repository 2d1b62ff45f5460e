"""What the server asks of the rest of the control plane."""

from collections.abc import Collection
from typing import Protocol

from turnout.rules.snapshot import Origin
from turnout.xds.resources import Resources
from turnout.xds.server.node import Node


class Provider(Protocol):
    """Who gets what, and where it was written."""

    def resources_for(self, node: Node) -> Resources:
        """What this node gets now. The same object for all nodes that get the same, until it changes.

        Cheap: it is asked for each stream at each change. What it returns is never changed afterwards.
        """
        ...

    def origins_of(self, type_url: str, name: str, routes: Collection[str] = ()) -> tuple[Origin, ...]:
        """The places in documents that a resource was made of; only those of some routes of it, if any are named."""
        ...


class Memory(Protocol):
    """What nodes have rejected, kept over restarts: of each node, type and name the newest such version."""

    def is_rejected(self, node_id: str, type_url: str, name: str, version: str) -> bool:
        """Whether this node has rejected this version."""
        ...

    def reject(self, node_id: str, type_url: str, name: str, version: str) -> None:
        """Remember that it has."""
        ...

    def forgive(self, node_id: str, type_url: str, name: str) -> None:
        """Forget it: the node has taken another version."""
        ...
