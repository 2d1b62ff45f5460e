"""Weighted rendezvous hashing: a choice among names that depends on a key and on nothing else.

    score = -weight / ln(u(key, name)),  u in (0, 1), and the highest wins

(Thaler and Ravishankar 1998; with weights: Schindelhauer and Schomaker 2005). A name wins the share of the keys that
its weight is of the sum. A score depends on no other name and grows with its own weight; so a weight that is raised,
from 0 too, moves keys to that name and none elsewhere, one that is lowered moves keys away from it and no others, and
everybody who knows the weights agrees, without asking anybody and with nothing to remember.

u is a hash of the name and the key; that of the name is made beforehand, which leaves half a µs for each.
"""

from collections.abc import Sequence
from hashlib import blake2b
from math import inf, log

_TO_UNIT = 2.0**-64


class Rendezvous:
    """Chooses an index of `names` by `weights` above 0. A name that is there twice is two names."""

    __slots__ = ("_candidates",)

    def __init__(self, names: Sequence[str], weights: Sequence[int]) -> None:
        seen: dict[str, int] = {}
        candidates = []
        for index, (name, weight) in enumerate(zip(names, weights, strict=True)):
            number = seen[name] = seen.get(name, -1) + 1
            # Of fixed length, so that no name and key can be taken for another name and key.
            prefix = blake2b(b"%d %b" % (number, name.encode()), digest_size=16).digest()
            candidates.append((index, blake2b(prefix, digest_size=8), 1 / weight))
        self._candidates = tuple(candidates)

    def choose(self, key: bytes) -> int:
        """The index of the name that wins the key."""
        winner, best = 0, -inf
        for index, state, inverse in self._candidates:
            hashing = state.copy()
            hashing.update(key)
            # ln(u) / weight orders as the score does; half a step keeps u off 0.
            score = log((int.from_bytes(hashing.digest(), "big") + 0.5) * _TO_UNIT) * inverse
            if score > best:
                winner, best = index, score
        return winner
