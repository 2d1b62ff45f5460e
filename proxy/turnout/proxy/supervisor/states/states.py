"""The states of all clusters' endpoints, put to work: checks run, counters are read, timers armed, workers listened to.

What is decided is decided in `cluster_states`, without I/O; here is the shell. A change is told by
`on_change(cluster)`; whoever is told then asks `standing`. One timer serves all clusters.
"""

import asyncio
import logging
import random
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from heapq import heappop, heappush
from math import inf
from typing import TYPE_CHECKING

from turnout.proxy.cluster.outliers.sample import Sample, read_sample
from turnout.proxy.cluster.target import State
from turnout.proxy.supervisor.health.thresholds import Result
from turnout.proxy.supervisor.options import Address
from turnout.proxy.supervisor.states.cluster_states import NO_STANDING, ClusterStates, Standing
from turnout.proxy.supervisor.states.events import Events
from turnout.proxy.worker.messages import Failing, Probed, Probing
from turnout.rules.resilience import HealthCheck
from turnout.rules.snapshot import Cluster, Endpoint

if TYPE_CHECKING:
    from turnout.proxy.net.tls.upstream import UpstreamContext
    from turnout.proxy.supervisor.health.checker import Checker
    from turnout.proxy.supervisor.health.probes import Prober

logger = logging.getLogger(__name__)

AT_ONCE = 100
"""So many clusters wake in one turn of the loop, at the most: the others of the loop are not to wait for thousands."""

Told = Mapping[Address, Endpoint]
"""A cluster's addresses, each with what its Snapshot says of it."""


class Watched:
    """A cluster's states with what is done for them: counters read, checks run, the time that it next wakes at."""

    __slots__ = ("checkers", "samples", "states", "wake_at")

    def __init__(self, states: ClusterStates) -> None:
        self.states = states
        self.samples: dict[str, Sample] = {}
        self.checkers: dict[Address, Checker] = {}
        self.wake_at: float | None = None


