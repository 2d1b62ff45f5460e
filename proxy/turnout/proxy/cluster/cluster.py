"""A cluster: endpoints, and the choice among them: filter → score → pick.

A cluster outlives the Snapshot that named it, as long as the next ones name it too, and so do its endpoints: what was
learnt of them, the requests in flight, and their pooled connections stay.

What is known when endpoints or their states come is decided then: those that may get no load are not asked, and a
policy is made for the others. Which states they have is the supervisor's to say; from here it is told what fails.
"""

from collections.abc import Callable, Collection, Hashable, Iterable
from math import inf
from typing import Final, Protocol

from turnout.proxy.cluster.budget import Budget
from turnout.proxy.cluster.endpoint import Endpoint, Outcome, Streak
from turnout.proxy.cluster.lease import Lease
from turnout.proxy.cluster.limits import Limiter
from turnout.proxy.cluster.peak_ewma import MAX_PENALTY_S, UNKNOWN, observe_failure, observe_wait
from turnout.proxy.cluster.picker import make_picker
from turnout.proxy.cluster.policies import Tables
from turnout.proxy.cluster.slow_start import factor
from turnout.proxy.cluster.target import State, Target
from turnout.proxy.errors import NO_ENDPOINT, OVERFLOW, Failure
from turnout.proxy.http.hash_key import HashOf, compile_hash_key
from turnout.proxy.telemetry.counters import Counters
from turnout.proxy.telemetry.layout import EndpointWord
from turnout.rules import snapshot

REFRESH_S: Final = 0.1
"""How often the weights of endpoints in slow start are made anew."""

_FAILURES: Final = int(EndpointWord.FAILURES)
_LOCAL: Final = int(EndpointWord.LOCAL_FAILURES)
_ABANDONED: Final = int(EndpointWord.ABANDONED)
_ANSWERS_5XX: Final = int(EndpointWord.ANSWERS_5XX)
_GATEWAY: Final = int(EndpointWord.GATEWAY_FAILURES)


class Supervision(Protocol):
    """Who decides on the states of endpoints, for all workers."""

    def on_failing(self, cluster: str, endpoint: Endpoint, kind: str, count: int) -> None: ...

    def on_probing(self, cluster: str, endpoint: Endpoint) -> None: ...

    def on_probed(self, cluster: str, endpoint: Endpoint, well: bool | None) -> None: ...


class Waiter(Hashable, Protocol):
    """A request that waits for a cluster's limits."""

    def on_turn(self) -> None: ...

    def on_queue_timeout(self) -> None: ...


class Queue(Protocol):
    """Where they wait."""

    def __len__(self) -> int: ...

    def join(self, waiter: Waiter, deadline: float, now: float) -> bool: ...

    def leave(self, waiter: Waiter) -> None: ...

    def on_capacity(self) -> None: ...


