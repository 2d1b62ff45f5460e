"""How checks, ejections and breakers come together to one state of an endpoint, at times that the test gives."""

import json

import pytest

from turnout.proxy.cluster.outliers.sample import Sample
from turnout.proxy.cluster.target import State
from turnout.proxy.supervisor.health.thresholds import Result
from turnout.proxy.supervisor.logs import JsonFormatter
from turnout.proxy.supervisor.states.cluster_states import NO_STANDING, ClusterStates, Standing
from turnout.proxy.supervisor.states.events import KEPT, Events
from turnout.rules.resilience import (
    CircuitBreaker,
    FailureAccrual,
    HealthCheck,
    OutlierDetection,
    Probe,
    SlowStart,
)
from turnout.rules.snapshot import Cluster

A, B, C, D = (f"10.0.0.{number}:8" for number in range(1, 5))
PASSED, NO = Result("passed"), Result("refused", "/ready: status 503", 0.002)
OUTLIERS = OutlierDetection(consecutive_5xx=3, base_ejection_s=30.0, interval_s=10.0)
BREAKER = CircuitBreaker(failures=FailureAccrual(min_s=1.0, jitter=0.0))


def states_of(*keys: str, told: dict[str, bool] | None = None, **config) -> ClusterStates:
    """A cluster that serves since 0."""
    states = ClusterStates(Cluster("c", **config), Events(lambda: 7.0), lambda: 0.0)
    states.add(told or dict.fromkeys(keys, True), 0.0)
    states.serve()
    return states


def shown(states: ClusterStates) -> list[State]:
    return [states.standing(key).state for key in states.endpoints]


def said(states: ClusterStates) -> list[tuple[str, str, str]]:
    return [(event.endpoint, event.what, event.why) for event in states._events.last]


def test_without_anything_configured_all_are_available_and_nothing_wakes():
    states = states_of(A, B)
    assert [states.standing(key) for key in (A, B, "never heard of")] == [NO_STANDING] * 3
    assert states.wake_at is None
    assert not states.on_failing(A, "consecutive_5xx", 9, 1.0)
    assert not states.on_failing(A, "accrual", 9, 1.0)
    assert not states.on_checked(A, NO, 1.0)


def test_the_control_planes_word_comes_before_all_others():
    states = states_of(told={A: False, B: True}, health_check=HealthCheck())
    assert shown(states) == [State.UNHEALTHY, State.FAILED_CHECK]
    states.on_checked(A, PASSED, 1.0)
    assert shown(states) == [State.UNHEALTHY, State.FAILED_CHECK]
    states.keep({A: True, B: True}, 2.0)
    assert shown(states) == [State.AVAILABLE, State.FAILED_CHECK]


def test_an_endpoint_is_checked_and_warmed_before_its_first_request():
    states = states_of(A, health_check=HealthCheck(warm=Probe("/infer")))
    assert shown(states) == [State.FAILED_CHECK]
    assert states.on_checked(A, PASSED, 1.0)
    assert shown(states) == [State.WARMING]
    assert not states.on_warmed(A, NO, 2.0)
    assert states.on_warmed(A, PASSED, 3.0)
    assert shown(states) == [State.AVAILABLE]
    assert said(states) == [(A, "check_passed", ""), (A, "warm_check_failed", ""), (A, "warmed", "")]


def test_a_failed_first_check_is_told_with_its_reason_and_the_next_ones_are_not():
    states = states_of(A, health_check=HealthCheck())
    for now in (1.0, 2.0, 3.0):
        assert not states.on_checked(A, NO, now)
    (event,) = states._events.last
    assert (event.what, event.numbers["detail"], event.time) == ("check_failed", "/ready: status 503", 7.0)


def test_failures_in_a_row_eject_and_a_passed_check_brings_back():
    states = states_of(A, B, health_check=HealthCheck(), outlier_detection=OUTLIERS)
    for key in (A, B):
        states.on_checked(key, PASSED, 1.0)
    assert states.on_failing(A, "consecutive_5xx", 3, 2.0)
    assert shown(states) == [State.EJECTED, State.AVAILABLE]
    assert states.on_checked(A, PASSED, 3.0)
    assert shown(states) == [State.AVAILABLE, State.AVAILABLE]
    assert said(states)[2:] == [(A, "ejected", "consecutive_5xx"), (A, "unejected", "consecutive_5xx")]


def test_the_last_one_is_not_ejected_and_that_is_told():
    states = states_of(A, B, outlier_detection=OUTLIERS)
    assert states.on_failing(A, "consecutive_5xx", 3, 1.0)
    assert not states.on_failing(B, "consecutive_5xx", 3, 2.0)
    assert shown(states) == [State.EJECTED, State.AVAILABLE]
    assert said(states)[-1] == (B, "ejection_forbidden", "consecutive_5xx")
    assert states._events.last[-1].numbers["reason"] == "min_available"


def test_ejections_end_at_an_interval():
    states = states_of(A, B, outlier_detection=OUTLIERS)
    states.on_failing(A, "consecutive_5xx", 3, 1.0)
    now = 0.0
    while states.standing(A).state is State.EJECTED:
        assert states.wake_at == now + 10.0
        assert not states.interval_is_due(now + 9.0)
        now += 10.0
        assert states.interval_is_due(now)
        states.on_interval({A: Sample(), B: Sample()}, now)
    assert now == 40.0


