"""The queue at a limit: in order, within the limit, and nobody beyond the deadline."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from turnout.proxy.cluster.limits import Limiter
from turnout.proxy.cluster.waiting import NEVER, POLL_S, Waiting
from turnout.proxy.telemetry.counters import Counters
from turnout.proxy.telemetry.layout import ClusterWord
from turnout.rules.resilience import CircuitBreaker, Limits


def test_who_came_first_is_served_first() -> None:
    waiting: Waiting[str] = Waiting(alone=True)
    for waiter in "abc":
        waiting.append(waiter, 10.0)
    assert [waiting.take() for _ in range(4)] == ["a", "b", "c", None]


def test_one_that_left_is_not_served_and_does_not_expire() -> None:
    waiting: Waiting[str] = Waiting(alone=True)
    waiting.append("a", 1.0)
    waiting.append("b", 2.0)
    assert waiting.cancel("a")
    assert not waiting.cancel("a")
    assert waiting.wake_at(0.0) == 2.0
    assert waiting.expire(1.5) == []
    assert waiting.take() == "b"
    assert waiting.wake_at(0.0) == NEVER


def test_deadlines_are_each_waiter_s_own() -> None:
    waiting: Waiting[str] = Waiting(alone=True)
    waiting.append("patient", 9.0)
    waiting.append("hurried", 1.0)
    waiting.append("busy", 0.5)
    assert waiting.wake_at(0.0) == 0.5
    assert waiting.expire(1.0) == ["busy", "hurried"]
    assert len(waiting) == 1
    assert waiting.take() == "patient"
    assert waiting.expire(100.0) == []


def test_one_that_comes_again_has_its_new_deadline_and_place() -> None:
    waiting: Waiting[str] = Waiting(alone=True)
    waiting.append("a", 1.0)
    waiting.append("b", 5.0)
    waiting.cancel("a")
    waiting.append("a", 5.0)
    assert waiting.expire(2.0) == []
    assert [waiting.take(), waiting.take()] == ["b", "a"]


def test_nobody_stands_in_line_twice() -> None:
    waiting: Waiting[str] = Waiting(alone=True)
    waiting.append("a", 1.0)
    with pytest.raises(ValueError, match="waits already"):
        waiting.append("a", 2.0)


def test_with_other_workers_it_looks_often_but_only_while_somebody_waits() -> None:
    waiting: Waiting[str] = Waiting(alone=False)
    assert waiting.wake_at(3.0) == NEVER
    waiting.append("a", 10.0)
    assert waiting.wake_at(3.0) == 3.0 + POLL_S
    assert waiting.wake_at(9.999) == 10.0


def test_those_who_leave_early_leave_nothing_behind() -> None:
    waiting: Waiting[int] = Waiting(alone=True)
    waiting.append(-1, 1e9)
    for waiter in range(10_000):
        waiting.append(waiter, 1e9)
        assert waiting.cancel(waiter)
    assert len(waiting._deadlines) < 200


class Crowd:
    """One worker's queue before a limiter, with requests that come, end, leave, and lose their patience."""

    def __init__(self, limit: int, pending: int, blocks: list[memoryview], own: int) -> None:
        counters = Counters(blocks[own], [block for at, block in enumerate(blocks) if at != own])
        config = CircuitBreaker(limits=Limits(max_requests=limit, max_pending_requests=pending), queue=True)
        self.words = counters.words
        self.limiter = Limiter(config, counters, 0)
        self.waiting: Waiting[int] = Waiting(alone=len(blocks) == 1)
        self.flying: list[int] = []
        self.deadlines: dict[int, float] = {}
        self.served: list[int] = []
        self.refused = self.expired = 0

    def come(self, request: int, now: float, patience: float) -> None:
        if self.limiter.may_begin(in_turn=False):
            self._start(request)
        elif self.limiter.may_wait():
            self.waiting.append(request, now + patience)
            self.deadlines[request] = now + patience
            self.words[ClusterWord.PENDING] += 1
        else:
            self.refused += 1

    def end(self, at: int, now: float, dice: random.Random) -> None:
        self.flying.pop(at)
        self.words[ClusterWord.ACTIVE] -= 1
        if not self.limiter.gives_way(dice.random):
            self.look(now)

    def leave(self, at: int) -> None:
        request = list(self.deadlines)[at]
        assert self.waiting.cancel(request)
        self._left(request)

    def look(self, now: float) -> None:
        for request in self.waiting.expire(now):
            assert self.deadlines[request] <= now
            self.expired += 1
            self._left(request)
        while self.waiting and self.limiter.may_start():
            request = self.waiting.take()  # type: ignore[assignment]
            assert request == next(iter(self.deadlines)), "not the one that came first"
            assert self.deadlines[request] > now
            self._left(request)
            self._start(request)

    def _left(self, request: int) -> None:
        del self.deadlines[request]
        self.words[ClusterWord.PENDING] -= 1

    def _start(self, request: int) -> None:
        self.flying.append(request)
        self.served.append(request)
        self.words[ClusterWord.ACTIVE] += 1


@given(
    limit=st.integers(1, 4), pending=st.integers(0, 6), workers=st.integers(1, 3), seed=st.integers(0, 2**32),
    steps=st.integers(1, 120),
)  # fmt: skip
def test_never_more_than_the_limit_in_order_and_not_beyond_the_deadline(
    limit: int, pending: int, workers: int, seed: int, steps: int
) -> None:
    dice = random.Random(seed)
    blocks = [memoryview(bytearray(64)).cast("Q") for _ in range(workers)]
    crowds = [Crowd(limit, pending, blocks, own) for own in range(workers)]
    now = 0.0
    for request in range(steps):
        now += dice.random() * 0.1
        crowd = dice.choice(crowds)
        match dice.randrange(4):
            case 0 | 1:
                crowd.come(request, now, dice.random())
            case 2 if crowd.flying:
                crowd.end(dice.randrange(len(crowd.flying)), now, dice)
            case 3 if crowd.deadlines:
                crowd.leave(dice.randrange(len(crowd.deadlines)))
        for each in crowds:
            if each.waiting.wake_at(now) <= now or dice.random() < 0.3:
                each.look(now)
        assert sum(len(each.flying) for each in crowds) <= limit
        assert sum(len(each.waiting) for each in crowds) <= pending
        assert all(deadline > now for each in crowds for deadline in each.deadlines.values())
    while any(each.flying or each.deadlines for each in crowds):
        now += POLL_S
        for each in crowds:
            while each.flying:
                each.end(0, now, dice)
            each.look(now)
    assert not any(word for block in blocks for word in block)


def test_workers_share_the_places_by_how_many_wait_at_each() -> None:
    """One worker is asked three times as much as the other; none starves, though one place is all there is."""
    dice = random.Random(11)
    blocks = [memoryview(bytearray(64)).cast("Q") for _ in range(2)]
    crowds = [Crowd(1, 1_000, blocks, own) for own in range(2)]
    now, request = 0.0, 0
    for _ in range(4_000):
        now += POLL_S / 2
        for each, target in zip(crowds, (30, 10), strict=True):
            while len(each.waiting) < target:
                request += 1
                each.come(request, now, 1e9)
        for each in crowds:
            if each.flying:
                each.end(0, now, dice)
        for each in dice.sample(crowds, 2):
            if dice.random() < 0.5:
                each.look(now)
    shares = [len(each.served) for each in crowds]
    assert sum(shares) > 2_000
    assert 0.2 < shares[1] / sum(shares) < 0.3
