"""Which endpoint a request gets: turns, weights, priorities, health, and changes of all of them."""

import random
from collections import Counter
from math import sqrt

import pytest

from turnout.proxy.cluster.cluster import Cluster
from turnout.proxy.cluster.endpoint import Endpoint, Outcome
from turnout.proxy.cluster.target import State, Target
from turnout.proxy.telemetry.counters import Counters
from turnout.rules import snapshot as s
from turnout.rules.resilience import (
    CircuitBreaker,
    FailureAccrual,
    Limits,
    LoadBalancing,
    OutlierDetection,
    RetryBudget,
    SlowStart,
)

TURNS = LoadBalancing("round_robin")
NO_LIMITS = Limits()


class Told:
    """The supervisor: what it was told, as text."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def on_failing(self, cluster: str, endpoint: Endpoint, kind: str, count: int) -> None:
        self.lines.append(f"{cluster} {endpoint.key} {kind} {count}")

    def on_probing(self, cluster: str, endpoint: Endpoint) -> None:
        self.lines.append(f"probing {endpoint.key}")

    def on_probed(self, cluster: str, endpoint: Endpoint, well: bool | None) -> None:
        self.lines.append(f"probed {endpoint.key} {well}")


def make(config: s.Cluster, *targets: Target, seed: int = 1, told: Told | None = None) -> Cluster:
    words = memoryview(bytearray(8 * 2_000)).cast("Q")
    cluster = Cluster(config, 0, random.Random(seed).random, Counters(words), told or Told())
    cluster.apply_endpoints(targets, RECORD, 0.0)
    return cluster


def make_cluster(*targets: Target, seed: int = 1) -> Cluster:
    return make(s.Cluster("c", load_balancing=TURNS), *targets, seed=seed)


RECORD = 1_000


def target(name: str, weight: int = 1, priority: int = 0, *, healthy: bool = True) -> Target:
    state = State.AVAILABLE if healthy else State.UNHEALTHY
    return Target(name, 80, 200 * (ord(name[-1]) % 4), weight, priority, state=state)


def choose(cluster: Cluster, count: int) -> list[str]:
    leases = [cluster.choose(0.0) for _ in range(count)]
    for lease in leases:
        assert lease is not None
        lease.release(Outcome.OK, 0.0, 0.001)
    return [lease.endpoint.address for lease in leases if lease is not None]


def test_equal_ones_take_turns() -> None:
    cluster = make_cluster(target("a"), target("b"), target("c"))
    chosen = choose(cluster, 9)
    assert chosen[:3] == chosen[3:6] == chosen[6:]
    assert sorted(chosen[:3]) == ["a", "b", "c"]


def test_equal_weights_are_no_weights() -> None:
    cluster = make_cluster(target("a", 7), target("b", 7))
    assert sorted(choose(cluster, 2)) == ["a", "b"]


@pytest.mark.parametrize("weights", [(1, 2), (5, 1, 1), (100, 1), (3, 7, 11, 13), (1, 4_000_000)])
def test_each_gets_exactly_its_weight(weights: tuple[int, ...]) -> None:
    total = sum(weights)
    rounds = max(1, 200 // total) if total < 1_000 else 0
    cluster = make_cluster(*(target(str(at), weight) for at, weight in enumerate(weights)))
    seen = Counter(choose(cluster, rounds * total or 2_000))
    if rounds:
        assert [seen[str(at)] for at in range(len(weights))] == [rounds * weight for weight in weights]
    else:
        assert seen["0"] <= 1


def test_weights_are_spread_and_not_in_a_row() -> None:
    text = "".join(choose(make_cluster(target("a", 50), target("b", 50), target("c", 1)), 101))
    assert "aaa" not in text
    assert "bbb" not in text


def test_workers_do_not_go_in_step() -> None:
    targets = [target(str(at), weight) for at, weight in enumerate((2, 3, 4, 5))]
    firsts = {choose(make_cluster(*targets, seed=seed), 1)[0] for seed in range(20)}
    assert len(firsts) > 1


def test_the_unhealthy_get_nothing_while_others_of_their_priority_are_healthy() -> None:
    cluster = make_cluster(target("a"), target("b", healthy=False), target("c"))
    assert set(choose(cluster, 20)) == {"a", "c"}


def test_where_nothing_is_healthy_there_is_no_endpoint() -> None:
    cluster = make_cluster(target("a", healthy=False), target("b", 5, 1, healthy=False))
    assert cluster.choose(0.0) is None
    assert len(cluster.endpoints) == 2
    assert make_cluster().choose(0.0) is None


def test_a_higher_priority_waits_until_the_lowest_is_ill() -> None:
    cluster = make_cluster(target("a"), target("b", priority=1), target("c", priority=7))
    assert set(choose(cluster, 50)) == {"a"}
    cluster.apply_endpoints([target("a", healthy=False), target("b", priority=1), target("c", priority=7)], RECORD, 0.0)
    assert set(choose(cluster, 50)) == {"b"}


def test_load_spills_over_by_the_over_provisioning_factor() -> None:
    low = [target(f"low{at}", healthy=at < 2) for at in range(4)]  # half healthy: 70 % of the load
    cluster = make_cluster(*low, target("big", 3, 1), target("small", 1, 1))
    count = 20_000
    seen = Counter(choose(cluster, count))
    spilt = seen["big"] + seen["small"]
    assert abs(spilt - 0.3 * count) <= 4 * sqrt(count * 0.3 * 0.7)
    assert abs(seen["big"] - 3 * seen["small"]) <= 4
    assert abs(seen["low0"] - seen["low1"]) <= 1


def test_changes_keep_what_stays_and_tell_what_goes() -> None:
    cluster = make_cluster(target("a"), target("b"))
    a, b = cluster.endpoints
    removed = cluster.apply_endpoints([target("a", 9, healthy=False), target("n")], RECORD, 0.0)
    assert removed == [b]
    assert b.removed
    assert cluster.endpoints[0] is a
    assert (a.weight, a.removed) == (9, False)
    assert set(choose(cluster, 3)) == {"n"}


def test_being_told_the_same_again_does_not_disturb_the_turns() -> None:
    targets = [target("a", 3), target("b")]
    one, other = make_cluster(*targets), make_cluster(*targets)
    chosen = []
    for _ in range(8):
        assert other.apply_endpoints(targets, RECORD, 0.0) == []
        chosen += choose(other, 1)
    assert chosen == choose(one, 8)


# What an attempt tells


def fail(cluster: Cluster, outcome: Outcome, count: int) -> None:
    for _ in range(count):
        lease = cluster.choose(1.0)
        assert lease is not None
        if outcome is Outcome.OK:
            lease.on_answer(1.0, 0.01, 0)
        lease.release(outcome, 1.0, 0.01)


def test_failures_in_a_row_are_told_once_they_are_enough_and_again_when_they_go_on() -> None:
    told = Told()
    cluster = make(s.Cluster("c", outlier_detection=OutlierDetection(consecutive_5xx=3)), target("a"), told=told)
    fail(cluster, Outcome.ANSWER_5XX, 2)
    fail(cluster, Outcome.OK, 1)
    fail(cluster, Outcome.ANSWER_5XX, 2)
    assert told.lines == []
    fail(cluster, Outcome.ANSWER_5XX, 4)
    assert told.lines == ["c a:80 consecutive_5xx 3", "c a:80 consecutive_5xx 3"]


def test_an_answer_of_4xx_is_no_failure_and_ends_a_streak() -> None:
    told = Told()
    cluster = make(s.Cluster("c", outlier_detection=OutlierDetection(consecutive_5xx=2)), target("a"), told=told)
    for outcome in (Outcome.GATEWAY, Outcome.REFUSED, Outcome.GATEWAY, Outcome.UNKNOWN):
        fail(cluster, outcome, 1)
    assert told.lines == []


def test_gateway_failures_are_told_apart_from_other_5xx() -> None:
    told = Told()
    config = OutlierDetection(consecutive_5xx=9, consecutive_gateway_failure=2)
    cluster = make(s.Cluster("c", outlier_detection=config), target("a"), told=told)
    for outcome in (Outcome.GATEWAY, Outcome.ANSWER_5XX, Outcome.GATEWAY, Outcome.LOCAL):
        fail(cluster, outcome, 1)
    assert told.lines == ["c a:80 consecutive_gateway_failure 2"]


def test_no_answer_is_a_kind_of_its_own_only_if_that_is_asked_for() -> None:
    for split, expected in ((True, "local_origin"), (False, "5xx")):
        told = Told()
        config = OutlierDetection(consecutive_5xx=2, consecutive_local_origin_failure=2, split_local_origin=split)
        fail(make(s.Cluster("c", outlier_detection=config), target("a"), told=told), Outcome.LOCAL, 2)
        assert [expected in line for line in told.lines] == [True], told.lines


def test_a_breaker_counts_whatever_fails() -> None:
    told = Told()
    breaker = CircuitBreaker(failures=FailureAccrual(consecutive=3))
    cluster = make(s.Cluster("c", circuit_breaker=breaker), target("a"), told=told)
    for outcome in (Outcome.LOCAL, Outcome.ANSWER_5XX, Outcome.GATEWAY):
        fail(cluster, outcome, 1)
    assert told.lines == ["c a:80 accrual 3"]


# Half-open


def half_open(slot: int) -> list[Target]:
    return [target("a"), Target("b", 80, 400, state=State.HALF_OPEN, probe_slot=slot)]


def test_a_half_open_endpoint_gets_one_request_until_that_has_told_something() -> None:
    told = Told()
    cluster = make(s.Cluster("c"), *half_open(0), told=told)
    probe = cluster.choose(1.0)
    assert probe is not None
    assert probe.endpoint.address == "b"
    cluster.apply_endpoints([*half_open(0), target("c")], RECORD, 1.0)
    assert "b" not in choose(cluster, 20), "also after a change of others"
    probe.release(Outcome.UNKNOWN, 1.0, 0.1)
    assert "b" not in choose(cluster, 20), "what was told before is old news"
    for slot in (-1, 0):
        cluster.apply_endpoints([*half_open(slot), target("c")], RECORD, 1.0)
    again = cluster.choose(1.0)
    assert again is not None
    assert again.endpoint.address == "b"
    again.on_answer(1.0, 0.1, 0)
    again.release(Outcome.OK, 1.0, 0.1)
    assert told.lines == ["probing b:80", "probed b:80 None", "probing b:80", "probed b:80 True"]
    assert "b" not in choose(cluster, 20), "until the supervisor says so"


def test_the_one_request_is_the_worker_s_that_was_told_so() -> None:
    assert "b" not in choose(make(s.Cluster("c"), *half_open(1)), 20)


# Limits


def limited(limits: Limits, endpoint: Limits = NO_LIMITS, *, queue: bool = False) -> s.Cluster:
    return s.Cluster("c", circuit_breaker=CircuitBreaker(limits, endpoint, queue), load_balancing=TURNS)


def test_beyond_the_limit_there_is_no_lease_until_one_is_given_back() -> None:
    cluster = make(limited(Limits(max_requests=2)), target("a"), target("b"))
    first, second = cluster.choose(0.0), cluster.choose(0.0)
    assert first is not None
    assert second is not None
    assert cluster.choose(0.0) is None
    assert (cluster.refusal.flag.name, cluster.may_wait) == ("UO", False)
    first.release(Outcome.OK, 0.0, 0.01)
    assert cluster.choose(0.0) is not None


def test_an_endpoint_that_is_full_is_passed_over() -> None:
    cluster = make(limited(Limits(), Limits(max_requests=1)), target("a"), target("b"))
    leases = [cluster.choose(0.0) for _ in range(3)]
    assert {lease.endpoint.address for lease in leases if lease} == {"a", "b"}
    assert leases[2] is None


def test_a_lease_counts_for_the_limits_that_there_were_when_it_was_given() -> None:
    cluster = make(s.Cluster("c"), target("a"))
    before = cluster.choose(0.0)
    cluster.configure(limited(Limits(max_requests=1)), 0.0)
    assert before is not None
    before.release(Outcome.OK, 0.0, 0.01)
    inside = cluster.choose(0.0)
    assert inside is not None
    cluster.configure(s.Cluster("c"), 0.0)
    inside.release(Outcome.OK, 0.0, 0.01)
    cluster.configure(limited(Limits(max_requests=1)), 0.0)
    assert cluster.choose(0.0) is not None


# Retries, slow start, reloads


def test_a_retry_goes_to_an_endpoint_that_was_not_tried_if_there_is_one() -> None:
    cluster = make_cluster(target("a"), target("b"), target("c"))
    a, b, c = cluster.endpoints
    for tried, expected in (((a, b), {"c"}), ((b,), {"a", "c"}), ((a, b, c), {"a", "b", "c"})):
        chosen = [cluster.choose(0.0, 0, tried) for _ in range(12)]
        assert {lease.endpoint.address for lease in chosen if lease} <= expected


def test_weights_grow_in_slow_start() -> None:
    config = s.Cluster("c", slow_start=SlowStart(window_s=10.0))
    cluster = make(config, Target("a", 80, 0), Target("b", 80, 200, since=100.0))
    weights = []
    for now in (100.0, 105.0, 110.0, 111.0):
        cluster.choose(now)
        weights.append(round(cluster.endpoints[1].weight, 2))
    assert weights == [0.1, 0.5, 1.0, 1.0]


def test_a_reload_keeps_a_budget_unless_it_changes_it() -> None:
    cluster = make(s.Cluster("c", circuit_breaker=CircuitBreaker(retry_budget=RetryBudget())), target("a"))
    budget = cluster.budget
    assert budget is not None
    cluster.configure(s.Cluster("c", connect_timeout_s=1.0, circuit_breaker=cluster.config.circuit_breaker), 0.0)
    assert cluster.budget is budget
    cluster.configure(s.Cluster("c"), 0.0)
    assert cluster.budget is None
