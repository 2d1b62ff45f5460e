"""The retry budget: Envoy's bound on what is active, GEP-3388's on an interval, and both under any traffic."""

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from turnout.proxy.cluster.budget import Budget
from turnout.rules.resilience import RetryBudget


def make(
    percent: float = 20.0, concurrency: int = 3, interval_s: float = 0.0, rate: float = 0.0, workers: int = 1
) -> Budget:
    return Budget(RetryBudget(percent, concurrency, interval_s, rate), workers)


def retries_allowed(budget: Budget, now: float, ending: bool = False) -> int:
    """How many more retries it lets go; `ending`: each is over at once."""
    count = 0
    while budget.may_retry(now):
        budget.on_retry(now)
        if ending:
            budget.on_retry_end()
        count += 1
        assert count < 100_000
    return count


@pytest.mark.parametrize(
    ("percent", "concurrency", "active", "allowed"),
    [
        # Envoy's defaults: the floor holds up to 19 active requests
        (20.0, 3, 0, 3),
        (20.0, 3, 1, 3),
        (20.0, 3, 19, 3),
        (20.0, 3, 20, 4),
        (20.0, 3, 24, 4),
        (20.0, 3, 1000, 200),
        # no floor: shares are rounded down
        (20.0, 0, 4, 0),
        (20.0, 0, 5, 1),
        (0.0, 0, 1000, 0),
        (0.0, 3, 1000, 3),
        (100.0, 0, 7, 7),
    ],
)
def test_active_retries_are_a_share_of_active_requests_or_the_floor(
    percent: float, concurrency: int, active: int, allowed: int
) -> None:
    budget = make(percent, concurrency)
    for _ in range(active):
        budget.on_request(1.0)
    assert retries_allowed(budget, 1.0) == allowed


def test_a_retry_that_ends_makes_room_for_another_and_all_returns_to_zero() -> None:
    budget = make()
    budget.on_request(0.0)
    assert retries_allowed(budget, 0.0) == 3
    assert not budget.may_retry(0.0)
    budget.on_retry_end()
    assert retries_allowed(budget, 0.0) == 1
    for _ in range(3):
        budget.on_retry_end()
    budget.on_request_end()
    assert (budget.active, budget.retries_active) == (0, 0)


def test_in_an_interval_a_share_of_its_requests_is_retried() -> None:
    budget = make(20.0, 10**6, interval_s=10.0)
    for request in range(100):
        budget.on_request(request / 100)
    assert retries_allowed(budget, 1.0, ending=True) == 20


def test_in_an_interval_the_rate_times_its_length_is_allowed_if_that_is_more() -> None:
    budget = make(20.0, 10**6, interval_s=10.0, rate=2.5)
    budget.on_request(0.0)
    assert retries_allowed(budget, 0.0, ending=True) == 25
    assert retries_allowed(budget, 9.9, ending=True) == 0
    assert retries_allowed(budget, 11.1, ending=True) == 25


def test_what_is_older_than_the_interval_is_forgotten_bit_by_bit() -> None:
    budget = make(20.0, 10**6, interval_s=10.0)
    for second in range(10):
        for _ in range(10):
            budget.on_request(float(second))
    assert retries_allowed(budget, 9.5, ending=True) == 20
    # Ten requests fall out each second; the retries of 9.5 all at once, at 20.
    for _ in range(100):
        budget.on_request(15.0)
    assert retries_allowed(budget, 15.0, ending=True) == 8
    assert not budget.may_retry(19.9)
    assert retries_allowed(budget, 20.0, ending=True) == 12


def test_a_long_silence_empties_the_window_at_once() -> None:
    budget = make(20.0, 10**6, interval_s=10.0, rate=1.0)
    for _ in range(1000):
        budget.on_request(0.0)
    assert retries_allowed(budget, 0.0, ending=True) == 200
    assert retries_allowed(budget, 1e9, ending=True) == 10


def test_an_interval_of_zero_switches_the_rate_off() -> None:
    budget = make(20.0, 3, interval_s=0.0)
    for _ in range(1000):
        assert budget.may_retry(5.0)
        budget.on_retry(5.0)
        budget.on_retry_end()


@pytest.mark.parametrize(("workers", "concurrency", "rate"), [(1, 3, 100), (2, 2, 50), (3, 1, 34), (4, 1, 25)])
def test_floors_are_divided_by_the_workers_and_rounded_up(workers: int, concurrency: int, rate: int) -> None:
    assert retries_allowed(make(0.0, 3, workers=workers), 0.0) == concurrency
    assert retries_allowed(make(0.0, 10**6, 10.0, 10.0, workers), 0.0, ending=True) == rate


steps = st.lists(st.tuples(st.floats(0, 3), st.integers(0, 30), st.integers(0, 10)), max_size=60)


@given(steps, st.floats(0, 100), st.floats(0, 3), st.sampled_from([1.0, 7.5, 10.0]))
def test_whenever_a_retry_is_let_go_its_interval_holds_the_bound(
    traffic: list[tuple[float, int, int]], percent: float, rate: float, interval_s: float
) -> None:
    """Against a record of all that ever happened."""
    budget = make(percent, 10**6, interval_s, rate)
    requests: list[float] = []
    retries: list[float] = []
    now = 1000.0
    for gap, asked, wanted in traffic:
        now += gap
        for _ in range(asked):
            budget.on_request(now)
            requests.append(now)
        for _ in range(wanted):
            if budget.may_retry(now):
                budget.on_retry(now)
                retries.append(now)
                since = now - interval_s
                # A rounding error at the far edge of the interval is no breach.
                had = sum(at > since - 1e-6 for at in requests)
                assert sum(at > since + 1e-6 for at in retries) <= max(percent / 100 * had, rate * interval_s + 1)


@given(steps)
@example([(0.8945274904667013, 5, 1), (3.0, 1, 0), *[(1.5, 0, 0)] * 3, (1.0, 0, 0), (3.0, 9, 9)])
def test_a_budget_is_not_much_stricter_than_it_says(traffic: list[tuple[float, int, int]]) -> None:
    """What nine tenths of the interval allow, given what eleven tenths used, is let go."""
    budget = make(20.0, 10**6, 10.0, 0.0)
    requests: list[float] = []
    retries: list[float] = []
    now = 0.0
    for gap, asked, wanted in traffic:
        now += gap
        for _ in range(asked):
            budget.on_request(now)
            requests.append(now)
        for _ in range(wanted):
            had = sum(at >= now - 8.9 for at in requests)
            used = sum(at >= now - 11.1 for at in retries)
            if used < int(0.2 * had):
                assert budget.may_retry(now)
            if budget.may_retry(now):
                budget.on_retry(now)
                retries.append(now)
