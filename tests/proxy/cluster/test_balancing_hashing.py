"""Ring hash and Maglev: shares, who moves when an endpoint comes or goes, and the bound on a hot key."""

import random
from collections import Counter
from collections.abc import Sequence
from math import ceil

import pytest
from hypothesis import given
from hypothesis import strategies as st

from turnout.proxy.cluster.bounded_load import BoundedLoad
from turnout.proxy.cluster.endpoint import Endpoint
from turnout.proxy.cluster.maglev import make_table
from turnout.proxy.cluster.policies import MAX_TABLES, Tables
from turnout.proxy.cluster.policy import Policy
from turnout.proxy.cluster.ring_hash import MAX_RING_SIZE, make_ring
from turnout.proxy.http.hashing import hash_bytes, mix
from turnout.rules.resilience import LoadBalancing

SIZE = 1_009
RING, MAGLEV = LoadBalancing(policy="ring_hash"), LoadBalancing(policy="maglev", table_size=SIZE)
BOTH = pytest.mark.parametrize("config", [RING, MAGLEV], ids=["ring_hash", "maglev"])
HASHES = [hash_bytes(b"user-%d" % at) for at in range(5_000)]


def make(count: int) -> list[Endpoint]:
    return [Endpoint(f"10.0.0.{at}", 80, 0) for at in range(count)]


def keys(count: int) -> list[bytes]:
    return [endpoint.text for endpoint in make(count)]


def make_policy(
    config: LoadBalancing, endpoints: Sequence[Endpoint], weights: Sequence[float] = (), away: Sequence[int] = ()
) -> Policy:
    used = [at not in away for at in range(len(endpoints))]
    tables = Tables(config, random.Random(1).random)
    return tables.make_policy(endpoints, weights or [1.0] * len(endpoints), used)


def place(policy: Policy, hashes: Sequence[int] = HASHES) -> list[str]:
    return [policy.pick((), 0.0, hash).address for hash in hashes]


def test_hashes_are_the_same_in_every_version() -> None:
    """Keys must not move when the proxy is updated: these numbers may never change."""
    assert hash_bytes(b"") == 0xE4A6A0577479B2B4
    assert hash_bytes(b"user-1") == 0x9AAC5A8621EAE188
    assert mix(1) == 0x5692161D100B05E5
    assert len({mix(at) for at in range(10_000)}) == 10_000


@BOTH
def test_a_key_keeps_its_endpoint_whoever_asks(config: LoadBalancing) -> None:
    assert place(make_policy(config, make(5))) == place(make_policy(config, make(5)))


@BOTH
def test_the_order_of_endpoints_does_not_matter(config: LoadBalancing) -> None:
    endpoints = make(5)
    assert place(make_policy(config, endpoints)) == place(make_policy(config, endpoints[::-1]))


@BOTH
@pytest.mark.parametrize("away", [0, 2, 4])
def test_only_the_keys_of_an_endpoint_that_is_away_move_and_they_come_back(config: LoadBalancing, away: int) -> None:
    endpoints = make(5)
    tables = Tables(config, random.Random(1).random)
    everyone, without = [True] * 5, [at != away for at in range(5)]
    before = place(tables.make_policy(endpoints, [1.0] * 5, everyone))
    during = place(tables.make_policy(endpoints, [1.0] * 5, without))
    lost = endpoints[away].address
    assert all(old == new for old, new in zip(before, during, strict=True) if old != lost)
    moved = Counter(new for old, new in zip(before, during, strict=True) if old == lost)
    assert len(moved) == 4  # to all the others
    assert place(tables.make_policy(endpoints, [1.0] * 5, everyone)) == before


@BOTH
def test_an_endpoint_more_moves_little_more_than_its_share(config: LoadBalancing) -> None:
    before, after = place(make_policy(config, make(8))), place(make_policy(config, make(9)))
    new = make(9)[-1].address
    moved_elsewhere = sum(old != now != new for old, now in zip(before, after, strict=True))
    assert abs(after.count(new) / len(HASHES) - 1 / 9) < 0.04
    assert moved_elsewhere / len(HASHES) <= (0 if config is RING else 0.06)


@BOTH
@pytest.mark.parametrize("weights", [(1, 1, 1), (1, 2, 3), (10, 1), (5, 5, 1, 1)])
def test_shares_are_the_weights(config: LoadBalancing, weights: tuple[float, ...]) -> None:
    seen = Counter(place(make_policy(config, make(len(weights)), weights)))
    for at, weight in enumerate(weights):
        assert abs(seen[f"10.0.0.{at}"] / len(HASHES) - weight / sum(weights)) < 0.1


@BOTH
def test_a_request_without_a_key_goes_at_random(config: LoadBalancing) -> None:
    assert len(set(place(make_policy(config, make(3)), [0] * 100))) == 3


@BOTH
def test_one_endpoint_of_many_gets_all(config: LoadBalancing) -> None:
    assert set(place(make_policy(config, make(20), away=range(1, 20)))) == {"10.0.0.0"}


# Maglev


