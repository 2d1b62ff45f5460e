"""Where it is decided whether a request is copied: for each mirror that its share falls to, once, and counted at once.

The order of the reasons is that of their cost. A skip for what is wrong with one mirror says nothing of the route's
others.
"""

from collections.abc import Iterable, Mapping, Sequence

from turnout.proxy.cluster.cluster import Cluster
from turnout.proxy.cluster.endpoint import Outcome
from turnout.proxy.errors import OVERFLOW
from turnout.proxy.exchange.sides import Upstream
from turnout.proxy.filters.tracing import Trace
from turnout.proxy.http.hash_key import hash_request
from turnout.proxy.http.head import RequestHead
from turnout.proxy.route.mirrors import Mirrors, MirrorShare
from turnout.proxy.route.table import Table
from turnout.proxy.shadow.gate import Gate
from turnout.proxy.shadow.governor import Governor
from turnout.proxy.shadow.head import is_shadow, make_shadow_head
from turnout.proxy.shadow.observer import Answer, Pair
from turnout.proxy.shadow.shadow import Shadow
from turnout.proxy.shadow.shadows import Shadows
from turnout.proxy.shadow.tap import Tap
from turnout.proxy.telemetry.buckets import Buckets
from turnout.proxy.telemetry.mirrors import MirrorWord, Skip
from turnout.rules.mirroring import MirrorLimits, PauseAbove

_ELIGIBLE, _SKIPPED = int(MirrorWord.ELIGIBLE), int(MirrorWord.SKIPPED)
_COPIED = 0
"""No reason to skip it."""


class Taps:
    """Of one route that has mirrors."""

    __slots__ = ("_mirrors", "_route", "_shadows")

    def __init__(self, route: str, mirrors: Mirrors, shadows: Shadows) -> None:
        self._route = route
        self._mirrors = mirrors
        self._shadows = shadows

    def begin(
        self,
        head: RequestHead,
        address: bytes,
        clusters: Mapping[str, Cluster],
        live: Cluster,
        now: float,
        trace: Trace | None = None,
    ) -> Tap | None:
        """Decide on the copies of a request, from a client at `address`, that `live` is about to answer; `head` is what
        that will see. None if nobody is to be told more of it."""
        try:
            return self._begin(head, address, clusters, live, now, trace)
        except Exception as error:  # whatever it is: the request goes on without copies
            self._shadows.on_fault(error)
            return None

    def _begin(
        self,
        head: RequestHead,
        address: bytes,
        clusters: Mapping[str, Cluster],
        live: Cluster,
        now: float,
        trace: Trace | None,
    ) -> Tap | None:
        mirrors, shared = self._mirrors, self._shadows
        chosen = mirrors.choose(head, address)
        gate: Gate | None = mirrors.gates.get(live.config.name)
        counted = gate if gate is not None and gate.counts else None
        if not chosen and counted is None:
            return None
        reason = self._find_reason(head, gate, live, now) if chosen else _COPIED
        answer = Answer() if shared.observer is not None else None
        shadows: list[Shadow] = []
        pairs: list[Pair] = []
        for mirror in chosen:
            words = shared.counters.words
            words[mirror.record + _ELIGIBLE] += 1
            try:
                shadow = reason or self._begin_shadow(mirror, clusters, head, address, now, trace)
            except Exception as error:  # the same, and it is counted
                shared.on_fault(error)
                shadow = Skip.FAULT
            if isinstance(shadow, int):
                words[mirror.record + _SKIPPED + shadow] += 1
            else:
                shadows.append(shadow)
                if answer is not None:
                    shadow.pair = pair = Pair(self._route, live.config.name, mirror.cluster, head.copy(), answer)
                    pairs.append(pair)
        if not shadows and counted is None:
            return None
        return Tap(shared, head, shadows, counted, answer if pairs else None, pairs)

    def _find_reason(self, head: RequestHead, gate: Gate | None, live: Cluster, now: float) -> int:
        """Why the request is not copied to anybody, 0 if it is."""
        shared = self._shadows
        if head.upgrade or head.method == b"CONNECT":
            return Skip.UPGRADE
        if is_shadow(head):
            return Skip.SHADOW
        if shared.is_ending:
            return Skip.SHUTDOWN
        if shared.is_short:
            return Skip.MEMORY
        if gate is not None and not gate.is_open(live, now):
            return Skip.LIVE
        return _COPIED

    def _begin_shadow(
        self,
        mirror: MirrorShare,
        clusters: Mapping[str, Cluster],
        head: RequestHead,
        address: bytes,
        now: float,
        trace: Trace | None,
    ) -> Shadow | int:
        """The shadow, or why there is none."""
        if mirror.failure is not None:
            return Skip.MISSING
        shared = self._shadows
        if shared.backlog.room <= 0:
            return Skip.BODY
        governor: Governor = mirror.governor
        if len(shared.active) >= shared.limit or not governor.has_room():
            return Skip.LIMIT
        if not governor.breaker.lets(now):
            return Skip.BREAKER
        if not governor.take(now):
            return Skip.RATE
        cluster = clusters[mirror.cluster]
        copied = make_shadow_head(head)
        lease = cluster.choose(now, hash_request(cluster.hash_of, copied, address) if cluster.hash_of else 0)
        if lease is None:
            return Skip.BREAKER if cluster.refusal is OVERFLOW else Skip.NO_ENDPOINT
        upstream: Upstream | None = shared.upstreams.borrow(lease, now)
        if upstream is None and lease.counted and not shared.upstreams.may_connect(cluster, lease):
            lease.pass_probe_on()
            lease.release(Outcome.OK, now, 0.0)
            return Skip.BREAKER
        shadow = Shadow(shared, mirror.record, governor, self._mirrors.limits.timeout_s, copied, lease, upstream, now)
        if shared.tracer is not None:
            try:
                shadow.span = shared.tracer.begin_shadow(trace, copied, cluster, lease.endpoint, now)
            except Exception as error:  # it is counted as mirrored already
                shadow.fail(error)
        return shadow


