"""The weighted choice among the backends of a route (Envoy `WeightedCluster`: a random value modulo the sum of the
weights, the first cumulative interval that holds it).

With `split_by` the choice is made by a key of the request, and stays: by weighted rendezvous hashing, so that a weight
that is raised moves keys to that backend only (`rendezvous.py`; Envoy's `use_hash_policy` moves others too).
"""

from bisect import bisect_right
from collections.abc import Sequence
from itertools import accumulate

from turnout.proxy.errors import Failure
from turnout.proxy.http.hash_key import HashOf, compile_hash_key
from turnout.proxy.route.context import Context
from turnout.proxy.route.edits import compile_edits
from turnout.proxy.route.rendezvous import Rendezvous
from turnout.rules.resilience import HashKey
from turnout.rules.snapshot import Backend, Forward, Redirect, Rewrite, Route


class Share:
    """One backend of a route, compiled. `failure` is what its share is answered if there is no such cluster, else
    None; `record` is the offset of its counters."""

    __slots__ = (
        "backend", "cluster", "failure", "record", "redirect", "request_edits", "response_edits", "rewrite", "weight",
    )  # fmt: skip

    def __init__(self, route: Route, backend: Backend, failure: Failure | None, record: int) -> None:
        assert isinstance(route.action, Forward)
        self.backend = backend
        self.cluster = backend.cluster
        self.weight = backend.weight
        self.failure = failure
        self.record = record
        self.redirect: Redirect | None = backend.redirect
        self.rewrite: Rewrite | None = _merge(route.action.rewrite, backend.rewrite)
        self.request_edits = compile_edits(*route.request_headers, backend.request_headers)
        self.response_edits = compile_edits(*route.response_headers, backend.response_headers)


class Split:
    """All shares of a route, as they were written; those with a weight of 0 are never chosen.

    `key` reads from a request what it is split by: None if that is chance, or if there is nothing to choose.
    """

    __slots__ = ("_bounds", "_last", "_rendezvous", "_weighted", "key", "only", "shares", "total")

    def __init__(self, shares: Sequence[Share], split_by: HashKey | None = None) -> None:
        self.shares = tuple(shares)
        self._weighted = tuple(share for share in shares if share.weight)
        self._bounds = tuple(accumulate(share.weight for share in self._weighted))
        self.total = self._bounds[-1]
        self._last = len(self._bounds) - 1
        self.only = self._weighted[0] if len(self._weighted) == 1 else None
        self.key: HashOf | None = None if self.only or split_by is None else compile_hash_key(split_by)
        self._rendezvous = _make_rendezvous(self._weighted) if self.key else None

    def choose(self, random: float) -> Share:
        """The share that `random`, in [0, 1), falls into."""
        # Bounded by `_last`: with weights beyond 2**53 the product may be rounded up to the sum.
        return self.only or self._weighted[bisect_right(self._bounds, random * self.total, 0, self._last)]

    def choose_for(self, key: bytes) -> Share:
        """The share that a key stays with: the same at every proxy, as long as the weights are. Only if there is a
        `key`."""
        assert self._rendezvous is not None
        return self._weighted[self._rendezvous.choose(key)]


def _make_rendezvous(shares: Sequence[Share]) -> Rendezvous:
    return Rendezvous([share.cluster for share in shares], [share.weight for share in shares])


def compile_split(route: Route, context: Context) -> Split:
    assert isinstance(route.action, Forward)
    shares = [
        Share(route, b, context.absent.get(b.cluster), context.records["route", route.name, b.cluster])
        for b in route.action.backends
    ]
    return Split(shares, route.action.split_by)


def _merge(route: Rewrite | None, backend: Rewrite | None) -> Rewrite | None:
    """A backend's rewrite wins part by part over the route's."""
    if route is None or backend is None:
        return backend or route
    return Rewrite(hostname=backend.hostname or route.hostname, path=backend.path or route.path)
