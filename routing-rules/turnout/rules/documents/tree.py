"""YAML text to plain values that know their lines.

PyYAML's loaders lose lines and keep the last of duplicate keys in silence, and its composers recurse in C (a
file of brackets ends the process). So trees are built here, from the parser's events (libyaml's where it is
there, 0.25 s for 10,000 rules), with an explicit stack:

* A mapping is a `Map`, a sequence a `Seq`: a dict and a list that also hold the line of each entry.
* Scalars are resolved as in YAML 1.2's core schema, with 1.1's booleans, since those are what Kubernetes
  reads. Dates and exotic numbers stay strings; nothing but plain data can be made.
* Aliases share the value. What they add up to when written out is bounded (a "billion laughs" is an error), a
  value cannot contain itself, and depth is bounded.
* Faults within the YAML (duplicate keys …) are collected; a syntax error ends the file.
"""

import re
from collections.abc import Iterator
from typing import Any, TypeAlias

import msgspec
import yaml

Event: TypeAlias = Any
"""One of PyYAML's events; the stubs leave open what each has."""
Value: TypeAlias = Any
"""None, bool, int, float, str, Map or Seq."""

MAX_DEPTH = 64
MAX_ALIASED_NODES = 1_000_000
"""Nodes that aliases may stand for in one file, written out; as many as 30,000 rules have."""

_TOO_DEEP = "exceeded maximum nesting depth"
"""What libyaml says by itself from 0.2.6 on, beyond a bound of its own."""

LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_RESERVED: dict[str, Value] = {
    "": None, "~": None, "null": None, "Null": None, "NULL": None,
    **dict.fromkeys(("true", "True", "TRUE", "yes", "Yes", "YES", "on", "On", "ON"), True),
    **dict.fromkeys(("false", "False", "FALSE", "no", "No", "NO", "off", "Off", "OFF"), False),
}  # fmt: skip
_INT = re.compile(r"[-+]?(?:0|[1-9][0-9]{0,18})")
_FLOAT = re.compile(r"[-+]?(?:0|[1-9][0-9]*)(?:\.[0-9]*)?(?:[eE][-+]?[0-9]{1,3})?")
_STR_TAG = "tag:yaml.org,2002:str"


class Map(dict[str, Value]):
    """A mapping; `lines[i]` is the line of the i-th key, `line` its own."""

    __slots__ = ("line", "lines")

    def __init__(self, line: int) -> None:
        self.line = line
        self.lines: list[int] = []


class Seq(list[Value]):
    """A sequence; `lines[i]` is the line of item i, `line` its own."""

    __slots__ = ("line", "lines")

    def __init__(self, line: int) -> None:
        self.line = line
        self.lines: list[int] = []


class Fault(msgspec.Struct, frozen=True):
    """Something wrong with the YAML itself. `fatal`: the rest of the file could not be read."""

    line: int
    code: str
    message: str
    fatal: bool = False


class Tree(msgspec.Struct):
    """One document of a file. `has_null` tells that a null is somewhere in it."""

    line: int
    root: Value
    faults: list[Fault]
    has_null: bool


def line_of(root: Value, path: tuple[str | int, ...], default: int) -> int:
    """The line where the value at `path` is written, or of the innermost thing around it that is there."""
    line: int = getattr(root, "line", default)
    node = root
    for step in path:
        kind = type(node)
        if kind is Map and step in node:
            line = node.lines[list(node).index(step)]
        elif kind is Seq and isinstance(step, int) and step < len(node):
            line = node.lines[step]
        else:
            break
        node = node[step]
    return line


def read_trees(text: str) -> Iterator[Tree]:
    """Yield each document of `text`; after a fatal fault, nothing more. Lines count from 1."""
    try:
        parser = LOADER(text)
    except yaml.YAMLError as exc:
        yield Tree(1, None, [_fault_of(exc)], False)
        return
    builder = _Builder()
    try:
        while parser.check_event():
            if builder.feed(parser.get_event()):
                yield builder.take()
    except yaml.YAMLError as exc:
        builder.faults.append(_fault_of(exc))
        yield builder.take()
    except _TooMuch as exc:
        builder.faults.append(exc.fault)
        yield builder.take()
    finally:
        parser.dispose()


_TOO_DEEP = "exceeded maximum nesting depth"
"""What libyaml says since 0.2.6, which has a bound of its own, and sees it before an event comes to ours."""


def _fault_of(exc: yaml.YAMLError) -> Fault:
    mark = getattr(exc, "problem_mark", None) or getattr(exc, "context_mark", None)
    problem = getattr(exc, "problem", None) or getattr(exc, "reason", None) or str(exc)
    context = getattr(exc, "context", None)
    message = f"{problem} ({context})" if context else str(problem)
    code = "yaml-too-much" if problem == _TOO_DEEP else "yaml-syntax"
    return Fault(mark.line + 1 if mark else 1, code, message, fatal=True)


