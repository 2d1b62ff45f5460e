"""How the load is dealt to priorities: Envoy's tables ("Priority levels"), and what holds for all."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from turnout.proxy.cluster.priorities import deal_load


@pytest.mark.parametrize(
    ("healthy_percent", "loads"),
    [
        # of two levels
        ((100, 100), (100, 0)),
        ((72, 72), (100, 0)),
        ((71, 71), (99, 1)),
        ((50, 50), (70, 30)),
        ((25, 100), (35, 65)),
        ((25, 25), (50, 50)),
        ((0, 100), (0, 100)),
        # of three
        ((100, 100, 100), (100, 0, 0)),
        ((71, 71, 0), (99, 1, 0)),
        ((50, 50, 50), (70, 30, 0)),
        ((25, 100, 100), (35, 65, 0)),
        ((25, 25, 100), (35, 35, 30)),
        # 35, 35 and 28 of 98; what the rounding leaves is the first's
        ((25, 25, 20), (37, 35, 28)),
        ((0, 0, 1), (0, 0, 100)),
        # nothing healthy, and no panic
        ((0, 0), (0, 0)),
        ((0,), (0,)),
    ],
)
def test_the_load_is_envoys(healthy_percent: tuple[int, ...], loads: tuple[int, ...]) -> None:
    assert deal_load([(healthy, 100) for healthy in healthy_percent]) == list(loads)


def test_health_below_a_per_cent_counts_if_there_is_no_other() -> None:
    """Per cents are whole, so one healthy endpoint of 141 is rounded to nothing; but it is better than none."""
    assert deal_load([(1, 141), (1, 1)]) == [0, 100]
    assert deal_load([(0, 9), (1, 141), (1, 200)]) == [0, 100, 0]


def test_without_endpoints_there_is_no_load() -> None:
    assert deal_load([]) == []
    assert deal_load([(0, 0), (1, 1)]) == [0, 100]


TIERS = st.lists(st.integers(0, 50).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))), max_size=6)


@given(TIERS)
def test_all_of_the_load_goes_to_priorities_with_health_or_none_of_it(tiers: list[tuple[int, int]]) -> None:
    loads = deal_load(tiers)
    assert sum(loads) in (0, 100)
    assert all(healthy for (healthy, _), load in zip(tiers, loads, strict=True) if load)
    assert sum(loads) == 100 or not any(healthy for healthy, _ in tiers)
