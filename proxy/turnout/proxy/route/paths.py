"""The index of a virtual host's routes by path: only the routes whose path matches are asked, in order.

Exact paths stand in a dictionary; prefixes by path element in a tree of elements; prefixes by character in
a dictionary per length; regular expressions in a set that is asked as one. What each holds is in the order of
positions. A document's routes come as exact < regex < longer prefix < shorter prefix, so the groups follow each other
as they are found; any other order (xDS) is merged by position.

What was found for a path is remembered, since clients of models use few paths. The memory is bounded, and
emptied when it is full, so that paths that come once can't keep out those that come again.
"""

from collections.abc import Iterable, Sequence
from heapq import merge
from itertools import pairwise
from operator import attrgetter
from typing import TypeAlias

from turnout.proxy.route.entry import Entry
from turnout.proxy.route.switch import Step, make_steps
from turnout.rules.regex import Pattern, PatternSet, compile_regex

MAX_KNOWN_STEPS = 8_192
MAX_KNOWN_PATH_BYTES = 256
MIN_SET = 8
"""Fewer expressions than this are as fast one by one."""

_RANKS = {"exact": 0, "regex": 1, "path_prefix": 2, "prefix": 2}

Found: TypeAlias = tuple[tuple[Step, ...], Entry | None]
"""What to ask in order, and who takes the request if none of them does."""

NOTHING: Found = ((), None)


class _Node:
    """A path element in the tree of prefixes."""

    __slots__ = ("children", "group")

    def __init__(self) -> None:
        self.children: dict[bytes, _Node] = {}
        self.group = _Group()


class _Group:
    """Entries with one and the same path condition. `found`: what to ask if it is the last of the groups found."""

    __slots__ = ("entries", "found", "steps")

    def __init__(self) -> None:
        self.entries: list[Entry] = []
        self.steps: list[Step] = []
        self.found: Found | None = None


class PathIndex:
    """Finds the routes whose path condition holds for a path. `known` is what it found of late."""

    __slots__ = ("_depth", "_exact", "_known_steps", "_nested", "_prefixes", "_regexes", "_root", "known")

    def __init__(self, entries: Sequence[Entry]) -> None:
        self.known: dict[bytes, Found] = {}
        self._known_steps = 0
        self._exact: dict[bytes, _Group] = {}
        self._root = _Node()
        self._depth = 0
        self._prefixes: dict[int, dict[bytes, _Group]] = {}
        self._regexes = _Regexes([entry for entry in entries if entry.route.match.path.kind == "regex"])
        groups = {id(group): group for entry in entries if (group := self._add(entry)) is not None}
        for group in groups.values():
            group.steps = make_steps(group.entries)
        ranks = [_rank(entry) for entry in entries]
        self._nested = not self._prefixes and all(one <= other for one, other in pairwise(ranks))

    def find(self, path: bytes) -> Found:
        """What to ask for `path`; it is remembered in `known`."""
        found = self._find(path)
        if len(path) <= MAX_KNOWN_PATH_BYTES:
            self._known_steps += len(found[0]) + 1
            if self._known_steps > MAX_KNOWN_STEPS:
                self.known.clear()
                self._known_steps = len(found[0]) + 1
            self.known[path] = found
        return found

    def candidates(self, path: bytes) -> list[Entry]:
        """All entries whose path condition holds, in order."""
        groups = [group.entries for group in self._find_groups(path)]
        return list(merge(*groups, self._regexes.find(path), key=attrgetter("position")))

    def _find(self, path: bytes) -> Found:
        if not self._nested:
            return _cut(self.candidates(path))
        groups = self._find_groups(path)
        matching = self._regexes.find(path)
        if matching:
            exact = groups.pop().steps if path in self._exact else ()
            return _cut([*exact, *matching, *_join(groups)])
        if not groups:
            return NOTHING
        # The last group is the narrowest, so it says which the others are.
        last = groups[-1]
        if last.found is None:
            last.found = _cut(_join(groups))
        return last.found

    def _find_groups(self, path: bytes) -> list[_Group]:
        """Groups of entries, shallow prefixes first, the exact path last; no expressions."""
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

    def _add(self, entry: Entry) -> _Group | None:
        match = entry.route.match.path
        value = match.value.encode()
        if match.kind == "regex":
            return None
        if match.kind == "exact":
            group = self._exact.setdefault(value, _Group())
        elif match.kind == "prefix":
            group = self._prefixes.setdefault(len(value), {}).setdefault(value, _Group())
        else:
            group = self._find_or_make(value).group
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


class _Regexes:
    """The entries with a regular expression as path."""

    __slots__ = ("_entries", "_patterns", "_set")

    def __init__(self, entries: list[Entry]) -> None:
        values = [entry.route.match.path.value for entry in entries]
        self._entries = entries
        self._set = PatternSet(values) if len(values) >= MIN_SET else None
        self._patterns: list[Pattern] = [] if self._set else [compile_regex(value) for value in values]

    def find(self, path: bytes) -> list[Entry]:
        """Those that match, in order."""
        if not self._entries:
            return []
        if self._set is not None:
            return [self._entries[at] for at in self._set.fullmatch(path)]
        return [e for e, pattern in zip(self._entries, self._patterns, strict=True) if pattern.fullmatch(path)]


def _join(groups: list[_Group]) -> list[Step]:
    """The steps of nested groups, the narrowest group first."""
    return [step for group in reversed(groups) for step in group.steps]


def _cut(steps: Iterable[Step]) -> Found:
    """What comes behind an entry that takes everything is never asked."""
    asked: list[Step] = []
    for step in steps:
        if isinstance(step, Entry) and step.is_open:
            return tuple(asked), step
        asked.append(step)
    return tuple(asked), None


def _rank(entry: Entry) -> tuple[int, int]:
    path = entry.route.match.path
    return _RANKS[path.kind], -len(path.value) if path.kind == "path_prefix" else 0
