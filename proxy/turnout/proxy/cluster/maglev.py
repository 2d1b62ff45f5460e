"""Maglev (Eisenbud et al., NSDI 2016, listing 1; Envoy `MAGLEV`): a table of a prime number of slots, and a key's slot
is its hash modulo that.

Each endpoint has an order of its own in which it likes the slots (an offset and a skip, from its hash). They choose in
turn, each the first free one in its order; with weights, the heaviest in every round and the others as much more seldom
(Envoy). So each has its share of the slots to within one round, a choice is one look-up, and another endpoint more or
less moves little more than its own share.

The table is made of all endpoints, whatever their state, and kept, since making one takes tens of milliseconds. A key
whose endpoint gets no load, or has more than the bound allows, is hashed again: so only the keys of an endpoint
that is away move, to different ones, and they come back with it. Envoy makes a new table without it, and moves a few of
the others' too.
"""

from array import array
from collections.abc import Callable, Sequence

from turnout.proxy.cluster.bounded_load import BoundedLoad
from turnout.proxy.cluster.endpoint import Endpoint
from turnout.proxy.http.hashing import MASK, hash_bytes, mix

MAX_PROBES = 64
MAX_SHORT = 1 << 16


def make_table(keys: Sequence[bytes], weights: Sequence[float], size: int) -> "array[int]":
    """The index of the endpoint of each slot, for endpoints with these keys, which are unique, and weights above 0.

    `size` is a prime. It does not depend on the order in which the endpoints come, but for the indices.
    """
    order = sorted(range(len(keys)), key=keys.__getitem__)
    heaviest = max(weights)
    places = [hash_bytes(key) % size for key in keys]
    skips = [mix(hash_bytes(key)) % (size - 1) + 1 for key in keys]
    due = [0.0] * len(keys)
    table = [-1] * size
    free, turn = size, 0
    while True:
        turn += 1
        for index in order:
            if turn * weights[index] < due[index]:
                continue
            due[index] += heaviest
            place, skip = places[index], skips[index]
            while table[place] >= 0:
                place += skip
                if place >= size:
                    place -= size
            table[place] = index
            places[index] = place
            free -= 1
            if not free:
                return array("H" if len(keys) <= MAX_SHORT else "L", table)


class Maglev:
    """Over `endpoints`, in the order of the table's keys; None is one that gets no load, and there is one that does.

    `random`, in [0, 1), places requests without a key. `bound`: who has too much is passed over.
    """

    __slots__ = ("_bound", "_endpoints", "_random", "_size", "_table", "_used")

    def __init__(
        self,
        table: "array[int]",
        endpoints: Sequence[Endpoint | None],
        random: Callable[[], float],
        bound: BoundedLoad | None = None,
    ) -> None:
        self._table = table
        self._size = len(table)
        self._endpoints = tuple(endpoints)
        self._used = tuple(endpoint for endpoint in endpoints if endpoint is not None)
        self._random = random
        self._bound = bound

    def pick(self, endpoints: Sequence[Endpoint], now: float, hash: int = 0) -> Endpoint:
        """The endpoint of a key's hash; 0 is no key."""
        hash = hash or int(self._random() * MASK)
        endpoint = self._endpoints[self._table[hash % self._size]]
        bound = self._bound
        if endpoint is not None and bound is None:
            return endpoint
        slots = 0 if bound is None else bound.slots()
        for _ in range(MAX_PROBES):
            if endpoint is not None and (bound is None or bound.has_room(endpoint, slots)):
                return endpoint
            hash = mix(hash)
            endpoint = self._endpoints[self._table[hash % self._size]]
        return self._used[hash % len(self._used)] if bound is None else bound.least_loaded()
