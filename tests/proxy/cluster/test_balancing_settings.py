"""Each setting of `loadBalancing` comes to the policy that it is for, and changes what that picks."""

import random
from collections import Counter

import pytest

from turnout.proxy.cluster.endpoint import Endpoint
from turnout.proxy.cluster.picker import make_picker
from turnout.proxy.cluster.target import Target
from turnout.proxy.http.hashing import hash_bytes
from turnout.rules.resilience import LoadBalancing

COUNT, NOW = 2_000, 10.0


def endpoints(count: int) -> list[Endpoint]:
    return [Endpoint(str(at), 80, 0) for at in range(count)]


def pick(config: LoadBalancing, members: list[Endpoint]) -> Counter[str]:
    """Who is picked for so many keys at `NOW`, with nothing learnt meanwhile."""
    pairs = [(Target(one.address, 80, 0, int(one.weight)), one) for one in members]
    available, policy = make_picker(config, pairs, random.Random(1).random)
    return Counter(policy.pick(available, NOW, hash_bytes(b"%d" % at)).address for at in range(COUNT))


@pytest.mark.parametrize("policy", ["peak_ewma", "least_request"])
def test_of_more_choices_the_best_is_picked_more_often(policy: str) -> None:
    members = endpoints(8)
    for at, one in enumerate(members):
        one.ewma_s, one.ewma_at, one.active = 0.1, NOW, at
    assert set(pick(LoadBalancing(policy, choice_count=8), members)) == {"0"}  # type: ignore[arg-type]
    assert len(pick(LoadBalancing(policy, choice_count=2), members)) == 7  # type: ignore[arg-type]


def test_the_bias_says_how_much_requests_in_flight_count_against_a_weight() -> None:
    heavy, light = members = endpoints(2)
    heavy.weight, heavy.active, light.active = 2.0, 9, 0
    assert pick(LoadBalancing("least_request", active_request_bias=0.0), members)["0"] == pytest.approx(
        COUNT * 2 / 3, 0.01
    )
    assert pick(LoadBalancing("least_request", active_request_bias=1.0), members)["0"] == pytest.approx(COUNT / 6, 0.01)


def test_the_decay_says_how_long_a_slow_answer_is_remembered() -> None:
    once_slow, other = members = endpoints(2)
    once_slow.ewma_s, once_slow.ewma_at = 1.0, 0.001
    other.ewma_s, other.ewma_at = 0.6, NOW
    assert set(pick(LoadBalancing("peak_ewma", decay_s=1_000.0), members)) == {"1"}
    assert set(pick(LoadBalancing("peak_ewma", decay_s=1.0), members)) == {"0", "1"}


def test_the_default_rtt_is_that_of_an_endpoint_that_was_never_asked() -> None:
    members = endpoints(2)
    members[0].ewma_s, members[0].ewma_at = 0.02, NOW
    assert set(pick(LoadBalancing("peak_ewma", default_rtt_s=0.01), members)) == {"1"}
    # More than the others take fades to what they take: who is new must be tried.
    assert set(pick(LoadBalancing("peak_ewma", default_rtt_s=0.05), members)) == {"0", "1"}


@pytest.mark.parametrize(
    ("coarse", "fine"),
    [
        (LoadBalancing("ring_hash", minimum_ring_size=1), LoadBalancing("ring_hash", minimum_ring_size=16_384)),
        (LoadBalancing("maglev", table_size=5), LoadBalancing("maglev", table_size=65_537)),
    ],
    ids=["ring size", "table size"],
)
def test_a_larger_table_deals_keys_more_evenly(coarse: LoadBalancing, fine: LoadBalancing) -> None:
    members = endpoints(2)
    assert abs(pick(coarse, members)["0"] - COUNT / 2) > 0.08 * COUNT
    assert abs(pick(fine, members)["0"] - COUNT / 2) < 0.05 * COUNT
