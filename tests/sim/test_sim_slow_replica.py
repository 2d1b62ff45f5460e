"""Balancing before uneven replicas: one that becomes slow, one that fails at once, one that was away, one that is new.

Peak EWMA as it is by default. Without outlier detection, but for the one test that says so: the balancer alone must do.
"""

from collections import Counter

import pytest
from replica import Replica
from sim_proxy import SimProxy
from world import World, print_table

from turnout.rules.resilience import OutlierDetection

SLOW_AT, WELL_AT, END = 60.0, 120.0, 240.0


def make_proxy(first_byte_s: float, seed: int = 1, count: int = 3, **settings) -> SimProxy:
    world = World(seed)
    return SimProxy(world, [Replica(world, first_byte_s=first_byte_s) for _ in range(count)], **settings)


def run_with_a_slow_one(proxy: SimProxy, per_second: float, slowness: float = 5.0) -> tuple[float, ...]:
    """Its share before, in the first three seconds, after these, and well again; p99 of the others before and after."""
    proxy.load(per_second, SLOW_AT)
    proxy.replicas[0].slowness = slowness
    proxy.load(per_second, WELL_AT)
    proxy.replicas[0].slowness = 1.0
    proxy.load(per_second, END)
    proxy.world.run(END + 10)
    proxy.assert_all_is_given_back()
    times = (20.0, SLOW_AT), (SLOW_AT, SLOW_AT + 3), (SLOW_AT + 3, WELL_AT), (END - 60, END)
    p99s = [proxy.p99_s(*time, without=0) for time in (times[0], times[2])]
    return *(proxy.share(0, *time) for time in times), *p99s


COLUMNS = ("share before", "in 3 s", "after 3 s", "well again", "others' p99 s before", "after")


@pytest.mark.parametrize("workers", [1, pytest.param(2, marks=pytest.mark.soak)])
@pytest.mark.parametrize(
    ("first_byte_s", "per_second"), [(0.02, 20.0), (0.02, 500.0), (0.2, 5.0), (0.2, 100.0)], ids="{}".format
)
def test_one_of_three_becomes_five_times_slower(first_byte_s: float, per_second: float, workers: int) -> None:
    seen = run_with_a_slow_one(make_proxy(first_byte_s, workers=workers), per_second)
    load = f"answers of {first_byte_s} s, {per_second:.0f} a second, {workers} worker(s)"
    print_table(f"1 of 3 replicas five times slower: {load}", COLUMNS, [seen])
    before, _, after, again, p99_before, p99_after = seen
    assert abs(before - 1 / 3) < 0.1
    assert after < 0.05
    assert p99_after < 1.1 * p99_before
    assert again > 0.15


def test_outlier_detection_takes_the_slow_one_out_as_well() -> None:
    """Balancing leaves it a few requests, and these tell that it is slow, and later that it is well."""
    proxy = make_proxy(0.02, outlier_detection=OutlierDetection())
    seen = run_with_a_slow_one(proxy, 300.0)
    print_table("1 of 3 replicas five times slower, with outlier detection", COLUMNS, [seen])
    print_table("what was decided", ("at", "replica", "what", "why"), list(proxy.told()))
    assert {(at, why) for _, at, _, why in proxy.told()} == {(0, "latency")}
    assert seen[2] < 0.01
    assert proxy.share(0, END - 30, END) > 0.15


@pytest.mark.soak
def test_one_of_three_becomes_slower_with_prompts_of_all_lengths() -> None:
    """The first byte of a prompt of 400 kB takes twenty times as long as that of a short one: what an answer took says
    little of the replica."""
    world = World(3)
    proxy = SimProxy(
        world,
        [Replica(world, per_kb_s=0.001) for _ in range(3)],
        workers=2,
        outlier_detection=OutlierDetection(),
    )
    size = lambda: int(100 * 4_000 ** world.random.random())  # noqa: E731
    proxy.load(100.0, SLOW_AT, size)
    proxy.replicas[0].slowness = 5.0
    proxy.load(100.0, WELL_AT, size)
    shares = [proxy.share(0, *time) for time in ((20, SLOW_AT), (SLOW_AT + 3, SLOW_AT + 20), (SLOW_AT + 20, WELL_AT))]
    p99s = [proxy.p99_s(*time, without=0) for time in ((20, SLOW_AT), (SLOW_AT + 3, WELL_AT))]
    columns = ("share before", "3 to 20 s", "after 20 s", "others' p99 s before", "after")
    title = "1 of 3 replicas five times slower, prompts of 0.1 to 400 kB, outlier detection"
    print_table(title, columns, [(*shares, *p99s)])
    print_table("what was decided", ("at", "replica", "what", "why"), list(proxy.told()))
    assert max(shares[1:]) < 0.05
    assert p99s[1] < 1.1 * p99s[0]
    assert {at for _, at, *_ in proxy.told()} == {0}


@pytest.mark.parametrize("per_second", [5.0, 100.0])
def test_one_that_fails_at_once_does_not_attract_requests(per_second: float) -> None:
    shares = []
    for well_s, seed in ((30.0, 1), (0.0, 2)):
        proxy = make_proxy(0.2, seed)
        proxy.load(per_second, well_s)
        proxy.replicas[0].fails, proxy.replicas[0].fail_s = 1.0, 0.0002
        proxy.load(per_second, well_s + 60.0)
        shares.append(proxy.share(0, well_s + 3.0, well_s + 60.0))
    title = f"1 of 3 replicas refuses within 0.2 ms: answers of 0.2 s, {per_second:.0f} a second"
    print_table(title, ("its share", "if it never answered"), [shares])
    assert max(shares) < 0.05


@pytest.mark.parametrize("away_s", [30.0, 300.0])
def test_one_that_comes_back_is_not_flooded(away_s: float) -> None:
    """Its old estimate fades to that of the others and not to nothing: answers take seconds, and until the first one a
    cost of nothing would draw every request."""
    proxy, back = make_proxy(2.0), 60.0 + away_s
    proxy.load(20.0, 60.0)
    proxy.use([False, True, True])
    proxy.load(20.0, back)
    proxy.use([True, True, True])
    proxy.load(20.0, back + 4.0)
    first = Counter(which for when, which in proxy.attempts if when >= back)
    print_table(f"A replica comes back after {away_s:.0f} s", ("replica", "requests in 4 s"), sorted(first.items()))
    assert proxy.share(0, 61.0, back) == 0
    assert 0.2 < first[0] / first.total() < 0.7


def test_a_new_one_is_tried_at_once_and_not_flooded() -> None:
    proxy = make_proxy(2.0)
    proxy.use([None, True, True])
    proxy.load(20.0, 60.0)
    proxy.use([True, True, True])
    proxy.load(20.0, 64.0)
    first = [which for when, which in proxy.attempts if when >= 60.0]
    print_table(
        "A new replica of three",
        ("its share of the first 10", "of 4 s"),
        [(first[:10].count(0) / 10, first.count(0) / len(first))],
    )
    assert 0 in first[:10]
    assert 0.2 < first.count(0) / len(first) < 0.7
