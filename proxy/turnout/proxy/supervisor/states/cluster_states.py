"""The states of one cluster's endpoints: what active checks, outlier detection and breakers come to together.

The one authority for all workers. No I/O and no clock: methods take `now` and return whether what workers have to know
changed; `wake_at` says when `on_timer` is to be called. Rules:

* An endpoint gets requests if all agree (Envoy's health flags). Of those that do not, the first in this order is its
  state: control plane, active check, warm check, outlier detection, breaker.
* What was learnt lasts as long as the endpoint, over reloads and other settings. A breaker begins anew when its own
  settings change.
* Outlier detection is told who gets no requests for another reason, so that it leaves enough of the others.
* Slow start begins when an endpoint comes to a cluster that serves, or gets well again. Those with which a cluster
  began have none: all would have the same (Envoy's have, with the same result).
"""

from collections.abc import Callable, Collection, Iterable, Mapping
from typing import NamedTuple, cast

from turnout.proxy.cluster.failure_accrual import NO_SLOT, Breaker
from turnout.proxy.cluster.outliers.decision import Decision, Kind
from turnout.proxy.cluster.outliers.detector import OutlierDetector
from turnout.proxy.cluster.outliers.sample import Sample
from turnout.proxy.cluster.target import State
from turnout.proxy.supervisor.health.thresholds import Health, Result
from turnout.proxy.supervisor.states.events import Events, Value
from turnout.rules.snapshot import Cluster

ACCRUAL = "accrual"
"""The kind of `messages.Failing` that is for the breaker; all others are for outlier detection."""


class Standing(NamedTuple):
    """What workers are told of an endpoint beside what its Snapshot says (see `Target`)."""

    state: State = State.AVAILABLE
    probe_slot: int = NO_SLOT
    since: float = 0.0


NO_STANDING = Standing()
STRONGER_THAN_EJECTION = (State.UNHEALTHY, State.FAILED_CHECK, State.WARMING)
WHAT = {"eject": "ejected", "uneject": "unejected", "kept": "ejection_forbidden"}
"""How the actions of outlier detection are called in events."""


class EndpointStates:
    """What the supervisor knows of one endpoint. `changed_at` is when its state last did."""

    __slots__ = ("breaker", "changed_at", "health", "since", "state", "told_healthy")

    def __init__(self, told_healthy: bool, now: float) -> None:
        self.told_healthy = told_healthy
        self.health: Health | None = None
        self.breaker: Breaker | None = None
        self.state: State | None = None
        self.since = 0.0
        self.changed_at = now


