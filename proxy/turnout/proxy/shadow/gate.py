"""Whether the predictor that answers is well enough for copies of its requests to be made (`pauseAbove`).

Three bounds: of the requests in flight, of those that wait for a limit, and of the p99 of the times to the first byte.
The p99 is above its bound when more than one in a hundred was later than it, so nothing is estimated: two words count,
over all workers, and ten steps of a second are looked back on.

What pauses the copies may be their own load, which then is gone at once. So they come back late: with the load only
after it was at four fifths of the bound or below for a second, with the p99 only ten seconds after it was last above.
"""

from collections import deque
from math import inf

from turnout.proxy.cluster.cluster import Cluster
from turnout.proxy.telemetry.counters import Counters
from turnout.proxy.telemetry.layout import ClusterWord, EndpointWord
from turnout.proxy.telemetry.mirrors import LiveWord
from turnout.rules.mirroring import PauseAbove

LOOK_S = 0.02
"""Between two looks: a sum over workers and endpoints is not for every request."""
STEP_S = 1.0
STEPS = 10
EASE = 0.8
EASED_FOR_S = 1.0
_ACTIVE, _PENDING = int(EndpointWord.ACTIVE), int(ClusterWord.PENDING)
_ASKED, _LATE = int(LiveWord.ASKED), int(LiveWord.LATE)


class Gate:
    """Of one route and one cluster that answers it. `record` is the offset of what is counted of it, 0 if the p99 has
    no bound."""

    __slots__ = (
        "_bounds", "_counters", "_eased_at", "_is_loaded", "_late_s", "_late_until", "_look_at", "_record", "_step_at",
        "_steps",
    )  # fmt: skip

    def __init__(self, bounds: PauseAbove, counters: Counters, record: int) -> None:
        self._bounds = bounds
        self._counters = counters
        self._record = record
        self._late_s = bounds.p99_s or 0.0
        self._look_at = self._step_at = self._late_until = self._eased_at = 0.0
        self._is_loaded = False
        self._steps: deque[tuple[int, int]] = deque(maxlen=STEPS)

    @property
    def counts(self) -> bool:
        """Whether it wants to be told of each request."""
        return self._late_s > 0.0

    def is_open(self, cluster: Cluster, now: float) -> bool:
        """Whether a request that `cluster` is about to answer may be copied."""
        if now >= self._look_at:
            self._look_at = now + LOOK_S
            self._look_at_load(cluster, now)
            if self._late_s:
                self._look_at_p99(now)
        return not self._is_loaded and now >= self._late_until

    def on_first_byte(self, waited_s: float) -> None:
        """A request has waited so long for the first byte of its answer, or in vain."""
        words = self._counters.words
        words[self._record + _ASKED] += 1
        if waited_s > self._late_s:
            words[self._record + _LATE] += 1

    def _look_at_load(self, cluster: Cluster, now: float) -> None:
        share = self._measure(cluster)
        if share > 1.0:
            self._is_loaded = True
        if share > EASE:
            self._eased_at = now
        elif now >= self._eased_at + EASED_FOR_S:
            self._is_loaded = False

    def _measure(self, cluster: Cluster) -> float:
        """What share of its bound the load is, by that bound of which it is most."""
        total, bounds = self._counters.total, self._bounds
        share = 0.0
        if bounds.active_requests is not None:
            active = sum([total(endpoint.record + _ACTIVE) for endpoint in cluster.endpoints])
            share = _share(active, bounds.active_requests)
        if bounds.pending_requests is not None:
            share = max(share, _share(total(cluster.record + _PENDING), bounds.pending_requests))
        return share

    def _look_at_p99(self, now: float) -> None:
        total = self._counters.total
        asked, late = total(self._record + _ASKED), total(self._record + _LATE)
        steps = self._steps
        if now >= self._step_at:
            if now >= self._step_at + (STEPS - 1) * STEP_S:
                steps.clear()  # nobody has asked for so long
            self._step_at = now + STEP_S
            steps.append((asked, late))
        then_asked, then_late = steps[0]
        if (late - then_late) * 100 > asked - then_asked:
            if now >= self._late_until:
                steps.clear()
                steps.append((asked, late))
            self._late_until = now + STEPS * STEP_S


def _share(amount: int, bound: int) -> float:
    return amount / bound if bound else inf if amount else 0.0