def test_one_that_fails_its_checks_counts_as_not_available_for_outlier_detection():
    states = states_of(A, B, health_check=HealthCheck(), outlier_detection=OUTLIERS)
    for key in (A, B):
        states.on_checked(key, PASSED, 1.0)
    states.on_failing(A, "consecutive_5xx", 3, 2.0)
    assert states.on_checked(B, NO, 3.0)
    # The other one is all that is left: it is back although it failed.
    assert shown(states) == [State.AVAILABLE, State.FAILED_CHECK]


def test_a_breaker_opens_is_probed_once_and_closes():
    states = states_of(A, B, circuit_breaker=BREAKER)
    assert states.on_failing(A, "accrual", 7, 1.0)
    assert shown(states) == [State.OPEN, State.AVAILABLE]
    assert states.wake_at == 2.0
    assert states.on_timer([0, 1], 2.0)
    assert states.standing(A) == Standing(State.HALF_OPEN, 0)
    assert states.on_probing(A, 0)
    assert states.standing(A) == Standing(State.HALF_OPEN)
    assert states.on_probed(A, 0, False, [0, 1], 3.0)
    assert (shown(states)[0], states.wake_at) == (State.OPEN, 5.0)
    states.on_timer([0, 1], 5.0)
    assert states.on_slot_gone(0, [1], 5.5)
    assert states.standing(A).probe_slot == 1
    assert states.on_probed(A, 1, True, [1], 6.0)
    assert shown(states) == [State.AVAILABLE, State.AVAILABLE]
    whats = [what for _, what, _ in said(states)]
    assert whats == ["breaker_open", "breaker_half_open", "breaker_open", "breaker_half_open", "breaker_closed"]
    assert states._events.last[2].numbers == {"probe": "failed", "times": 2, "for_s": 2.0}


def test_an_ejected_endpoint_is_not_probed():
    states = states_of(A, B, circuit_breaker=BREAKER, outlier_detection=OUTLIERS)
    states.on_failing(A, "consecutive_5xx", 3, 1.0)
    states.on_failing(A, "accrual", 7, 1.0)
    states.on_timer([0], 2.0)
    assert states.standing(A) == Standing(State.EJECTED)


def test_slow_start_begins_for_who_comes_later_or_gets_well_again():
    states = states_of(A, circuit_breaker=BREAKER, slow_start=SlowStart())
    assert states.standing(A).since == 0.0
    states.add({B: True}, 5.0)
    assert states.standing(B).since == 5.0
    states.on_failing(A, "accrual", 7, 6.0)
    states.on_timer([0], 7.0)
    assert states.standing(A).since == 0.0
    states.on_probed(A, 0, True, [0], 8.0)
    assert [states.standing(key).since for key in (A, B)] == [8.0, 5.0]


def test_what_is_known_outlasts_other_settings():
    states = states_of(A, B, C, D, circuit_breaker=BREAKER, outlier_detection=OUTLIERS, health_check=HealthCheck())
    for key in (A, B, C, D):
        states.on_checked(key, PASSED, 1.0)
    states.on_failing(A, "consecutive_5xx", 3, 2.0)
    states.on_failing(B, "accrual", 7, 2.0)
    before = shown(states)
    changed = Cluster(
        "c", circuit_breaker=BREAKER, outlier_detection=OutlierDetection(), health_check=HealthCheck(interval_s=1.0)
    )
    assert not states.configure(changed, 3.0)
    assert shown(states) == before == [State.EJECTED, State.OPEN, State.AVAILABLE, State.AVAILABLE]
    assert states.configure(Cluster("c"), 4.0)
    assert shown(states) == [State.AVAILABLE] * 4


def test_checks_that_come_with_a_reload_do_not_take_away_who_serves():
    states = states_of(A)
    assert not states.configure(Cluster("c", health_check=HealthCheck(warm=Probe("/infer"))), 1.0)
    states.add({B: True}, 1.0)
    assert shown(states) == [State.AVAILABLE, State.FAILED_CHECK]


def test_who_has_gone_and_comes_back_is_new():
    states = states_of(A, B, circuit_breaker=BREAKER)
    states.on_failing(A, "accrual", 7, 1.0)
    states.keep({B: True}, 2.0)
    assert states.wake_at is None
    assert not states.on_failing(A, "accrual", 7, 2.0)
    states.keep({B: True}, 2.0)
    states.add({A: True}, 3.0)
    assert states.standing(A).state is State.AVAILABLE


def test_only_the_last_events_are_kept_and_all_are_counted(caplog):
    events = Events(lambda: 1.0)
    with caplog.at_level("INFO"):
        for number in range(KEPT + 1):
            events.record("c", A, "ejected", "latency", {"ratio": 1 / 3, "requests": number})
    assert (len(events.last), events.last[0].numbers["requests"]) == (KEPT, 1)
    assert events.counts["ejected", "latency", "c"] == KEPT + 1
    assert caplog.messages[0] == f"{A} of c: ejected (latency): ratio=0.333333 requests=0"
    logged = json.loads(JsonFormatter().format(caplog.records[0]))
    assert logged["event"]["numbers"] == {"ratio": 1 / 3, "requests": 0}


@pytest.mark.parametrize("kind", ["success_rate", "no such kind"])
def test_a_kind_that_is_not_of_failures_in_a_row_is_a_fault(kind):
    with pytest.raises(ValueError):
        states_of(A, B, outlier_detection=OUTLIERS).on_failing(A, kind, 3, 1.0)
