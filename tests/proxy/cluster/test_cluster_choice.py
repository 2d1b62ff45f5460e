"""Which endpoint a request gets: turns, weights, priorities, health, and changes of all of them."""

import random
from collections import Counter
from math import sqrt

import pytest

from turnout.proxy.cluster.cluster import Cluster
from turnout.proxy.cluster.endpoint import Outcome, Target
from turnout.proxy.telemetry.counters import Counters
from turnout.rules import snapshot as s


def make_cluster(*targets: Target, seed: int = 1) -> Cluster:
    words = memoryview(bytearray(8 * 1_000)).cast("Q")
    cluster = Cluster(s.Cluster("c"), random.Random(seed).random, Counters(words))
    cluster.apply_endpoints(targets)
    return cluster


def target(name: str, weight: int = 1, priority: int = 0, *, healthy: bool = True) -> Target:
    return Target(name, 80, 0, weight, priority, healthy)


def choose(cluster: Cluster, count: int) -> list[str]:
    leases = [cluster.choose(0.0) for _ in range(count)]
    for lease in leases:
        assert lease is not None
        lease.release(Outcome.OK, 0.0)
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
    cluster.apply_endpoints([target("a", healthy=False), target("b", priority=1), target("c", priority=7)])
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
    removed = cluster.apply_endpoints([target("a", 9, healthy=False), target("n")])
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
        assert other.apply_endpoints(targets) == []
        chosen += choose(other, 1)
    assert chosen == choose(one, 8)
