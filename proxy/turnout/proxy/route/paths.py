"""The index of a virtual host's routes by path: only the routes whose path matches are asked, in order.

Exact paths stand in a dictionary; prefixes by path element in a tree of elements; prefixes by character in
a dictionary per length (`Groups`), those that ignore case in a second of these; regular expressions in a set that is
asked as one. What each holds is in the order of positions. A document's routes come as exact < regex < longer prefix <
shorter prefix, so the groups follow each other as they are found; any other order (xDS) is merged by position, once
for the same groups.

What was found for a path is remembered, since clients of models use few paths. The memory is bounded, and
emptied when it is full, so that paths that come once can't keep out those that come again.
"""

from collections.abc import Iterable, Sequence
from heapq import merge
from itertools import pairwise
from operator import attrgetter

from turnout.proxy.route.entry import Entry
from turnout.proxy.route.groups import Found, Group, Groups
from turnout.proxy.route.switch import Step, make_steps
from turnout.rules.regex import Pattern, PatternSet, compile_regex

MAX_KNOWN_STEPS = 8_192
MAX_KNOWN_PATH_BYTES = 256
MAX_MERGED = 65_536
"""Entries in all that was merged; more is merged again."""
MIN_SET = 8
"""Fewer expressions than this are as fast one by one."""

_RANKS = {"exact": 0, "regex": 1, "path_prefix": 2, "prefix": 2}

NOTHING: Found = ((), None)


class PathIndex:
    """Finds the routes whose path condition holds for a path. `known` is what it found of late."""

    __slots__ = (
        "_any_case", "_groups", "_known_steps", "_merged", "_merged_count", "_nested", "_regexes", "known",
    )  # fmt: skip

    def __init__(self, entries: Sequence[Entry]) -> None:
        self.known: dict[bytes, Found] = {}
        self._known_steps = 0
        self._merged: dict[tuple[int, ...], Found] = {}
        self._merged_count = 0
        plain, any_case, regexes = _sort_out(entries)
        self._regexes = _Regexes(regexes)
        self._groups = Groups([(entry, entry.route.match.path.value.encode()) for entry in plain])
        lower = [(entry, entry.route.match.path.value.encode().lower()) for entry in any_case]
        self._any_case = Groups(lower) if lower else None
        ranks = [_rank(entry) for entry in entries]
        in_order = all(one <= other for one, other in pairwise(ranks))
        self._nested = in_order and self._groups.are_nested and self._any_case is None

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
        return _merge(self._find_groups(path), self._regexes.find(path))

    def _find(self, path: bytes) -> Found:
        if not self._nested:
            return self._find_merged(path)
        groups = self._groups.find(path)
        matching = self._regexes.find(path)
        if matching:
            exact = groups.pop().steps if self._groups.has_exact(path) else ()
            return _cut([*exact, *matching, *_join(groups)])
        if not groups:
            return NOTHING
        # The last group is the narrowest, so it says which the others are.
        last = groups[-1]
        if last.found is None:
            last.found = _cut(_join(groups))
        return last.found

    def _find_merged(self, path: bytes) -> Found:
        groups, matching = self._find_groups(path), self._regexes.find(path)
        key = (*map(id, groups), *map(id, matching))
        found = self._merged.get(key)
        if found is None:
            entries = _merge(groups, matching)
            self._merged_count += len(entries)
            if self._merged_count > MAX_MERGED:
                self._merged.clear()
                self.known.clear()  # it may be all that keeps them
                self._known_steps = 0
                self._merged_count = len(entries)
            found = self._merged[key] = _cut(make_steps(entries))
        return found

    def _find_groups(self, path: bytes) -> list[Group]:
        groups = self._groups.find(path)
        return groups if self._any_case is None else groups + self._any_case.find(path.lower())


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


def _sort_out(entries: Sequence[Entry]) -> tuple[list[Entry], list[Entry], list[Entry]]:
    """Those whose path is compared as it is, those that ignore its case, and the expressions (which say it)."""
    found: tuple[list[Entry], list[Entry], list[Entry]] = ([], [], [])
    for entry in entries:
        path = entry.route.match.path
        found[2 if path.kind == "regex" else 1 if path.ignore_case else 0].append(entry)
    return found


def _merge(groups: list[Group], matching: list[Entry]) -> list[Entry]:
    """What they hold, in the order of positions."""
    return list(merge(*[group.entries for group in groups], matching, key=attrgetter("position")))


def _join(groups: list[Group]) -> list[Step]:
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
