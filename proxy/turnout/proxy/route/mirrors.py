"""Which mirrors of a route get a copy of a request: each its share, by chance, or by a key of the request.

By chance all mirrors look at one random number (Envoy, where it is that of the stream): so the smaller share is part of
the larger, and of two shadows that are to be compared both see what the smaller one sees. By a key (`mirrorBy`) each
mirror has a set of its own, of the keys whose hash with the mirror's name is below its share: all requests of a key are
in it or none, a share that grows keeps all keys that it had, and two mirrors of a tenth are not of the same tenth.
"""

from collections.abc import Callable, Mapping, Sequence
from hashlib import blake2b
from typing import Any

from turnout.proxy.errors import Failure
from turnout.proxy.http.hash_key import HashOf, compile_hash_key
from turnout.proxy.http.head import RequestHead
from turnout.proxy.route.context import Context
from turnout.rules.mirroring import Mirror, MirrorLimits
from turnout.rules.resilience import HashKey
from turnout.rules.snapshot import Forward, Route

_MILLION = 1_000_000
_PER_MILLION_OF_64_BITS = _MILLION / 2.0**64


class MirrorShare:
    """One mirror of a route, compiled. `failure` is set if there is no such cluster; `record` is the offset of its
    counters. `governor` is what outlives a reload, and is given when the table comes to serve."""

    __slots__ = ("_keys", "cluster", "failure", "governor", "per_million", "record")

    def __init__(self, mirror: Mirror, number: int, failure: Failure | None, record: int) -> None:
        """`number`: of how many mirrors before it the cluster is the same."""
        self.cluster = mirror.cluster
        self.per_million = mirror.per_million
        self.failure = failure
        self.record = record
        self.governor: Any = None
        # Of fixed length, so that no name and key can be taken for another name and key.
        prefix = blake2b(b"%d %b" % (number, mirror.cluster.encode()), digest_size=16).digest()
        self._keys = blake2b(prefix, digest_size=8, person=b"mirror")

    def takes(self, key: bytes) -> bool:
        """Whether its share of the keys has this one."""
        hashing = self._keys.copy()
        hashing.update(key)
        return int.from_bytes(hashing.digest(), "big") * _PER_MILLION_OF_64_BITS < self.per_million


class Mirrors:
    """All mirrors of a route, as they were written.

    `key` reads from a request what they go by, None if that is chance. `gates` say of the clusters that answer whether
    they are well enough for copies to be made, by name; none where nothing is asked of them. They are given when the
    table comes to serve.
    """

    __slots__ = ("_is_sampled", "_random", "gates", "key", "limits", "live_records", "shares")

    def __init__(
        self,
        shares: Sequence[MirrorShare],
        mirror_by: HashKey | None = None,
        limits: MirrorLimits | None = None,
        live_records: Mapping[str, int] | None = None,
        *,
        random: Callable[[], float],
    ) -> None:
        """`random` gives numbers in [0, 1); `live_records` are the offsets of what is counted of clusters that answer,
        if anything is."""
        self.shares = tuple(shares)
        self.key: HashOf | None = None if mirror_by is None else compile_hash_key(mirror_by)
        self.limits = limits or MirrorLimits()
        self.live_records = dict(live_records or {})
        self.gates: dict[str, Any] = {}
        self._is_sampled = any(share.per_million < _MILLION for share in shares)
        self._random = random

    def choose(self, head: RequestHead, address: bytes) -> Sequence[MirrorShare]:
        """Those that get a copy of this request, from a client at `address`."""
        if not self._is_sampled:
            return self.shares
        key = None if self.key is None else self.key(head, address)
        if key is not None:
            return [share for share in self.shares if share.takes(key)]
        number = self._random() * _MILLION
        return [share for share in self.shares if number < share.per_million]


def compile_mirrors(route: Route, context: Context) -> Mirrors | None:
    """None for a route without mirrors."""
    action = route.action
    if not isinstance(action, Forward) or not action.mirrors:
        return None
    seen: dict[str, int] = {}
    shares = []
    for mirror in action.mirrors:
        number = seen[mirror.cluster] = seen.get(mirror.cluster, -1) + 1
        record = context.records["mirror", route.name, mirror.cluster]
        shares.append(MirrorShare(mirror, number, context.absent.get(mirror.cluster), record))
    live = {backend.cluster: context.records.get(("live", route.name, backend.cluster)) for backend in action.backends}
    records = {cluster: record for cluster, record in live.items() if record is not None}
    return Mirrors(shares, action.mirror_by, action.mirror_limits, records, random=context.draw.random)
