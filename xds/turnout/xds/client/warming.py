"""When accepted resources begin to serve: a route never runs ahead of its cluster.

Each resource goes live by itself, and until then its last live version serves on:

* a cluster, once it is *warm*: static, DNS, or with a first load assignment (even an empty one);
* a route configuration, once each cluster that it names is live, or `missing`, or was waited for for `WARM_TIMEOUT_S`;
* a listener, once its route configuration is live, whichever version of it.

A cluster that the control plane takes away while live routes name it serves on for that time, too. What routes name
after it is *cold* (503 NC); its share alone suffers. The clock runs for each name from when it was first needed, so
a new push does not start it again. The very first configuration waits for everything, and for a listener.
"""

from collections.abc import Collection, Iterable, Mapping

import msgspec

from turnout.xds.client.book import Book
from turnout.xds.client.needs import Needs
from turnout.xds.client.reading import Read
from turnout.xds.resources import CLUSTER, ENDPOINTS, LISTENER, ROUTES, SECRET, TYPES

WARM_TIMEOUT_S = 15.0
"""The xDS protocol's "resource does not exist" timer, and Envoy's `initial_fetch_timeout`."""

Key = tuple[str, str]
ANY = "*"
"""Stands for a type of which nothing has been heard."""


class Live(msgspec.Struct, frozen=True):
    """What serves: resources by type and name, and the clusters that routes name and nobody told."""

    resources: dict[str, dict[str, Read]]
    cold: tuple[str, ...] = ()


NOTHING = Live({type_url: {} for type_url in TYPES})


class Warming:
    """Decides what is live. `live` is the present state; `started` is False until there is a first one."""

    def __init__(self, timeout_s: float = WARM_TIMEOUT_S) -> None:
        self.live = NOTHING
        self.started = False
        self._timeout_s = timeout_s
        self._deadlines: dict[Key, float] = {}

    def advance(self, book: Book, now: float) -> bool:
        """Look at the book again; whether `live` is another one now."""
        step = _Step(book, self.live, {key for key, deadline in self._deadlines.items() if deadline <= now})
        live = step.decide()
        awaited = step.awaited | self._unheard(book)
        self._deadlines = {key: self._deadlines.get(key, now + self._timeout_s) for key in awaited}
        if not self.started:
            # Without a listener there is nothing to be ready for, whether it is not there yet or not wanted.
            if self.wake_at(now) is not None or not live.resources[LISTENER]:
                return False
            self.started = True
        elif live == self.live:
            return False
        self.live = live
        return True

    def wake_at(self, now: float) -> float | None:
        """When to look again although nothing came; None for never."""
        return min((deadline for deadline in self._deadlines.values() if deadline > now), default=None)

    def waiting(self, now: float) -> dict[Key, float]:
        """What is waited for, as (type URL, name), and the seconds left for it (0: it is over)."""
        return {key: max(0.0, deadline - now) for key, deadline in sorted(self._deadlines.items())}

    def _unheard(self, book: Book) -> set[Key]:
        if self.started or LISTENER not in book.heard or CLUSTER in book.heard:
            return set()
        return {(CLUSTER, ANY)}


