"""Priority → locality → policy: who gets load in which state, and how it is dealt."""

import random
from collections import Counter
from collections.abc import Sequence
from math import sqrt

import pytest
from hypothesis import given
from hypothesis import strategies as st

from turnout.proxy.cluster.endpoint import Endpoint
from turnout.proxy.cluster.least_request import LeastRequest, WeightedLeastRequest
from turnout.proxy.cluster.localities import effective_weight
from turnout.proxy.cluster.maglev import Maglev
from turnout.proxy.cluster.peak_ewma import PeakEwma
from turnout.proxy.cluster.picker import Member, make_picker
from turnout.proxy.cluster.priorities import deal_panic_load, find_panic
from turnout.proxy.cluster.random_choice import RandomChoice, WeightedRandomChoice
from turnout.proxy.cluster.ring_hash import RingHash
from turnout.proxy.cluster.round_robin import RoundRobin
from turnout.proxy.cluster.target import State, Target
from turnout.proxy.cluster.weighted_round_robin import WeightedRoundRobin
from turnout.proxy.http.hashing import hash_bytes
from turnout.rules.resilience import LoadBalancing

POLICIES = ["peak_ewma", "least_request", "round_robin", "random", "ring_hash", "maglev"]
ALL = pytest.mark.parametrize("policy", POLICIES)
HASHING = pytest.mark.parametrize("policy", ["ring_hash", "maglev"])
COUNT = 4_000


def member(
    name: str, weight: int = 1, priority: int = 0, locality: str = "", state: State = State.AVAILABLE, since: float = 0
) -> Member:
    endpoint = Endpoint(name, 80, 0)
    endpoint.weight = weight
    return Target(name, 80, 0, weight, priority, locality, state, since=since), endpoint


def configure(policy: str, **more: object) -> LoadBalancing:
    return LoadBalancing(policy=policy, table_size=1_009, **more)  # type: ignore[arg-type]


def pick(config: LoadBalancing, members: Sequence[Member]) -> Counter[str]:
    available, policy = make_picker(config, members, random.Random(1).random)
    seen = Counter(policy.pick(available, 0.0, hash_bytes(b"%d" % at)).address for at in range(COUNT))
    assert set(seen) <= {endpoint.address for endpoint in available}
    return seen


def close(seen: int, share: float) -> bool:
    return abs(seen - COUNT * share) <= 4 * sqrt(COUNT * share * (1 - share))


@pytest.mark.parametrize(
    ("policy", "weights", "made"),
    [
        ("peak_ewma", (1, 2), PeakEwma),
        ("round_robin", (3, 3), RoundRobin),
        ("round_robin", (1, 2), WeightedRoundRobin),
        ("least_request", (3, 3), LeastRequest),
        ("least_request", (1, 2), WeightedLeastRequest),
        ("random", (3, 3), RandomChoice),
        ("random", (1, 2), WeightedRandomChoice),
        ("ring_hash", (1, 2), RingHash),
        ("maglev", (1, 2), Maglev),
    ],
)
def test_what_is_not_configured_is_not_there(policy: str, weights: tuple[int, ...], made: type) -> None:
    members = [member(str(at), weight) for at, weight in enumerate(weights)]
    assert type(make_picker(configure(policy), members, random.Random(1).random)[1]) is made


def test_equal_weights_are_not_equal_for_long_in_slow_start() -> None:
    members = [member("a", since=3.0), member("b", since=2.0)]
    assert isinstance(make_picker(configure("round_robin"), members, random.random)[1], WeightedRoundRobin)


@ALL
def test_without_endpoints_or_health_there_is_nobody(policy: str) -> None:
    assert make_picker(configure(policy), [], random.random)[0] == ()
    ill = [member("a", state=State.EJECTED), member("b", priority=2, state=State.UNHEALTHY)]
    assert make_picker(configure(policy), ill, random.random)[0] == ()


@ALL
@pytest.mark.parametrize("state", [state for state in State if state != State.AVAILABLE])
def test_only_the_available_get_requests(policy: str, state: State) -> None:
    assert set(pick(configure(policy), [member("a"), member("b", state=state), member("c")])) == {"a", "c"}


@ALL
def test_load_spills_over_to_the_next_priority(policy: str) -> None:
    low = [member("low"), member("lost", state=State.OPEN)]  # half healthy: 70 % of the load
    assert close(pick(configure(policy), [member("high", priority=3), *low])["high"], 0.3)


@HASHING
def test_a_key_keeps_its_priority_where_it_is_hashed(policy: str) -> None:
    members = [member("low"), member("lost", state=State.OPEN), member("high", priority=3)]
    available, picker = make_picker(configure(policy), members, random.random)
    assert len({picker.pick(available, 0.0, hash_bytes(b"Ann")).address for _ in range(100)}) == 1


@ALL
def test_a_pool_that_grows_is_not_ill(policy: str) -> None:
    warming = [member(f"w{at}", locality="z/a", state=State.WARMING) for at in range(9)]
    members = [member("a", locality="z/a"), *warming, member("high", priority=1)]
    assert set(pick(configure(policy), members)) == {"a"}
    assert set(pick(configure(policy, panic_percent=50.0), members)) == {"a"}
    assert set(pick(configure(policy, locality_weights=ZONES), members)) == {"a"}
    assert set(pick(configure(policy), [*warming, member("high", priority=1)])) == {"high"}


# Panic


