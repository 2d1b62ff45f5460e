"""Limits that workers share: never above the limit + workers - 1, however they race; a queue is fair and loses nobody.

At each arrival every worker takes a request at the same moment, and none sees what the others do in it: the worst case
of the race. What ends, ends at any time.
"""

import pytest
from replica import Replica
from sim_proxy import SimProxy
from world import World, percentile, print_table

from turnout.proxy.telemetry.layout import ClusterWord
from turnout.rules.resilience import CircuitBreaker, Limits

LIMIT = 20
END = 20.0


class Case:
    """At each arrival a request comes to each worker; four times as many as the limit lets through."""

    def __init__(self, workers: int, breaker: CircuitBreaker, **forward: float) -> None:
        world = World(seed=13)
        replicas = [Replica(world, first_byte_s=0.05) for _ in range(3)]
        self.proxy = proxy = SimProxy(world, replicas, workers=workers, circuit_breaker=breaker, forward=forward)
        self.peak = self.peak_waiting = 0
        self.waited_s = 0.0
        """By those that were not served."""

        def arrive() -> None:
            proxy.race()
            self.peak = max(self.peak, proxy.cluster_total(ClusterWord.ACTIVE))
            self.peak_waiting = max(self.peak_waiting, proxy.cluster_total(ClusterWord.PENDING))

        def look() -> None:
            self.peak = max(self.peak, proxy.cluster_total(ClusterWord.ACTIVE))

        world.arrivals(4 * LIMIT / 0.05 / workers, arrive, until=END)
        world.every(0.001, look, until=END)
        world.run()
        proxy.assert_all_is_given_back()
        self.waited_s = max(done.took_s for done in proxy.log if done.failed)

    def served(self) -> list[float]:
        return [done.took_s for done in self.proxy.log if done.status == 200]

    def row(self) -> tuple[object, ...]:
        served, log = self.served(), self.proxy.log
        flags = sorted({done.flag for done in log if done.failed})
        p50, p99 = percentile(served, 50), percentile(served, 99)
        return len(log), len(served), self.peak, self.peak_waiting, " ".join(flags), p50, p99


COLUMNS = ("workers", "requests", "served", "peak in flight", "peak waiting", "others' flag", "p50 s", "p99 s")


def test_workers_that_race_exceed_a_shared_limit_by_less_than_their_number() -> None:
    breaker = CircuitBreaker(limits=Limits(max_requests=LIMIT))
    cases = {workers: Case(workers, breaker) for workers in (1, 2, 4)}
    print_table(
        f"max_requests {LIMIT}, four times as many; overflow fails at once",
        COLUMNS,
        [(workers, *case.row()) for workers, case in cases.items()],
    )
    for workers, case in cases.items():
        assert LIMIT <= case.peak <= LIMIT + workers - 1
        assert {done.flag for done in case.proxy.log if done.failed} == {"UO"}
        assert len(case.served()) > 0.9 * LIMIT / 0.05 * END
    assert cases[4].peak > LIMIT, "the race was one"


@pytest.mark.soak
def test_the_limit_of_each_endpoint_is_shared_too() -> None:
    breaker = CircuitBreaker(endpoint=Limits(max_requests=LIMIT // 3))
    cases = {workers: Case(workers, breaker) for workers in (1, 2)}
    print_table(
        f"max_requests {LIMIT // 3} at each of 3 endpoints",
        COLUMNS,
        [(workers, *case.row()) for workers, case in cases.items()],
    )
    for workers, case in cases.items():
        assert case.peak <= 3 * (LIMIT // 3 + workers - 1)


@pytest.mark.parametrize("timeout_s", [0.5, pytest.param(2.0, marks=pytest.mark.soak)])
def test_a_shared_queue_serves_as_much_and_nobody_waits_beyond_the_deadline(timeout_s: float) -> None:
    """With one worker it is first come first served. With more each has its own line, and waits differ more."""
    breaker = CircuitBreaker(limits=Limits(max_requests=LIMIT, max_pending_requests=100), queue=True)
    cases = {workers: Case(workers, breaker, queue_timeout_s=timeout_s) for workers in (1, 2, 4)}
    rows = []
    for workers, case in cases.items():
        late = sum(done.failed and done.took_s >= timeout_s for done in case.proxy.log)
        rows.append((workers, *case.row(), late))
    title = f"max_requests {LIMIT}, a queue of 100, at most {timeout_s} s in it; four times as many requests"
    print_table(title, (*COLUMNS, "waited in vain"), rows)
    for workers, case in cases.items():
        assert case.peak <= LIMIT + workers - 1
        assert case.peak_waiting <= 100 + workers - 1
        assert len(case.served()) > 0.9 * LIMIT / 0.05 * END
        assert case.waited_s < timeout_s + 0.01
    assert rows[0][-1] == 0
