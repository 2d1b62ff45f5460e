"""Sticky splits: by what, the shares, and that a raised weight moves keys to that backend and none elsewhere."""

import random
from collections import Counter
from math import sqrt
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from turnout.proxy.http.head import RequestHead
from turnout.proxy.route.rendezvous import Rendezvous
from turnout.proxy.route.split import Split
from turnout.rules.resilience import HashKey
from turnout.rules.snapshot import Backend, Forward, Match, Route

if TYPE_CHECKING:
    from conftest import MakeTable

COUNT = 20_000
KEYS = [b"user-%d" % at for at in range(COUNT)]
USER = HashKey("cookie", "user")


def make_split(make_table: "MakeTable", *backends: Backend, split_by: HashKey | None = USER) -> Split:
    split = make_table(Route("r", Match(), Forward(backends, split_by=split_by))).hosts[0].entries[0].split
    assert split is not None
    return split


def place(*weights: int) -> list[int]:
    names = [f"b{at}" for at in range(len(weights))]
    rendezvous = Rendezvous(names, weights)
    return [rendezvous.choose(key) for key in KEYS]


@pytest.mark.parametrize("weights", [(1, 1), (9, 1), (99, 1), (5, 3, 2), (1, 1, 1, 1, 1, 1), (2**62, 2**60)])
def test_shares_are_the_weights_within_sampling_error(weights: tuple[int, ...]) -> None:
    seen = Counter(place(*weights))
    for at, weight in enumerate(weights):
        p = weight / sum(weights)
        assert abs(seen[at] - COUNT * p) <= 4 * sqrt(COUNT * p * (1 - p))


def test_a_choice_is_the_same_in_every_version() -> None:
    """Users must not change sides when the proxy is updated: this may never change."""
    assert "".join(str(at) for at in place(2, 1, 1)[:32]) == "01002020100012111101101202102000"


def test_a_backend_keeps_its_keys_wherever_it_is_written() -> None:
    one, other = Rendezvous(["a", "b", "c"], [5, 3, 2]), Rendezvous(["c", "a", "b"], [2, 5, 3])
    assert all("abc"[one.choose(key)] == "cab"[other.choose(key)] for key in KEYS[:2_000])


def test_only_the_ratio_of_weights_counts() -> None:
    assert place(1, 3) == place(1_000, 3_000)


def test_a_name_that_is_there_twice_gets_both_weights() -> None:
    rendezvous = Rendezvous(["a", "a", "b"], [1, 1, 2])
    assert abs(sum(rendezvous.choose(key) == 2 for key in KEYS) - COUNT / 2) <= 4 * sqrt(COUNT / 4)


@given(
    st.lists(st.integers(1, 1_000), min_size=1, max_size=6),
    st.integers(0, 5),
    st.integers(1, 1_000),
    st.lists(st.binary(max_size=40), min_size=1, max_size=20),
)
def test_a_raised_weight_moves_keys_to_it_and_none_elsewhere(
    weights: list[int], at: int, more: int, keys: list[bytes]
) -> None:
    names, at = [f"b{i}" for i in range(len(weights))], at % len(weights)
    raised = [weight + more * (i == at) for i, weight in enumerate(weights)]
    before, after = Rendezvous(names, weights), Rendezvous(names, raised)
    for key in keys:
        assert after.choose(key) in (before.choose(key), at)


def test_a_backend_that_comes_or_goes_moves_its_own_keys_only() -> None:
    without, with_it = place(5, 3), place(5, 3, 2)
    assert all(new in (old, 2) for old, new in zip(without, with_it, strict=True))


# In a route


def test_a_request_stays_with_its_backend(make_table: "MakeTable") -> None:
    split = make_split(make_table, Backend("a", 1), Backend("b", 1), Backend("never", 0))
    assert split.key is not None
    head = RequestHead([(b"cookie", b"theme=dark; user=Ann")])
    assert split.key(head, b"192.0.2.1") == b"Ann"
    assert split.key(RequestHead(), b"192.0.2.1") is None
    assert len({split.choose_for(b"Ann").cluster for _ in range(50)}) == 1
    assert {split.choose_for(key).cluster for key in KEYS[:100]} == {"a", "b"}


def test_the_same_user_is_on_the_same_side_in_every_route(make_table: "MakeTable") -> None:
    backends = Backend("a", 7), Backend("b", 3)
    one, other = make_split(make_table, *backends), make_split(make_table, *backends, split_by=HashKey("header", "u"))
    assert all(one.choose_for(key).cluster == other.choose_for(key).cluster for key in KEYS[:500])


def test_where_there_is_nothing_to_choose_no_key_is_asked_for(make_table: "MakeTable") -> None:
    assert make_split(make_table, Backend("a", 1)).key is None
    assert make_split(make_table, Backend("a", 1), Backend("b", 0)).key is None
    assert make_split(make_table, Backend("a", 1), Backend("b", 1), split_by=None).key is None


def test_a_sticky_split_can_still_be_left_to_chance(make_table: "MakeTable") -> None:
    split, rng = make_split(make_table, Backend("a", 1), Backend("b", 1)), random.Random(1)
    assert {split.choose(rng.random()).cluster for _ in range(50)} == {"a", "b"}