class ClusterStates:
    """One cluster's. Endpoints go by "address:port", as in `Endpoint.key`; `random` gives numbers in [0, 1)."""

    def __init__(self, config: Cluster, events: Events, random: Callable[[], float]) -> None:
        self.config = config
        self.endpoints: dict[str, EndpointStates] = {}
        self.detector: OutlierDetector | None = None
        self._events = events
        self._random = random
        self._serves = False
        self._configure_detector()

    def __repr__(self) -> str:
        states = ", ".join(f"{key} {known.state.name}" for key, known in self.endpoints.items() if known.state)
        return f"<ClusterStates {self.config.name}: {states or 'all available'}>"

    @property
    def wake_at(self) -> float | None:
        """When `on_timer` is to be called, None for never."""
        wakes = [known.breaker.wake_at for known in self.endpoints.values() if known.breaker is not None]
        if self.detector is not None:
            wakes.append(self.detector.wake_at)
        return min((at for at in wakes if at is not None), default=None)

    def interval_is_due(self, now: float) -> bool:
        """Whether outlier detection wants samples."""
        return self.detector is not None and self.detector.wake_at is not None and now >= self.detector.wake_at

    # What is known

    def configure(self, config: Cluster, now: float) -> bool:
        """Go by another configuration."""
        before, self.config = self.config, config
        self._configure_detector()
        for known in self.endpoints.values():
            self._configure_health(known)
            if before.circuit_breaker.failures != config.circuit_breaker.failures:
                known.breaker = self._make_breaker()
        return self._refresh(self.endpoints, now)

    def add(self, told: Mapping[str, bool], now: float) -> None:
        """These are endpoints too, each with whether the control plane says that it is healthy."""
        new = told.keys() - self.endpoints.keys()
        for key in told:
            if key in new:
                known = self.endpoints[key] = EndpointStates(told[key], now)
                known.breaker = self._make_breaker()
                self._configure_health(known)
        self._refresh(new, now)

    def keep(self, told: Mapping[str, bool], now: float) -> None:
        """All others are no endpoints any more."""
        for key in self.endpoints.keys() - told.keys():
            del self.endpoints[key]
        for key in self.endpoints:
            self.endpoints[key].told_healthy = told[key]
        self._refresh(self.endpoints, now)

    def serve(self) -> None:
        """From now on, who comes or gets well begins slowly."""
        self._serves = True

    def standing(self, key: str) -> Standing:
        """What workers are to be told of an endpoint."""
        known = self.endpoints.get(key)
        if known is None or known.state is None:
            return NO_STANDING
        probe_slot = known.breaker.probe_slot if known.breaker and known.state is State.HALF_OPEN else NO_SLOT
        return Standing(known.state, probe_slot, known.since if known.state is State.AVAILABLE else 0.0)

    # Active checks

    def on_checked(self, key: str, result: Result, now: float) -> bool:
        """An active check of an endpoint ended."""
        known = self.endpoints.get(key)
        if known is None or known.health is None:
            return False
        first, was_healthy = not known.health.checked, known.health.healthy
        known.health.on_checked(result)
        if known.health.healthy != was_healthy:
            self._record(key, "check_passed" if known.health.healthy else "check_failed", result)
        elif first and not result.passed:
            self._record(key, "check_failed", result)
        changed = False
        if known.health.healthy and result.passed and self.detector is not None:
            changed = self._carry_out(self.detector.on_health_check_passed(key, now), now)
        return self._refresh([key], now) or changed

    def on_warmed(self, key: str, result: Result, now: float) -> bool:
        """A warm check of an endpoint ended."""
        known = self.endpoints.get(key)
        if known is None or known.health is None:
            return False
        known.health.on_warmed(result)
        self._record(key, "warmed" if result.passed else "warm_check_failed", result)
        return self._refresh([key], now)

    # Outlier detection

    def on_failing(self, key: str, kind: str, count: int, now: float) -> bool:
        """A worker saw so many failures of a kind in a row."""
        known = self.endpoints.get(key)
        if known is None:
            return False
        if kind != ACCRUAL:
            if self.detector is None:
                return False
            return self._carry_out(self.detector.on_failing(key, cast(Kind, kind), count, now), now)
        if known.breaker is None or not known.breaker.on_failing(now):
            return False
        self._record_open(key, known.breaker, now, {"failures": count})
        return self._refresh([key], now)

    def on_interval(self, samples: Mapping[str, Sample], now: float) -> bool:
        """What happened at each endpoint since the last interval."""
        return self.detector is not None and self._carry_out(self.detector.on_interval(samples, now), now)

    # Breakers

    def on_probing(self, key: str, slot: int) -> bool:
        """The worker of a slot sent the probe of a half-open endpoint."""
        known = self.endpoints.get(key)
        return known is not None and known.breaker is not None and known.breaker.on_probing(slot)

    def on_probed(self, key: str, slot: int, well: bool | None, slots: Collection[int], now: float) -> bool:
        """That probe ended."""
        known = self.endpoints.get(key)
        if known is None or known.breaker is None or not known.breaker.on_probed(slot, well, slots, now):
            return False
        if known.breaker.state is State.AVAILABLE:
            self._events.record(self.config.name, key, "breaker_closed", bad=False)
        elif known.breaker.state is State.OPEN:
            self._record_open(key, known.breaker, now, {"probe": "failed"})
        self._refresh([key], now)
        return True

    def on_slot_gone(self, slot: int, slots: Collection[int], now: float) -> bool:
        """The worker of a slot died."""
        changed = False
        for known in self.endpoints.values():
            if known.breaker is not None:
                changed |= known.breaker.on_slot_gone(slot, slots, now)
        return changed

    def on_timer(self, slots: Collection[int], now: float) -> bool:
        """It is `wake_at`, of a breaker."""
        changed = False
        for key, known in self.endpoints.items():
            breaker = known.breaker
            if breaker is None:
                continue
            before = breaker.state
            if breaker.on_timer(slots, now):
                changed = True
                if breaker.state is not before:
                    self._events.record(self.config.name, key, "breaker_half_open", bad=False)
                    self._refresh([key], now)
        return changed

    # How states come about

    def _refresh(self, keys: Iterable[str], now: float) -> bool:
        """Make the states of these anew, and with them what follows for others; whether any changed."""
        changed = False
        for key in keys:
            changed |= self._refresh_one(self.endpoints[key], key, now)
        if self.detector is not None:
            held = [
                key for key, known in self.endpoints.items() if self._without_ejection(known) is not State.AVAILABLE
            ]
            decisions = self.detector.set_endpoints(self.endpoints.keys(), now, held)
            changed |= self._carry_out(decisions, now)
        return changed

    def _refresh_one(self, known: EndpointStates, key: str, now: float) -> bool:
        state, before = self._state_of(key, known), known.state
        if state is before:
            return False
        known.state, known.changed_at = state, now
        if state is State.AVAILABLE:
            known.since = now if self._serves and self.config.slow_start is not None else 0.0
        return True

    def _state_of(self, key: str, known: EndpointStates) -> State:
        state = self._without_ejection(known)
        if self.detector is not None and key in self.detector.ejected and state not in STRONGER_THAN_EJECTION:
            return State.EJECTED
        return state

    def _without_ejection(self, known: EndpointStates) -> State:
        if not known.told_healthy:
            return State.UNHEALTHY
        if known.health is not None and known.health.state is not State.AVAILABLE:
            return known.health.state
        return known.breaker.state if known.breaker is not None else State.AVAILABLE

    def _carry_out(self, decisions: Iterable[Decision], now: float) -> bool:
        """Record what outlier detection decided, and see to what comes of it."""
        changed = False
        for decision in decisions:
            numbers: dict[str, Value] = dict(decision.numbers)
            if decision.reason:
                numbers["reason"] = decision.reason
            what, is_bad = WHAT[decision.action], decision.action != "uneject"
            self._events.record(self.config.name, decision.key, what, decision.kind, numbers, is_bad)
            known = self.endpoints.get(decision.key)
            if known is not None:
                changed |= self._refresh_one(known, decision.key, now)
        return changed

    def _record(self, key: str, what: str, result: Result) -> None:
        numbers: dict[str, Value] = {"detail": result.detail, "took_s": round(result.took_s, 6)}
        self._events.record(self.config.name, key, what, "", numbers, not result.passed)

    def _record_open(self, key: str, breaker: Breaker, now: float, numbers: Mapping[str, Value]) -> None:
        assert breaker.wake_at is not None
        told: dict[str, Value] = {**numbers, "times": breaker.opened, "for_s": round(breaker.wake_at - now, 3)}
        self._events.record(self.config.name, key, "breaker_open", "", told)

    # Configuration

    def _make_breaker(self) -> Breaker | None:
        accrual = self.config.circuit_breaker.failures
        return Breaker(accrual, self._random) if accrual is not None else None

    def _configure_health(self, known: EndpointStates) -> None:
        check = self.config.health_check
        if check is None:
            known.health = None
        elif known.health is not None:
            known.health.configure(check)
        else:
            # An endpoint that serves already is well until a check says otherwise.
            known.health = Health(check, healthy=known.state is not None)

    def _configure_detector(self) -> None:
        config = self.config.outlier_detection
        if config is None:
            self.detector = None
        elif self.detector is None:
            self.detector = OutlierDetector(config, self._random)
        else:
            self.detector.config = config