class States:
    """All clusters'.

    `read_record(cluster, key)` gives the words of an endpoint's counters, summed over all workers; `slots()` those
    whose workers serve; `on_change(cluster)` is told when workers have to know something new.
    """

    def __init__(
        self,
        events: Events,
        read_record: Callable[[str, str], list[int]],
        slots: Callable[[], Collection[int]],
        on_change: Callable[[str], None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.events = events
        self._read_record = read_record
        self._slots = slots
        self._on_change = on_change
        self._clock = clock
        self._loop = asyncio.get_running_loop()
        self._clusters: dict[str, Watched] = {}
        self._prober: Prober | None = None
        self.find_tls: Callable[[Cluster], UpstreamContext | None] = lambda cluster: None
        """What active checks speak to the endpoints of a cluster."""
        # When clusters wake, earliest first; an entry counts if it is still its cluster's `wake_at`.
        self._wakes: list[tuple[float, str]] = []
        self._timer: asyncio.TimerHandle | None = None
        self._timer_at = inf
        self.checks: dict[tuple[str, str], int] = {}
        """How many active checks there were by cluster and outcome; warm checks are `warm_` + outcome."""

    def clusters(self) -> Iterator[ClusterStates]:
        """All that are known, for the admin."""
        for watched in self._clusters.values():
            yield watched.states

    def standing(self, cluster: str, address: Address) -> Standing:
        """What workers are to be told of an endpoint."""
        watched = self._clusters.get(cluster)
        return watched.states.standing(str(address)) if watched is not None else NO_STANDING

    # Which endpoints there are

    def configure(self, config: Cluster) -> None:
        """There is a cluster with these settings."""
        watched = self._clusters.get(config.name)
        if watched is None:
            self._clusters[config.name] = Watched(ClusterStates(config, self.events, random.random))
        elif watched.states.config != config:
            judged = watched.states.detector is not None
            changed = watched.states.configure(config, self._clock())
            if not judged:
                watched.samples.clear()
                self._begin_samples(watched)
            self._check(watched, list(watched.checkers))
            self._done(watched, changed)

    def add(self, name: str, told: Told) -> None:
        """A cluster that is there has these endpoints too."""
        watched = self._clusters[name]
        watched.states.add({str(address): endpoint.healthy for address, endpoint in told.items()}, self._clock())
        self._begin_samples(watched)
        self._check(watched, told)
        self._done(watched)

    async def first_checks(self, clusters: Iterable[str], timeout_s: float) -> None:
        """Wait until each endpoint of these was checked once, at most that long."""
        waits = [
            asyncio.ensure_future(checker.judged.wait())
            for name in clusters
            for checker in self._clusters[name].checkers.values()
            if not checker.judged.is_set()
        ]
        if waits:
            _, pending = await asyncio.wait(waits, timeout=timeout_s)
            for wait in pending:
                wait.cancel()

    def keep(self, name: str, told: Told) -> None:
        """A cluster serves with these endpoints, and has no others."""
        self.add(name, told)
        watched = self._clusters[name]
        watched.states.keep({str(address): endpoint.healthy for address, endpoint in told.items()}, self._clock())
        watched.states.serve()
        for key in watched.samples.keys() - watched.states.endpoints.keys():
            del watched.samples[key]
        for address in watched.checkers.keys() - told.keys():
            watched.checkers.pop(address).cancel()
        self._done(watched)

    def keep_only(self, clusters: Collection[str]) -> None:
        """There are no other clusters any more."""
        for name in self._clusters.keys() - set(clusters):
            for checker in self._clusters.pop(name).checkers.values():
                checker.cancel()

    async def close(self) -> None:
        """End all checks."""
        self.keep_only(())
        if self._timer is not None:
            self._timer.cancel()
        if self._prober is not None:
            await self._prober.close()

    # What workers say

    def on_failing(self, message: Failing) -> None:
        """A worker saw failures in a row."""
        watched = self._clusters.get(message.cluster)
        if watched is not None:
            self._done(watched, watched.states.on_failing(_key(message), message.kind, message.count, self._clock()))

    def on_probing(self, slot: int, message: Probing) -> None:
        """A worker sent the probe of a half-open endpoint."""
        watched = self._clusters.get(message.cluster)
        if watched is not None:
            self._done(watched, watched.states.on_probing(_key(message), slot))

    def on_probed(self, slot: int, message: Probed) -> None:
        """That probe ended."""
        watched = self._clusters.get(message.cluster)
        if watched is not None:
            now, slots = self._clock(), self._slots()
            self._done(watched, watched.states.on_probed(_key(message), slot, message.well, slots, now))

    def on_slot_gone(self, slot: int) -> None:
        """A worker died."""
        slots, now = self._slots(), self._clock()
        for watched in self._clusters.values():
            self._done(watched, watched.states.on_slot_gone(slot, slots, now))

    # Time

    def _done(self, watched: Watched, changed: bool = False) -> None:
        """See to it that a cluster wakes when it has to, and tell if workers have to know something."""
        wake_at = watched.states.wake_at
        if wake_at != watched.wake_at:
            watched.wake_at = wake_at
            if wake_at is not None:
                heappush(self._wakes, (wake_at, watched.states.config.name))
                self._arm()
        if changed:
            self._on_change(watched.states.config.name)

    def _arm(self) -> None:
        wake_at = self._wakes[0][0] if self._wakes else inf
        if wake_at < self._timer_at:
            if self._timer is not None:
                self._timer.cancel()
            self._timer_at = wake_at
            self._timer = self._loop.call_later(max(0.0, wake_at - self._clock()), self._on_timer)

    def _on_timer(self) -> None:
        self._timer, self._timer_at = None, inf
        now, slots = self._clock(), self._slots()
        due: list[tuple[float, str]] = []
        while self._wakes and self._wakes[0][0] <= now and len(due) < AT_ONCE:
            due.append(heappop(self._wakes))
        for wake_at, name in due:
            watched = self._clusters.get(name)
            if watched is not None and watched.wake_at == wake_at:
                watched.wake_at = None
                self._wake(watched, slots, now)
        self._arm()

    def _wake(self, watched: Watched, slots: Collection[int], now: float) -> None:
        states, changed = watched.states, False
        if states.interval_is_due(now):
            changed = states.on_interval({key: self._sample(watched, key) for key in states.endpoints}, now)
        changed |= states.on_timer(slots, now)
        self._done(watched, changed)

    # Counters

    def _begin_samples(self, watched: Watched) -> None:
        """What was counted of new endpoints until now was before outlier detection's time."""
        if watched.states.detector is not None:
            for key in watched.states.endpoints.keys() - watched.samples.keys():
                self._sample(watched, key)

    def _sample(self, watched: Watched, key: str) -> Sample:
        """What happened at an endpoint since this was last asked."""
        reading = read_sample(self._read_record(watched.states.config.name, key))
        before = watched.samples.get(key, reading)
        watched.samples[key] = reading
        return reading.since(before)

    # Active checks

    def _check(self, watched: Watched, addresses: Iterable[Address]) -> None:
        """Run the checks that these endpoints are to have now, and no others."""
        config, checkers = watched.states.config.health_check, watched.checkers
        for address in addresses:
            checker = checkers.get(address)
            if checker is not None and checker.config != config:
                checkers.pop(address).cancel()
                checker = None
            if checker is None and config is not None:
                checkers[address] = self._start_checker(watched, config, address)

    def _start_checker(self, watched: Watched, config: HealthCheck, address: Address) -> "Checker":
        # Imported with the first check: a proxy without any need not hold an HTTP client.
        from turnout.proxy.supervisor.health.checker import Checker
        from turnout.proxy.supervisor.health.probes import Prober

        if self._prober is None:
            self._prober = Prober()
        states, key = watched.states, str(address)

        def on_checked(result: Result) -> bool:
            self._count(states, result.outcome)
            self._done(watched, states.on_checked(key, result, self._clock()))
            return states.standing(key).state is State.WARMING

        def on_warmed(result: Result) -> None:
            self._count(states, f"warm_{result.outcome}")
            self._done(watched, states.on_warmed(key, result, self._clock()))

        checker = Checker(
            self._prober, config, address, on_checked, on_warmed, lambda: self.find_tls(states.config)
        )  # fmt: skip
        checker.task.add_done_callback(_tell_failure)
        return checker

    def _count(self, cluster: ClusterStates, outcome: str) -> None:
        place = cluster.config.name, outcome
        self.checks[place] = self.checks.get(place, 0) + 1


def _key(message: Failing | Probing | Probed) -> str:
    return str(Address(message.address, message.port))


def _tell_failure(task: asyncio.Task[None]) -> None:
    if not task.cancelled() and (error := task.exception()) is not None:
        logger.error("%s ended", task.get_name(), exc_info=error)
