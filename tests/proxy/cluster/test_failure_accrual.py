"""The breaker of one endpoint: when it opens, for how long, and whose the one probe is."""

import random

import pytest

from turnout.proxy.cluster.failure_accrual import NO_SLOT, PROBE_WAIT_S, WITHDRAWAL_S, Breaker
from turnout.proxy.cluster.target import State
from turnout.rules.resilience import FailureAccrual

CONFIG = FailureAccrual(consecutive=3, min_s=1.0, max_s=10.0, jitter=0.0)


def half_open(slots=(0, 1, 2), config=CONFIG) -> Breaker:
    """A breaker that opened at 0 and became half-open at 1."""
    breaker = Breaker(config, lambda: 0.0)
    breaker.on_failing(0.0)
    assert breaker.on_timer(slots, 1.0)
    assert (breaker.state, breaker.probe_slot) == (State.HALF_OPEN, min(slots, default=NO_SLOT))
    return breaker


def test_failures_open_it_for_the_least_time():
    breaker = Breaker(CONFIG, lambda: 0.0)
    assert breaker.on_failing(5.0)
    assert (breaker.state, breaker.wake_at, breaker.probe_slot) == (State.OPEN, 6.0, NO_SLOT)
    assert not breaker.on_timer([0], 5.999)


def test_a_penalty_is_longer_by_a_part_of_the_jitter():
    breaker = Breaker(FailureAccrual(min_s=2.0, max_s=100.0, jitter=0.2), lambda: 0.9)
    breaker.on_failing(0.0)
    assert breaker.wake_at == pytest.approx(2.36)


def test_failures_of_requests_that_began_before_change_nothing():
    breaker = Breaker(CONFIG, lambda: 0.0)
    breaker.on_failing(0.0)
    assert not breaker.on_failing(0.5)
    assert breaker.wake_at == 1.0
    breaker.on_timer([0], 1.0)
    assert not breaker.on_failing(1.1)
    assert breaker.state is State.HALF_OPEN


def test_penalties_double_up_to_the_bound_and_begin_anew_after_a_good_probe():
    breaker = Breaker(CONFIG, lambda: 0.0)
    now, penalties = 0.0, []
    breaker.on_failing(now)
    for _ in range(6):
        penalties.append(breaker.wake_at - now)
        now = breaker.wake_at
        breaker.on_timer([0], now)
        breaker.on_probing(0)
        breaker.on_probed(0, False, [0], now)
    assert penalties == [1, 2, 4, 8, 10, 10]
    now = breaker.wake_at
    breaker.on_timer([0], now)
    assert breaker.on_probed(0, True, [0], now)
    assert (breaker.state, breaker.wake_at) == (State.AVAILABLE, None)
    breaker.on_failing(now)
    assert breaker.wake_at - now == 1


@pytest.mark.parametrize(("drawn", "penalty"), [(0.0, 1.0), (0.5, 1.25), (1.0, 1.5)])
def test_jitter_makes_a_penalty_longer(drawn, penalty):
    breaker = Breaker(FailureAccrual(min_s=1.0, jitter=0.5), lambda: drawn)
    breaker.on_failing(0.0)
    assert breaker.wake_at == penalty


def test_a_worker_without_requests_loses_the_probe_to_the_next():
    breaker = half_open()
    order = []
    now = 1.0
    for _ in range(4):
        order.append(breaker.probe_slot)
        now += PROBE_WAIT_S
        assert breaker.on_timer([0, 1, 2], now)
        assert breaker.probe_slot == NO_SLOT
        now += WITHDRAWAL_S
        assert breaker.on_timer([0, 1, 2], now)
    assert order == [0, 1, 2, 0]


def test_the_only_worker_keeps_the_probe():
    breaker = half_open([0])
    assert not breaker.on_timer([0], 2.0)
    assert breaker.probe_slot == 0


def test_nobody_else_gets_the_probe_while_one_is_under_way():
    breaker = half_open()
    assert breaker.on_probing(0)
    assert (breaker.probe_slot, breaker.wake_at) == (NO_SLOT, None)
    assert not breaker.on_timer([0, 1, 2], 1000.0)
    assert not breaker.on_probed(1, True, [0, 1, 2], 1000.0)
    assert breaker.on_probed(0, True, [0, 1, 2], 1000.0)
    assert breaker.state is State.AVAILABLE


def test_a_probe_that_was_sent_before_its_withdrawal_was_heard_is_still_the_probe():
    breaker = half_open()
    breaker.on_timer([0, 1, 2], 1.0 + PROBE_WAIT_S)
    assert not breaker.on_probing(0)
    assert not breaker.on_timer([0, 1, 2], 1000.0)
    assert breaker.on_probed(0, False, [0, 1, 2], 1000.0)
    assert (breaker.state, breaker.wake_at) == (State.OPEN, 1002.0)


def test_a_probe_whose_client_left_is_followed_by_another():
    breaker = half_open([0])
    breaker.on_probing(0)
    assert breaker.on_probed(0, None, [0], 3.0)
    assert (breaker.state, breaker.probe_slot, breaker.opened) == (State.HALF_OPEN, 0, 1)


@pytest.mark.parametrize("probing", [False, True])
def test_a_dead_workers_probe_goes_to_the_next(probing):
    breaker = half_open()
    if probing:
        breaker.on_probing(0)
    assert not breaker.on_slot_gone(2, [0, 1], 1.5)
    assert breaker.on_slot_gone(0, [1, 2], 1.5)
    assert (breaker.probe_slot, breaker.probing) == (1, False)


def test_a_probe_waits_for_a_worker_that_serves():
    breaker = half_open(())
    assert not breaker.on_timer([], 1.0 + WITHDRAWAL_S)
    assert breaker.on_timer([1], 1.5)
    assert breaker.probe_slot == 1


def test_there_is_never_more_than_one_probe_whatever_happens():
    draw = random.Random(4)
    for _ in range(200):
        breaker, now, sent = Breaker(CONFIG, draw.random), 0.0, set()
        for _ in range(200):
            now += draw.choice((0.01, 0.1, 1.0))
            slots = [slot for slot in range(3) if draw.random() < 0.9]
            before = breaker.state
            match draw.randrange(5):
                case 0:
                    breaker.on_failing(now)
                case 1:
                    breaker.on_timer(slots, now)
                case 2 if breaker.probe_slot != NO_SLOT:
                    assert not sent
                    sent.add(breaker.probe_slot)
                    breaker.on_probing(breaker.probe_slot)
                case 3 if sent:
                    breaker.on_probed(sent.pop(), draw.choice((True, False, None)), slots, now)
                case 4:
                    gone = draw.randrange(3)
                    sent.discard(gone)
                    breaker.on_slot_gone(gone, slots, now)
            assert breaker.probe_slot == NO_SLOT or (breaker.state is State.HALF_OPEN and not sent)
            assert before is not State.OPEN or breaker.state in (State.OPEN, State.HALF_OPEN)
            # What does not wait for a worker's word has a time to wake at.
            assert breaker.wake_at is not None or breaker.state is State.AVAILABLE or breaker.probing
