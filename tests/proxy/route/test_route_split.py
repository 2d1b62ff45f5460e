"""The weighted choice among backends."""

import random
from collections import Counter
from math import nextafter, sqrt
from typing import TYPE_CHECKING

import pytest

from turnout.rules.snapshot import Backend, Forward, Match, PathRewrite, Rewrite, Route

if TYPE_CHECKING:
    from conftest import MakeTable

from turnout.proxy.errors import COLD_CLUSTER, NO_CLUSTER
from turnout.proxy.route.split import Split

ALMOST_ONE = nextafter(1.0, 0.0)


def make_split(make_table: "MakeTable", *weights: int, **absent: tuple[str, ...]) -> Split:
    backends = tuple(Backend(f"b{i}", weight) for i, weight in enumerate(weights))
    split = make_table(Route("r", Match(), Forward(backends)), **absent).hosts[0].entries[0].split
    assert split is not None
    return split


@pytest.mark.parametrize("weights", [(90, 10), (1, 1, 1), (3, 0, 1), (999_999, 1_000_000), (1, 0), (0, 7, 0, 5)])
def test_shares_are_the_weights_within_sampling_error(make_table: "MakeTable", weights: tuple[int, ...]) -> None:
    count, rng = 40_000, random.Random(1)
    split = make_split(make_table, *weights)
    seen = Counter(split.choose(rng.random()).cluster for _ in range(count))
    for i, weight in enumerate(weights):
        p = weight / sum(weights)
        assert abs(seen[f"b{i}"] - count * p) <= 4 * sqrt(count * p * (1 - p))


@pytest.mark.parametrize(
    ("weights", "at", "chosen"),
    [
        ((90, 10), 0.0, "b0"),
        ((90, 10), nextafter(0.9, 0), "b0"),
        ((90, 10), 0.9, "b1"),
        ((90, 10), ALMOST_ONE, "b1"),
        ((0, 1), 0.0, "b1"),
        ((1, 0), ALMOST_ONE, "b0"),
        ((0, 1, 0, 1, 0), 0.5, "b3"),
        ((0, 1, 0, 1, 0), ALMOST_ONE, "b3"),
        ((1, 2**53 + 2, 0), ALMOST_ONE, "b1"),
        ((2**62, 2**62), 0.0, "b0"),
        ((2**62, 2**62), 0.5, "b1"),
        ((2**62, 2**62), ALMOST_ONE, "b1"),
    ],
)
def test_the_ends_of_the_intervals(make_table: "MakeTable", weights: tuple[int, ...], at: float, chosen: str) -> None:
    assert make_split(make_table, *weights).choose(at).cluster == chosen


def test_a_missing_or_cold_backend_keeps_its_share(make_table: "MakeTable") -> None:
    split = make_split(make_table, 1, 1, 1, missing=("b1",), cold=("b2",))
    assert [split.choose(at).failure for at in (0.0, 0.5, ALMOST_ONE)] == [None, NO_CLUSTER, COLD_CLUSTER]


def test_a_backends_rewrite_wins_part_by_part(make_table: "MakeTable") -> None:
    path = PathRewrite("full", "/p")
    own, both = Rewrite(hostname="own.example"), Rewrite(hostname="own.example", path=path)
    route = Forward((Backend("a", rewrite=own), Backend("b")), rewrite=Rewrite(hostname="all.example", path=path))
    split = make_table(Route("r", Match(), route)).hosts[0].entries[0].split
    assert split is not None
    assert [share.rewrite for share in split.shares] == [both, route.rewrite]
