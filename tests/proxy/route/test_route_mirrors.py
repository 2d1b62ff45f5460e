"""Which requests a mirror takes: a share by chance, or keys that stay."""

from collections.abc import Callable
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from turnout.proxy.route.explain import explain
from turnout.proxy.route.mirrored import Mirrored, Pause
from turnout.proxy.route.mirrors import Mirrors, MirrorShare
from turnout.rules.mirroring import Mirror, MirrorLimits, PauseAbove
from turnout.rules.resilience import HashKey, RateLimit
from turnout.rules.snapshot import Backend, Forward, Match, Origins, Route

if TYPE_CHECKING:
    from conftest import MakeHead, MakeTable

MILLION = 1_000_000
SHARES = st.integers(0, MILLION)
KEYS = st.binary(min_size=1, max_size=40)


def share(per_million: int, cluster: str = "a", number: int = 0) -> MirrorShare:
    return MirrorShare(Mirror(cluster, per_million), number, None, 0)


@given(KEYS, SHARES, SHARES)
def test_a_larger_share_keeps_the_keys_of_a_smaller_one(key: bytes, one: int, other: int) -> None:
    small, large = sorted((one, other))
    assert share(large).takes(key) or not share(small).takes(key)


@given(KEYS)
def test_no_share_takes_no_key_and_all_takes_all(key: bytes) -> None:
    assert not share(0).takes(key)
    assert share(MILLION).takes(key)


@pytest.mark.parametrize("per_million", [10_000, 100_000, 500_000])
def test_a_share_of_the_keys_is_about_that_share(per_million: int) -> None:
    mirror = share(per_million)
    taken = sum(mirror.takes(b"user-%d" % number) for number in range(20_000))
    assert abs(taken / 20_000 - per_million / MILLION) < 0.015


def test_two_mirrors_of_a_tenth_are_not_of_the_same_tenth() -> None:
    keys = [b"user-%d" % number for number in range(5_000)]
    sets = [
        {key for key in keys if mirror.takes(key)}
        for mirror in (share(100_000), share(100_000, "b"), share(100_000, "a", 1))
    ]
    for at, one in enumerate(sets):
        for other in sets[at + 1 :]:
            assert len(one & other) < len(one) / 3


def mirrors(*shares: MirrorShare, by: HashKey | None = None, random: Callable[[], float] = lambda: 0.0) -> Mirrors:
    return Mirrors(shares, by, random=random)


@given(st.floats(0, 1, exclude_max=True), SHARES, SHARES)
def test_by_chance_the_smaller_share_is_part_of_the_larger(number: float, one: int, other: int) -> None:
    small, large = (share(per_million, name) for per_million, name in zip(sorted((one, other)), "ab", strict=True))
    chosen = mirrors(small, large, random=lambda: number).choose(_head(), b"")
    assert large in chosen or small not in chosen
    assert (small in chosen) == (number * MILLION < small.per_million)


def test_one_number_is_drawn_for_all_mirrors_and_none_if_all_take_everything() -> None:
    drawn = []

    def draw() -> float:
        drawn.append(1)
        return 0.5

    few = [share(500_001, name) for name in "abc"]
    assert list(mirrors(*few, random=draw).choose(_head(), b"")) == few
    all_of_them = [share(MILLION, name) for name in "abc"]
    assert list(mirrors(*all_of_them, random=draw).choose(_head(), b"")) == all_of_them
    assert len(drawn) == 1


def test_a_request_without_the_key_goes_by_chance(make_head: "MakeHead") -> None:
    mirror = share(500_000)
    by = HashKey("header", "x-user")
    assert list(mirrors(mirror, by=by, random=lambda: 0.4).choose(make_head("/"), b"")) == [mirror]
    assert list(mirrors(mirror, by=by, random=lambda: 0.6).choose(make_head("/"), b"")) == []
    for user in "abcdefgh":
        expected = [mirror] if mirror.takes(user.encode()) else []
        for number in (0.0, 0.99):
            chosen = mirrors(mirror, by=by, random=lambda number=number: number).choose(
                make_head("/", x_user=user), b""
            )
            assert list(chosen) == expected


def test_explain_tells_the_mirrors_of_a_route(make_table: "MakeTable", make_head: "MakeHead") -> None:
    limits = MirrorLimits(5.0, 7, RateLimit(2.0, 3), PauseAbove(0.5, 4, None))
    action = Forward(
        (Backend("a"),), mirrors=(Mirror("b", 250_000), Mirror("gone", 0)), mirror_by=HashKey("header", "x-user"),
        mirror_limits=limits,
    )  # fmt: skip
    table = make_table(Route("r", Match(), action), missing=("gone",))
    taken = table.hosts[0].entries[0].mirrors.shares[0].takes(b"anna")
    outcome = explain(table, make_head("/", x_user="anna"), Origins(), 80).outcome
    told = (5.0, 7, 2.0, 3, Pause(0.5, 4, None))
    assert outcome.mirrors == (
        Mirrored("b", 25.0, False, False, "header x-user", "anna", taken, *told),
        Mirrored("gone", 0.0, True, False, "header x-user", "anna", False, *told),
    )
    outcome = explain(table, make_head("/"), Origins(), 80).outcome
    assert [(mirror.key, mirror.copied) for mirror in outcome.mirrors] == [(None, None), (None, False)]


def _head():  # type: ignore[no-untyped-def]
    from turnout.proxy.http.head import RequestHead

    return RequestHead()