class Mirroring:
    """Gives the routes of a worker their taps, and what must outlive reloads of them: governors and gates.

    State belongs to a route's name, a cluster and what the rule says; what the newest Snapshot does not name is
    forgotten.
    """

    def __init__(self, shadows: Shadows, buckets: Buckets) -> None:
        self._shadows = shadows
        self._buckets = buckets
        self._governors: dict[tuple[int, MirrorLimits], Governor] = {}
        self._gates: dict[tuple[str, str, PauseAbove], Gate] = {}

    def bind(self, tables: Iterable[Table]) -> None:
        """The tables of a Snapshot are about to serve."""
        governors, gates = self._governors, self._gates
        self._governors, self._gates = {}, {}
        for table in tables:
            for host in table.hosts:
                for entry in host.entries:
                    if entry.mirrors is not None:
                        live = [share.cluster for share in entry.split.shares] if entry.split is not None else []
                        self._bind(entry.name, entry.mirrors, live, governors, gates)
                        entry.taps = Taps(entry.name, entry.mirrors, self._shadows)

    def _bind(
        self, name: str, mirrors: Mirrors, live: Sequence[str], governors: dict[tuple[int, MirrorLimits], Governor],
        gates: dict[tuple[str, str, PauseAbove], Gate],
    ) -> None:  # fmt: skip
        for share in mirrors.shares:
            key = share.record, mirrors.limits
            known = self._governors.get(key) or governors.get(key)
            share.governor = known or Governor(mirrors.limits, self._buckets, self._shadows.counters, share.record)
            self._governors[key] = share.governor
        pause = mirrors.limits.pause_above
        if pause is not None:
            for cluster in live:
                mirrors.gates[cluster] = self._find_gate(name, cluster, pause, mirrors.live_records, gates)

    def _find_gate(
        self, name: str, cluster: str, pause: PauseAbove, records: Mapping[str, int],
        before: dict[tuple[str, str, PauseAbove], Gate],
    ) -> Gate:  # fmt: skip
        key = name, cluster, pause
        gate = self._gates.get(key) or before.get(key)
        if gate is None:
            gate = Gate(pause, self._shadows.counters, records.get(cluster, 0))
        self._gates[key] = gate
        return gate