class Cluster:
    """Chooses an endpoint for each request.

    `slot` is this worker's, `random` gives numbers in [0, 1). `refusal` says why the last `choose` gave nothing, and
    `may_wait` whether waiting in `queue` may help; `active` are the leases that count for limits. `decay_s` is above 0
    if the policy learns from first-byte times, `keeps_latency` says whether outlier detection does. `multiplexes`: its
    connections take many requests at a time.
    """

    __slots__ = (
        "_at_ease_below", "_available", "_balancing", "_counters", "_endpoints", "_policy", "_probes", "_probing",
        "_random", "_refresh_at", "_slot", "_supervision", "_tables", "_targets", "active", "budget", "config",
        "decay_s", "hash_of", "is_limited", "keeps_latency", "limiter", "may_wait", "multiplexes", "queue", "record",
        "refusal", "words",
    )  # fmt: skip

    def __init__(
        self, config: snapshot.Cluster, slot: int, random: Callable[[], float], counters: Counters,
        supervision: Supervision,
    ) -> None:  # fmt: skip
        self._slot = slot
        self._random = random
        self._counters = counters
        self._supervision = supervision
        self._targets: list[Target] = []
        self._endpoints: dict[tuple[str, int], Endpoint] = {}
        self._probes: list[Endpoint] = []
        self._probing: set[Endpoint] = set()
        self._available: tuple[Endpoint, ...] = ()
        self._refresh_at = inf
        self.words = counters.words
        self.record = 0
        self.refusal: Failure = NO_ENDPOINT
        self.may_wait = False
        self.active = 0
        self.queue: Queue | None = None
        self.budget: Budget | None = None
        self.config = snapshot.Cluster(config.name)
        self._balancing = self.config.load_balancing
        self._tables = Tables(self._balancing, random)
        self.configure(config, 0.0)

    @property
    def endpoints(self) -> tuple[Endpoint, ...]:
        return tuple(self._endpoints.values())

    def configure(self, config: snapshot.Cluster, now: float) -> None:
        """Go by this from now on; the endpoints come with `apply_endpoints`."""
        budget = config.circuit_breaker.retry_budget
        if budget != self.config.circuit_breaker.retry_budget:
            self.budget = Budget(budget, 1 + len(self._counters.others)) if budget is not None else None
        self.config = config
        balancing, outliers = config.load_balancing, config.outlier_detection
        self.decay_s = balancing.decay_s if balancing.policy == "peak_ewma" else 0.0
        # What is not known before the handshake ("auto") is limited as if each request took a connection.
        self.multiplexes = config.protocol in ("h2c", "h2")
        self.keeps_latency = outliers is not None and outliers.latency is not None
        self.hash_of: HashOf | None = compile_hash_key(balancing.hash_on) if balancing.hash_on else None
        if self._balancing != balancing:
            self._balancing = balancing
            self._tables = Tables(balancing, self._random)
        self._limit()
        self._deal(now)

    def apply_endpoints(self, targets: Iterable[Target], record: int, now: float) -> list[Endpoint]:
        """Make these the endpoints; those that stay are kept. Returns the removed."""
        targets = list(targets)
        if record != self.record:
            self.record = record
            self._limit()
        if targets == self._targets:
            return []
        states = {(target.address, target.port): target.state for target in self._targets}
        self._targets = targets
        before = self._endpoints
        self._endpoints = {}
        for target in targets:
            key = target.address, target.port
            endpoint = before.pop(key, None) or Endpoint(target.address, target.port, target.record)
            endpoint.locality = target.locality
            if states.get(key) != target.state:
                endpoint.failures = None  # what comes now is another story
            self._endpoints[key] = endpoint
        for endpoint in before.values():
            endpoint.removed = True
        self._deal(now)
        return list(before.values())

    # The choice

    def choose(
        self, now: float, hash: int = 0, tried: Collection[Endpoint] = (), in_turn: bool = False
    ) -> Lease | None:
        """A lease on an endpoint, if there is another on none of `tried`; None, and `refusal`, if there is none.

        `in_turn`: it has waited in the queue, and so need not line up.
        """
        if now >= self._refresh_at:
            self._weigh(now)
        if self._probes:
            return self._probe()
        available = self._available
        if not available:
            self.refusal = NO_ENDPOINT
            return None
        if tried or self.active >= self._at_ease_below:
            return self._choose_carefully(available, now, hash, tried, in_turn)
        return Lease(self, self._policy.pick(available, now, hash))

    def _choose_carefully(
        self, available: tuple[Endpoint, ...], now: float, hash: int, tried: Collection[Endpoint], in_turn: bool
    ) -> Lease | None:
        limiter = self.limiter
        if self.is_limited and not limiter.may_begin(in_turn=in_turn):
            # For a connection all wait, as in Envoy.
            return self._overflow(may_wait=limiter.queues or limiter.may_start())
        endpoint = self._policy.pick(available, now, hash)
        if endpoint in tried or (limiter.limits_endpoints and not limiter.may_start_at(endpoint.record)):
            able = [other for other in available if limiter.may_start_at(other.record)]
            if not able:
                return self._overflow(may_wait=limiter.queues)
            able = [other for other in able if other not in tried] or able
            endpoint = min(able, key=_cost)
        return Lease(self, endpoint)

    def _overflow(self, *, may_wait: bool) -> Lease | None:
        self.refusal, self.may_wait = OVERFLOW, may_wait
        return None

    def lease(self, endpoint: Endpoint) -> Lease:
        """A lease on an endpoint that the caller chose, of those that may be used."""
        return Lease(self, endpoint)

    @property
    def available(self) -> tuple[Endpoint, ...]:
        """The endpoints that may be used."""
        return self._available

    def least_s(self) -> float:
        """How long an answer takes at the least to begin, seconds, as far as that was seen; 0 if it was not."""
        known = [endpoint.ewma_s for endpoint in self._available if endpoint.ewma_s >= 0.0]
        return min(known, default=0.0)

    def has_room(self) -> bool:
        """Whether one of those who wait may go: its limits let it, or there is nothing left to wait for."""
        available = self._available
        return not available or self.limiter.has_room(endpoint.record for endpoint in available)

    def count(self, word: int, amount: int = 1) -> None:
        """Add to one of the cluster's own numbers (ClusterWord)."""
        self.words[self.record + word] += amount

    def _probe(self) -> Lease:
        """The request that a half-open endpoint gets passes by limits and queue: there is one of it."""
        endpoint = self._probes.pop()
        self._probing.add(endpoint)
        self._supervision.on_probing(self.config.name, endpoint)
        return Lease(self, endpoint, probe=True)

    # What leases tell

    def on_trouble(self, lease: Lease, outcome: Outcome, now: float, elapsed_s: float) -> None:
        """An attempt ended without a good answer, after so long."""
        endpoint = lease.endpoint
        if outcome is Outcome.UNKNOWN or outcome is Outcome.REFUSED:
            if outcome is Outcome.REFUSED:
                endpoint.failures = None
                elapsed_s = 0.0  # nothing is learnt but that it was asked
            else:
                self.words[endpoint.record + _ABANDONED] += 1
            if self.decay_s:
                observe_wait(endpoint, elapsed_s, now)
            if lease.probe:
                self.on_probed(endpoint, None if outcome is Outcome.UNKNOWN else True)
            return
        words, record = self.words, endpoint.record
        words[record + _FAILURES] += 1
        if outcome is Outcome.LOCAL:
            words[record + _LOCAL] += 1
        else:
            words[record + _ANSWERS_5XX] += 1
            if outcome is Outcome.GATEWAY:
                words[record + _GATEWAY] += 1
        if self.decay_s:
            observe_failure(endpoint, elapsed_s, now, self.decay_s)
        if lease.probe:
            self.on_probed(endpoint, False)
        else:
            self._count_streak(endpoint, outcome)

    def _count_streak(self, endpoint: Endpoint, outcome: Outcome) -> None:
        """Envoy's counts of what fails in a row: no answer is a 5xx and a gateway failure, unless those are split."""
        streak = endpoint.failures = endpoint.failures or Streak()
        outliers, accrual = self.config.outlier_detection, self.config.circuit_breaker.failures
        if accrual is not None:
            streak.accrual += 1
            if streak.accrual >= accrual.consecutive:
                streak.accrual = self._report(endpoint, "accrual", streak.accrual)
        if outliers is None:
            return
        if outcome is Outcome.LOCAL and outliers.split_local_origin:
            streak.local += 1
            if streak.local >= outliers.consecutive_local_origin_failure > 0:
                streak.local = self._report(endpoint, "consecutive_local_origin_failure", streak.local)
            return
        if outcome is Outcome.ANSWER_5XX:
            streak.gateway = 0
        else:
            streak.gateway += 1
            if streak.gateway >= outliers.consecutive_gateway_failure > 0:
                streak.gateway = self._report(endpoint, "consecutive_gateway_failure", streak.gateway)
        streak.answers_5xx += 1
        if streak.answers_5xx >= outliers.consecutive_5xx > 0:
            streak.answers_5xx = self._report(endpoint, "consecutive_5xx", streak.answers_5xx)

    def _report(self, endpoint: Endpoint, kind: str, count: int) -> int:
        """Tell of a streak, which then begins anew."""
        self._supervision.on_failing(self.config.name, endpoint, kind, count)
        return 0

    def on_probed(self, endpoint: Endpoint, well: bool | None) -> None:
        """The one request of a half-open endpoint ended; None: and nothing was learnt, so the next one is to tell."""
        self._supervision.on_probed(self.config.name, endpoint, well)

    def on_capacity(self) -> None:
        """A request or a connection of a limited cluster ended: perhaps one that waits here can go."""
        if self.queue is not None:
            self.queue.on_capacity()

    def on_waiting(self) -> None:
        """Somebody waits for a limit now, or nobody any longer.

        A worker that shares its limits with no other need only look at its own number of requests, as long as nobody
        waits and that is small.
        """
        crowded = self._counters.others or self.limiter.limits_endpoints or (self.queue is not None and len(self.queue))
        self._at_ease_below = inf if not self.is_limited else 0 if crowded else self.limiter.most

    # When something changes

    def _limit(self) -> None:
        config = self.config
        self.limiter = Limiter(config.circuit_breaker, self._counters, self.record, multiplexes=self.multiplexes)
        self.is_limited = not self.limiter.is_off
        self.on_waiting()

    def _deal(self, now: float) -> None:
        """Which endpoints get load, and what picks among them."""
        self._weigh(now)
        pairs = [(target, self._endpoints[target.address, target.port]) for target in self._targets]
        self._available, self._policy = make_picker(self._balancing, pairs, self._random, self._tables)
        self._deal_probes()
        self.on_capacity()  # of an endpoint that is back, or of a limit that is another, nobody else tells

    def _deal_probes(self) -> None:
        """The half-open endpoints whose one request is this worker's to send, and not on its way."""
        half_open = [
            self._endpoints[target.address, target.port]
            for target in self._targets
            if target.state == State.HALF_OPEN and target.probe_slot == self._slot
        ]
        # The supervisor takes the right back when it hears of the probe. What it says before that is old news, also if
        # the probe has ended by then.
        self._probing.intersection_update(half_open)
        self._probes = [endpoint for endpoint in half_open if endpoint not in self._probing]

    def _weigh(self, now: float) -> None:
        """The weights as slow start has them now, and when they are to be made anew."""
        slow, self._refresh_at = self.config.slow_start, inf
        for target in self._targets:
            share = 1.0
            if slow is not None and target.since:
                share = factor(slow, target.since, now)
                if share < 1.0:
                    self._refresh_at = now + REFRESH_S
            self._endpoints[target.address, target.port].weight = target.weight * share


def _cost(endpoint: Endpoint) -> tuple[float, float]:
    """By which those are compared that the policy did not pick: peak EWMA's cost, as far as it is known, then load."""
    load = (endpoint.active + 1) / endpoint.weight
    known = endpoint.ewma_s if endpoint.ewma_s >= 0.0 else 0.0 if endpoint.ewma_s == UNKNOWN else MAX_PENALTY_S
    return known * load, load
