"""Peak EWMA: how an estimate rises and fades, what failures and silence do to it, and who is picked."""

import random
from collections import Counter
from math import exp

import pytest
from hypothesis import given
from hypothesis import strategies as st

from turnout.proxy.cluster.endpoint import Endpoint
from turnout.proxy.cluster.peak_ewma import (
    LEAST_RTT_S,
    MAX_FAILURE_FACTOR,
    MAX_PENALTY_S,
    PeakEwma,
    is_cheaper,
    observe_failure,
    observe_peak,
    observe_wait,
)
from turnout.proxy.cluster.picker import make_picker
from turnout.proxy.cluster.target import Target
from turnout.rules.resilience import LoadBalancing

DECAY_S = 10.0
DEFAULT_S = 0.01


def make(name: str, ewma_s: float = -1.0, at: float = 0.0, active: int = 0, weight: float = 1.0) -> Endpoint:
    endpoint = Endpoint(name, 80, 0)
    endpoint.ewma_s, endpoint.ewma_at, endpoint.active, endpoint.weight = ewma_s, at, active, weight
    return endpoint


def cheaper(one: Endpoint, other: Endpoint) -> bool:
    return is_cheaper(one, other, DECAY_S, DEFAULT_S)


def pick(count: int, *endpoints: Endpoint, choices: int = 2) -> Counter[str]:
    policy = PeakEwma(DECAY_S, DEFAULT_S, choices, random.Random(1).random)
    return Counter(policy.pick(endpoints, 0.0).address for _ in range(count))


# The estimate


@pytest.mark.parametrize(
    ("ewma_s", "rtt_s", "elapsed_s", "expected_s"),
    [
        (-1.0, 0.5, 3.0, 0.5),  # the first one is believed
        (-4.0, 0.5, 3.0, 0.5),  # also after failures
        (0.2, 0.5, 0.001, 0.5),  # a peak is believed at once
        (0.5, 0.5, 7.0, 0.5),
        (1.0, 0.001, 10.0, 0.001 + 0.999 * exp(-1)),
        (1.0, 0.5, 10.0, 0.5 + 0.5 * exp(-1)),
        (1.0, 0.5, 0.0, 1.0),
        (1.0, 0.5, 1e6, 0.5),
    ],
)
def test_the_estimate_is_linkerds(ewma_s: float, rtt_s: float, elapsed_s: float, expected_s: float) -> None:
    endpoint = make("a", ewma_s, 100.0)
    observe_peak(endpoint, rtt_s, 100.0 + elapsed_s, DECAY_S)
    assert endpoint.ewma_s == pytest.approx(expected_s)
    assert endpoint.ewma_at == 100.0 + elapsed_s


@given(st.lists(st.tuples(st.floats(0, 100), st.floats(0, 100)), min_size=1))
def test_an_estimate_stays_between_the_least_and_the_greatest_time(times: list[tuple[float, float]]) -> None:
    endpoint, now = make("a"), 0.0
    for rtt_s, elapsed_s in times:
        now += elapsed_s
        observe_peak(endpoint, rtt_s, now, DECAY_S)
        assert rtt_s <= endpoint.ewma_s * (1 + 1e-9)
    assert min(rtt for rtt, _ in times) <= endpoint.ewma_s * (1 + 1e-9)
    assert endpoint.ewma_s <= max(LEAST_RTT_S, *(rtt for rtt, _ in times)) * (1 + 1e-9)


def test_a_failure_counts_as_twice_what_was_thought_and_at_least_as_its_time() -> None:
    endpoint = make("a", 0.5, 100.0)
    observe_failure(endpoint, 0.001, 100.0, DECAY_S)
    assert endpoint.ewma_s == 1.0
    observe_failure(endpoint, 30.0, 100.0, DECAY_S)
    assert endpoint.ewma_s == 30.0


def test_penalties_are_bounded_and_a_longer_time_is_kept() -> None:
    endpoint = make("a", 0.5, 100.0)
    for _ in range(50):
        observe_failure(endpoint, 0.001, 100.0, DECAY_S)
    assert endpoint.ewma_s == MAX_PENALTY_S
    observe_failure(endpoint, 2 * MAX_PENALTY_S, 100.0, DECAY_S)
    observe_failure(endpoint, 0.001, 100.0, DECAY_S)
    assert endpoint.ewma_s == 2 * MAX_PENALTY_S


