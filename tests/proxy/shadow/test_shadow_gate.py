"""Copies stop while the predictor that answers is in trouble, and come back late."""

from typing import Any

import pytest

from turnout.proxy.shadow.gate import Gate
from turnout.proxy.telemetry.counters import Counters
from turnout.proxy.telemetry.layout import ClusterWord, EndpointWord
from turnout.proxy.telemetry.mirrors import LiveWord
from turnout.rules.mirroring import PauseAbove

pytestmark = pytest.mark.stand_in
ENDPOINTS, CLUSTER, LIVE = (10, 30), 50, 70


class World:
    """Two workers, of which this is one; a cluster of two endpoints."""

    def __init__(self, bounds: PauseAbove) -> None:
        self.own, self.other = (memoryview(bytearray(8 * 100)).cast("Q") for _ in range(2))
        self.counters = Counters(self.own, [self.other])
        self.gate = Gate(bounds, self.counters, LIVE)
        self.cluster: Any = type("Fake", (), {})()
        self.cluster.record = CLUSTER
        self.cluster.endpoints = [type("Fake", (), {"record": record})() for record in ENDPOINTS]
        self.now = 1.0

    def is_open(self, after_s: float = 0.05) -> bool:
        self.now += after_s
        return self.gate.is_open(self.cluster, self.now)

    def load(self, *active: int, pending: int = 0) -> None:
        for words, count, record in zip((self.own, self.other), active, ENDPOINTS, strict=True):
            words[record + EndpointWord.ACTIVE] = count
        self.other[CLUSTER + ClusterWord.PENDING] = pending

    def answers(self, count: int, waited_s: float, *, elsewhere: bool = False) -> None:
        if elsewhere:
            self.other[LIVE + LiveWord.ASKED] += count
        else:
            for _ in range(count):
                self.gate.on_first_byte(waited_s)


def test_the_load_of_all_workers_and_endpoints_counts() -> None:
    world = World(PauseAbove(active_requests=10))
    world.load(5, 5)
    assert world.is_open()
    world.load(5, 6)
    assert not world.is_open()


def test_between_two_looks_nobody_is_counted() -> None:
    world = World(PauseAbove(active_requests=10))
    assert world.is_open()
    world.load(50, 50)
    assert world.is_open(0.001)
    assert not world.is_open(0.05)


@pytest.mark.parametrize("bounds", [PauseAbove(active_requests=10), PauseAbove(pending_requests=10)])
def test_it_opens_when_the_load_was_at_four_fifths_for_a_second(bounds: PauseAbove) -> None:
    world = World(bounds)

    def load(count: int) -> None:
        world.load(*((count, 0) if bounds.active_requests else (0, 0)), pending=0 if bounds.active_requests else count)

    load(11)
    assert not world.is_open()
    load(9)
    assert not any(world.is_open() for _ in range(100)), "below the bound, but not by enough"
    load(8)
    assert not world.is_open(0.9)
    load(9)
    assert not world.is_open()
    load(8)
    assert not world.is_open(0.9)
    assert world.is_open(0.2)


def test_no_waiting_at_all_may_be_asked_for() -> None:
    world = World(PauseAbove(pending_requests=0))
    assert world.is_open()
    world.load(0, 0, pending=1)
    assert not world.is_open()
    world.load(0, 0, pending=0)
    assert not world.is_open()
    assert world.is_open(1.1)


def test_one_in_a_hundred_may_be_late_and_not_more() -> None:
    world = World(PauseAbove(p99_s=0.5))
    assert world.is_open()
    world.answers(197, 0.5)
    world.answers(2, 0.6)
    assert not world.is_open(), "two of 199"
    world = World(PauseAbove(p99_s=0.5))
    assert world.is_open()
    world.answers(198, 0.5)
    world.answers(2, 0.6)
    assert world.is_open(), "two of 200"


def test_the_answers_of_all_workers_count() -> None:
    world = World(PauseAbove(p99_s=0.5))
    assert world.is_open()
    world.answers(1_000, 0.1, elsewhere=True)
    world.answers(5, 0.6)
    assert world.is_open()


def test_it_opens_ten_seconds_after_the_p99_was_last_above() -> None:
    world = World(PauseAbove(p99_s=0.5))
    assert world.is_open()
    world.answers(10, 0.6)
    assert not world.is_open()
    world.answers(100, 0.1)
    assert not any(world.is_open(0.5) for _ in range(19))
    assert world.is_open(1.0)


def test_late_answers_keep_it_shut_for_as_long_as_they_come() -> None:
    world = World(PauseAbove(p99_s=0.5))
    assert world.is_open()
    for _ in range(60):
        world.answers(10, 0.1)
        world.answers(1, 0.6)
        assert not world.is_open(1.0)
    for _ in range(30):
        world.answers(10, 0.1)
        is_open = world.is_open(1.0)
    assert is_open


def test_what_was_late_long_ago_is_forgotten() -> None:
    world = World(PauseAbove(p99_s=0.5))
    assert world.is_open()
    world.answers(1, 0.6)
    assert world.is_open(60.0), "nobody has asked for a minute"
