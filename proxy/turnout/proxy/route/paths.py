"""The index of a virtual host's routes by path: only the routes whose path can match are asked, in order.

Exact paths stand in a dictionary; prefixes by path element in a tree of elements; prefixes by character in
a dictionary per length; regular expressions in a list. What each of them holds is in the order of positions. A
document's routes come as exact < regex < longer prefix < shorter prefix, so the groups follow each other as they
are found; any other order (xDS) is merged by position.
"""

from collections.abc import Iterable, Sequence
from heapq import merge
from operator import attrgetter

from turnout.proxy.route.entry import Entry

_RANKS = {"exact": 0, "regex": 1, "path_prefix": 2, "prefix": 2}


class _Node:
    """A path element in the tree of prefixes."""

    __slots__ = ("children", "entries")

    def __init__(self) -> None:
        self.children: dict[bytes, _Node] = {}
        self.entries: list[Entry] = []


class PathIndex:
    """Finds the routes whose path condition holds for a path (regexes: may hold)."""

    __slots__ = ("_depth", "_exact", "_nested", "_prefixes", "_regexes", "_root")

    def __init__(self, entries: Sequence[Entry]) -> None:
        self._exact: dict[bytes, list[Entry]] = {}
        self._root = _Node()
        self._depth = 0
        self._prefixes: dict[int, dict[bytes, list[Entry]]] = {}
        self._regexes: list[Entry] = []
        for entry in entries:
            self._add(entry)
        ranks = [_rank(entry) for entry in entries]
        self._nested = ranks == sorted(ranks) and not self._prefixes

    def find(self, path: bytes) -> Iterable[Entry]:
        """The candidates for `path` in the order of their positions."""
        groups = self._find_groups(path)
        if len(groups) == 1:
            return groups[0]
        if self._nested:
            return [entry for group in groups for entry in group]
        return merge(*groups, key=attrgetter("position"))

    def _find_groups(self, path: bytes) -> list[list[Entry]]:
        """Groups of entries, the deepest prefix first."""
        node = self._root
        groups = [node.entries] if node.entries else []
        for element in path.split(b"/", self._depth + 1)[1:]:
            child = node.children.get(element)
            if child is None:
                break
            node = child
            if node.entries:
                groups.append(node.entries)
        for length, prefixes in self._prefixes.items():
            if (found := prefixes.get(path[:length])) is not None:
                groups.append(found)
        if self._regexes:
            groups.append(self._regexes)
        if (found := self._exact.get(path)) is not None:
            groups.append(found)
        groups.reverse()
        return groups

    def _add(self, entry: Entry) -> None:
        match = entry.route.match.path
        value = match.value.encode()
        if match.kind == "exact":
            self._exact.setdefault(value, []).append(entry)
        elif match.kind == "regex":
            self._regexes.append(entry)
        elif match.kind == "prefix":
            self._prefixes.setdefault(len(value), {}).setdefault(value, []).append(entry)
        else:
            self._find_or_make(value).entries.append(entry)

    def _find_or_make(self, prefix: bytes) -> _Node:
        node = self._root
        elements = [] if prefix == b"/" else prefix.split(b"/")[1:]
        self._depth = max(self._depth, len(elements))
        for element in elements:
            node = node.children.setdefault(element, _Node())
        return node


def _rank(entry: Entry) -> tuple[int, int]:
    path = entry.route.match.path
    return _RANKS[path.kind], -len(path.value) if path.kind == "path_prefix" else 0