@given(st.one_of(st.floats(0, 1_000), st.floats(-MAX_FAILURE_FACTOR, -1.0)), st.floats(0, 1_000), st.floats(0, 1e5))
def test_a_failure_never_makes_an_endpoint_look_better(ewma_s: float, rtt_s: float, elapsed_s: float) -> None:
    endpoint = make("a", ewma_s, 100.0)
    observe_failure(endpoint, rtt_s, 100.0 + elapsed_s, DECAY_S)
    if ewma_s >= 0:
        assert endpoint.ewma_s >= max(ewma_s, rtt_s)
    else:
        assert -MAX_FAILURE_FACTOR <= endpoint.ewma_s <= min(ewma_s, -2.0 if ewma_s > -2.0 else ewma_s)


def test_silence_is_a_lower_bound_of_a_time() -> None:
    endpoint = make("a", 0.5, 100.0)
    observe_wait(endpoint, 0.4, 101.0)
    assert (endpoint.ewma_s, endpoint.ewma_at) == (0.5, 100.0)
    observe_wait(endpoint, 4.0, 101.0)
    assert (endpoint.ewma_s, endpoint.ewma_at) == (4.0, 101.0)
    unknown = make("b")
    observe_wait(unknown, 0.001, 101.0)
    assert (unknown.ewma_s, unknown.ewma_at) == (-1.0, 101.0)
    failed = make("c", -4.0, 100.0)
    observe_wait(failed, 0.001, 101.0)
    assert (failed.ewma_s, failed.ewma_at) == (-4.0, 100.0)


# The comparison


@given(
    st.floats(0.001, 100), st.floats(0.001, 100), st.floats(0, 50), st.floats(0, 50), st.integers(0, 50),
    st.integers(0, 50),
)  # fmt: skip
def test_the_cheaper_is_linkerds_unless_the_older_fades_below_the_newer(
    a: float, b: float, at_a: float, at_b: float, active_a: int, active_b: int
) -> None:
    """Linkerd lets both fade to now; here the older one fades to the age of the newer, but not below it."""
    now = 60.0
    one, other = make("a", a, at_a, active_a), make("b", b, at_b, active_b)
    faded_a, faded_b = a * exp((at_a - now) / DECAY_S), b * exp((at_b - now) / DECAY_S)
    older, newer = ((a, faded_a), (b, faded_b)) if at_a < at_b else ((b, faded_b), (a, faded_a))
    if older[1] < newer[1]:
        return
    cost_a, cost_b = faded_a * (active_a + 1), faded_b * (active_b + 1)
    if abs(cost_a - cost_b) > 1e-9 * (cost_a + cost_b):
        assert cheaper(one, other) == (cost_a < cost_b)


def test_what_was_away_for_long_is_as_good_as_the_others_and_not_better() -> None:
    away, present = make("a", 5.0, 0.0), make("b", 1.0, 600.0)
    assert not cheaper(away, present)
    assert not cheaper(present, away)
    away.active = 1
    assert cheaper(present, away)


def test_what_was_better_when_it_was_measured_stays_better() -> None:
    assert cheaper(make("a", 0.5, 0.0), make("b", 1.0, 600.0))


def test_equal_ones_are_compared_by_what_they_have_to_do_for_their_weight() -> None:
    assert cheaper(make("a", 1.0, 0.0, 1), make("b", 1.0, 0.0, 2))
    assert not cheaper(make("a", 1.0, 0.0, 2), make("b", 1.0, 0.0, 2))
    assert cheaper(make("a", 1.0, 0.0, 5, weight=4.0), make("b", 1.0, 0.0, 1))
    assert cheaper(make("a", 0.1, 0.0, 8), make("b", 1.0, 0.0, 0))


# The unknown