@given(st.lists(st.integers(1, 20), min_size=1, max_size=12))
def test_every_slot_of_a_maglev_table_is_taken_in_proportion(weights: list[int]) -> None:
    seen = Counter(make_table(keys(len(weights)), [float(weight) for weight in weights], SIZE))
    assert sum(seen.values()) == SIZE
    for at, weight in enumerate(weights):
        # A turn is up to one slot for each.
        assert abs(seen[at] - SIZE * weight / sum(weights)) <= len(weights) + 1


def test_disruption_of_a_maglev_table_is_that_of_the_paper() -> None:
    """With a table 100 times as large as the number of endpoints, one that goes moves some per cent of the slots of the
    others (Eisenbud et al., figure 12)."""
    count, size = 20, 2_003
    full = make_table(keys(count), [1.0] * count, size)
    less = make_table(keys(count)[:-1], [1.0] * (count - 1), size)
    moved = sum(old != new for old, new in zip(full, less, strict=True) if old != count - 1)
    assert 0 < moved / size < 0.06


# The ring


@pytest.mark.parametrize(
    ("weights", "points"),
    [
        ((1, 1), (512, 512)),
        ((1, 1, 2), (256, 256, 512)),
        ((1, 1, 1), (512, 512, 512)),
        ((1,) * 8, (128,) * 8),
        ((1,) * 9, (128,) * 9),
        ((2, 3), (512, 768)),
        ((1, 2000), (1, 2000)),
    ],
)
def test_a_ring_has_the_minimum_size_and_points_by_weight(weights: tuple[float, ...], points: tuple[int, ...]) -> None:
    ring = make_ring(keys(len(weights)), weights, 1_024)
    assert len(ring) >= 1_024
    assert ring == sorted(ring)
    seen = Counter(index for _, index in ring)
    assert tuple(seen[at] for at in range(len(weights))) == points


def test_a_ring_of_very_different_weights_is_bounded_and_everybody_is_on_it() -> None:
    seen = Counter(index for _, index in make_ring(keys(2), [1.0, 4_000_000.0], 1_024))
    assert seen[0] == 1
    assert sum(seen.values()) <= MAX_RING_SIZE + 2


# The bound


@BOTH
@pytest.mark.parametrize("percent", [100, 125, 200])
def test_no_endpoint_ever_has_more_than_its_bound(config: LoadBalancing, percent: int) -> None:
    rng, endpoints, weights = random.Random(1), make(5), [1.0, 1.0, 1.0, 2.0, 5.0]
    config = LoadBalancing(policy=config.policy, table_size=SIZE, hash_balance_percent=percent)
    policy, held = make_policy(config, endpoints, weights), []
    for _ in range(3_000):
        if held and rng.random() < 0.45:
            held.pop(int(rng.random() * len(held))).active -= 1
            continue
        chosen = policy.pick((), 0.0, HASHES[int(rng.random() ** 4 * 50)])
        chosen.active += 1
        held.append(chosen)
        slots = ceil(len(held) * percent / 100)
        assert chosen.active <= max(1, ceil(slots * weights[endpoints.index(chosen)] / sum(weights)))


@BOTH
def test_a_hot_key_overflows_to_others_and_comes_back(config: LoadBalancing) -> None:
    endpoints = make(4)
    config = LoadBalancing(policy=config.policy, table_size=SIZE, hash_balance_percent=150)
    policy = make_policy(config, endpoints)
    home = policy.pick((), 0.0, HASHES[0])
    for _ in range(100):
        policy.pick((), 0.0, HASHES[0]).active += 1
    assert home.active == ceil(1.5 * 100 / 4)
    assert all(endpoint.active for endpoint in endpoints if endpoint is not home) or home.active < 100
    for endpoint in endpoints:
        endpoint.active = 0
    assert policy.pick((), 0.0, HASHES[0]) is home


@BOTH
def test_an_idle_cluster_is_not_disturbed_by_the_bound(config: LoadBalancing) -> None:
    bounded = LoadBalancing(policy=config.policy, table_size=SIZE, hash_balance_percent=100)
    assert place(make_policy(bounded, make(5))) == place(make_policy(config, make(5)))


@given(st.lists(st.tuples(st.integers(0, 50), st.integers(1, 9)), min_size=1, max_size=8), st.integers(100, 400))
def test_somebody_always_has_room(loads: list[tuple[int, int]], percent: int) -> None:
    endpoints = make(len(loads))
    for endpoint, (active, _) in zip(endpoints, loads, strict=True):
        endpoint.active = active
    bound = BoundedLoad(endpoints, [float(weight) for _, weight in loads], percent)
    slots = bound.slots()
    assert any(bound.has_room(endpoint, slots) for endpoint in endpoints)


def test_tables_are_kept_for_endpoints_and_not_for_states() -> None:
    tables, endpoints = Tables(RING, random.Random(1).random), make(30)
    first = tables._table((b"a",), (1.0,))
    assert tables._table((b"a",), (1.0,)) is first
    for endpoint in endpoints[: MAX_TABLES + 1]:
        tables._table((endpoint.text,), (1.0,))
    assert tables._table((b"a",), (1.0,)) is not first
