"""Routes by the text of their path condition: all with one and the same condition are one group, found at once."""

from collections.abc import Iterable
from typing import TypeAlias

from turnout.proxy.route.entry import Entry
from turnout.proxy.route.switch import Step, make_steps

Found: TypeAlias = tuple[tuple[Step, ...], Entry | None]
"""What to ask in order, and who takes the request if none of them does."""


class Group:
    """Entries with one and the same path condition. `found`: what to ask if it is the last of the groups found."""

    __slots__ = ("entries", "found", "steps")

    def __init__(self) -> None:
        self.entries: list[Entry] = []
        self.steps: list[Step] = []
        self.found: Found | None = None


class _Node:
    """A path element in the tree of prefixes."""

    __slots__ = ("children", "group")

    def __init__(self) -> None:
        self.children: dict[bytes, _Node] = {}
        self.group = Group()


class Groups:
    """Entries, each with the text that its path condition is compared by, in the order of positions.

    `are_nested`: there is no prefix by character, so that each group found is narrower than the one before it.
    """

    __slots__ = ("_depth", "_exact", "_prefixes", "_root", "are_nested")

    def __init__(self, entries: Iterable[tuple[Entry, bytes]]) -> None:
        self._exact: dict[bytes, Group] = {}
        self._root = _Node()
        self._depth = 0
        self._prefixes: dict[int, dict[bytes, Group]] = {}
        for group in {self._add(entry, text) for entry, text in entries}:
            group.steps = make_steps(group.entries)
        self.are_nested = not self._prefixes

    def has_exact(self, path: bytes) -> bool:
        """Whether there are entries for exactly this path."""
        return path in self._exact

    def find(self, path: bytes) -> list[Group]:
        """The groups whose condition holds: shallow prefixes first, the exact path last."""
        node = self._root
        groups = [node.group] if node.group.entries else []
        for element in path.split(b"/", self._depth + 1)[1:]:
            child = node.children.get(element)
            if child is None:
                break
            node = child
            if node.group.entries:
                groups.append(node.group)
        for length, prefixes in self._prefixes.items():
            if (found := prefixes.get(path[:length])) is not None:
                groups.append(found)
        if (found := self._exact.get(path)) is not None:
            groups.append(found)
        return groups

    def _add(self, entry: Entry, text: bytes) -> Group:
        kind = entry.route.match.path.kind
        if kind == "exact":
            group = self._exact.setdefault(text, Group())
        elif kind == "prefix":
            group = self._prefixes.setdefault(len(text), {}).setdefault(text, Group())
        else:
            group = self._find_or_make(text).group
        group.entries.append(entry)
        return group

    def _find_or_make(self, prefix: bytes) -> _Node:
        node = self._root
        elements = [] if prefix == b"/" else prefix.split(b"/")[1:]
        self._depth = max(self._depth, len(elements))
        for element in elements:
            child = node.children.get(element)
            if child is None:
                child = node.children[element] = _Node()
            node = child
        return node
