"""Why a resource can't be used: faults that name the field, and the place from which they are said."""

import msgspec

from turnout.xds.resources import SHORT_NAMES

MAX_FAULTS = 20
"""So many are told of one resource: who sends worse has read enough, and a NACK is one line in a log."""


class Fault(msgspec.Struct, frozen=True):
    """One thing in a resource that can't be used. `field` is its place, like
    `virtual_hosts[0].routes[2].route.timeout`; empty for the message as a whole."""

    type_url: str
    name: str
    field: str
    message: str

    def __str__(self) -> str:
        kind = SHORT_NAMES.get(self.type_url, self.type_url)
        place = f": {self.field}" if self.field else ""
        return f"{kind} {self.name or '(no name)'}{place}: {self.message}"


class Faults:
    """What was found in one resource so far: by field, the first word counts, at most MAX_FAULTS."""

    def __init__(self) -> None:
        self.found: dict[str, str] = {}

    def add(self, field: str, message: str) -> None:
        if len(self.found) < MAX_FAULTS:
            self.found.setdefault(field, message)


class Place:
    """A place in a message, to say what is wrong there."""

    __slots__ = ("_faults", "path")

    def __init__(self, faults: Faults, path: str = "") -> None:
        self._faults = faults
        self.path = path

    def at(self, field: str, index: int | None = None) -> "Place":
        """A field of the message here, or an item of it."""
        path = f"{self.path}.{field}" if self.path else field
        return Place(self._faults, path if index is None else f"{path}[{index}]")

    def item(self, key: str) -> "Place":
        """An item of the map here."""
        return Place(self._faults, f"{self.path}[{key}]")

    def say(self, message: str) -> None:
        self._faults.add(self.path, message)
