"""Where Snapshots come from: the one interface between a configuration and a data plane.

A Source is an async iterator of updates. It says what it has at once, then again at each change; an update
that could not be used is told too, so that the data plane can show why it still serves the old one.
"""

from collections.abc import AsyncIterator
from typing import Protocol

import msgspec

from turnout.rules.diagnostics import Diagnostic
from turnout.rules.snapshot import Origins, Snapshot


class Loaded(msgspec.Struct, frozen=True):
    """A Snapshot that was checked, where its parts were written, and what the lint has to say."""

    snapshot: Snapshot
    origins: Origins
    warnings: tuple[Diagnostic, ...] = ()


class Rejected(msgspec.Struct, frozen=True):
    """A change that can't be used, and why; nothing of it is applied."""

    errors: tuple[Diagnostic, ...]


Update = Loaded | Rejected


class Source(Protocol):
    """Something that yields updates: files, or a control plane."""

    def updates(self) -> AsyncIterator[Update]:
        """The present state first, then one item a change, for ever. One consumer."""
        ...

    def reload(self) -> None:
        """Look again now and yield what is found even if it is unchanged (SIGHUP)."""
        ...
