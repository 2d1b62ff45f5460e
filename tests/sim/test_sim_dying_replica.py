"""A replica dies, hangs or vanishes, and comes back: ejection, its back-off, slow start, and the breaker's probes."""

import pytest
from replica import Replica
from sim_proxy import SimProxy
from world import World, print_table

from turnout.rules.resilience import (
    CircuitBreaker,
    FailureAccrual,
    LoadBalancing,
    OutlierDetection,
    Retry,
    RetryBudget,
    SlowStart,
)

DIES, BACK, END = 25.0, 65.0, 220.0
RETRY = Retry(attempts=2)
LEAST = LoadBalancing(policy="least_request")
WINDOW_S = 20.0


def run(
    down: str = "refused", *, count: int = 3, workers: int = 2, per_second: float = 100.0, first_byte_s: float = 0.05,
    timeout_s: float | None = None, retry: Retry | None = RETRY, **settings,
) -> SimProxy:  # fmt: skip
    """Replica 0 is `down` from DIES to BACK."""
    world = World(seed=9)
    replicas = [Replica(world, first_byte_s=first_byte_s) for _ in range(count)]
    forward = {"retry": retry, "first_byte_timeout_s": timeout_s}
    proxy = SimProxy(world, replicas, workers=workers, forward=forward, **settings)
    proxy.load(per_second, DIES)
    if down == "refused":
        proxy.kill(0)
    replicas[0].down = down
    proxy.load(per_second, BACK)
    replicas[0].down = ""
    proxy.load(per_second, END)
    world.run(END + 30)
    proxy.assert_all_is_given_back()
    return proxy


def describe(proxy: SimProxy) -> tuple[object, ...]:
    away = proxy.ended(DIES - 1, BACK)
    late = [done for done in away if done.took_s > 0.5]
    asked = sum(which == 0 and DIES <= when < BACK for when, which in proxy.attempts)
    events = " ".join(f"{what} {when:.0f} s" for when, _, what, _ in proxy.told("ejected", "unejected"))
    share = f"{proxy.share(0, BACK + 30, BACK + 40):.0%}"
    return sum(done.failed for done in proxy.log), len(late), asked, share, events


COLUMNS = (
    "case", "client errors", "later than 0.5 s", "attempts at it while down", "share 30 s later", "what was decided",
)  # fmt: skip


def test_nobody_notices_that_a_replica_dies_and_it_comes_back() -> None:
    outliers = OutlierDetection()
    slow = run(outlier_detection=outliers, slow_start=SlowStart(window_s=WINDOW_S))
    cases = {
        "retries, outlier detection, slow start": slow,
        "retries, outlier detection": run(outlier_detection=outliers),
        "retries only": run(),
        "outlier detection, no `retry`": run(outlier_detection=outliers, retry=None),
        "nothing": run(retry=None),
        "retries, outlier detection, least request": run(outlier_detection=outliers, load_balancing=LEAST),
    }
    title = f"1 of 3 replicas is killed at {DIES:.0f} s and listens again at {BACK:.0f} s; 100 requests/s, 2 workers"
    print_table(title, COLUMNS, [(name, *describe(proxy)) for name, proxy in cases.items()])
    for name in list(cases)[:3]:
        assert not any(done.failed for done in cases[name].log), name
    for name in ("outlier detection, no `retry`", "nothing"):
        # What was in flight is lost: it was sent, and nobody said that it may be repeated.
        assert sum(done.failed for done in cases[name].log) < 15, name
        assert not any(done.failed for done in cases[name].ended(DIES, END)), name
    # Peak EWMA asks it so seldom that five failures in a row take a while; others' choice meets it at once.
    first, *_ = cases["retries, outlier detection, least request"].told("ejected")
    assert first[0] < DIES + 0.5
    assert sum(which == 0 and DIES <= when < BACK for when, which in slow.attempts) < 20
    back = max(when for when, *_ in slow.told("unejected"))
    assert back < BACK + 65


@pytest.mark.soak
def test_slow_start_gives_it_its_share_bit_by_bit() -> None:
    """Least request is above the others: by Envoy's formula one with nothing in flight weighs more."""
    rows, shares = [], {}
    for policy in ("peak_ewma", "least_request", "round_robin"):
        proxy = run(
            per_second=300.0, outlier_detection=OutlierDetection(), slow_start=SlowStart(window_s=WINDOW_S),
            load_balancing=LoadBalancing(policy=policy),
        )  # fmt: skip
        back = max(when for when, *_ in proxy.told("unejected"))
        steps = [(0, 2), (4, 6), (8, 10), (14, 16), (20, 30), (40, 60)]
        shares[policy] = [proxy.share(0, back + begin, back + end) for begin, end in steps]
        rows.append((policy, *shares[policy]))
    title = f"its share of all attempts after it came back, slow start of {WINDOW_S:.0f} s; 1/3 is fair"
    print_table(title, ("policy", *(f"{begin}-{end} s" for begin, end in steps)), rows)
    for policy, seen in shares.items():
        assert seen[0] < 0.15, policy
        assert seen[-1] > 0.2, policy


BUDGETS: dict[str, RetryBudget | None] = {
    "20 %, at least 100, as by default": RetryBudget(),
    "20 %, at least 3, Envoy's": RetryBudget(min_concurrency=3),
    "20 %, at least 20": RetryBudget(min_concurrency=20),
    "20 %, 10 s only": RetryBudget(min_concurrency=10**6),
    "none": None,
}


