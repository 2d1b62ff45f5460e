"""A ramp of a sticky split: 1 → 5 → 25 → 100 % over many keys.

Nobody goes back, the shares are the weights, and another process, that has never heard of this one, sends everybody to
the same backend.
"""

import hashlib
import os
import subprocess
import sys
from collections.abc import Sequence
from math import sqrt
from pathlib import Path

import pytest
from world import print_table

from turnout.proxy.http.head import RequestHead
from turnout.proxy.route.split import Share, Split
from turnout.rules.resilience import HashKey
from turnout.rules.snapshot import Backend, Forward, Match, Route

RAMP = ((99, 1), (95, 5), (75, 25), (0, 100))
SHORT, LONG = 100_000, 1_000_000


def make_split(weights: Sequence[int]) -> Split:
    backends = tuple(
        Backend(name, weight) for name, weight in zip(("stable", "canary", "other"), weights, strict=False)
    )
    route = Route("r", Match(), Forward(backends))
    return Split([Share(route, backend, None, 0) for backend in backends], HashKey("header", "x-user"))


def place(weights: Sequence[int], count: int) -> bytes:
    """The first letter of the backend of each key."""
    split = make_split(weights)
    if split.only:
        return split.only.cluster[:1].encode() * count
    choose, letters = split.choose_for, {share.cluster: ord(share.cluster[0]) for share in split.shares}
    return bytes([letters[choose(b"user-%d" % at).cluster] for at in range(count)])


def digest(placed: bytes) -> str:
    return hashlib.sha256(placed).hexdigest()


@pytest.mark.parametrize("count", [SHORT, pytest.param(LONG, marks=pytest.mark.soak)])
def test_a_ramp_moves_keys_forward_only_and_everywhere_alike(count: int) -> None:
    rows, digests, before = [], [], b"s" * count
    for weights in RAMP:
        placed = place(weights, count)
        back = sum(old == 99 != new for old, new in zip(before, placed, strict=True))
        share, seen = weights[1] / sum(weights), placed.count(b"c")
        sigmas = abs(seen - count * share) / (sqrt(count * share * (1 - share)) or 1.0)
        moved = sum(old != new for old, new in zip(before, placed, strict=True))
        rows.append((f"{share:.0%}", seen, sigmas, moved, back))
        digests.append(digest(placed))
        before = placed
    other = subprocess.run(
        [sys.executable, "-c", f"import {Path(__file__).stem} as t; t.print_digests({count})"],
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parent), "PYTHONHASHSEED": "12345"},
        check=True,
        capture_output=True,
        text=True,
        timeout=100,
    )
    print_table(f"Ramp of a sticky split over {count:,} keys", ("canary", "keys", "sigmas", "moved", "back"), rows)
    print(f"another process agrees on all: {other.stdout.split() == digests}")
    assert other.stdout.split() == digests
    assert all(back == 0 for *_, back in rows)
    assert all(sigmas <= 4 for _, _, sigmas, _, _ in rows)


def test_raising_one_of_three_moves_keys_to_it_only_and_lowering_it_gives_them_back() -> None:
    before, after = place((50, 30, 20), SHORT), place((50, 30, 60), SHORT)
    assert all(new == ord("o") for old, new in zip(before, after, strict=True) if old != new)
    assert place((50, 30, 20), SHORT) == before


def test_a_request_is_split_by_its_key() -> None:
    """Keys of equal requests are equal, so a user stays; it is the compiled key that says what a user is."""
    split = make_split((50, 50))
    assert split.key is not None
    keys = [split.key(RequestHead([(b"x-user", b"user-%d" % (at % 7))]), b"") for at in range(100)]
    assert len({(key, split.choose_for(key).cluster) for key in keys if key is not None}) == 7


def print_digests(count: int) -> None:
    for weights in RAMP:
        print(digest(place(weights, count)))
