"""Least request, weighted round robin's weights, random, and drawing a few of many."""

import random
from collections import Counter
from math import sqrt

import pytest
from hypothesis import given
from hypothesis import strategies as st

from turnout.proxy.cluster.draw import draw
from turnout.proxy.cluster.endpoint import Endpoint
from turnout.proxy.cluster.least_request import LeastRequest, WeightedLeastRequest, effective_weight
from turnout.proxy.cluster.random_choice import RandomChoice, WeightedRandomChoice
from turnout.proxy.cluster.weighted_round_robin import WeightedRoundRobin


def make(name: str, active: int = 0, weight: float = 1.0) -> Endpoint:
    endpoint = Endpoint(name, 80, 0)
    endpoint.active, endpoint.weight = active, weight
    return endpoint


@pytest.mark.parametrize(
    ("weight", "active", "bias", "effective"),
    [
        (1, 0, 1.0, 1.0),
        (1, 1, 1.0, 0.5),
        (4, 3, 1.0, 1.0),
        (4, 3, 0.0, 4.0),
        (4, 3, 0.5, 2.0),
        (4, 3, 2.0, 0.25),
        (100, 99, 1.0, 1.0),
    ],
)
def test_the_weight_is_envoys(weight: float, active: int, bias: float, effective: float) -> None:
    assert effective_weight(weight, active, bias) == pytest.approx(effective)


def test_of_two_the_one_with_fewer_requests_is_picked() -> None:
    policy = LeastRequest(2, random.Random(1).random)
    endpoints = make("a", 3), make("b", 2)
    assert {policy.pick(endpoints, 0.0).address for _ in range(50)} == {"b"}


@pytest.mark.parametrize("choices", [2, 3])
def test_the_share_of_the_busiest_is_that_of_the_power_of_choices(choices: int) -> None:
    """Of n endpoints with as many different loads, the busiest but one is picked iff it is drawn with the busiest only:
    never the busiest, and the idlest whenever it is drawn, which is choices / n."""
    policy, count = LeastRequest(choices, random.Random(1).random), 20_000
    endpoints = [make(str(at), at) for at in range(5)]
    seen = Counter(policy.pick(endpoints, 0.0).address for _ in range(count))
    p = choices / 5
    assert seen["4"] == 0
    assert abs(seen["0"] - count * p) <= 4 * sqrt(count * p * (1 - p))


@pytest.mark.parametrize("bias", [0.0, 1.0, 2.0])
def test_idle_endpoints_get_their_weight(bias: float) -> None:
    endpoints = [make("a", 0, 5), make("b", 0, 3), make("c", 0, 1)]
    policy = WeightedLeastRequest(endpoints, bias, 7)
    assert Counter(policy.pick(endpoints, 0.0).address for _ in range(90)) == {"a": 50, "b": 30, "c": 10}


def test_requests_in_flight_lower_the_share_of_a_weighted_endpoint() -> None:
    endpoints = [make("a", 3, 4), make("b", 0, 4)]
    policy = WeightedLeastRequest(endpoints, 1.0, 0)
    seen = Counter(policy.pick(endpoints, 0.0).address for _ in range(500))
    assert abs(seen["b"] - 400) <= 1
    endpoints[0].active = 0
    seen = Counter(policy.pick(endpoints, 0.0).address for _ in range(500))
    assert abs(seen["b"] - 250) <= 2


def test_weighted_round_robin_goes_by_the_weight_of_the_moment() -> None:
    endpoints = [make("a", 0, 1.0), make("b", 0, 0.1)]
    policy = WeightedRoundRobin(endpoints, 0)
    assert Counter(policy.pick(endpoints, 0.0).address for _ in range(110)) == {"a": 100, "b": 10}
    endpoints[1].weight = 1.0
    assert abs(Counter(policy.pick(endpoints, 0.0).address for _ in range(100))["b"] - 50) <= 5


def test_random_is_even_and_weighted_random_goes_by_weight() -> None:
    rng, count = random.Random(1), 20_000
    endpoints = [make("a"), make("b"), make("c")]
    even = Counter(RandomChoice(rng.random).pick(endpoints, 0.0).address for _ in range(count))
    policy = WeightedRandomChoice(endpoints, [1, 2, 7], rng.random)
    weighted = Counter(policy.pick(endpoints, 0.0).address for _ in range(count))
    for name, weight in zip("abc", (1, 2, 7), strict=True):
        assert abs(even[name] - count / 3) <= 4 * sqrt(count * 2 / 9)
        assert abs(weighted[name] - count * weight / 10) <= 4 * sqrt(count * weight / 10 * (1 - weight / 10))


@given(st.integers(1, 12), st.integers(1, 15), st.randoms(use_true_random=False))
def test_a_draw_has_each_at_most_once(size: int, count: int, rng: random.Random) -> None:
    endpoints = [make(str(at)) for at in range(size)]
    drawn = draw(endpoints, count, rng.random)
    assert len(drawn) == len(set(drawn)) == min(size, count)


def test_every_order_of_a_draw_is_as_likely() -> None:
    rng, count = random.Random(1), 24_000
    endpoints = [make(name) for name in "abcd"]
    seen = Counter("".join(e.address for e in draw(endpoints, 2, rng.random)) for _ in range(count))
    assert len(seen) == 12
    assert all(abs(times - count / 12) <= 4 * sqrt(count / 12) for times in seen.values())
