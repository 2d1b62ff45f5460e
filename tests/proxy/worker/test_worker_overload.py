"""Memory and connections run out: what is refused, what is cut, and that it ends."""

import pytest

from turnout.proxy.worker.overload import (
    MAX_CUTS,
    MAX_SHADOWS,
    MIN_CUT_BYTES,
    MIN_SHARE_BYTES,
    NOTHING,
    SHRINK_EVERY_S,
    OverloadManager,
    Relief,
    bound_connections,
    bound_shadows,
    choose_cuts,
    share_memory,
)

LIMIT = 1_000_000


def manager(limit: int = LIMIT, max_connections: int = 100, own: int = 100) -> OverloadManager:
    return OverloadManager(limit, max_connections, own)


def test_without_a_limit_nothing_is_done() -> None:
    unlimited = manager(limit=0)
    assert unlimited.on_sample(1 << 50, 0.0) == NOTHING
    assert not unlimited.is_refusing
    assert unlimited.may_accept(0, 0)


@pytest.mark.parametrize(
    ("resident", "refusing", "relief"),
    [
        (799_999, False, NOTHING),
        (800_000, False, Relief(shrink=True, cut_bytes=0)),
        (899_999, False, Relief(shrink=True, cut_bytes=0)),
        (900_000, True, Relief(shrink=True, cut_bytes=0)),
        (950_000, True, Relief(shrink=True, cut_bytes=0)),
        (990_000, True, Relief(shrink=True, cut_bytes=40_000)),
        (1_200_000, True, Relief(shrink=True, cut_bytes=250_000)),
    ],
)
def test_each_level_has_its_relief(resident: int, refusing: bool, relief: Relief) -> None:
    watched = manager()
    assert watched.on_sample(resident, 5.0) == relief
    assert watched.is_refusing is refusing


def test_what_nobody_waits_for_is_not_begun_from_where_memory_is_to_be_saved() -> None:
    watched = manager()
    for resident, is_short in ((0, False), (799_999, False), (800_000, True), (990_000, True), (700_000, False)):
        watched.on_sample(resident, 0.0)
        assert watched.is_short == is_short


def test_copies_take_no_descriptors_that_connections_need() -> None:
    assert bound_shadows(1_024) == 96, "two each, and within the 256 that are for everything else"
    assert bound_shadows(100) == 16
    assert bound_shadows(1 << 20) == MAX_SHADOWS


def test_refusing_ends_a_little_lower_than_it_begins() -> None:
    watched = manager()
    states = []
    for resident in (890_000, 910_000, 880_000, 850_000, 849_000, 890_000, 900_000, 700_000):
        watched.on_sample(resident, 0.0)
        states.append(watched.is_refusing)
    assert states == [False, True, True, True, False, False, True, False]


def test_freed_memory_is_given_back_now_and_then() -> None:
    watched = manager()
    shrunk = [watched.on_sample(850_000, tick / 10).shrink for tick in range(21)]
    assert [tick for tick, is_time in enumerate(shrunk) if is_time] == [0, 10, 20]
    assert SHRINK_EVERY_S == 1.0


def test_connections_are_bounded_for_the_proxy_and_for_the_worker() -> None:
    watched = manager(max_connections=10, own=6)
    assert watched.may_accept(5, 9)
    assert not watched.may_accept(5, 10)
    assert not watched.may_accept(6, 6)


def test_a_worker_that_must_cut_takes_no_new_connections() -> None:
    watched = manager()
    watched.on_sample(949_999, 0.0)
    assert watched.may_accept(0, 0)
    watched.on_sample(950_000, 0.1)
    assert not watched.may_accept(0, 0)
    watched.on_sample(100_000, 0.2)
    assert watched.may_accept(0, 0)


def test_the_biggest_are_cut_first_and_no_more_than_needed() -> None:
    held = [(100_000, "a"), (900_000, "b"), (300_000, "c"), (70_000, "d")]
    assert choose_cuts(held, 1) == ["b"]
    assert choose_cuts(held, 900_000) == ["b"]
    assert choose_cuts(held, 900_001) == ["b", "c"]
    assert choose_cuts(held, 1 << 40) == ["b", "c", "a", "d"]
    assert choose_cuts(held, 0) == []


def test_small_ones_are_never_cut_and_not_all_at_once() -> None:
    assert choose_cuts([(MIN_CUT_BYTES - 1, "small")] * 1_000, 1 << 40) == []
    assert len(choose_cuts([(MIN_CUT_BYTES, object()) for _ in range(1_000)], 1 << 40)) == MAX_CUTS


def test_exchanges_of_one_size_need_no_order_of_their_own() -> None:
    first, second = object(), object()
    assert choose_cuts([(MIN_CUT_BYTES, first), (MIN_CUT_BYTES, second)], 1) == [first]


def test_a_leak_is_held_below_the_limit() -> None:
    """Exchanges take 2 % more at each sample, whatever is refused; the cuts keep up with it."""
    watched, base = manager(100 * MIN_CUT_BYTES), 40 * MIN_CUT_BYTES
    held = [MIN_CUT_BYTES] * 20
    highest = 0.0
    for tick in range(500):
        held.append(2 * MIN_CUT_BYTES)
        relief = watched.on_sample(base + sum(held), tick / 10)
        highest = max(highest, watched.pressure)
        for place in sorted(choose_cuts([(size, at) for at, size in enumerate(held)], relief.cut_bytes), reverse=True):
            held.pop(place)
    assert 0.95 < highest < 1.0


def test_memory_is_shared_with_the_supervisor() -> None:
    assert share_memory(900 << 20, 2) == 300 << 20
    assert share_memory(1 << 20, 2) == MIN_SHARE_BYTES
    assert share_memory(0, 2) == 0


def test_descriptors_bound_the_connections_of_a_worker() -> None:
    assert bound_connections(10_000, 1_024) == 256
    assert bound_connections(10_000, 1 << 20) == 10_000
    assert bound_connections(10_000, 64) == 1
