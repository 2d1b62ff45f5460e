"""A retry storm: what retries add when every endpoint fails, and whether the load falls when the fault is over."""

from collections import Counter

import pytest
from replica import Replica
from sim_proxy import SimProxy
from world import World, percentile, print_table

from turnout.proxy.telemetry.layout import ClusterWord
from turnout.rules.resilience import Retry, RetryBudget

RATE = 500.0
LONG_S = 10.0

BUDGETS: dict[str, RetryBudget | None] = {
    "none": None,
    "20 %, as by default": RetryBudget(),
    "20 %, 10 s only": RetryBudget(min_concurrency=10**6),
    "20 %, active only, Envoy's": RetryBudget(min_concurrency=3, interval_s=0.0),
    "5 %": RetryBudget(percent=5.0),
}


class Storm:
    """All of three replicas fail after `fail_s`, for as long as there are requests."""

    def __init__(
        self, budget: RetryBudget | None, fail_s: float, *, workers: int = 1, rate: float = RATE, status: int = 503
    ) -> None:
        world = World(seed=4)
        replicas = [Replica(world) for _ in range(3)]
        for replica in replicas:
            replica.fails, replica.fail_s, replica.fail_status = 1.0, fail_s, status
        retry = Retry(attempts=3, codes=(503,), budget=budget)
        self.proxy = proxy = SimProxy(world, replicas, workers=workers, forward={"retry": retry})
        self.peak = 0

        def look() -> None:
            self.peak = max(self.peak, proxy.cluster_total(ClusterWord.RETRIES_ACTIVE))

        world.every(0.01, look, until=LONG_S)
        proxy.load(rate, until=LONG_S)
        world.run()
        proxy.assert_all_is_given_back()
        assert all(done.failed for done in proxy.log)

    @property
    def amplification(self) -> float:
        return len(self.proxy.attempts) / self.proxy.requests

    def row(self) -> tuple[object, ...]:
        waits = [done.took_s for done in self.proxy.log]
        return self.proxy.requests, len(self.proxy.attempts), self.amplification, self.peak, percentile(waits, 99)


@pytest.mark.parametrize(("fail_s", "workers"), [(0.001, 1), (0.5, 2)])
def test_when_all_endpoints_fail_retries_add_no_more_than_the_budget(fail_s: float, workers: int) -> None:
    storms = {name: Storm(budget, fail_s, workers=workers) for name, budget in BUDGETS.items()}
    print_table(
        f"all of 3 replicas answer 503 after {fail_s} s; {RATE:.0f} requests/s for {LONG_S:.0f} s, {workers} worker(s)",
        ("budget", "requests", "attempts", "attempts/request", "peak retries active", "wait p99 s"),
        [(name, *storm.row()) for name, storm in storms.items()],
    )
    assert storms["none"].amplification == 4
    for name, storm in storms.items():
        budget = BUDGETS[name]
        if budget is None:
            continue
        share = budget.percent / 100
        # Envoy's rule alone counts a retry among the active requests, of which it may be a share: 1 / (1 - share).
        assert storm.amplification <= (1 + share if budget.interval_s else 1 / (1 - share)), name


@pytest.mark.soak
def test_a_storm_of_broken_connections_is_bounded_too() -> None:
    storms = {name: Storm(BUDGETS[name], 0.001, status=0) for name in ("none", "20 %, as by default", "5 %")}
    print_table(
        f"all of 3 replicas break the connection off after 1 ms; {RATE:.0f} requests/s for {LONG_S:.0f} s",
        ("budget", "requests", "attempts", "attempts/request", "peak retries active", "wait p99 s"),
        [(name, *storm.row()) for name, storm in storms.items()],
    )
    assert storms["20 %, as by default"].amplification <= 1.2
    assert storms["5 %"].amplification <= 1.05


def test_a_quiet_route_is_still_given_its_floor() -> None:
    """At one request in two seconds 20 % would be none; 10 a second are always allowed."""
    assert Storm(RetryBudget(), 0.001, rate=0.5).amplification == 4


def recovery(budget: RetryBudget | None) -> SimProxy:
    """Two replicas at 60 % of what they can do; for five seconds they take four times as long. A replica goes on with
    what its client has given up."""
    world = World(seed=5)
    replicas = [Replica(world, first_byte_s=0.04, sigma=0.0, slots=5) for _ in range(2)]
    retry = Retry(attempts=3, codes=(503,), budget=budget)
    proxy = SimProxy(world, replicas, forward={"retry": retry, "backend_timeout_s": 1.0})

    def slow_down(slowness: float) -> None:
        for replica in replicas:
            replica.slowness = slowness

    world.at(10.0, slow_down, 4.0)
    world.at(15.0, slow_down, 1.0)
    proxy.load(150.0, until=60.0)
    return proxy


@pytest.mark.soak
def test_with_a_budget_an_overload_ends_soon_after_its_cause_and_without_one_it_feeds_itself() -> None:
    """Clients that give up and ask again keep a queue full of work that nobody waits for (a metastable failure)."""
    seconds = (5, 12, 17, 25, 35, 45, 55)
    attempts, failed = {}, {}
    for name, budget in (("20 %", RetryBudget()), ("none", None)):
        proxy = recovery(budget)
        attempts[name] = Counter(int(when) for when, _ in proxy.attempts)
        failed[name] = Counter(int(done.began + done.took_s) for done in proxy.log if done.failed)
    print_table(
        "attempts in a second / requests that failed in it; 150 requests/s, capacity 250/s, from 10 to 15 s 63/s",
        ("budget", *(f"{second} s" for second in seconds), "failed"),
        [
            (name, *(f"{attempts[name][second]} / {failed[name][second]}" for second in seconds), failed[name].total())
            for name in attempts
        ],
    )
    assert not any(failed["20 %"][second] for second in range(35, 60))
    assert all(failed["none"][second] > 75 for second in range(35, 60))
    assert attempts["none"][55] > 3 * 150
    # In a second as much as the floor allows, in any ten seconds the share.
    assert max(attempts["20 %"].values()) < 150 + 30 + RetryBudget().min_concurrency
    for begin in range(50):
        window = range(begin, begin + 10)
        assert sum(attempts["20 %"][second] for second in window) < 1.25 * 1_500 + 100