def test_an_unknown_one_is_tried_once_and_then_counts_as_the_other_does() -> None:
    """So a cold start of seconds does not draw all requests to it."""
    unknown, known = make("a"), make("b", 2.0, 100.0, active=10)
    assert cheaper(unknown, known)
    unknown.active = 1
    assert cheaper(unknown, known)
    unknown.active = 10
    assert not cheaper(unknown, known)
    assert not cheaper(known, unknown)


def test_the_default_says_which_endpoints_an_unknown_one_is_tried_before() -> None:
    unknown, known = make("a"), make("b", 0.5, 100.0)
    assert is_cheaper(unknown, known, DECAY_S, 0.4)
    assert not is_cheaper(unknown, known, DECAY_S, 0.6)
    assert not is_cheaper(known, unknown, DECAY_S, 0.6)  # nor after: else it would never be
    assert is_cheaper(make("c"), make("d", active=1), DECAY_S, 0.6)


def test_one_that_was_asked_and_did_not_answer_is_not_preferred_any_more() -> None:
    """So nobody who answers 404 to everything, and at once, is taken for the fastest."""
    unknown, known = make("a"), make("b", 2.0, 100.0)
    observe_wait(unknown, 0.0, 101.0)
    assert not cheaper(unknown, known)
    assert not cheaper(known, unknown)


def test_requests_in_flight_count_however_fast_the_answers_are() -> None:
    one, other = make("a", active=5), make("b")
    observe_peak(one, 0.0, 1.0, DECAY_S)
    observe_peak(other, 0.0, 1.0, DECAY_S)
    assert cheaper(other, one)


def test_an_unknown_one_that_fails_at_once_attracts_nothing() -> None:
    failing, slow = make("a"), make("b", 20.0, 100.0)
    for _ in range(3):
        observe_failure(failing, 0.0002, 100.0, DECAY_S)
    assert failing.ewma_s == -8.0
    assert cheaper(slow, failing)
    slow.active = 6
    assert cheaper(slow, failing)
    slow.active = 8
    assert cheaper(failing, slow)


def test_what_failed_is_tried_again_when_that_has_faded() -> None:
    for failed in (make("a", -2.0, 100.0), make("a", 2.0, 100.0)):
        good = make("b", 1.0, 101.0)
        assert cheaper(good, failed)
        observe_peak(good, 1.0, 200.0, DECAY_S)
        assert not cheaper(good, failed)


# Who is picked


def test_the_only_one_is_picked_without_asking_chance() -> None:
    endpoint = make("a")
    assert PeakEwma(DECAY_S, DEFAULT_S, 2, lambda: pytest.fail("asked")).pick((endpoint,), 0.0) is endpoint


def test_equals_are_picked_alike() -> None:
    seen = pick(9_000, *(make(name, 1.0) for name in "abc"))
    assert all(abs(seen[name] - 3_000) < 4 * 45 for name in "abc")


def test_of_two_the_better_one_gets_all() -> None:
    assert pick(100, make("a", 1.0), make("b", 1.1)) == {"a": 100}


def test_the_worst_of_three_gets_nothing_and_the_best_two_thirds() -> None:
    seen = pick(9_000, make("a", 1.0), make("b", 2.0), make("c", 3.0))
    assert seen["c"] == 0
    assert abs(seen["a"] - 6_000) < 4 * 45


def test_as_many_choices_as_endpoints_is_a_full_scan() -> None:
    endpoints = [make(str(at), 1.0 + at) for at in range(10)]
    assert pick(100, *endpoints, choices=10) == {"0": 100}
    assert pick(100, *endpoints, choices=50) == {"0": 100}
    assert set(pick(2_000, *endpoints, choices=9)) == {"0", "1"}


def test_under_load_requests_in_flight_go_by_weight() -> None:
    """So many at a time that none ends: each has its weight's part of them."""
    members = [
        (Target(name, 80, 0, weight), make(name, 1.0, weight=weight))
        for name, weight in (("a", 10), ("b", 1), ("c", 1))
    ]
    available, policy = make_picker(LoadBalancing(), members, random.Random(1).random)
    for _ in range(120):
        policy.pick(available, 0.0, 0).active += 1
    assert [abs(endpoint.active - 10 * endpoint.weight) <= 2 for endpoint in available] == [True] * 3
