"""What clients of one selection get, with what is worked out once for all of them: versions, and what has changed.

Two of these are compared once, however many sessions go from the one to the other; resources that are the same object
are equal without a look. So a change costs a session what concerns that session.
"""

import hashlib
from collections.abc import Iterable, Mapping
from typing import TypeAlias
from weakref import WeakKeyDictionary

from turnout.xds.resources import Resource, Resources
from turnout.xds.server.references import find_children

Changes: TypeAlias = Mapping[str, frozenset[str]]
"""By type URL, the names that came, went or have another version; only types with such names."""

NOTHING: Mapping[str, Resource] = {}


class ResourceSet:
    """An immutable set of resources, equal to itself only."""

    __slots__ = ("__weakref__", "_changes", "_children", "_versions", "resources")

    def __init__(self, resources: Resources) -> None:
        self.resources = resources
        self._versions: dict[str, str] = {}
        self._children: dict[tuple[str, str, str], tuple[str, ...]] = {}
        self._changes: WeakKeyDictionary[ResourceSet, Changes] = WeakKeyDictionary()

    def of_type(self, type_url: str) -> Mapping[str, Resource]:
        """By name; empty for a type that is not served."""
        return self.resources.get(type_url, NOTHING)

    def version(self, type_url: str) -> str:
        """The version of all resources of a type together."""
        version = self._versions.get(type_url)
        if version is None:
            version = self._versions[type_url] = hash_versions(self.of_type(type_url).values())
        return version

    def children(self, resource: Resource) -> tuple[str, ...]:
        """What a client asks for because of a resource (see `references`)."""
        key = (resource.type_url, resource.name, resource.version)
        children = self._children.get(key)
        if children is None:
            children = self._children[key] = find_children(resource)
        return children

    def changes_since(self, older: "ResourceSet") -> Changes:
        """What is not as it was."""
        changes = self._changes.get(older)
        if changes is None:
            changes = self._changes[older] = self._compare(older)
        return changes

    def _compare(self, older: "ResourceSet") -> Changes:
        found = {
            type_url: _compare(older.of_type(type_url), self.of_type(type_url))
            for type_url in {**older.resources, **self.resources}
        }
        return {type_url: names for type_url, names in found.items() if names}


def hash_versions(resources: Iterable[Resource]) -> str:
    """One version for several resources: 16 hex digits that depend on names and versions, not on their order."""
    lines = sorted(f"{resource.name}\0{resource.version}\n" for resource in resources)
    return hashlib.sha256("".join(lines).encode(errors="surrogatepass")).hexdigest()[:16]


def _compare(old: Mapping[str, Resource], new: Mapping[str, Resource]) -> frozenset[str]:
    if old is new:
        return frozenset()
    changed = {name for name, resource in new.items() if not _same(old.get(name), resource)}
    changed.update(name for name in old if name not in new)
    return frozenset(changed)


def _same(old: Resource | None, new: Resource) -> bool:
    return old is new or (old is not None and old.version == new.version and old.wildcard == new.wildcard)