@ALL
def test_with_too_few_healthy_ones_all_of_them_are_used(policy: str) -> None:
    members = [member("a"), *(member(name, state=State.FAILED_CHECK) for name in "bc")]
    assert set(pick(configure(policy), members)) == {"a"}
    assert set(pick(configure(policy, panic_percent=33.0), members)) == {"a"}
    assert set(pick(configure(policy, panic_percent=50.0), members)) == {"a", "b", "c"}


@ALL
def test_where_nobody_is_healthy_panic_uses_all_but_those_that_were_never_warm(policy: str) -> None:
    members = [member("a", state=State.EJECTED), member("b", state=State.WARMING)]
    assert set(pick(configure(policy, panic_percent=50.0), members)) == {"a"}
    assert make_picker(configure(policy, panic_percent=50.0), members[1:], random.random)[0] == ()


@pytest.mark.parametrize(
    ("tiers", "threshold", "panic"),
    [
        ([(1, 2)], 50.0, [False]),
        ([(1, 3)], 50.0, [True]),
        ([(0, 3)], 0.0, [False]),
        # the health of all together is 100: no panic, however ill one is
        ([(1, 10), (9, 9)], 50.0, [False, False]),
        ([(1, 4), (1, 4)], 50.0, [True, True]),
        ([(1, 4), (2, 4)], 50.0, [False, False]),
        ([(1, 10), (3, 5)], 50.0, [True, False]),
        ([], 50.0, []),
    ],
)
def test_panic_is_envoys(tiers: list[tuple[int, int]], threshold: float, panic: list[bool]) -> None:
    assert find_panic(tiers, threshold) == panic


def test_in_total_panic_the_load_goes_by_numbers() -> None:
    assert deal_panic_load([4, 4]) == [50, 50]
    assert deal_panic_load([2, 4, 0]) == [34, 66, 0]
    assert deal_panic_load([0, 0]) == [0, 0]


# Localities


@pytest.mark.parametrize(
    ("weight", "healthy", "total", "effective"), [(10, 4, 4, 10.0), (10, 3, 4, 10.0), (10, 2, 4, 7.0), (10, 0, 4, 0.0)]
)
def test_the_weight_of_a_locality_is_envoys(weight: int, healthy: int, total: int, effective: float) -> None:
    assert effective_weight(weight, healthy, total) == pytest.approx(effective)


ZONES = (("z/a", 3), ("z/b", 1))


@pytest.mark.parametrize("policy", POLICIES[:4])
def test_localities_get_their_weights_however_many_endpoints_they_have(policy: str) -> None:
    members = [member("a", locality="z/a"), *(member(f"b{at}", locality="z/b") for at in range(5)), member("c")]
    seen = pick(configure(policy, locality_weights=ZONES), members)
    assert close(seen["a"], 0.75)
    assert seen["c"] == 0


@HASHING
def test_where_it_is_hashed_the_weight_of_a_locality_is_in_those_of_its_endpoints(policy: str) -> None:
    members = [member("a", locality="z/a"), *(member(f"b{at}", locality="z/b") for at in range(5)), member("c")]
    seen = pick(configure(policy, locality_weights=ZONES), members)
    assert abs(seen["a"] / COUNT - 0.75) < 0.06
    assert seen["c"] == 0


def test_a_locality_that_is_ill_gets_less() -> None:
    members = [
        member("a", locality="z/a"),
        member("lost", locality="z/a", state=State.OPEN),
        member("b", locality="z/b"),
    ]
    seen = pick(configure("round_robin", locality_weights=ZONES), members)
    assert close(seen["a"], 0.7 * 3 / (0.7 * 3 + 1))


@ALL
def test_weights_of_localities_without_health_are_left_out_of_account(policy: str) -> None:
    members = [member("a", locality="z/a", state=State.OPEN), member("c"), member("d")]
    assert set(pick(configure(policy, locality_weights=ZONES), members)) == {"c", "d"}


MEMBERS = st.lists(
    st.builds(
        lambda at, weight, priority, locality, state: member(f"e{at}", weight, priority, locality, state),
        st.integers(0, 10_000), st.integers(1, 5), st.integers(0, 2), st.sampled_from(["", "z/a", "z/b"]),
        st.sampled_from([State.AVAILABLE, State.AVAILABLE, State.EJECTED, State.WARMING, State.HALF_OPEN]),
    ),
    max_size=8, unique_by=lambda one: one[0].address,
)  # fmt: skip


@given(
    MEMBERS,
    st.sampled_from(POLICIES),
    st.sampled_from([0.0, 50.0]),
    st.sampled_from([(), ZONES]),
    st.sampled_from([None, 125]),
    st.randoms(use_true_random=False),
)
def test_whoever_is_picked_is_available_and_somebody_is_if_anybody_is(
    members: list[Member],
    policy: str,
    panic_percent: float,
    zones: tuple[tuple[str, int], ...],
    bound: int | None,
    rng: random.Random,
) -> None:
    config = LoadBalancing(
        policy=policy,  # type: ignore[arg-type]
        table_size=101,
        minimum_ring_size=16,
        panic_percent=panic_percent,
        locality_weights=zones,
        hash_balance_percent=bound,
    )
    available, picker = make_picker(config, members, rng.random)
    healthy = {endpoint for target, endpoint in members if target.state == State.AVAILABLE}
    assert bool(available) >= bool(healthy)
    if not panic_percent:
        assert set(available) <= healthy
    for at in range(20 if available else 0):
        chosen = picker.pick(available, 0.0, hash_bytes(b"%d" % at) if at % 3 else 0)
        assert chosen in available
        chosen.active += 1
