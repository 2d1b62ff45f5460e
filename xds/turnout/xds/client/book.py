"""What a client knows of each resource: the last good one, and why a newer one was refused.

Rules:

* Listeners and clusters are asked for as a whole (wildcard); route configurations, load assignments and secrets by
  name, as far as accepted listeners and clusters need them.
* What is refused leaves the last good one in its place. So does a "removed" for a name that is still needed: a route
  without its endpoints is worse than one with old ones (Envoy ignores these too).
* What is not asked for is not taken, and what is not asked for any more is forgotten.
"""

from collections.abc import Iterator, Mapping

import msgspec

from turnout.xds.client.reading import Read, Reading, Refusal
from turnout.xds.resources import CLUSTER, ENDPOINTS, LISTENER, ROUTES, SECRET, SHORT_NAMES, TYPES

MAX_RESOURCES = 100_000
"""Of one type; a control plane that tells more is refused them."""
MAX_REASONS = 20
"""Refusals that one NACK tells of; the others are counted."""

Books = Mapping[str, Read]


class Rejection(msgspec.Struct, frozen=True):
    """A version that can't be used, why, and when it came."""

    version: str
    reason: str
    at: float


class Entry(msgspec.Struct):
    """One resource. `since` is when its state last changed; `absent`: the server says that there is none."""

    since: float
    accepted: Read | None = None
    rejection: Rejection | None = None
    absent: bool = False

    @property
    def state(self) -> str:
        """Envoy's word for it (`envoy.admin.v3.ClientResourceStatus`)."""
        if self.rejection is not None:
            return "NACKED"
        if self.accepted is not None:
            return "ACKED"
        return "DOES_NOT_EXIST" if self.absent else "REQUESTED"


class Book:
    """All resources that a client asked for or was told, by type and name."""

    def __init__(self) -> None:
        self.entries: dict[str, dict[str, Entry]] = {type_url: {} for type_url in TYPES}
        self.heard: dict[str, float] = {}
        """When a type was first answered."""

    def take(self, reading: Reading, now: float) -> str:
        """Take a response; why it has to be rejected (NACK), or empty. What is good in it is taken in any case."""
        entries = self.entries[reading.type_url]
        self.heard.setdefault(reading.type_url, now)
        refusals = [refusal for refusal in reading.refused if self._is_asked(reading.type_url, refusal.name)]
        for read in reading.taken:
            refusal = self._accept(read, now)
            if refusal is not None:
                refusals.append(refusal)
        for refusal in refusals:
            _reject(entries, refusal, now)
        self._remove(reading, now)
        if reading.type_url in (CLUSTER, LISTENER):
            self._follow(now)
        return _reasons(reading.type_url, refusals)

    def accepted(self, type_url: str) -> Iterator[Read]:
        """The last good resources of a type."""
        return (entry.accepted for entry in self.entries[type_url].values() if entry.accepted is not None)

    def find(self, type_url: str, name: str) -> Read | None:
        """The last good one of that name."""
        entry = self.entries[type_url].get(name)
        return entry.accepted if entry else None

    def by_body(self, type_url: str) -> dict[bytes, Read]:
        """The last good resources of a type by their bytes."""
        return {read.resource.body: read for read in self.accepted(type_url)}

    def versions(self, type_url: str) -> dict[str, str]:
        """Name and version of the last good resources, as `initial_resource_versions` has them."""
        return {read.resource.name: read.resource.version for read in self.accepted(type_url)}

    def asked(self, type_url: str) -> set[str]:
        """The names that a type is asked for by; empty for a wildcard."""
        return set() if _is_wildcard(type_url) else set(self.entries[type_url])

    # Changes

    def _is_asked(self, type_url: str, name: str) -> bool:
        # A refusal without a name is of something that came in answer to us.
        return _is_wildcard(type_url) or not name or name in self.entries[type_url]

    def _accept(self, read: Read, now: float) -> Refusal | None:
        resource = read.resource
        entries = self.entries[resource.type_url]
        entry = entries.get(resource.name)
        if entry is None:
            if not _is_wildcard(resource.type_url):
                return None
            if len(entries) >= MAX_RESOURCES:
                return Refusal("", resource.version, f"more than {MAX_RESOURCES} resources")
            entry = entries[resource.name] = Entry(now)
        if entry.state != "ACKED" or entry.accepted != read:
            entry.since = now
        entry.accepted, entry.rejection, entry.absent = read, None, False
        return None

    def _remove(self, reading: Reading, now: float) -> None:
        entries = self.entries[reading.type_url]
        gone = set(reading.removed)
        if reading.whole:
            named = {read.resource.name for read in reading.taken} | {refusal.name for refusal in reading.refused}
            # A refused one may not have told its name: then it could be any of those that are not there.
            gone = set() if "" in named else entries.keys() - named
        for name in gone & entries.keys():
            if _is_wildcard(reading.type_url):
                del entries[name]
            elif not entries[name].absent:
                entries[name].absent, entries[name].since = True, now

    def _follow(self, now: float) -> None:
        """Ask for what is needed now, and for nothing else."""
        needed = {
            ENDPOINTS: {r.needs.endpoints for r in self.accepted(CLUSTER) if r.needs.endpoints is not None},
            ROUTES: {name for r in self.accepted(LISTENER) for name in r.needs.routes},
            SECRET: {name for kind in (CLUSTER, LISTENER) for r in self.accepted(kind) for name in r.needs.secrets},
        }
        for type_url, names in needed.items():
            entries = self.entries[type_url]
            for name in entries.keys() - names:
                del entries[name]
            for name in sorted(names - entries.keys()):
                entries[name] = Entry(now)


def _reject(entries: dict[str, Entry], refusal: Refusal, now: float) -> None:
    if not refusal.name or (refusal.name not in entries and len(entries) >= MAX_RESOURCES):
        return
    entry = entries.setdefault(refusal.name, Entry(now))
    entry.rejection, entry.since = Rejection(refusal.version, refusal.reason, now), now


def _reasons(type_url: str, refusals: list[Refusal]) -> str:
    told = [f"{SHORT_NAMES[type_url]} {refusal.name[:200] or '(no name)'}: {refusal.reason}" for refusal in refusals]
    more = len(told) - MAX_REASONS
    return "; ".join(told[:MAX_REASONS] + ([f"and {more} more"] if more > 0 else []))


def _is_wildcard(type_url: str) -> bool:
    return type_url in (CLUSTER, LISTENER)
