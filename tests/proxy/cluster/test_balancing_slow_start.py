"""Slow start: Envoy's formula."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from turnout.proxy.cluster.slow_start import factor
from turnout.rules.resilience import SlowStart


@pytest.mark.parametrize(
    ("aggression", "elapsed_s", "expected"),
    [
        (1.0, 0.0, 0.1),
        (1.0, 3.0, 0.1),
        (1.0, 15.0, 0.5),
        (1.0, 29.9999, 0.9999967),
        (1.0, 30.0, 1.0),
        (1.0, 1e9, 1.0),
        (2.0, 7.5, 0.5),
        (0.5, 15.0, 0.25),
    ],
)
def test_the_factor_is_envoys(aggression: float, elapsed_s: float, expected: float) -> None:
    config = SlowStart(window_s=30.0, aggression=aggression, min_percent=10.0)
    assert factor(config, 100.0, 100.0 + elapsed_s) == pytest.approx(expected)


def test_it_begins_with_the_least_weight_that_is_set() -> None:
    assert factor(SlowStart(30.0, 1.0, min_percent=40.0), 100.0, 100.0) == pytest.approx(0.4)


@given(st.floats(0.1, 1_000), st.floats(0.1, 10), st.floats(0, 100), st.floats(-10, 2_000))
def test_a_weight_never_vanishes_and_never_grows(
    window_s: float, aggression: float, percent: float, elapsed_s: float
) -> None:
    assert 0 < factor(SlowStart(window_s, aggression, percent), 0.0, elapsed_s) <= 1.0
