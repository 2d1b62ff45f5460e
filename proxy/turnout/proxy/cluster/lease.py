"""The lease on an endpoint that a request holds: counted while it lasts, and released exactly once, with what it told.

It is on the path of every request: what a cluster does not ask for is not done, and trouble is the cluster's to judge.
"""

from typing import TYPE_CHECKING, Final

from turnout.proxy.cluster.endpoint import Endpoint, Outcome
from turnout.proxy.cluster.latency import record_latency, size_class
from turnout.proxy.cluster.peak_ewma import observe_peak
from turnout.proxy.telemetry.layout import ClusterWord, EndpointWord

if TYPE_CHECKING:
    from turnout.proxy.cluster.cluster import Cluster

_ACTIVE: Final = int(EndpointWord.ACTIVE)
_REQUESTS: Final = int(EndpointWord.REQUESTS)
_LATENCY: Final = int(EndpointWord.LATENCY)
_CLUSTER_ACTIVE: Final = int(ClusterWord.ACTIVE)
_PENDING: Final = int(ClusterWord.PENDING)
_OK: Final = Outcome.OK

SAMPLE_EVERY_S: Final = 0.001
"""Of an endpoint's first-byte times at most a thousand a second are kept at each worker: more tell nothing more."""


class Lease:
    """A request's right to an endpoint. `probe`: it is the one request that a half-open endpoint gets; `counted`: it
    counts for the limits of its cluster, which may come and go with a reload."""

    __slots__ = ("cluster", "counted", "endpoint", "probe", "released")

    def __init__(self, cluster: "Cluster", endpoint: Endpoint, *, probe: bool = False) -> None:
        self.cluster = cluster
        self.endpoint = endpoint
        self.probe = probe
        self.released = False
        endpoint.active += 1
        words, record = cluster.words, endpoint.record
        words[record + _ACTIVE] += 1
        words[record + _REQUESTS] += 1
        self.counted = cluster.is_limited
        if self.counted:
            cluster.active += 1
            words[cluster.record + _CLUSTER_ACTIVE] += 1

    def on_answer(self, now: float, elapsed_s: float, body_bytes: int) -> None:
        """A good answer has begun, after so long, to a request with so large a body. What it says of the endpoint is
        learnt now: a stream may go on for a minute."""
        endpoint, cluster = self.endpoint, self.cluster
        if cluster.decay_s:
            observe_peak(endpoint, elapsed_s, now, cluster.decay_s)
        if cluster.keeps_latency and now >= endpoint.sample_at:
            endpoint.sample_at = now + SAMPLE_EVERY_S
            at = endpoint.record + _LATENCY + 3 * size_class(body_bytes)
            record_latency(cluster.words, at, elapsed_s)
        endpoint.failures = None
        if self.probe:
            self.probe = False
            cluster.on_probed(endpoint, True)

    def pass_probe_on(self) -> None:
        """It is to tell nothing of a half-open endpoint; another request will."""
        if self.probe:
            self.probe = False
            self.cluster.on_probed(self.endpoint, None)

    def release(self, outcome: Outcome, now: float, elapsed_s: float) -> None:
        """The attempt is over, and lasted so long."""
        if self.released:
            raise RuntimeError(f"the lease on {self.endpoint!r} is released twice")
        self.released = True
        endpoint, cluster = self.endpoint, self.cluster
        words, record = cluster.words, endpoint.record
        endpoint.active -= 1
        words[record + _ACTIVE] -= 1
        if outcome is not _OK:
            cluster.on_trouble(self, outcome, now, elapsed_s)
        if self.counted:
            cluster.active -= 1
            words[cluster.record + _CLUSTER_ACTIVE] -= 1
            if words[cluster.record + _PENDING]:
                cluster.on_capacity()
        elif cluster.is_limited:
            cluster.on_capacity()  # its limits came by a reload, and those of the endpoint count this one
