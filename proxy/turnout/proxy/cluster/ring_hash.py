"""Ring hash (ketama; Envoy `RING_HASH`): endpoints have points on a ring of hashes, a key goes to the next point.

An endpoint has as many points as it weighs, and the ring at least `minimum_ring_size` of them. The lightest one has a
power of two of them: so an endpoint more or less does not change, most of the times, how many the others have (Envoy
deals a fixed number of points anew), and moves its own keys only, to or from many others. One that was away gets the
same keys back. Points are hashes of "address:port_number" by our own hash: the same at every sidecar, but not where
Envoy puts them.

The ring is made of all endpoints, whatever their state, and kept (`Ring`); what of it is used (`RingHash`) changes with
the states and is a filter over it.
"""

from bisect import bisect_left
from collections.abc import Callable, Sequence
from math import ceil

from turnout.proxy.cluster.bounded_load import BoundedLoad
from turnout.proxy.cluster.endpoint import Endpoint
from turnout.proxy.http.hashing import MASK, hash_bytes

MAX_RING_SIZE = 65_536
"""It takes a tenth of a second to make; weights further apart than it can tell are taken as nearer (Envoy: 8 Mi)."""

Ring = list[tuple[int, int]]
"""Points as (hash, index of the endpoint), in order."""


def make_ring(keys: Sequence[bytes], weights: Sequence[float], minimum_size: int) -> Ring:
    """The ring of endpoints with these keys, which are unique, and weights above 0. Takes a µs or two a point."""
    lightest, total = min(weights), sum(weights)
    count = 1 << (ceil(lightest / total * minimum_size) - 1).bit_length()
    each = min(count / lightest, max(MAX_RING_SIZE, 2 * minimum_size) / total)
    points = [
        (hash_bytes(b"%b_%d" % (key, number)), index)
        for index, (key, weight) in enumerate(zip(keys, weights, strict=True))
        for number in range(max(1, round(each * weight)))
    ]
    points.sort()
    return points


class RingHash:
    """Over `endpoints`, in the order of the ring's keys; None is one that gets no load, and there is one that does.

    `random`, in [0, 1), places requests without a key. `bound`: who has too much is passed over.
    """

    __slots__ = ("_bound", "_hashes", "_owners", "_random")

    def __init__(
        self,
        ring: Ring,
        endpoints: Sequence[Endpoint | None],
        random: Callable[[], float],
        bound: BoundedLoad | None = None,
    ) -> None:
        used = [(point, owner) for point, index in ring if (owner := endpoints[index]) is not None]
        self._hashes = [point for point, _ in used]
        self._owners = [owner for _, owner in used]
        self._random = random
        self._bound = bound

    def pick(self, endpoints: Sequence[Endpoint], now: float, hash: int = 0) -> Endpoint:
        """The endpoint of a key's hash; 0 is no key."""
        at = bisect_left(self._hashes, hash or int(self._random() * MASK))
        owners = self._owners
        if at == len(owners):
            at = 0
        return owners[at] if self._bound is None else self._pass_over(at, self._bound)

    def _pass_over(self, at: int, bound: BoundedLoad) -> Endpoint:
        owners, slots = self._owners, bound.slots()
        for step in range(at - len(owners), at):
            if bound.has_room(owners[step], slots):
                return owners[step]
        return bound.least_loaded()