class _Step:
    """One look: what would be live now, given which waits are over (`expired`)."""

    def __init__(self, book: Book, old: Live, expired: set[Key]) -> None:
        self._book = book
        self._old = old.resources
        self._expired = expired
        self.awaited: set[Key] = set()
        self._clusters: dict[str, Read] = {}
        self._told: set[str] = set()

    def decide(self) -> Live:
        self._warm_clusters()
        routes = self._warm_routes()
        listeners = self._warm_listeners(routes)
        routes = {name: routes[name] for read in listeners.values() for name in read.needs.routes}
        serving = [*routes.values(), *listeners.values()]
        named = _named(serving)
        self._drop_clusters(named, _named(read for read in serving if self._is_superseded(read)))
        resources = {
            CLUSTER: self._clusters,
            ENDPOINTS: self._endpoints(),
            LISTENER: listeners,
            ROUTES: routes,
            SECRET: self._secrets([*self._clusters.values(), *listeners.values()]),
        }
        cold = [name for name in named if self._is_awaited(name, named[name])]
        return Live(resources, tuple(sorted(cold)))

    def _warm_clusters(self) -> None:
        """Those that are warm, the last live version of those that are not, and those that were taken away."""
        for read in self._book.accepted(CLUSTER):
            name = read.resource.name
            self._told.add(name)
            assignment = read.needs.endpoints
            has_endpoints = assignment is None or self._book.find(ENDPOINTS, assignment) is not None
            if has_endpoints and self._has_secrets(read.needs):
                self._clusters[name] = read
            elif name in self._old[CLUSTER]:
                self._clusters[name] = self._old[CLUSTER][name]
        for name, read in self._old[CLUSTER].items():
            if name not in self._told and (CLUSTER, name) not in self._expired:
                self._clusters[name] = read

    def _warm_routes(self) -> dict[str, Read]:
        needed = {name for read in self._book.accepted(LISTENER) for name in read.needs.routes}
        routes = dict(self._old[ROUTES])
        for name in needed:
            read = self._book.find(ROUTES, name)
            if read is None:
                if name not in routes:
                    self.awaited.add((ROUTES, name))
            elif self._is_warm(read.needs):
                routes[name] = read
        return routes

    def _warm_listeners(self, routes: Mapping[str, Read]) -> dict[str, Read]:
        listeners = {}
        for read in self._book.accepted(LISTENER):
            name = read.resource.name
            if read.needs.is_api:
                continue
            has_routes = all(route in routes for route in read.needs.routes)
            if self._is_warm(read.needs) and has_routes and self._has_secrets(read.needs):
                listeners[name] = read
            elif name in self._old[LISTENER]:
                listeners[name] = self._old[LISTENER][name]
        return listeners

    def _has_secrets(self, needs: Needs) -> bool:
        """There is no end to this wait: what should be TLS must not be anything else."""
        absent = {(SECRET, name) for name in needs.secrets if self._book.find(SECRET, name) is None}
        self.awaited |= absent
        return not absent

    def _secrets(self, reads: Iterable[Read]) -> dict[str, Read]:
        old = self._old[SECRET]
        names = {name for read in reads for name in read.needs.secrets}
        found = {name: self._book.find(SECRET, name) or old.get(name) for name in sorted(names)}
        return {name: read for name, read in found.items() if read is not None}

    def _is_warm(self, needs: Needs) -> bool:
        waits = {(CLUSTER, name) for name, missing in needs.clusters.items() if self._is_awaited(name, missing)}
        self.awaited |= waits
        return waits <= self._expired

    def _is_awaited(self, name: str, missing: bool) -> bool:
        return name not in self._clusters and (name in self._told or not missing)

    def _is_superseded(self, read: Read) -> bool:
        return self._book.find(read.resource.type_url, read.resource.name) is not read

    def _drop_clusters(self, named: Mapping[str, bool], superseded: Collection[str]) -> None:
        """Of those that were taken away, keep what live routes wait for, or will not name much longer."""
        for name in self._clusters.keys() - self._told:
            if named.get(name, True) and name not in superseded:
                del self._clusters[name]
            else:
                self.awaited.add((CLUSTER, name))
        self.awaited |= {(CLUSTER, name) for name, missing in named.items() if self._is_awaited(name, missing)}

    def _endpoints(self) -> dict[str, Read]:
        endpoints = {}
        for read in self._clusters.values():
            name = read.needs.endpoints
            if name is not None:
                endpoints[name] = self._book.find(ENDPOINTS, name) or self._old[ENDPOINTS][name]
        return endpoints


def _named(reads: Iterable[Read]) -> dict[str, bool]:
    """The clusters that these name, and whether one that is not there is missing for all of them."""
    named: dict[str, bool] = {}
    for read in reads:
        for name, missing in read.needs.clusters.items():
            named[name] = named.get(name, True) and missing
    return named