class _TooMuch(Exception):
    def __init__(self, line: int, message: str) -> None:
        self.fault = Fault(line, "yaml-too-much", message, fatal=True)


class _Builder:
    """Events in, one Tree per document out."""

    def __init__(self) -> None:
        self.faults: list[Fault] = []
        self.aliased = 0
        self.reset(1)

    def reset(self, line: int) -> None:
        self.line = line
        self.root: Value = None
        self.has_null = False
        self.size = 0
        # The open containers; for a Map also the key that waits for its value.
        self.stack: list[Map | Seq] = []
        self.keys: list[str | None] = []
        self.starts: list[tuple[str | None, int]] = []
        self.anchors: dict[str, tuple[Value, int]] = {}

    def take(self) -> Tree:
        tree = Tree(self.line, self.root, self.faults, self.has_null)
        self.faults = []
        return tree

    def feed(self, event: Event) -> bool:
        """Take an event; True when a document is complete."""
        kind = type(event)
        if kind is yaml.ScalarEvent:
            self.scalar(event)
        elif kind is yaml.MappingStartEvent:
            self.open(event, Map(event.start_mark.line + 1))
        elif kind is yaml.SequenceStartEvent:
            self.open(event, Seq(event.start_mark.line + 1))
        elif kind is yaml.MappingEndEvent or kind is yaml.SequenceEndEvent:
            self.close()
        elif kind is yaml.AliasEvent:
            self.alias(event)
        elif kind is yaml.DocumentStartEvent:
            self.reset(event.end_mark.line + 1)
        elif kind is yaml.DocumentEndEvent:
            return True
        return False

    def scalar(self, event: Event) -> None:
        text = event.value
        if not self.stack or self.keys[-1] is not None or type(self.stack[-1]) is Seq:
            value = self.resolve(event, text)
        else:
            value = text
        if event.anchor:
            self.anchors[event.anchor] = (value, 1)
        self.add(value, event.start_mark.line + 1)

    def resolve(self, event: Event, text: str) -> Value:
        if event.tag is not None and event.tag != "!":
            if event.tag != _STR_TAG:
                self.faults.append(
                    Fault(event.start_mark.line + 1, "yaml-tag", f"the tag {event.tag} is not supported")
                )
            return text
        if not event.implicit[0]:
            return text
        if text in _RESERVED:
            value = _RESERVED[text]
            self.has_null |= value is None
            return value
        if text[0] in "+-0123456789":
            if _INT.fullmatch(text):
                return int(text)
            if _FLOAT.fullmatch(text):
                return float(text)
        return text

    def open(self, event: Event, node: Map | Seq) -> None:
        if len(self.stack) >= MAX_DEPTH:
            raise _TooMuch(event.start_mark.line + 1, f"nested more than {MAX_DEPTH} deep")
        self.stack.append(node)
        self.keys.append(None)
        self.starts.append((event.anchor, self.size))

    def close(self) -> None:
        node = self.stack.pop()
        self.keys.pop()
        anchor, before = self.starts.pop()
        if anchor:
            self.anchors[anchor] = (node, self.size - before + 1)
        self.add(node, node.line)

    def alias(self, event: Event) -> None:
        line = event.start_mark.line + 1
        if event.anchor not in self.anchors:
            raise _TooMuch(line, f"the alias *{event.anchor} has no anchor before it that is complete")
        value, size = self.anchors[event.anchor]
        self.aliased += size
        self.size += size
        if self.aliased > MAX_ALIASED_NODES:
            raise _TooMuch(line, f"aliases stand for more than {MAX_ALIASED_NODES} values")
        self.add(value, line)

    def add(self, value: Value, line: int) -> None:
        self.size += 1
        if not self.stack:
            self.root = value
            return
        node = self.stack[-1]
        if type(node) is Seq:
            node.append(value)
            node.lines.append(line)
            return
        assert isinstance(node, Map)
        key = self.keys[-1]
        if key is None:
            self.take_key(node, value, line)
            return
        self.keys[-1] = None
        node[key] = value

    def take_key(self, node: Map, key: Value, line: int) -> None:
        if not isinstance(key, str):
            self.faults.append(Fault(line, "yaml-key", "a key must be a string"))
            key = f"({len(node)})"
        if key in node:
            first = node.lines[list(node).index(key)]
            self.faults.append(Fault(line, "duplicate-key", f"the key {key!r} is here twice, first in line {first}"))
        else:
            node.lines.append(line)
            node[key] = None
        self.keys[-1] = key