def kill_at_work(
    count: int, workers: int, budget: RetryBudget | None, outliers: OutlierDetection | None
) -> tuple[SimProxy, int]:
    """Answers of 2 s, 20 requests/s; also returns how many were in flight at the one that dies."""
    world = World(seed=9)
    replicas = [Replica(world, first_byte_s=2.0) for _ in range(count)]
    forward = {"retry": Retry(budget=budget)}
    proxy = SimProxy(world, replicas, workers=workers, forward=forward, outlier_detection=outliers)
    proxy.load(20.0, DIES)
    active = sum(worker.cluster.endpoints[0].active for worker in proxy.workers)
    proxy.kill(0)
    proxy.load(20.0, DIES + 20)
    world.run(DIES + 60)
    proxy.assert_all_is_given_back()
    return proxy, active


@pytest.mark.parametrize("workers", [1, pytest.param(2, marks=pytest.mark.soak)])
def test_when_a_replica_dies_all_it_worked_on_wants_another_one_at_once(workers: int) -> None:
    """Of n replicas one has 1 / n of what is active. What the budget has no room for fails, and nothing after that."""
    rows = []
    for count in (2, 3, 8):
        for name, budget in BUDGETS.items():
            proxy, active = kill_at_work(count, workers, budget, OutlierDetection())
            lost = sum(done.failed for done in proxy.log)
            later = sum(done.failed for done in proxy.ended(DIES, DIES + 20))
            rows.append((count, name, active, lost, later, sum(done.attempts - 1 for done in proxy.log)))
    print_table(
        f"a replica dies at its work: answers of 2 s, 20 requests/s, {workers} worker(s)",
        ("replicas", "retry budget", "were in flight there", "client errors", "of later requests", "retries"),
        rows,
    )
    assert all(lost <= active for _, _, active, lost, _, _ in rows)
    assert all(later <= 1 for *_, later, _ in rows)
    assert all(lost == 0 for _, name, _, lost, _, _ in rows if name in ("none", "20 %, at least 100, as by default"))


def test_balancing_alone_leaves_one_that_refuses_when_the_other_has_much_to_do() -> None:
    """The last replica has all requests in flight and the dead one none: only what is thought of it speaks against."""
    rows = []
    for name, budget in BUDGETS.items():
        proxy, _ = kill_at_work(2, 1, budget, None)
        later = proxy.failed(DIES, DIES + 20)
        rows.append((name, f"{later:.1%}", proxy.share(0, DIES + 2, DIES + 20)))
    title = "1 of 2 replicas dies, no outlier detection: answers of 2 s, 20 requests/s"
    print_table(title, ("retry budget", "client errors", "share of the dead one"), rows)
    assert all(share < 0.05 for *_, share in rows)


@pytest.mark.parametrize("down", ["stopped", pytest.param("silent", marks=pytest.mark.soak)])
def test_one_that_hangs_delays_few_requests(down: str) -> None:
    """It is there, and says nothing: the time to the first byte (or to connect) runs out, and another one is asked."""
    outliers = OutlierDetection()
    cases = {
        "retries, outlier detection": run(down, timeout_s=1.0, outlier_detection=outliers),
        "retries only": run(down, timeout_s=1.0),
        "the same, 5/s": run(down, timeout_s=1.0, per_second=5.0, outlier_detection=outliers),
    }
    title = f"1 of 3 replicas is {down} from {DIES:.0f} to {BACK:.0f} s; first byte within 1 s"
    print_table(title, COLUMNS, [(name, *describe(proxy)) for name, proxy in cases.items()])
    for name, proxy in cases.items():
        assert not any(done.failed for done in proxy.log), name
        assert sum(done.took_s > 0.5 for done in proxy.log) < 0.02 * len(proxy.log), name


@pytest.mark.parametrize("workers", [1, 2])
def test_an_open_breaker_lets_one_probe_through_at_a_time(workers: int) -> None:
    breaker = CircuitBreaker(failures=FailureAccrual(consecutive=5, min_s=1.0, max_s=10.0))
    proxy = run(workers=workers, circuit_breaker=breaker)
    told = list(proxy.told("breaker_open", "breaker_half_open", "breaker_closed"))
    opens = [when for when, _, what, _ in told if what == "breaker_open"]
    half_opens = [when for when, _, what, _ in told if what == "breaker_half_open"]
    closed = [when for when, _, what, _ in told if what == "breaker_closed"]
    probes = [when for when, which in proxy.attempts if which == 0 and opens[0] + 0.001 < when < closed[0]]
    print_table(
        f"1 of 3 replicas is killed, with a breaker of each endpoint (1 s doubling to 10 s); {workers} worker(s)",
        ("client errors", "open at s", "probes at s", "closed at s"),
        [
            (
                sum(done.failed for done in proxy.log),
                " ".join(f"{when:.1f}" for when in opens),
                " ".join(f"{when:.1f}" for when in probes),
                " ".join(f"{when:.1f}" for when in closed),
            )
        ],
    )
    assert not any(done.failed for done in proxy.log)
    assert len(probes) == len(half_opens)
    assert len(closed) == 1
    assert BACK < closed[0] < BACK + 16
    assert proxy.share(0, END - 60, END) > 0.2
